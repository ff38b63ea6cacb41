/**
 * Files and folders: safetensors, Hugging Face model and adapter directories, ONNX initialisers,
 * models bundled as class path resources, and atomic replacement of what is written. Everything
 * read is treated as untrusted: lengths are checked before anything of that length is allocated,
 * and malformed bytes are refused with the place and the remedy.
 */
@NullMarked
package org.sparkpeft.core.io;

import org.jspecify.annotations.NullMarked;
