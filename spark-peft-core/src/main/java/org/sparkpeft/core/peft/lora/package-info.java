/** Relatives of LoRA that are no variants of it: other factors, other frozen parts. */
@NullMarked
package org.sparkpeft.core.peft.lora;

import org.jspecify.annotations.NullMarked;
