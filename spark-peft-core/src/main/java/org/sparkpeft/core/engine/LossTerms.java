package org.sparkpeft.core.engine;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import java.util.ArrayList;
import java.util.List;
import java.util.function.Consumer;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;

/**
 * The parts of the loss that a piece of a forward pass adds, held back until it is known whether
 * they are to be differentiated with the loss or with the piece. A property of the thread, as
 * recording is.
 */
final class LossTerms {
  private static final ThreadLocal<@Nullable LossTerms> HELD = new ThreadLocal<>();

  /**
   * @param value a tensor with one entry
   * @param loss takes it
   */
  record Term(NDArray value, Consumer<NDArray> loss) {}

  private final List<Term> terms = new ArrayList<>();

  /** Hands a term on, at once unless the thread holds terms back. */
  static void add(NDArray value, Consumer<NDArray> loss) {
    LossTerms held = HELD.get();
    if (held == null) {
      loss.accept(value);
    } else {
      held.terms.add(new Term(value, loss));
    }
  }

  /** Whether a piece of a pass is running whose terms are held back. */
  static boolean areHeld() {
    return HELD.get() != null;
  }

  /** Runs a piece of a pass, which has no such pieces itself, and holds back its terms. */
  NDArray hold(Supplier<NDArray> piece) {
    HELD.set(this);
    try {
      return piece.get();
    } finally {
      HELD.remove();
    }
  }

  boolean isEmpty() {
    return terms.isEmpty();
  }

  boolean anyHasGradient() {
    return terms.stream().anyMatch(term -> GradientScope.reaches(term.value));
  }

  void attach(NDManager manager) {
    terms.forEach(term -> term.value.attach(manager));
  }

  /** Hands the terms to the loss as numbers. */
  void deliver() {
    terms.forEach(term -> term.loss.accept(term.value.stopGradient()));
  }

  /** Adds the terms' gradients; graphs stay, since others may go through them. */
  void differentiate() {
    for (Term term : terms) {
      if (GradientScope.reaches(term.value)) {
        GradientScope.addGradients(term.value, true);
      }
    }
  }
}
