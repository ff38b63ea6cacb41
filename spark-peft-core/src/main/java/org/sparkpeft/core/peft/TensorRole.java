package org.sparkpeft.core.peft;

/**
 * How a trained tensor is treated by optimiser, codec and server.
 *
 * @param rate factor on the learning rate, above 0
 * @param decayed whether weight decay acts on it
 * @param sharing who gets to see it
 * @param averaging what the mean of clients' values means
 * @param support over which clients the mean is taken
 */
public record TensorRole(
    double rate, boolean decayed, Sharing sharing, Averaging averaging, Support support) {
  /** Factors like LoRA's: learn at the common rate, decay, are sent, and average with an error. */
  public static final TensorRole FACTOR =
      new TensorRole(1, true, Sharing.SHARED, Averaging.FACTOR, Support.EVERYONE);

  /** Tensors in which the effective weights are affine: averaging them is exact. */
  public static final TensorRole LINEAR =
      new TensorRole(1, true, Sharing.SHARED, Averaging.LINEAR, Support.EVERYONE);

  /** Who gets to see a tensor. */
  public enum Sharing {
    /** Sent to the server and averaged. */
    SHARED,
    /** Stays with the client between rounds; the server keeps its starting value. */
    PERSONAL
  }

  /** What averaging clients' values means for the function they compute (card section 0.3). */
  public enum Averaging {
    /** The mean of values is the mean of effective weights. */
    LINEAR,
    /** A product of trained tensors: the mean of factors is not the mean of products. */
    FACTOR
  }

  /** Whose values enter the mean. */
  public enum Support {
    /** Every client of the round. */
    EVERYONE,
    /**
     * For each slice along the first axis, an expert or a task, the clients whose training changed
     * it: a copy that was not used is no opinion (rule R7, support-normalised). Such tensors must
     * not decay, or everyone changes all of them.
     */
    SLICES
  }

  public TensorRole withRate(double factor) {
    return new TensorRole(factor, decayed, sharing, averaging, support);
  }

  public TensorRole undecayed() {
    return new TensorRole(rate, false, sharing, averaging, support);
  }

  public TensorRole personal() {
    return new TensorRole(rate, decayed, Sharing.PERSONAL, averaging, support);
  }

  /** Undecayed, and averaged over the clients that trained it, slice by slice. */
  public TensorRole bySlices() {
    return new TensorRole(rate, false, sharing, averaging, Support.SLICES);
  }
}
