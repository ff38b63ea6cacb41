package org.sparkpeft.core.generate;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.index.NDIndex;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;
import org.sparkpeft.core.engine.ComputeDevice;
import org.sparkpeft.core.model.TokenBatch;

/** How likely given texts are, one text at a time. */
final class Likelihood {
  /** Positions whose logits over the whole vocabulary are in memory at once. */
  private static final int POSITIONS = 64;

  private final ComputeDevice device;
  private final ProxyTuning.Network base;
  private final Optional<ProxyTuning> proxy;

  Likelihood(ComputeDevice device, ProxyTuning.Network base, Optional<ProxyTuning> proxy) {
    this.device = device;
    this.base = base;
    this.proxy = proxy;
  }

  /** Natural logarithms of the probabilities of a text's tokens, from the second on. */
  double[] of(int[] text) {
    double[] logs = new double[text.length - 1];
    List<ProxyTuning.Network> networks = new ArrayList<>(List.of(base));
    proxy.ifPresent(p -> networks.addAll(List.of(p.expert(), p.antiExpert())));
    try (NDManager manager = device.newManager()) {
      List<NDArray> features = networks.stream().map(n -> features(manager, n, text)).toList();
      for (int from = 0; from < logs.length; from += POSITIONS) {
        int to = Math.min(logs.length, from + POSITIONS);
        List<float[][]> logits = new ArrayList<>();
        for (int i = 0; i < networks.size(); i++) {
          logits.add(logits(networks.get(i), features.get(i), from, to));
        }
        for (int at = from; at < to; at++) {
          float[] row = combined(logits, at - from);
          logs[at] = Warpers.logProbabilities(row)[text[at + 1]];
        }
      }
    }
    return logs;
  }

  private float[] combined(List<float[][]> logits, int row) {
    float[] alone = logits.get(0)[row];
    return proxy
        .map(p -> ProxyTuning.combine(alone, logits.get(1)[row], logits.get(2)[row], p.alpha()))
        .orElse(alone);
  }

  /** What the head reads at each token that another follows, {@code [1, text - 1, hidden]}. */
  private static NDArray features(NDManager manager, ProxyTuning.Network network, int[] text) {
    TokenBatch read = TokenBatch.of(List.of(Arrays.copyOf(text, text.length - 1)), 0);
    NDArray hidden = network.model().forward(manager, read, network.tuning());
    long start = hidden.getShape().get(1) - (text.length - 1); // after virtual tokens
    NDArray own = hidden.get(new NDIndex(":, {}:", start));
    return network.model().features(manager, own, read, network.tuning());
  }

  private static float[][] logits(ProxyTuning.Network network, NDArray features, int from, int to) {
    try (NDArray some = features.get(new NDIndex(":, {}:{}", from, to));
        NDArray logits = network.model().logits(some, network.tuning())) {
      float[] flat = logits.toFloatArray();
      int vocabulary = flat.length / (to - from);
      float[][] rows = new float[to - from][];
      for (int row = 0; row < rows.length; row++) {
        rows[row] = Arrays.copyOfRange(flat, row * vocabulary, (row + 1) * vocabulary);
      }
      return rows;
    }
  }
}
