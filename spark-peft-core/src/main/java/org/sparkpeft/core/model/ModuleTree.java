package org.sparkpeft.core.model;

import java.util.ArrayList;
import java.util.Collection;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.stream.Collectors;

/** The layers of a model in forward order, by path. Immutable; made without any weights. */
public final class ModuleTree {
  private final Map<String, ModuleSpec> modules;
  private final Structure structure;

  /**
   * How the layers form a transformer, for methods that act on blocks rather than on layers.
   *
   * @param layers the transformer's layers, lowest first
   * @param hidden size of the residual stream
   * @param heads attention heads
   * @param keyHeads heads of keys and values, each serving as many of the {@code heads}
   * @param keySize size of a position's keys in an attention block, and of its values: fewer than
   *     {@code hidden} where several heads share them
   * @param words path of the word embeddings
   * @param output path of the layer that turns states into words, which {@code all-linear} leaves
   *     out; empty when there is none
   */
  public record Structure(
      List<LayerPaths> layers,
      int hidden,
      int heads,
      int keyHeads,
      int keySize,
      String words,
      String output) {
    /** Of a model about whose blocks nothing is known. */
    public static final Structure NONE = new Structure(List.of(), 0, 0, 0, 0, "", "");

    public Structure {
      layers = List.copyOf(layers);
    }

    /** Where heads are as large as {@code hidden / heads}. */
    public Structure(
        List<LayerPaths> layers, int hidden, int heads, int keySize, String words, String output) {
      this(layers, hidden, heads, heads * keySize / hidden, keySize, words, output);
    }
  }

  /** Modules without a known structure. */
  public ModuleTree(List<ModuleSpec> modules) {
    this(modules, Structure.NONE);
  }

  /**
   * @throws IllegalArgumentException if two modules have the same path
   */
  public ModuleTree(List<ModuleSpec> modules, Structure structure) {
    this.structure = structure;
    this.modules = new LinkedHashMap<>();
    for (ModuleSpec module : modules) {
      if (this.modules.put(module.path(), module) != null) {
        throw new IllegalArgumentException("two modules named " + module.path());
      }
    }
  }

  public List<ModuleSpec> all() {
    return List.copyOf(modules.values());
  }

  public Structure structure() {
    return structure;
  }

  /** The same model without some of its modules. */
  public ModuleTree without(Collection<ModuleSpec> left) {
    return new ModuleTree(
        modules.values().stream().filter(module -> !left.contains(module)).toList(), structure);
  }

  public List<ModuleSpec> ofKind(ModuleSpec.Kind kind) {
    return modules.values().stream().filter(m -> m.kind() == kind).toList();
  }

  public Optional<ModuleSpec> find(String path) {
    return Optional.ofNullable(modules.get(path));
  }

  /**
   * The layers that {@code name} means in Hugging Face's {@code modules_to_save}: a module, or a
   * container of modules, whose path equals the name or ends with a dot and it. {@code pooler}
   * means {@code bert.pooler.dense}.
   */
  public List<ModuleSpec> named(String name) {
    List<ModuleSpec> found = new ArrayList<>();
    for (ModuleSpec module : modules.values()) {
      String path = "." + module.path() + ".";
      if (path.contains("." + name + ".")) {
        found.add(module);
      }
    }
    return found;
  }

  /** Last parts of all paths, each once, for error messages. */
  public List<String> lastNames() {
    return modules.keySet().stream()
        .map(path -> path.substring(path.lastIndexOf('.') + 1))
        .distinct()
        .toList();
  }

  /** Number of parameters of all modules that the given origin describes. */
  public long parameters(ModuleSpec.Origin origin) {
    long count = 0;
    for (ModuleSpec module : modules.values()) {
      if (module.origin() == origin) {
        for (List<Integer> shape : module.tensors().values()) {
          count += shape.stream().mapToLong(Integer::longValue).reduce(1, Math::multiplyExact);
        }
      }
    }
    return count;
  }

  @Override
  public String toString() {
    return modules.keySet().stream().collect(Collectors.joining(", ", "ModuleTree[", "]"));
  }
}
