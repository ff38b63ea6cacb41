/**
 * Whole adapters in Hugging Face PEFT's format: several merged into one, and one as a compressed
 * file.
 */
@NullMarked
package org.sparkpeft.merge.adapter;

import org.jspecify.annotations.NullMarked;
