package org.sparkpeft.tests.support;

import java.util.HashMap;
import java.util.Map;
import org.sparkpeft.core.engine.ComputeDevice;
import org.sparkpeft.core.io.ModelDirectory;
import org.sparkpeft.core.model.WeightForm;
import org.sparkpeft.core.peft.HeadOnlyConfig;
import org.sparkpeft.core.peft.PeftConfig;
import org.sparkpeft.core.peft.PeftMethods;
import org.sparkpeft.core.train.TaskConfig;
import org.sparkpeft.core.train.TunableModel;

/** One base model for many methods, loaded once in each form that one of them asks for. */
public final class SharedBase implements AutoCloseable {
  private final Map<WeightForm, TunableModel> loaded = new HashMap<>();
  private final ModelDirectory directory;
  private final TaskConfig task;
  private final PeftConfig untuned;

  public SharedBase(ModelDirectory directory, TaskConfig task) {
    this(directory, task, HeadOnlyConfig.defaults());
  }

  /**
   * @param untuned a method that fits model and task and asks for no form
   */
  public SharedBase(ModelDirectory directory, TaskConfig task, PeftConfig untuned) {
    this.directory = directory;
    this.task = task;
    this.untuned = untuned;
  }

  public TunableModel in(WeightForm form) {
    return loaded.computeIfAbsent(
        form, any -> TunableModel.load(directory, task, untuned, ComputeDevice.cpu(), form));
  }

  public TunableModel withPeft(PeftConfig method) {
    return in(PeftMethods.baseForm(method, WeightForm.FLOAT32)).withPeft(method);
  }

  @Override
  public void close() {
    loaded.values().forEach(TunableModel::close);
    loaded.clear();
  }
}
