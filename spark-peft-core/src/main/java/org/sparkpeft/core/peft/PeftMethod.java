package org.sparkpeft.core.peft;

import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.SortedMap;
import java.util.TreeMap;
import org.jspecify.annotations.Nullable;
import org.sparkpeft.core.model.ModuleTree;
import org.sparkpeft.core.model.WeightForm;

/**
 * A parameter-efficient method. Implementations are found with {@link java.util.ServiceLoader},
 * need a public constructor without arguments, and keep no state. A method is one file: this, its
 * configuration as a nested record, and what {@link #attach} returns.
 *
 * <p>For example, a method that adds a trained vector to what some layers give:
 *
 * <pre>{@code
 * public final class Shift implements PeftMethod<Shift.Config> {
 *   public record Config(TargetModules targetModules, List<String> modulesToSave)
 *       implements PeftConfig {
 *     public String peftType() { return "SHIFT"; }
 *   }
 *   public String peftType() { return "SHIFT"; }
 *   public Class<Config> configType() { return Config.class; }
 *   public MethodClass methodClass() { return MethodClass.ADDITIVE; }
 *   public Config defaults() {
 *     return new Config(TargetModules.of("value"), List.of("classifier"));
 *   }
 *   public AttachedMethod attach(Config config, ModuleTree modules) {
 *     List<ModuleSpec> layers = TargetSelection.select(modules, config.targetModules(),
 *         List.of(), List.of(), Set.of(ModuleSpec.Kind.LINEAR));
 *     return new AttachedMethod() {
 *       public Map<String, List<Integer>> shapes() {            // what is trained
 *         return layers.stream().collect(toMap(l -> l.path() + ".shift", l -> List.of(l.out())));
 *       }
 *       public Map<String, float[]> initialValues(long seed, MethodState state, BaseWeights base) {
 *         return layers.stream().collect(toMap(l -> l.path() + ".shift", l -> new float[l.out()]));
 *       }
 *       public List<Modification> modifications(MethodTensors tensors, TuningContext context) {
 *         return layers.stream().map(l -> Modification.sequential(l.path(),
 *             h -> h.add(tensors.parameter(l.path() + ".shift")))).toList();
 *       }
 *       public Map<String, float[]> fuse(
 *           ParameterVector parameters, MethodState state, BaseWeights base) {
 *         ...                                                   // the biases plus the shifts
 *       }
 *     };
 *   }
 * }
 * }</pre>
 *
 * <p>With its class name in {@code META-INF/services/org.sparkpeft.core.peft.PeftMethod}, {@code
 * peft_type: SHIFT} in a recipe trains it. What a method with masks, reports or personal tensors
 * adds is in {@link AttachedMethod}.
 *
 * @param <C> the method's configuration, a record
 */
public interface PeftMethod<C extends PeftConfig> {

  /** Hugging Face's name, for example {@code LORA}; ours, in the same style, where it has none. */
  String peftType();

  Class<C> configType();

  /** What kind of parameters it trains. */
  MethodClass methodClass();

  /** The configuration when nothing is set: what a recipe starts from. */
  C defaults();

  /**
   * At how many times the learning rate that suits LoRA the method learns as well; comparisons use
   * it.
   */
  default double usualRate() {
    return 1;
  }

  /**
   * The form of base that the method is made for; empty where any will do, as almost always.
   *
   * @return in how many bits the base is to be held
   */
  default Optional<WeightForm> baseForm(C config) {
    return Optional.empty();
  }

  /**
   * Lays the method out on a model.
   *
   * @param modules the layers it may act on; those trained in full are not among them
   * @throws org.sparkpeft.core.error.ConfigException if the configuration does not fit the model
   */
  AttachedMethod attach(C config, ModuleTree modules);

  /**
   * Reads {@code adapter_config.json}: by default the record's components under their names with
   * underscores; absent fields take Hugging Face's defaults as {@link #fileDefaults} has them.
   *
   * @param fields the file's content
   * @throws org.sparkpeft.core.error.ConfigException naming a setting that is not supported
   */
  default C readConfig(Map<String, Object> fields) {
    return ConfigRecords.read(configType(), fileDefaults(), fields, inertFields());
  }

  /**
   * Reads {@code adapter_config.json} where the adapter's tensors are known too, for a method whose
   * layout does not follow from the fields alone.
   *
   * @param shapes the file's tensors by name
   */
  default C readConfig(Map<String, Object> fields, Map<String, List<Integer>> shapes) {
    return readConfig(fields);
  }

  /**
   * Hugging Face's fields that the record does not have, each at the value (often null) at which it
   * changes nothing. They are written, and refused when a file sets them otherwise.
   */
  default Map<String, Object> inertFields() {
    return Map.of();
  }

  /**
   * Fields that steer training alone: an adapter may be read into a model where they differ, since
   * what it computes does not depend on them.
   */
  default Set<String> trainingFields() {
    return Set.of();
  }

  /** What a field means that {@code adapter_config.json} leaves out. */
  default C fileDefaults() {
    return defaults();
  }

  /** The fields to write to {@code adapter_config.json}, beside those every method has. */
  default SortedMap<String, Object> writeConfig(C config) {
    SortedMap<String, Object> fields = new TreeMap<>(inertFields());
    fields.putAll(ConfigRecords.write(config));
    return fields;
  }

  /**
   * Whether a field of {@code adapter_config.json} says how training starts and nothing about what
   * a trained adapter computes.
   *
   * @param value its value in one of two files that are compared
   */
  default boolean mattersAtStartOnly(String field, @Nullable Object value) {
    return field.startsWith("init_");
  }
}
