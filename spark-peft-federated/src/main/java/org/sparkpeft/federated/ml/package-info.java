/**
 * Fine-tuning as Spark ML stages: an estimator that runs the rounds, and a model that predicts.
 * Stages hold the adapter only; the base model stays a reference.
 */
@NullMarked
package org.sparkpeft.federated.ml;

import org.jspecify.annotations.NullMarked;
