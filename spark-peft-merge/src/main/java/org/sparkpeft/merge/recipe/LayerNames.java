package org.sparkpeft.merge.recipe;

import java.util.Optional;
import java.util.Set;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** Which layer a tensor belongs to, from its name. */
final class LayerNames {
  private static final Pattern LAYER =
      Pattern.compile("(.*\\.)?(layers?|h|blocks?)\\.(\\d{1,6})\\.(.*)");

  private LayerNames() {}

  /**
   * The name of a layer's tensor, taken apart.
   *
   * @param prefix up to the layer's number, with the dot
   * @param index number of the layer
   * @param suffix what follows the number, without the dot
   */
  record Layer(String prefix, int index, String suffix) {
    /** The same tensor in another layer. */
    String renamed(int layer) {
      return prefix + layer + "." + suffix;
    }
  }

  /** Empty for what belongs to no layer. */
  static Optional<Layer> parse(String name) {
    Matcher matcher = LAYER.matcher(name);
    if (!matcher.matches()) {
      return Optional.empty();
    }
    String before = Optional.ofNullable(matcher.group(1)).orElse("");
    return Optional.of(
        new Layer(
            before + matcher.group(2) + ".", Integer.parseInt(matcher.group(3)), matcher.group(4)));
  }

  /** Number of layers of a model with tensors of these names. */
  static int count(Set<String> names) {
    int most = 0;
    for (String name : names) {
      most = Math.max(most, parse(name).map(layer -> layer.index() + 1).orElse(0));
    }
    return most;
  }

  /** 0 for the first layer, 1 for the last. */
  static double depth(int layer, int layers) {
    return layers < 2 ? 0 : layer / (double) (layers - 1);
  }

  /** The depth of a tensor: 0 for what comes before the layers, 1 for what comes after. */
  static double depth(String name, int layers) {
    return parse(name)
        .map(layer -> depth(layer.index(), layers))
        .orElse(name.matches(".*(embed|wte|wpe).*") ? 0.0 : 1.0);
  }
}
