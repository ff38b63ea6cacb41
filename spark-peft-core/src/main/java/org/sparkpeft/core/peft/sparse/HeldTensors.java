package org.sparkpeft.core.peft.sparse;

import java.util.Arrays;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.function.Function;
import java.util.function.IntPredicate;
import org.sparkpeft.core.peft.MethodState;
import org.sparkpeft.core.peft.StepObserver;
import org.sparkpeft.core.vector.ParameterLayout;

/**
 * Keeps tensors that a draw leaves out at their bits, whatever the optimiser does, and draws anew
 * when told to. Tensors that a new draw brings in start with an empty optimiser memory.
 */
final class HeldTensors implements StepObserver {
  private final Function<Draw, Set<String>> held;
  private final IntPredicate redraws;
  private final Map<String, float[]> copies = new LinkedHashMap<>();
  private Draw draw;

  /**
   * @param held names of the tensors that a draw leaves out
   * @param redraws whether to draw anew after so many updates
   */
  HeldTensors(Function<Draw, Set<String>> held, IntPredicate redraws, MethodState state) {
    this.held = held;
    this.redraws = redraws;
    this.draw = Draw.of(state);
  }

  @Override
  public void beforeStep(Update update) {
    for (String name : held.apply(draw)) {
      ParameterLayout.Entry entry = update.layout().entry(name);
      copies.computeIfAbsent(
          name, n -> Arrays.copyOfRange(update.parameters(), entry.offset(), entry.end()));
      Arrays.fill(update.gradient(), entry.offset(), entry.end(), 0);
    }
  }

  @Override
  public Optional<MethodState> afterStep(Update update) {
    copies.forEach(
        (name, copy) ->
            System.arraycopy(
                copy, 0, update.parameters(), update.layout().entry(name).offset(), copy.length));
    if (!redraws.test(update.update() + 1)) {
      return Optional.empty();
    }
    Set<String> entering = new HashSet<>(held.apply(draw));
    draw = draw.next();
    entering.removeAll(held.apply(draw));
    for (String name : entering) {
      ParameterLayout.Entry entry = update.layout().entry(name);
      for (int i = entry.offset(); i < entry.end(); i++) {
        update.moments().restart(i, 0, 0, 0);
      }
    }
    copies.clear();
    return Optional.of(draw.state());
  }
}
