package org.sparkpeft.federated.config;

import java.util.Collections;
import java.util.Map;
import java.util.TreeMap;
import org.sparkpeft.core.peft.PeftConfig;
import org.sparkpeft.core.peft.PeftMethod;
import org.sparkpeft.core.peft.PeftMethods;

/** The methods a recipe can name: {@code peft_type} to the defaults of its settings. */
public final class PeftTypes {
  /** Key that chooses the method. */
  public static final String KEY = "peft_type";

  private PeftTypes() {}

  /** Every method on the class path, sorted by name, with its defaults; each value is a record. */
  public static Map<String, PeftConfig> defaults() {
    Map<String, PeftConfig> defaults = new TreeMap<>();
    for (PeftMethod<?> method : PeftMethods.all()) {
      defaults.put(method.peftType(), method.defaults());
    }
    return Collections.unmodifiableMap(defaults);
  }
}
