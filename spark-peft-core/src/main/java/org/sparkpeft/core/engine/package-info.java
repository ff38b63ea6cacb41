/**
 * All that is peculiar to the PyTorch engine under DJL: devices and math threads, gradients on
 * several threads at once, flat parameter buffers, fused kernels. Nothing outside this package
 * imports {@code ai.djl.pytorch}.
 */
@NullMarked
package org.sparkpeft.core.engine;

import org.jspecify.annotations.NullMarked;
