package org.sparkpeft.core.engine;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDList;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.DataType;
import ai.djl.ndarray.types.Shape;
import ai.djl.pytorch.engine.PtNDArray;
import ai.djl.pytorch.jni.JniUtils;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
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

  /**
   * The named tensors as leaves that share the buffer's memory, for a step that is differentiated:
   * each gets its gradient where it is used, and no gradient of the whole is ever put together.
   */
  public Map<String, NDArray> leaves(NDManager step) {
    try (GradientScope off = GradientScope.paused()) {
      Map<String, NDArray> leaves = views(leaf(step, false));
      leaves.values().forEach(tensor -> tensor.setRequiresGradient(true));
      return leaves;
    }
  }

  /** Adds {@code factor} times the gradients of {@link #leaves} to {@code sum}. */
  public void addGradients(Map<String, NDArray> leaves, float factor, float[] sum) {
    for (ParameterLayout.Entry entry : layout.entries()) {
      PtNDArray leaf = (PtNDArray) Objects.requireNonNull(leaves.get(entry.name()));
      PtNDArray gradient = JniUtils.getGradient(leaf);
      if (gradient != null) { // else nothing depends on it
        try (gradient) {
          add(gradient, factor, sum, entry.offset());
        }
      }
    }
  }

  private static void add(NDArray gradient, float factor, float[] sum, int offset) {
    FloatBuffer values = gradient.toByteBuffer(true).order(ByteOrder.nativeOrder()).asFloatBuffer();
    int size = values.remaining();
    for (int i = 0; i < size; i++) {
      sum[offset + i] += factor * values.get(i);
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
