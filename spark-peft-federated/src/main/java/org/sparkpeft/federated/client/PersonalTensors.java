package org.sparkpeft.federated.client;

import org.sparkpeft.core.peft.TensorRole;
import org.sparkpeft.core.train.TunableModel;
import org.sparkpeft.core.vector.ParameterLayout;
import org.sparkpeft.core.vector.TaskVector;

/**
 * Splits a vector into what is shared with the server and what stays with the client. A client
 * keeps both its residual of the shared entries and how far its personal entries are from the
 * server's, in one vector.
 */
final class PersonalTensors {
  private final boolean[] personal;
  private final boolean any;

  private PersonalTensors(boolean[] personal, boolean any) {
    this.personal = personal;
    this.any = any;
  }

  static PersonalTensors of(TunableModel model) {
    boolean[] personal = new boolean[model.layout().size()];
    boolean any = false;
    for (ParameterLayout.Entry entry : model.layout().entries()) {
      if (model.roles().apply(entry.name()).sharing() == TensorRole.Sharing.PERSONAL) {
        java.util.Arrays.fill(personal, entry.offset(), entry.end(), true);
        any = true;
      }
    }
    return new PersonalTensors(personal, any);
  }

  /** Whether anything stays with the client. */
  boolean any() {
    return any;
  }

  /** The vector with zeros where entries stay with the client. */
  TaskVector shared(TaskVector vector) {
    return any ? masked(vector, false) : vector;
  }

  /** The vector with zeros where entries are shared. */
  TaskVector personal(TaskVector vector) {
    return masked(vector, true);
  }

  private TaskVector masked(TaskVector vector, boolean keepPersonal) {
    float[] values = vector.toArray();
    for (int i = 0; i < values.length; i++) {
      if (personal[i] != keepPersonal) {
        values[i] = 0;
      }
    }
    return TaskVector.wrap(vector.layout(), values);
  }
}
