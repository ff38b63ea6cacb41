package org.sparkpeft.merge.adapter;

import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.io.Serializable;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.SortedMap;
import java.util.TreeMap;
import org.sparkpeft.core.io.AdapterDirectory;
import org.sparkpeft.core.io.DType;
import org.sparkpeft.core.io.TensorData;
import org.sparkpeft.core.vector.ParameterLayout;

/** An adapter in memory that can be sent to other machines. */
public final class StoredAdapter implements Serializable {
  private static final long serialVersionUID = 1L;

  private final String path;
  private final String config;
  private final List<Tensor> tensors;

  private StoredAdapter(String path, String config, List<Tensor> tensors) {
    this.path = path;
    this.config = config;
    this.tensors = tensors;
  }

  public static StoredAdapter of(AdapterDirectory adapter) {
    return of(adapter.path(), adapter.config(), adapter.tensors().values());
  }

  /** A merged adapter, as it would be read from its folder. */
  public static StoredAdapter of(Path path, MergedAdapter merged) {
    return of(path, merged.config(), merged.tensors().values());
  }

  private static StoredAdapter of(Path path, ObjectNode config, Collection<TensorData> tensors) {
    List<Tensor> copies = new ArrayList<>();
    for (TensorData tensor : tensors) {
      ByteBuffer raw = tensor.raw();
      byte[] bytes = new byte[raw.remaining()];
      raw.get(bytes);
      copies.add(new Tensor(tensor.name(), tensor.dtype(), new ArrayList<>(tensor.shape()), bytes));
    }
    return new StoredAdapter(path.toString(), config.toString(), copies);
  }

  public AdapterDirectory open() {
    return AdapterDirectory.of(
        Path.of(path), node(), TensorData.byName(tensors.stream().map(Tensor::open).toList()));
  }

  private ObjectNode node() {
    try {
      return (ObjectNode) new ObjectMapper().readTree(config);
    } catch (IOException e) {
      throw new UncheckedIOException("the configuration of " + path, e);
    }
  }

  /** The same with the task head of another: trained copies of modules that this one lacks. */
  public StoredAdapter withHeadOf(AdapterDirectory other) {
    SortedMap<String, TensorData> all = new TreeMap<>(open().tensors());
    other
        .tensors()
        .forEach(
            (name, tensor) -> {
              if (!name.contains(".lora_")) {
                all.putIfAbsent(name, tensor);
              }
            });
    ObjectNode mine = node();
    mine.set("modules_to_save", other.config().path("modules_to_save"));
    if (mine.path("modules_to_save").isMissingNode()) {
      mine.putNull("modules_to_save");
    }
    mine.set("task_type", other.config().path("task_type"));
    if (mine.path("task_type").isMissingNode()) {
      mine.putNull("task_type");
    }
    return of(Path.of(path), mine, all.values());
  }

  /**
   * All values as float32, tensor after tensor in the order of names: what {@link #withValues}
   * takes.
   */
  public static byte[] values(SortedMap<String, TensorData> tensors) {
    int count = tensors.values().stream().mapToInt(TensorData::elements).sum();
    ByteBuffer bytes =
        ByteBuffer.allocate(Math.multiplyExact(4, count)).order(ByteOrder.LITTLE_ENDIAN);
    for (TensorData tensor : tensors.values()) {
      for (float value : tensor.toFloats()) {
        bytes.putFloat(value);
      }
    }
    return bytes.array();
  }

  /**
   * The same with other values for some of its tensors.
   *
   * @param names tensors that get values
   * @param values theirs, as {@link #values} gives them
   * @throws IllegalArgumentException if there are not as many as the tensors have
   */
  public AdapterDirectory withValues(List<String> names, byte[] values) {
    SortedMap<String, TensorData> all = new TreeMap<>(ParameterLayout.UTF8_ORDER);
    all.putAll(open().tensors());
    ByteBuffer from = ByteBuffer.wrap(values).order(ByteOrder.LITTLE_ENDIAN);
    for (String name : names) {
      TensorData old = all.get(name);
      if (old == null || 4L * old.elements() > from.remaining()) {
        throw new IllegalArgumentException(
            values.length + " bytes do not fit the tensors of " + path + ", at " + name);
      }
      float[] floats = new float[old.elements()];
      from.asFloatBuffer().get(floats);
      from.position(from.position() + 4 * floats.length);
      all.put(name, TensorData.ofFloats(name, old.shape(), floats));
    }
    if (from.hasRemaining()) {
      throw new IllegalArgumentException(
          from.remaining() + " bytes are left over for the tensors of " + path);
    }
    return AdapterDirectory.of(Path.of(path), node(), all);
  }

  @SuppressWarnings("ArrayRecordComponent") // Stays inside, is never compared.
  private record Tensor(String name, DType dtype, ArrayList<Integer> shape, byte[] bytes)
      implements Serializable {
    TensorData open() {
      return TensorData.of(name, dtype, shape, ByteBuffer.wrap(bytes));
    }
  }
}
