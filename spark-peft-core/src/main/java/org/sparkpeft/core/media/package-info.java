/**
 * From files of images and sound to what models read, with the numbers of Hugging Face's image
 * processors and feature extractors. Bytes are untrusted: sizes are checked before anything is
 * decoded.
 */
@NullMarked
package org.sparkpeft.core.media;

import org.jspecify.annotations.NullMarked;
