package org.sparkpeft.federated.config;

import org.sparkpeft.core.error.ConfigException;

/**
 * One value given on the command line instead of in the recipe.
 *
 * @param key dotted key, for example {@code train.local_epochs}
 * @param value a YAML value: {@code 3}, {@code [query, value]}, {@code {codec: topk}}
 * @param origin what the messages cite, for example {@code --set train.local_epochs}
 */
public record Setting(String key, String value, String origin) {

  /**
   * From {@code key=value} as given to {@code --set}.
   *
   * @throws ConfigException if there is no {@code =} or no key
   */
  public static Setting parse(String keyValue) {
    int equals = keyValue.indexOf('=');
    if (equals < 1) {
      throw new ConfigException("--set", "must be key=value, got " + keyValue);
    }
    String key = keyValue.substring(0, equals).strip();
    return new Setting(key, keyValue.substring(equals + 1), "--set " + key);
  }

  /** A setting whose value is taken as it is, whatever YAML would make of it. */
  public static Setting text(String key, String value, String origin) {
    return new Setting(key, "'" + value.replace("'", "''") + "'", origin);
  }
}
