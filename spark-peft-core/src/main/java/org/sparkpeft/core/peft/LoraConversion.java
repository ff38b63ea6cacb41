package org.sparkpeft.core.peft;

import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.SortedMap;
import java.util.TreeMap;
import org.sparkpeft.core.io.TensorData;

/**
 * An adapter that replaces a part of the base weight, as one on the whole weight: {@code s (B A -
 * B0 A0)} is a LoRA of twice the rank with {@code [A; A0]} and {@code [B, -B0]}.
 */
final class LoraConversion {
  private LoraConversion() {}

  static AttachedMethod.AsLora onWholeBase(
      AttachedLora lora, SortedMap<String, TensorData> file, MethodState state) {
    SortedMap<String, TensorData> converted = new TreeMap<>(file);
    for (LoraSite site : lora.sites()) {
      // Embeddings keep their product: their factors get zeros.
      float[] startA =
          state
              .find(site.nameStartA())
              .map(TensorData::toFloats)
              .orElseGet(() -> new float[site.r() * site.in()]);
      float[] startB =
          state
              .find(site.nameStartB())
              .map(TensorData::toFloats)
              .orElseGet(() -> new float[site.r() * site.out()]);
      put(
          converted,
          site.nameA(),
          List.of(2 * site.r(), site.in()),
          above(floats(file, site.nameA()), startA));
      put(
          converted,
          site.nameB(),
          List.of(site.out(), 2 * site.r()),
          beside(floats(file, site.nameB()), startB, site.out()));
    }
    return new AttachedMethod.AsLora(config(lora.config()), converted);
  }

  private static LoraConfig config(LoraConfig config) {
    double factor = config.useRslora() ? Math.sqrt(2) : 2; // keeps the scaling
    Map<String, Integer> ranks = new LinkedHashMap<>();
    config.rankPattern().forEach((key, r) -> ranks.put(key, 2 * r));
    Map<String, Double> alphas = new LinkedHashMap<>();
    config.alphaPattern().forEach((key, alpha) -> alphas.put(key, factor * alpha));
    return config
        .withInit("true")
        .withRank(2 * config.r())
        .withAlpha(factor * config.loraAlpha())
        .withPatterns(ranks, alphas);
  }

  private static float[] floats(SortedMap<String, TensorData> file, String name) {
    TensorData tensor = file.get(AdapterTensors.PREFIX + name);
    if (tensor == null) {
      throw new IllegalStateException("the adapter lacks " + name);
    }
    return tensor.toFloats();
  }

  private static void put(
      Map<String, TensorData> file, String name, List<Integer> shape, float[] values) {
    String full = AdapterTensors.PREFIX + name;
    file.put(full, TensorData.ofFloats(full, shape, values));
  }

  private static float[] above(float[] upper, float[] lower) {
    float[] both = Arrays.copyOf(upper, upper.length + lower.length);
    System.arraycopy(lower, 0, both, upper.length, lower.length);
    return both;
  }

  private static float[] beside(float[] left, float[] right, int rows) {
    int l = left.length / rows;
    int r = right.length / rows;
    float[] both = new float[left.length + right.length];
    for (int row = 0; row < rows; row++) {
      System.arraycopy(left, row * l, both, row * (l + r), l);
      System.arraycopy(right, row * r, both, row * (l + r) + l, r);
    }
    return both;
  }
}
