package org.sparkpeft.core.peft.sparse;

import java.util.Arrays;
import java.util.BitSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import java.util.function.ToIntFunction;
import java.util.stream.IntStream;
import org.sparkpeft.core.model.ModuleSpec;
import org.sparkpeft.core.peft.AttachedMethod;
import org.sparkpeft.core.peft.MethodState;
import org.sparkpeft.core.peft.RoundDecision;
import org.sparkpeft.core.peft.StepObserver;
import org.sparkpeft.core.random.Philox;
import org.sparkpeft.core.vector.ParameterVector;

/**
 * What methods that move the slots of a sparse delta share: entries drawn at the start, and one
 * change of all matrices at a time, in a training or between rounds. New entries start at zero.
 */
final class SlotSteering {
  /** Changes of entries so far, [1]. */
  private static final String CHANGES = "sparse.changes";

  private SlotSteering() {}

  /** Random entries of every matrix. */
  static MethodState initial(SparseDelta delta, long seed) {
    Map<String, int[]> indices = new LinkedHashMap<>();
    for (SparseDelta.Site site : delta.sites()) {
      Philox random = Philox.of(seed, "sparse", Philox.hash(site.module().path()));
      indices.put(site.indices(), EntrySelection.random(random, site.size(), site.count()));
    }
    return state(delta, indices, 0);
  }

  /** The state of a loaded adapter: its entries were learnt, not drawn. */
  static AttachedMethod.Loaded learnt(AttachedMethod.Loaded loaded) {
    MethodState changes = new MethodState.Builder().integers(CHANGES, List.of(1), one(1)).build();
    return new AttachedMethod.Loaded(loaded.values(), loaded.state().with(changes));
  }

  private static int[] one(int value) {
    return new int[] {value};
  }

  private static MethodState state(SparseDelta delta, Map<String, int[]> indices, int changes) {
    return delta
        .state(indices)
        .with(new MethodState.Builder().integers(CHANGES, List.of(1), one(changes)).build());
  }

  static boolean first(MethodState state) {
    return state.integers(CHANGES)[0] == 0;
  }

  /** What to grow in one matrix. */
  @FunctionalInterface
  interface Move {
    SlotChange.Growth growth(SparseDelta.Site site);

    /** Whether an entry that is dropped and grown keeps its value. */
    default boolean spared() {
      return true;
    }

    /** The same, but such entries start anew. */
    default Move anew() {
      Move same = this;
      return new Move() {
        @Override
        public SlotChange.Growth growth(SparseDelta.Site site) {
          return same.growth(site);
        }

        @Override
        public boolean spared() {
          return false;
        }
      };
    }
  }

  /** Called for each slot that got another entry. */
  @FunctionalInterface
  interface Started {
    /**
     * @param slot place in the site's values
     * @param index its entry
     */
    void slot(SparseDelta.Site site, int slot, int index);
  }

  /**
   * Changes slots of each matrix.
   *
   * @param values the values by site; the new slots' become zero
   * @param count most slots to change
   */
  static MethodState change(
      SparseDelta delta,
      MethodState state,
      Map<String, float[]> values,
      ToIntFunction<SparseDelta.Site> count,
      Move move,
      Started started) {
    Map<String, int[]> indices = new LinkedHashMap<>();
    for (SparseDelta.Site site : delta.sites()) {
      int[] before = state.integers(site.indices());
      float[] own = values.get(site.values());
      if (own == null) {
        throw new IllegalArgumentException("no values named " + site.values());
      }
      SlotChange change =
          SlotChange.of(
              before, own, site.size(), count.applyAsInt(site), move.spared(), move.growth(site));
      indices.put(site.indices(), change.apply(before));
      for (int i = 0; i < change.slots().size(); i++) {
        int slot = change.slots().get(i);
        own[slot] = 0;
        started.slot(site, slot, change.indices().get(i));
      }
    }
    return state(delta, indices, state.integers(CHANGES)[0] + 1);
  }

  /** {@link #change} in the middle of a training. */
  static Optional<MethodState> change(
      SparseDelta delta,
      MethodState state,
      StepObserver.Update update,
      ToIntFunction<SparseDelta.Site> count,
      Move move,
      Started started) {
    Map<String, float[]> values = new LinkedHashMap<>();
    for (SparseDelta.Site site : delta.sites()) {
      int from = offset(update, site);
      values.put(site.values(), Arrays.copyOfRange(update.parameters(), from, from + site.count()));
    }
    MethodState after = change(delta, state, values, count, move, started);
    for (SparseDelta.Site site : delta.sites()) {
      float[] own = Objects.requireNonNull(values.get(site.values()));
      System.arraycopy(own, 0, update.parameters(), offset(update, site), own.length);
    }
    return Optional.of(after);
  }

  /** {@link #change} between two rounds. */
  static RoundDecision.Output change(
      SparseDelta delta,
      MethodState state,
      RoundDecision.Input input,
      ToIntFunction<SparseDelta.Site> count,
      Move move) {
    ParameterVector parameters = input.parameters();
    Map<String, float[]> values = new LinkedHashMap<>();
    delta.sites().forEach(s -> values.put(s.values(), parameters.tensor(s.values())));
    MethodState after = change(delta, state, values, count, move, (site, slot, index) -> {});
    float[] flat = parameters.toArray();
    values.forEach(
        (name, own) ->
            System.arraycopy(own, 0, flat, parameters.layout().entry(name).offset(), own.length));
    return new RoundDecision.Output(after, ParameterVector.wrap(parameters.layout(), flat));
  }

  /** Place of a site's values in the flat parameters. */
  static int offset(StepObserver.Update update, SparseDelta.Site site) {
    return update.layout().entry(site.values()).offset();
  }

  /** Count of a share of a site's slots, rounded down. */
  static ToIntFunction<SparseDelta.Site> share(double rate) {
    return site -> (int) Math.floor(site.count() * rate + 1e-9);
  }

  /** Grows the entries with the largest magnitudes that are not zero. */
  static SlotChange.Growth byMagnitude(float[] scores) {
    float[] magnitudes = EntrySelection.magnitudes(scores);
    return (kept, dropped, count) -> {
      BitSet excluded = (BitSet) kept.clone();
      IntStream.range(0, magnitudes.length).filter(i -> magnitudes[i] == 0).forEach(excluded::set);
      return EntrySelection.largest(magnitudes, count, excluded);
    };
  }

  /**
   * Entries of each matrix: the given number, shared out in proportion to the matrices' sizes and
   * rounded down, but at least one.
   */
  static SparseDelta share(List<ModuleSpec> modules, double entries) {
    double all = 0;
    for (ModuleSpec module : modules) {
      all += (double) module.in() * module.out();
    }
    double share = Math.min(1, entries / all);
    return SparseDelta.of(
        modules, m -> (int) Math.max(1, Math.floor(share * ((double) m.in() * m.out()) + 1e-6)));
  }
}
