package org.sparkpeft.federated.client;

import java.io.Serializable;
import java.util.List;
import org.sparkpeft.core.model.WeightForm;
import org.sparkpeft.core.peft.MethodState;
import org.sparkpeft.core.peft.PeftConfig;
import org.sparkpeft.core.peft.PeftMethods;
import org.sparkpeft.core.train.TaskConfig;

/**
 * What an executor needs to become able to train: specs of equal model, form and task share one
 * loaded base in a JVM.
 *
 * @param model model folder, or {@code bundled:NAME}
 * @param task task and labels
 * @param peft method
 * @param mathThreads threads of one task's arithmetic
 * @param encoding how texts become tokens
 * @param form in how many bits the base is held
 * @param state what the method needs beside its parameters; empty for most
 * @param tasks names of the tasks by number, for methods that tell tasks apart; empty where all is
 *     one task
 */
public record RuntimeSpec(
    String model,
    TaskConfig task,
    PeftConfig peft,
    int mathThreads,
    EncodingConfig encoding,
    WeightForm form,
    StateBytes state,
    List<String> tasks)
    implements Serializable {

  /** The form is the method's own where it has one, see {@link PeftMethods#baseForm}. */
  public RuntimeSpec {
    form = PeftMethods.baseForm(peft, form);
    tasks = List.copyOf(tasks);
  }

  /** With a method that is its parameters alone, or whose state is not known yet. */
  public RuntimeSpec(String model, TaskConfig task, PeftConfig peft, int mathThreads) {
    this(
        model,
        task,
        peft,
        mathThreads,
        EncodingConfig.USUAL,
        WeightForm.FLOAT32,
        StateBytes.EMPTY,
        List.of());
  }

  /** The same model and task under another method, without a state. */
  public RuntimeSpec withPeft(PeftConfig other) {
    return new RuntimeSpec(
        model, task, other, mathThreads, encoding, form, StateBytes.EMPTY, tasks);
  }

  public RuntimeSpec withState(MethodState other) {
    return new RuntimeSpec(
        model, task, peft, mathThreads, encoding, form, StateBytes.of(other), tasks);
  }

  public RuntimeSpec withEncoding(EncodingConfig other) {
    return new RuntimeSpec(model, task, peft, mathThreads, other, form, state, tasks);
  }

  /**
   * With the base in so many bits.
   *
   * @throws org.sparkpeft.core.error.ConfigException if the method is made for another form
   */
  public RuntimeSpec withForm(WeightForm other) {
    return new RuntimeSpec(model, task, peft, mathThreads, encoding, other, state, tasks);
  }

  /** With names of tasks. */
  public RuntimeSpec withTasks(List<String> names) {
    return new RuntimeSpec(model, task, peft, mathThreads, encoding, form, state, names);
  }

  RuntimeSpec withoutState() {
    return withPeft(peft);
  }
}
