/** Turning text into token ids with Hugging Face's {@code tokenizer.json}. */
@NullMarked
package org.sparkpeft.core.text;

import org.jspecify.annotations.NullMarked;
