package org.sparkpeft.core.train;

import java.util.ArrayList;
import java.util.List;
import java.util.function.Function;
import org.sparkpeft.core.peft.TensorRole;
import org.sparkpeft.core.vector.ParameterLayout;

/** Learning rates and decay of the stretches of a flat vector; equal neighbours are one stretch. */
final class TensorRates {
  /**
   * @param from first entry
   * @param to entry after the last
   * @param rate factor on the learning rate
   * @param decayed whether weight decay acts
   */
  record Stretch(int from, int to, double rate, boolean decayed) {}

  private final List<Stretch> stretches;

  private TensorRates(List<Stretch> stretches) {
    this.stretches = List.copyOf(stretches);
  }

  /** One rate and decay for all. */
  static TensorRates uniform(int size) {
    return new TensorRates(List.of(new Stretch(0, size, 1, true)));
  }

  /** A stretch for each tensor of the layout. */
  static List<Stretch> ofEach(ParameterLayout layout, Function<String, TensorRole> role) {
    List<Stretch> stretches = new ArrayList<>();
    for (ParameterLayout.Entry entry : layout.entries()) {
      TensorRole r = role.apply(entry.name());
      stretches.add(new Stretch(entry.offset(), entry.end(), r.rate(), r.decayed()));
    }
    return stretches;
  }

  static TensorRates of(ParameterLayout layout, Function<String, TensorRole> role) {
    List<Stretch> stretches = new ArrayList<>();
    for (ParameterLayout.Entry entry : layout.entries()) {
      TensorRole r = role.apply(entry.name());
      int last = stretches.size() - 1;
      Stretch before = last < 0 ? null : stretches.get(last);
      if (before != null && before.rate == r.rate() && before.decayed == r.decayed()) {
        stretches.set(last, new Stretch(before.from, entry.end(), r.rate(), r.decayed()));
      } else {
        stretches.add(new Stretch(entry.offset(), entry.end(), r.rate(), r.decayed()));
      }
    }
    return new TensorRates(stretches);
  }

  List<Stretch> stretches() {
    return stretches;
  }
}
