/**
 * The frozen base models: one file for each architecture, reading Hugging Face configurations and
 * weight names. An adapter acts on a model through {@link org.sparkpeft.core.model.Tuning}, which
 * is passed into the forward pass, so one model serves any number of concurrent tasks.
 */
@NullMarked
package org.sparkpeft.core.model;

import org.jspecify.annotations.NullMarked;
