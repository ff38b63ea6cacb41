package org.sparkpeft.core.peft;

import java.util.Map;
import java.util.SortedMap;
import org.sparkpeft.core.model.ModuleTree;

/**
 * A parameter-efficient method. Implementations are found with {@link java.util.ServiceLoader},
 * need a public constructor without arguments, and keep no state.
 *
 * @param <C> the method's configuration
 */
public interface PeftMethod<C extends PeftConfig> {

  /** Hugging Face's name, for example {@code LORA}. */
  String peftType();

  Class<C> configType();

  /**
   * Lays the method out on a model.
   *
   * @param modules the layers it may act on; those trained in full are not among them
   * @throws org.sparkpeft.core.error.ConfigException if the configuration does not fit the model
   */
  AttachedMethod attach(C config, ModuleTree modules);

  /**
   * Reads {@code adapter_config.json}.
   *
   * @param fields the file's content
   * @throws org.sparkpeft.core.error.ConfigException naming a setting that is not supported
   */
  C readConfig(Map<String, Object> fields);

  /** The fields to write to {@code adapter_config.json}, beside those every method has. */
  SortedMap<String, Object> writeConfig(C config);
}
