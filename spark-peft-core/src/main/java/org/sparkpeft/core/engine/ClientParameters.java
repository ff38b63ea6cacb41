package org.sparkpeft.core.engine;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDList;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.DataType;
import ai.djl.ndarray.types.Shape;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.sparkpeft.core.vector.ParameterLayout;

/**
 * The trainable parameters of several clients as one contiguous buffer that Java writes and the
 * engine reads: {@link FlatParameters} for a pass that clients share. Each tensor of the layout has
 * the clients' copies after each other, so that they are one tensor with the client in front.
 * Belongs to one thread.
 */
public final class ClientParameters {
  /** Places of tensors in memory are the same in every process, since sums may depend on them. */
  private static final int ALIGNMENT = 64;

  private final ParameterLayout layout;
  private final int capacity;
  private final ByteBuffer bytes;
  private final FloatBuffer floats;

  /**
   * @param capacity most clients of a pass
   */
  public ClientParameters(ParameterLayout layout, int capacity) {
    this.layout = layout;
    this.capacity = capacity;
    int size = Math.multiplyExact(Math.multiplyExact(layout.size(), capacity), Float.BYTES);
    this.bytes =
        ByteBuffer.allocateDirect(Math.addExact(size, 2 * ALIGNMENT)) // slices lose both ends
            .alignedSlice(ALIGNMENT)
            .slice(0, size)
            .order(ByteOrder.nativeOrder());
    this.floats = bytes.asFloatBuffer();
  }

  /**
   * Replaces all values. No leaf of an earlier step may be in use.
   *
   * @param clients each client's flat values, 1 to the capacity
   */
  public void set(List<float[]> clients) {
    int count = clients.size();
    if (count < 1 || count > capacity) {
      throw new IllegalArgumentException(count + " clients, room for " + capacity);
    }
    for (ParameterLayout.Entry entry : layout.entries()) {
      for (int client = 0; client < count; client++) {
        floats.put(place(entry, client, count), clients.get(client), entry.offset(), entry.size());
      }
    }
  }

  private static int place(ParameterLayout.Entry entry, int client, int count) {
    return entry.offset() * count + client * entry.size();
  }

  /** A leaf tensor {@code [clients * size]} with the current values, to be differentiated. */
  public NDArray leaf(NDManager step, int clients) {
    int size = layout.size() * clients;
    ByteBuffer used = bytes.slice(0, size * Float.BYTES).order(ByteOrder.nativeOrder());
    NDArray leaf = step.create(used, new Shape(size), DataType.FLOAT32);
    leaf.setRequiresGradient(true);
    return leaf;
  }

  /** The named tensors, {@code [clients, ...]} each, as views of {@code leaf}. */
  public Map<String, NDArray> views(NDArray leaf, int clients) {
    List<ParameterLayout.Entry> entries = layout.entries();
    long[] starts = new long[entries.size() - 1];
    for (int i = 0; i < starts.length; i++) {
      starts[i] = (long) entries.get(i).end() * clients;
    }
    NDList parts = leaf.split(starts);
    Map<String, NDArray> views = new LinkedHashMap<>();
    for (int i = 0; i < entries.size(); i++) {
      ParameterLayout.Entry entry = entries.get(i);
      long[] shape = new long[entry.shape().size() + 1];
      shape[0] = clients;
      for (int d = 1; d < shape.length; d++) {
        shape[d] = entry.shape().get(d - 1);
      }
      views.put(entry.name(), parts.get(i).reshape(shape));
    }
    return views;
  }

  /**
   * Adds to each client's sum the client's factor times its part of the gradient of {@code leaf}.
   *
   * @param sums flat arrays in the layout's order, one for each client
   */
  public void addGradients(NDArray leaf, float[] factors, List<float[]> sums) {
    int count = sums.size();
    try (NDArray gradient = leaf.getGradient()) {
      FloatBuffer values =
          gradient.toByteBuffer(true).order(ByteOrder.nativeOrder()).asFloatBuffer();
      for (ParameterLayout.Entry entry : layout.entries()) {
        for (int client = 0; client < count; client++) {
          float[] sum = sums.get(client);
          float factor = factors[client];
          int from = place(entry, client, count) - entry.offset();
          for (int i = entry.offset(); i < entry.end(); i++) {
            sum[i] += factor * values.get(from + i);
          }
        }
      }
    }
  }
}
