package org.sparkpeft.federated.client;

import java.io.Serializable;
import org.sparkpeft.core.peft.PeftConfig;
import org.sparkpeft.core.train.TaskConfig;

/**
 * What an executor needs to become able to train: equal specs share one loaded model in a JVM.
 *
 * @param model model folder, or {@code bundled:NAME}
 * @param task task and labels
 * @param peft method
 * @param mathThreads threads of one task's arithmetic
 */
public record RuntimeSpec(String model, TaskConfig task, PeftConfig peft, int mathThreads)
    implements Serializable {

  /** The same model and task under another method. */
  public RuntimeSpec withPeft(PeftConfig other) {
    return new RuntimeSpec(model, task, other, mathThreads);
  }
}
