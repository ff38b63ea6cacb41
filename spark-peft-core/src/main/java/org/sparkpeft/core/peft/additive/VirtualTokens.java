package org.sparkpeft.core.peft.additive;

import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.SortedMap;
import java.util.TreeMap;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.error.Problems;
import org.sparkpeft.core.model.ModuleTree;
import org.sparkpeft.core.peft.BaseWeights;
import org.sparkpeft.core.random.Philox;

/**
 * What methods with virtual tokens have in common. Hugging Face writes sizes of the model into
 * their configuration; here the model itself has them, so they are checked and not kept.
 */
final class VirtualTokens {
  /** Name in files of the vectors themselves, without any prefix. */
  static final String NAME = "prompt_embeddings";

  /** What Hugging Face puts before the head's tensors in these files. */
  static final String HEAD_PREFIX = "base_model.";

  private static final List<String> SIZES =
      List.of("token_dim", "num_layers", "num_attention_heads", "num_transformer_submodules");

  private static final int MOST = 4096;

  private VirtualTokens() {}

  static Problems check(Problems problems, int tokens) {
    return problems.require(
        tokens >= 1 && tokens <= MOST,
        "num_virtual_tokens",
        tokens,
        "must be 1.." + MOST + "; set 8 to 32");
  }

  /**
   * A file's fields without the model's sizes, which {@link #sizes} compares with the model.
   *
   * @throws ConfigException for sizes that are no numbers, an encoder and a decoder, or no number
   *     of tokens
   */
  static Map<String, Object> withoutSizes(Map<String, Object> fields) {
    if (fields.get("num_virtual_tokens") == null) {
      throw new ConfigException("num_virtual_tokens", "is missing; set it to 1.." + MOST);
    }
    for (String name : SIZES) {
      Object size = fields.get(name);
      if (size != null && !(size instanceof Integer)) {
        throw new ConfigException(name, "must be a whole number, got " + size);
      }
    }
    Object parts = fields.get("num_transformer_submodules");
    if (parts != null && !parts.equals(1)) {
      throw new ConfigException(
          "num_transformer_submodules",
          "must be 1, got " + parts + "; models with encoder and decoder are not supported");
    }
    Map<String, Object> rest = new LinkedHashMap<>(fields);
    rest.keySet().removeAll(SIZES);
    return rest;
  }

  /** The fields that {@link #withoutSizes} takes away, as the model has them. */
  static SortedMap<String, Object> sizes(ModuleTree.Structure structure) {
    SortedMap<String, Object> sizes = new TreeMap<>();
    sizes.put("token_dim", structure.hidden());
    sizes.put("num_layers", structure.layers().size());
    sizes.put("num_attention_heads", structure.heads());
    sizes.put("num_transformer_submodules", 1);
    return sizes;
  }

  /**
   * How the model is built.
   *
   * @throws ConfigException if nobody knows
   */
  static ModuleTree.Structure structure(ModuleTree modules, String peftType) {
    if (modules.structure().layers().isEmpty()) {
      throw new ConfigException(
          "peft_type", peftType + " acts on transformer layers; this model has none");
    }
    return modules.structure();
  }

  /**
   * The structure of a model that reads text.
   *
   * @throws ConfigException if the model has no word embeddings
   */
  static ModuleTree.Structure ofWords(ModuleTree modules, String peftType) {
    ModuleTree.Structure structure = structure(modules, peftType);
    if (structure.words().isEmpty()) {
      throw new ConfigException(
          "peft_type",
          peftType
              + " acts on word embeddings, which a model of images or sound has not; use"
              + " P_TUNING, PREFIX_TUNING or a method that acts on layers, such as LORA");
    }
    return structure;
  }

  /** Rows of the word embeddings, one for each id, and again from the first until there are n. */
  static float[] words(BaseWeights base, String words, int size, int[] ids, int n) {
    float[] table = base.tensor(words + ".weight");
    float[] rows = new float[n * size];
    for (int i = 0; i < n; i++) {
      System.arraycopy(table, ids[i % ids.length] * size, rows, i * size, size);
    }
    return rows;
  }

  /** PyTorch's start of a linear layer's weight and bias: uniform within 1/sqrt(in). */
  static float[] uniform(Philox random, int length, int in) {
    float bound = (float) (1 / Math.sqrt(in));
    return random.uniform(length, -bound, bound);
  }
}
