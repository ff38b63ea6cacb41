package org.sparkpeft.core.engine;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDList;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.DataType;
import ai.djl.ndarray.types.Shape;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.sparkpeft.core.vector.ParameterLayout;

/**
 * The trainable parameters of one task as one contiguous buffer that Java writes and the engine
 * reads. Each step makes a fresh leaf over it: on the CPU without a copy, on a GPU with one
 * transfer. Belongs to one thread.
 */
public final class FlatParameters {
  private final ParameterLayout layout;
  private final ByteBuffer bytes;
  private final FloatBuffer floats;

  public FlatParameters(ParameterLayout layout) {
    this.layout = layout;
    this.bytes =
        ByteBuffer.allocateDirect(Math.multiplyExact(layout.size(), 4))
            .order(ByteOrder.nativeOrder());
    this.floats = bytes.asFloatBuffer();
  }

  /** Replaces all values. No leaf of an earlier step may be in use. */
  public void set(float[] values) {
    floats.put(0, values);
  }

  /**
   * A leaf tensor {@code [size]} with the current values.
   *
   * @param trainable whether operations on it are recorded inside a {@link GradientScope}
   */
  public NDArray leaf(NDManager step, boolean trainable) {
    NDArray leaf =
        step.create(bytes.duplicate().order(ByteOrder.nativeOrder()), shape(), DataType.FLOAT32);
    if (trainable) {
      leaf.setRequiresGradient(true);
    }
    return leaf;
  }

  /**
   * The named tensors as views of {@code leaf}, made by one split: its derivative is one
   * concatenation, where a slice for each tensor would write the whole gradient each time.
   */
  public Map<String, NDArray> views(NDArray leaf) {
    List<ParameterLayout.Entry> entries = layout.entries();
    long[] starts = new long[entries.size() - 1];
    for (int i = 0; i < starts.length; i++) {
      starts[i] = entries.get(i).end();
    }
    NDList parts = leaf.split(starts);
    Map<String, NDArray> views = new LinkedHashMap<>();
    for (int i = 0; i < entries.size(); i++) {
      ParameterLayout.Entry entry = entries.get(i);
      views.put(entry.name(), parts.get(i).reshape(shapeOf(entry.shape())));
    }
    return views;
  }

  /** Adds {@code factor} times the gradient of {@code leaf} to {@code sum}. */
  public void addGradient(NDArray leaf, float factor, float[] sum) {
    try (NDArray gradient = leaf.getGradient()) {
      FloatBuffer values =
          gradient.toByteBuffer(true).order(ByteOrder.nativeOrder()).asFloatBuffer();
      for (int i = 0; i < sum.length; i++) {
        sum[i] += factor * values.get(i);
      }
    }
  }

  private Shape shape() {
    return new Shape(layout.size());
  }

  private static Shape shapeOf(List<Integer> dimensions) {
    List<Long> longs = new ArrayList<>(dimensions.size());
    dimensions.forEach(d -> longs.add(d.longValue()));
    return new Shape(longs);
  }
}
