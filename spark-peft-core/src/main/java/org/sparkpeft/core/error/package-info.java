/**
 * The few exceptions a user of spark-peft can meet. Each says what is wrong, with which value, what
 * the limit is and what to do. The command line maps them to exit codes: {@link
 * org.sparkpeft.core.error.ConfigException} to 2, {@link org.sparkpeft.core.error.FormatException}
 * and {@link org.sparkpeft.core.error.DataException} to 3, everything else to 1.
 */
@NullMarked
package org.sparkpeft.core.error;

import org.jspecify.annotations.NullMarked;
