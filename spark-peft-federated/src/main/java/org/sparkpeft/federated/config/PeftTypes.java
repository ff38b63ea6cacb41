package org.sparkpeft.federated.config;

import java.util.Collections;
import java.util.Map;
import java.util.TreeMap;
import org.sparkpeft.core.peft.LoraConfig;
import org.sparkpeft.core.peft.PeftConfig;

/** The methods a recipe can name: {@code peft_type} to the defaults of its settings. */
public final class PeftTypes {
  /** Key that chooses the method. */
  public static final String KEY = "peft_type";

  private static final Map<String, PeftConfig> DEFAULTS =
      Collections.unmodifiableMap(new TreeMap<>(Map.of("LORA", LoraConfig.defaults())));

  private PeftTypes() {}

  /** Every known type, sorted by name, with its defaults; each value is a record. */
  public static Map<String, PeftConfig> defaults() {
    return DEFAULTS;
  }
}
