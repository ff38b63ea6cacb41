package org.sparkpeft.core.train;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.sparkpeft.core.error.DataException;
import org.sparkpeft.core.model.FrameBatch;
import org.sparkpeft.core.model.ModelInput;
import org.sparkpeft.core.model.PixelBatch;
import org.sparkpeft.core.model.TokenExamples;
import org.sparkpeft.core.model.WaveBatch;

/** Images or recordings in one input of the model. */
final class MediaBatch {
  private MediaBatch() {}

  /**
   * @throws DataException if some have another shape than the first; recordings as samples may
   */
  static ModelInput of(TokenExamples source, int[] indices) {
    int[] shape = source.shape(indices[0]);
    List<float[]> values = new ArrayList<>(indices.length);
    int[] tasks = new int[indices.length];
    for (int i = 0; i < indices.length; i++) {
      int[] other = source.shape(indices[i]);
      boolean fits = shape.length == 1 ? other.length == 1 : Arrays.equals(shape, other);
      if (!fits) {
        throw new DataException(
            "example %d has shape %s and example %d %s; a batch needs one"
                .formatted(indices[i], Arrays.toString(other), indices[0], Arrays.toString(shape)));
      }
      values.add(source.input(indices[i]));
      tasks[i] = source.task(indices[i]);
    }
    return switch (shape.length) {
      case 1 -> WaveBatch.of(values).withTasks(tasks);
      case 2 -> FrameBatch.of(values, shape[0], shape[1]).withTasks(tasks);
      case 3 -> PixelBatch.of(values, shape[0], shape[1], shape[2]).withTasks(tasks);
      default ->
          throw new DataException("no model reads examples of shape " + Arrays.toString(shape));
    };
  }
}
