package org.sparkpeft.core.model;

import java.util.ArrayList;
import java.util.Collections;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.function.IntPredicate;

/**
 * How far back each layer of a decoder sees.
 *
 * @param sizes for each layer the keys a token sees, itself included; 0 for all before it
 */
record LayerWindows(List<Integer> sizes) {
  LayerWindows {
    sizes = List.copyOf(sizes);
  }

  /** Layers that see everything before a token. */
  static LayerWindows none(int layers) {
    return new LayerWindows(Collections.nCopies(layers, 0));
  }

  /** The same window in every layer, where {@code sliding_window} is set. */
  static LayerWindows everywhere(ModelConfig config, int layers) {
    return new LayerWindows(Collections.nCopies(layers, config.count("sliding_window", 0)));
  }

  /**
   * As {@code layer_types} says, one word for each layer.
   *
   * @param window of the layers that slide; 0 when none may
   * @param slides which layers slide when the configuration does not say
   */
  static LayerWindows of(ModelConfig config, int layers, int window, IntPredicate slides) {
    List<String> types = config.texts("layer_types");
    if (!types.isEmpty() && types.size() != layers) {
      throw config.error("layer_types has " + types.size() + " entries for " + layers + " layers");
    }
    List<Integer> sizes = new ArrayList<>();
    for (int i = 0; i < layers; i++) {
      String usual = window > 0 && slides.test(i) ? "sliding_attention" : "full_attention";
      String type = types.isEmpty() ? usual : types.get(i);
      switch (type) {
        case "full_attention" -> sizes.add(0);
        case "sliding_attention" -> {
          if (window == 0) {
            throw config.error("layer_types has sliding_attention, but there is no sliding_window");
          }
          sizes.add(window);
        }
        default ->
            throw config.error(
                "layer_types must be full_attention or sliding_attention, got \"" + type + "\"");
      }
    }
    return new LayerWindows(sizes);
  }

  /** What the tokens of a pass see in each layer; layers with the same window share it. */
  List<Visibility> visible(Pass pass, TokenBatch batch) {
    Map<Integer, Visibility> bySize = new HashMap<>();
    return sizes.stream()
        .map(size -> bySize.computeIfAbsent(size, w -> Visibility.causal(pass, batch, w)))
        .toList();
  }
}
