/**
 * What several tests share: a tiny model with toy data, processes to start and kill, where the
 * shared fixtures are.
 */
@NullMarked
package org.sparkpeft.tests.support;

import org.jspecify.annotations.NullMarked;
