package org.sparkpeft.core.peft;

/** What kind of parameters a method trains. */
public enum MethodClass {
  /** New layers or vectors beside the base's. */
  ADDITIVE,
  /** Some of the base's own entries. */
  SELECTIVE,
  /** The base's weights through fewer numbers, for example low-rank factors. */
  REPARAMETERISED,
  /** More than one of these. */
  HYBRID
}
