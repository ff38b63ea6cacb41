package org.sparkpeft.core.train;

import java.util.List;

/** Where a training's batches come from. */
@FunctionalInterface
public interface UpdateBatches {

  /** The batches of an optimiser update, from 0, whose gradients are averaged. */
  List<int[]> of(int update);
}
