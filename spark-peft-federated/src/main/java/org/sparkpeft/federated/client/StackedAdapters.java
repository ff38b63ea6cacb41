package org.sparkpeft.federated.client;

import java.io.Serializable;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.train.AdapterStack;
import org.sparkpeft.core.train.TunableModel;
import org.sparkpeft.core.vector.ParameterVector;

/**
 * Trained adapters of one base and task on top of each other, as they travel to executors. One
 * adapter is a stack of one.
 */
public final class StackedAdapters implements Serializable {
  private static final long serialVersionUID = 1L;

  private final List<Part> parts;
  private final String head;
  private final RuntimeSpec runtime;

  /** One adapter; values rather than a vector, whose layout executors know themselves. */
  private static final class Part implements Serializable {
    private static final long serialVersionUID = 1L;
    private final String name;
    private final RuntimeSpec runtime;
    private final float[] values;
    private final float weight;

    Part(Named adapter) {
      this.name = adapter.name();
      this.runtime = adapter.adapter().runtime();
      this.values = adapter.adapter().parameters().toArray();
      this.weight = adapter.weight();
    }
  }

  /**
   * An adapter of a stack.
   *
   * @param weight its strength, 1 as trained
   */
  public record Named(String name, TunedAdapter adapter, float weight) {}

  private StackedAdapters(List<Part> parts, String head, List<String> tasks) {
    this.parts = new ArrayList<>(parts);
    this.head = head;
    this.runtime = parts.get(0).runtime.withTasks(tasks);
  }

  /** One adapter as it was trained. */
  public static StackedAdapters of(RuntimeSpec runtime, ParameterVector parameters) {
    return of(
        List.of(new Named("adapter", new TunedAdapter(runtime, parameters), 1)), Optional.empty());
  }

  /**
   * Several, the first innermost.
   *
   * @param head the one whose head is used where several have one
   * @throws ConfigException if their tasks or the names of these differ, or they do not fit each
   *     other
   */
  public static StackedAdapters of(List<Named> adapters, Optional<String> head) {
    RuntimeSpec first = adapters.get(0).adapter().runtime();
    for (Named each : adapters) {
      RuntimeSpec other = each.adapter().runtime();
      if (!other.task().equals(first.task())
          || !other.model().equals(first.model())
          || !other.form().equals(first.form())) {
        throw new ConfigException(
            "--adapter",
            each.name()
                + " is for "
                + other.task()
                + " on "
                + other.model()
                + ", "
                + adapters.get(0).name()
                + " for "
                + first.task()
                + " on "
                + first.model());
      }
    }
    StackedAdapters stacked =
        new StackedAdapters(
            adapters.stream().map(Part::new).toList(), head.orElse(""), tasks(adapters));
    stacked.model().requireUsable(stacked.stack());
    return stacked;
  }

  /** The names of tasks that all adapters have which have some: a row has one number for all. */
  private static List<String> tasks(List<Named> adapters) {
    List<List<String>> named =
        adapters.stream()
            .map(each -> each.adapter().runtime().tasks())
            .filter(names -> !names.isEmpty())
            .distinct()
            .toList();
    if (named.size() > 1) {
      throw new ConfigException(
          "--adapter", "adapters were trained for other tasks (data.task): " + named);
    }
    return named.isEmpty() ? List.of() : named.get(0);
  }

  /** Base model and tasks; the method is that of the innermost. */
  public RuntimeSpec runtime() {
    return runtime;
  }

  /** A model on the base, here. */
  TunableModel model() {
    return ExecutorRuntime.of(runtime()).model();
  }

  /** The adapters on this process's base. */
  AdapterStack stack() {
    AdapterStack stack = AdapterStack.NONE;
    for (Part part : parts) {
      TunableModel model = ExecutorRuntime.of(part.runtime).model();
      stack =
          stack.with(
              part.name, model, ParameterVector.of(model.layout(), part.values), part.weight);
    }
    return head.isEmpty() ? stack : stack.withModulesOf(head);
  }
}
