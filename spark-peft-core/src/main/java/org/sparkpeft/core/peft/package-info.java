/**
 * The parameter-efficient methods, one file each: a configuration record with Hugging Face PEFT's
 * field names, the parameters, the effect on a forward pass, and how the result is folded into the
 * base.
 */
@NullMarked
package org.sparkpeft.core.peft;

import org.jspecify.annotations.NullMarked;
