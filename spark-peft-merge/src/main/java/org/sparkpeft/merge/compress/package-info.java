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
 * u8      format version: 2 with flag 16, else 1
 * u8      codec id: 1 fp32, 2 fp16, 3 bf16, 4 ternary, 5 int8, 6 int4, 7 int2, 8 QSGD
 * u8      flags: 1 sparse, 2 range-coded stream, 4 one scale for all tensors, 8 seeded, 16 masks
 * u64     layout fingerprint
 * varint  round
 * u8      length of the client id, then its UTF-8 bytes
 * f32     the shared scale, with flag 4
 * u8      number of levels s, with codec 8
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
 * bf16     n * 16 bits
 * ternary  32 bits scale unless shared, n sign bits, 1 = negative
 * intB     8 bits e (signed), for each block of 256: 16 bits binary16 scale, a symbol of B bits for
 *          each integer in two's complement; value = integer * scale * 2^-e
 * QSGD     for each bucket of 512: 32 bits norm, a symbol for each level q + s, in as many bits as
 *          2 s has; value = norm * q / s
 * </pre>
 *
 * <p>Dense body (flags 0 or 2): the values of each tensor, padded to a byte without flag 2.
 *
 * <p>Seeded body (flag 8): varint K, the values of each tensor's kept entries, padded to a byte.
 * Kept are the K entries with the largest keys, equal ones by lower index, the keys being uniform
 * numbers of the generator for (layout fingerprint, "random-k", round).
 *
 * <p>Sparse body in sections (flag 1), for each tensor:
 *
 * <pre>
 * u8      position coder * 32 + parameter
 * varint  K, the number of kept entries; absent for coder 0, as is all that follows
 * ...     positions, padded to a byte
 * ...     values, padded to a byte
 *
 * coder 0  nothing kept
 * coder 1  Rice, parameter b: for each gap g = position - previous - 1: g &gt;&gt; b ones, a zero, the low
 *          b bits
 * coder 2  bitmask of ceil(d / 8) bytes
 * coder 3  ternary only, no separate values: f32 scale unless shared, ceil(d / 5) bytes, each the
 *          sum of (t_j + 1) 3^j over its (up to) five entries t_j of -1, 0, 1
 * coder 4  K u32 positions
 * coder 6  Golomb, parameter M, or varint M if the parameter is 0: g / M ones, a zero, then g mod M
 *          in truncated binary
 * </pre>
 *
 * <p>Sparse body as masks (flags 1 and 16):
 *
 * <pre>
 * varint  K of each tensor, the number of kept entries
 * ...     values of each tensor's kept entries, without padding between tensors
 * ...     padding to a byte
 * u64     state of a rANS decoder
 * u32     words it takes in, up to the checksum
 * </pre>
 *
 * One rANS runs through the masks of all tensors, eight entries a symbol; a symbol is a class, the
 * number k of its bits set, and its rank among the C(8, k) symbols of that class by value. Of a
 * tensor of d entries come S = ceil(d / 8) symbols, bits past the end being 0; none if K is 0 or d.
 * With p = K / (8 S) in IEEE doubles, powers by repeated multiplication, class k has the frequency
 * max(1, rint(65536 * C(8, k) * p^k * (1 - p)^(8 - k))), multiplied from left to right, and class
 * floor(9 K / (8 S)), the likeliest, what is left of 65536. For each symbol, with state x:
 *
 * <pre>
 * class   k with (sum of f below k) &lt;= x mod 65536 &lt; (sum of f up to k)
 *         x = f_k * (x div 65536) + x mod 65536 - (sum of f below k)
 * rank    x mod C(8, k); x = x div C(8, k)
 * refill  if x is below 35 * 2^25, x = x * 2^32 + the next word
 * </pre>
 *
 * The state begins in 35 * 2^25 .. 35 * 2^57 - 1 and is 35 * 2^25 after the last symbol.
 *
 * <p>Sparse body as a stream (flags 1 and 2): one range coder over all tensors. Its interval starts
 * as [0, 2^48); when its width falls below 2^40 it moves out 8 bits. A bit with probability z / t
 * of being zero gives the lower floor(width / t) * z of the interval to zero; z = 1 + 2 * (zeros so
 * far), t = 2 + 2 * (bits so far) under its model, both halved when t exceeds 2^23. For each
 * tensor:
 *
 * <pre>
 * choice   only for matrices (last dimension above 1 and below d): a symbol of 2 bits, what shares a
 *          model: 0 the tensor, 1 each row, 2 each column
 * mask     one bit for each of its d entries, models starting fresh
 * values   plain bits in pieces of up to 16, each taking floor(width / 2^bits) * piece; symbols of
 *          integers and levels bit by bit from the top under a model for each prefix of up to 5 bits
 *          (QSGD: all bits), kept over all tensors, the rest plain
 * </pre>
 *
 * Bytes after the last are zeros.
 */
@NullMarked
package org.sparkpeft.merge.compress;

import org.jspecify.annotations.NullMarked;
