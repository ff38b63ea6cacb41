package org.sparkpeft.core.peft;

import java.util.ArrayList;
import java.util.Comparator;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.ServiceConfigurationError;
import java.util.ServiceLoader;
import java.util.Set;
import java.util.SortedMap;
import java.util.TreeMap;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.model.LayerPaths;
import org.sparkpeft.core.model.ModuleTree;
import org.sparkpeft.core.model.WeightForm;

/** Finds the method that belongs to a configuration. */
public final class PeftMethods {
  private static final List<String> QUERY_AND_VALUE = List.of("query", "value");

  private PeftMethods() {}

  /** Every method on the class path, by name. */
  public static List<PeftMethod<?>> all() {
    List<PeftMethod<?>> methods = new ArrayList<>();
    try {
      for (PeftMethod<?> method :
          ServiceLoader.load(PeftMethod.class, PeftMethod.class.getClassLoader())) {
        methods.add(method);
      }
      ClassLoader ofThread = Thread.currentThread().getContextClassLoader();
      if (ofThread != null && ofThread != PeftMethod.class.getClassLoader()) {
        for (PeftMethod<?> method : ServiceLoader.load(PeftMethod.class, ofThread)) {
          if (methods.stream().noneMatch(m -> m.getClass() == method.getClass())) {
            methods.add(method);
          }
        }
      }
    } catch (ServiceConfigurationError e) {
      throw new ConfigException(
          "peft_type", "a method on the class path is broken: " + e.getMessage());
    }
    methods.sort(Comparator.comparing(PeftMethod::peftType));
    return methods;
  }

  /**
   * The form in which a base is held under a method: the one that was asked for, unless the method
   * is made for another. Where nothing was asked for, which is float32, or the same type, its own
   * is taken.
   *
   * @throws ConfigException if both ask for different types
   */
  public static WeightForm baseForm(PeftConfig config, WeightForm asked) {
    WeightForm form = baseForm(of(config), config).orElse(asked);
    if (form.type() != asked.type() && asked.type() != WeightForm.Type.FLOAT32) {
      throw new ConfigException(
          "model.dtype",
          "%s does not go with peft_type %s, whose base is in %s; set %s"
              .formatted(asked.dtype(), config.peftType(), form.dtype(), form.dtype()));
    }
    return form;
  }

  private static <C extends PeftConfig> Optional<WeightForm> baseForm(
      PeftMethod<C> method, PeftConfig config) {
    return method.baseForm(method.configType().cast(config));
  }

  /** Lays a configured method out on a model; see {@link PeftMethod#attach}. */
  public static AttachedMethod attach(PeftConfig config, ModuleTree modules) {
    return attach(of(config), config, modules);
  }

  /**
   * The configuration for a model that calls its layers otherwise: where a method's usual targets,
   * query and value, are none of its modules, its own are meant, as in Hugging Face PEFT, for
   * example q_proj and v_proj. Any other configuration stays as it is.
   */
  public static PeftConfig suited(PeftConfig config, ModuleTree modules) {
    SortedMap<String, Object> fields = writeConfig(config);
    fields.put("modules_to_save", config.modulesToSave());
    Set<String> own = new LinkedHashSet<>();
    for (LayerPaths layer : modules.structure().layers()) {
      own.add(lastName(layer.query()));
      own.add(lastName(layer.value()));
    }
    boolean usual =
        QUERY_AND_VALUE.equals(fields.get("target_modules"))
            && QUERY_AND_VALUE.equals(writeConfig(of(config).defaults()).get("target_modules"));
    boolean there = modules.lastNames().stream().anyMatch(QUERY_AND_VALUE::contains);
    if (!usual || there || own.isEmpty() || !readConfig(fields).equals(config)) {
      return config;
    }
    fields.put("target_modules", List.copyOf(own));
    return readConfig(fields);
  }

  private static String lastName(String path) {
    return path.substring(path.lastIndexOf('.') + 1);
  }

  /**
   * Reads the content of {@code adapter_config.json}.
   *
   * @throws ConfigException if the method or a setting is not supported
   */
  public static PeftConfig readConfig(Map<String, Object> fields) {
    return named(String.valueOf(fields.get("peft_type"))).readConfig(fields);
  }

  /**
   * Reads the content of {@code adapter_config.json} beside its adapter.
   *
   * @param shapes the adapter's tensors by name
   * @throws ConfigException if the method or a setting is not supported
   */
  public static PeftConfig readConfig(
      Map<String, Object> fields, Map<String, List<Integer>> shapes) {
    return named(String.valueOf(fields.get("peft_type"))).readConfig(fields, shapes);
  }

  /** The fields of {@code adapter_config.json} that the configuration decides. */
  public static SortedMap<String, Object> writeConfig(PeftConfig config) {
    SortedMap<String, Object> fields = new TreeMap<>(write(of(config), config));
    fields.put("peft_type", config.peftType());
    return fields;
  }

  /** Fields that steer training alone; see {@link PeftMethod#trainingFields}. */
  public static Set<String> trainingFields(PeftConfig config) {
    return of(config).trainingFields();
  }

  /**
   * @throws ConfigException if there is none, listing those there are
   */
  public static PeftMethod<?> named(String peftType) {
    List<PeftMethod<?>> methods = all();
    return methods.stream()
        .filter(m -> m.peftType().equals(peftType))
        .findFirst()
        .orElseThrow(
            () ->
                new ConfigException(
                    "peft_type",
                    peftType
                        + " is not supported; known are "
                        + methods.stream().map(PeftMethod::peftType).toList()));
  }

  /** Methods may share a configuration record, so its name decides too. */
  private static PeftMethod<?> of(PeftConfig config) {
    return all().stream()
        .filter(m -> m.configType().isInstance(config))
        .filter(m -> m.peftType().equals(config.peftType()))
        .findFirst()
        .orElseGet(() -> named(config.peftType()));
  }

  private static <C extends PeftConfig> AttachedMethod attach(
      PeftMethod<C> method, PeftConfig config, ModuleTree modules) {
    return method.attach(method.configType().cast(config), modules);
  }

  private static <C extends PeftConfig> SortedMap<String, Object> write(
      PeftMethod<C> method, PeftConfig config) {
    return method.writeConfig(method.configType().cast(config));
  }
}
