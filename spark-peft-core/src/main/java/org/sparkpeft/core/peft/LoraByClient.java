package org.sparkpeft.core.peft;

import ai.djl.ndarray.NDArray;
import org.jspecify.annotations.Nullable;
import org.sparkpeft.core.engine.Scalars;
import org.sparkpeft.core.nn.Linear;

/**
 * What one adapted linear layer computes in one step that several clients share: the base's product
 * once for all rows, {@code s B A x} with each client's own factors.
 *
 * @param a {@code [clients, r, in]}, or {@code [r, in]} where A is frozen and so the same for all
 * @param b {@code [clients, out, r]}
 * @param startA {@code [r, in]} of the part taken from the base, the same for all
 * @param startB {@code [out, r]} of it, negated
 */
record LoraByClient(
    LoraSite site,
    ClientRows rows,
    NDArray a,
    NDArray b,
    @Nullable NDArray startA,
    @Nullable NDArray startB) {

  NDArray linear(Modification.LinearForward below, Linear layer, NDArray x) {
    NDArray y = below.apply(layer, x); // [rows, ..., out]
    if (startA != null && startB != null) {
      NDArray start = Scalars.times(Linear.of(x, startA, null), site.scale());
      y = y.addi(Linear.of(start, startB, null));
    }
    NDArray low =
        a.getShape().dimension() == 2
            ? rows.blocks(Linear.of(x, a, null))
            : ClientRows.product(rows.blocks(x), a); // [clients, entries, r]
    NDArray change = ClientRows.product(Scalars.times(low, site.scale()), b);
    return y.addi(rows.rows(change, x.getShape()));
  }
}
