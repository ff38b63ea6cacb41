/**
 * Text from language models: greedy, by sampling or by beam search, with the settings of Hugging
 * Face's {@code generation_config.json}.
 */
@NullMarked
package org.sparkpeft.core.generate;

import org.jspecify.annotations.NullMarked;
