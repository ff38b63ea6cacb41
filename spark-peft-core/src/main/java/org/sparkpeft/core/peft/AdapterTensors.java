package org.sparkpeft.core.peft;

import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.SortedMap;
import org.sparkpeft.core.error.FormatException;
import org.sparkpeft.core.io.TensorData;

/** The tensors of an adapter file while a method picks its own, checking names and shapes. */
public final class AdapterTensors {
  /** What Hugging Face PEFT puts before the path of a module. */
  public static final String PREFIX = "base_model.model.";

  private final String source;
  private final SortedMap<String, TensorData> tensors;
  private final Map<String, Object> fields;
  private final Set<String> taken = new LinkedHashSet<>();

  /**
   * @param source the file, for messages
   */
  public AdapterTensors(String source, SortedMap<String, TensorData> tensors) {
    this(source, tensors, Map.of());
  }

  /**
   * @param source the file, for messages
   * @param fields of {@code adapter_config.json} beside it
   */
  public AdapterTensors(
      String source, SortedMap<String, TensorData> tensors, Map<String, Object> fields) {
    this.source = source;
    this.tensors = tensors;
    this.fields = fields;
  }

  /** A field of {@code adapter_config.json}, for what {@link AttachedMethod#savedFields} wrote. */
  public Optional<Object> field(String name) {
    return Optional.ofNullable(fields.get(name));
  }

  /** An error about this file. */
  public FormatException wrong(String message) {
    return new FormatException(source, message);
  }

  /** The file, for messages. */
  public String source() {
    return source;
  }

  /** Whether the file has a tensor of exactly that name. */
  public boolean has(String name) {
    return tensors.containsKey(name);
  }

  /**
   * Takes a tensor.
   *
   * @param name its full name in the file
   * @throws FormatException if it is missing or has another shape
   */
  public TensorData take(String name, List<Integer> shape) {
    TensorData tensor = take(name);
    if (!tensor.shape().equals(shape)) {
      throw new FormatException(
          source, name + " has shape " + tensor.shape() + "; the model asks for " + shape);
    }
    return tensor;
  }

  /** Takes a tensor of any shape. */
  public TensorData take(String name) {
    TensorData tensor = tensors.get(name);
    if (tensor == null) {
      throw new FormatException(source, "lacks the tensor " + name);
    }
    taken.add(name);
    return tensor;
  }

  /** Takes the tensors of {@code shapes}, each under {@link #PREFIX} and its name. */
  public Map<String, float[]> takeAll(Map<String, List<Integer>> shapes) {
    return takeAll(PREFIX, shapes);
  }

  /** Takes the tensors of {@code shapes}, each under {@code prefix} and its name. */
  public Map<String, float[]> takeAll(String prefix, Map<String, List<Integer>> shapes) {
    Map<String, float[]> values = new LinkedHashMap<>();
    List<String> missing =
        shapes.keySet().stream().filter(name -> !tensors.containsKey(prefix + name)).toList();
    if (!missing.isEmpty()) {
      throw new FormatException(
          source,
          "lacks "
              + missing.size()
              + " tensors of this model's adapter, such as "
              + missing.get(0));
    }
    shapes.forEach((name, shape) -> values.put(name, take(prefix + name, shape).toFloats()));
    return values;
  }

  /** Names that nobody took. */
  public Set<String> left() {
    Set<String> left = new LinkedHashSet<>(tensors.keySet());
    left.removeAll(taken);
    return left;
  }
}
