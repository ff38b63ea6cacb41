/**
 * Updates as few bytes: sparsifiers, quantisers, entropy coders, and the payload that carries them.
 * Pure Java; every decoder takes bytes from strangers and checks them before it allocates.
 *
 * <h2>A payload, byte by byte</h2>
 *
 * All numbers are little-endian, bits fill bytes LSB-first, varint is unsigned LEB128.
 *
 * <pre>
 * u32     magic "SPTU"
 * u8      format version, 1
 * u8      codec id: 1 fp32, 2 fp16, 4 ternary, 5 int8
 * u8      flags: 1 sparse, 2 range-coded stream, 4 one scale for all tensors
 * u64     layout fingerprint
 * varint  round
 * u8      length of the client id, then its UTF-8 bytes
 * f32     the shared scale, with flag 4
 * ...     body
 * u32     CRC32C of everything before it
 * </pre>
 *
 * The body holds the tensors in layout order; names, shapes and sizes are the layout's and are not
 * sent.
 *
 * <p>Values of one tensor, n of them (nothing when n = 0):
 *
 * <pre>
 * fp32     n * 32 bits
 * fp16     8 bits e (signed), n * 16 bits of binary16; value = half * 2^-e
 * ternary  32 bits scale unless shared, n sign bits, 1 = negative
 * int8     8 bits e (signed), for each block of 256: 16 bits binary16 scale, 8 bits for each
 *          integer; value = integer * scale * 2^-e
 * </pre>
 *
 * <p>Dense body (no flag 1): the values of each tensor, padded to a byte.
 *
 * <p>Sparse body in sections (flag 1), for each tensor:
 *
 * <pre>
 * u8      position coder * 32 + Rice parameter
 * varint  K, the number of kept entries; absent for coder 0, as is all that follows
 * ...     positions, padded to a byte
 * ...     values, padded to a byte
 *
 * coder 0  nothing kept
 * coder 1  Rice: for each gap g = position - previous - 1: g &gt;&gt; b ones, a zero, the low b bits
 * coder 2  bitmask of ceil(d / 8) bytes
 * coder 3  ternary only, no separate values: f32 scale unless shared, ceil(d / 5) bytes, each the
 *          sum of (t_j + 1) 3^j over its (up to) five entries t_j of -1, 0, 1
 * coder 4  K u32 positions
 * </pre>
 *
 * <p>Sparse body as a stream (flags 1 and 2): one range coder over all tensors. Its interval starts
 * as [0, 2^48); when its width falls below 2^40 it moves out 8 bits. A bit with probability z / t
 * of being zero gives the lower floor(width / t) * z of the interval to zero. For each tensor: the
 * mask of its d entries, each with z = 1 + 2 * (zeros so far in this tensor), t = 2 + 2 * (entries
 * so far); then its values, in pieces of up to 16 bits, each taking floor(width / 2^bits) * piece.
 * Bytes after the last are zeros.
 */
@NullMarked
package org.sparkpeft.merge.compress;

import org.jspecify.annotations.NullMarked;
