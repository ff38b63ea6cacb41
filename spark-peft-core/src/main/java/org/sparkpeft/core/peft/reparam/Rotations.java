package org.sparkpeft.core.peft.reparam;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.Shape;
import org.sparkpeft.core.engine.Scalars;
import org.sparkpeft.core.random.Philox;

/** Orthogonal matrices {@code [blocks, b, b]} from skew-symmetric ones. */
final class Rotations {
  private Rotations() {}

  /** The Cayley transform {@code (I - Q) (I + Q)^-1}. */
  static NDArray cayley(NDArray skew) {
    NDArray identity = skew.getManager().eye((int) skew.getShape().get(1));
    return identity.sub(skew).batchMatMul(skew.add(identity).inverse());
  }

  /**
   * Its Neumann series cut off: {@code I + 2 Q + 2 Q^2 + ... + 2 Q^(terms-2) + Q^(terms-1)}, and
   * {@code I + 2 Q} for 2 terms; 3 terms give the same as 4.
   */
  static NDArray neumann(NDArray skew, int terms) {
    NDArray sum = Scalars.times(skew, 2).add(skew.getManager().eye((int) skew.getShape().get(1)));
    if (terms == 2) {
      return sum;
    }
    NDArray power = skew.batchMatMul(skew);
    sum = sum.add(Scalars.times(power, 2));
    for (int exponent = 3; exponent < terms - 1; exponent++) {
      power = power.batchMatMul(skew);
      sum = sum.add(Scalars.times(power, 2));
    }
    return sum.add(power.batchMatMul(skew));
  }

  /**
   * {@code W Rt} where R is block-diagonal: the layer on {@code x R}.
   *
   * @param weight {@code [out, in]}
   * @param rotation {@code [in / b, b, b]}, or {@code [1, b, b]} for the same block everywhere
   */
  static NDArray apply(NDArray weight, NDArray rotation) {
    long out = weight.getShape().get(0);
    long in = weight.getShape().get(1);
    long size = rotation.getShape().get(1);
    NDArray back = rotation.transpose(0, 2, 1);
    if (rotation.getShape().get(0) == 1) {
      return weight.reshape(out * (in / size), size).matMul(back.squeeze(0)).reshape(out, in);
    }
    NDArray columns = weight.reshape(out, in / size, size).transpose(1, 0, 2); // [blocks, out, b]
    return columns.batchMatMul(back).transpose(1, 0, 2).reshape(out, in);
  }

  /** Some blocks, {@code probability} of them, replaced by the identity. */
  static NDArray dropBlocks(NDArray rotation, double probability, Philox random) {
    int blocks = (int) rotation.getShape().get(0);
    int dropped = (int) (probability * blocks);
    if (blocks == 1 || dropped == 0) {
      return rotation;
    }
    NDManager manager = rotation.getManager();
    int[] order = random.permutation(blocks);
    float[] kept = Layers.filled(blocks, 1);
    float[] identities = new float[blocks];
    for (int i = 0; i < dropped; i++) {
      kept[order[i]] = 0;
      identities[order[i]] = 1;
    }
    Shape shape = new Shape(blocks, 1, 1);
    NDArray identity = manager.eye((int) rotation.getShape().get(1));
    return rotation
        .mul(manager.create(kept, shape))
        .add(manager.create(identities, shape).mul(identity));
  }
}
