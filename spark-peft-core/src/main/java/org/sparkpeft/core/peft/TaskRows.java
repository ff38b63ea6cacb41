package org.sparkpeft.core.peft;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.types.Shape;
import org.sparkpeft.core.engine.Scalars;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.error.DataException;
import org.sparkpeft.core.model.ModelInput;

/** What methods with tasks have in common: whose row is whose, and each example's own factors. */
public final class TaskRows {
  private TaskRows() {}

  /**
   * The task of an example, from 0.
   *
   * @param tasks number of tasks of the adapter
   * @param setting what this number is called in the method's configuration
   * @throws DataException if the adapter has no such task
   */
  public static int task(ModelInput batch, int row, int tasks, String setting) {
    int task = batch.task(row);
    if (task < 0 || task >= tasks) {
      throw new DataException(
          "an example is of task %d; the adapter has tasks 0..%d; set %s to at least %d"
              .formatted(task, tasks - 1, setting, task + 1));
    }
    return task;
  }

  /**
   * {@code scale (x down) up} with each example's own factors. A layer may read several rows of an
   * example one after another, as Swin's do with its windows; the factors of one example alone are
   * those of any rows, as many texts or beams as they belong to.
   *
   * @param path of the layer, for messages
   * @param x {@code [rows, ..., in]}
   * @param down {@code [examples, in, r]}
   * @param up {@code [examples, r, out]}
   * @return {@code [rows, ..., out]}
   * @throws ConfigException if the layer reads something that all examples have in common, such as
   *     DeBERTa's distances: whose factors to take is not defined then
   */
  public static NDArray lowRank(String path, NDArray x, NDArray down, NDArray up, float scale) {
    long[] shape = x.getShape().getShape().clone();
    long examples = down.getShape().get(0);
    if (shape[0] % examples != 0) {
      throw new ConfigException(
          "peft.target_modules",
          "%s reads %d rows that %d examples have in common, but each example has its task's weights; name other layers, or use a method without tasks"
              .formatted(path, shape[0], examples));
    }
    NDArray byExample = x.reshape(examples, -1, shape[shape.length - 1]);
    NDArray low = Scalars.times(byExample.batchMatMul(down), scale); // [examples, positions, r]
    shape[shape.length - 1] = up.getShape().get(2);
    return low.batchMatMul(up).reshape(new Shape(shape));
  }
}
