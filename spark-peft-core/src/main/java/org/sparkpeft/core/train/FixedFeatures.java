package org.sparkpeft.core.train;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.Shape;
import java.util.Map;
import org.sparkpeft.core.model.TokenExamples;
import org.sparkpeft.core.peft.TuningContext;

/**
 * What the encoder says of each example, where training leaves it alone: computed once, read by
 * every pass. Makes training of a head on several passes as cheap as one forward pass.
 */
final class FixedFeatures implements BatchForward {
  private static final int BATCH = 64;

  /** 256 MiB of floats; more examples are computed anew in each pass. */
  private static final long MAX_VALUES = 1L << 26;

  private final TunableModel model;
  private final float[][] rows;

  private FixedFeatures(TunableModel model, float[][] rows) {
    this.model = model;
    this.rows = rows;
  }

  /** Whether the model allows it and the features of so many examples may be kept. */
  static boolean fit(TunableModel model, int examples) {
    return model.hasFixedFeatures() && (long) examples * model.config().hidden() <= MAX_VALUES;
  }

  static FixedFeatures of(TunableModel model, TokenExamples examples, NDManager manager) {
    float[][] rows = new float[examples.size()][];
    for (int[] indices : Batching.forEvaluation(examples, BATCH, false)) {
      try (NDManager step = manager.newSubManager()) {
        ExampleBatch batch = model.batch(examples, indices, false);
        NDArray features = model.fixedFeatures(step, batch.input()); // [batch, hidden]
        for (int row = 0; row < indices.length; row++) {
          rows[indices[row]] = features.get(row).toFloatArray();
        }
      }
    }
    return new FixedFeatures(model, rows);
  }

  @Override
  public Outputs outputs(
      NDManager step, Map<String, NDArray> views, ExampleBatch batch, TuningContext context) {
    int hidden = rows[0].length;
    float[] features = new float[batch.size() * hidden];
    for (int row = 0; row < batch.size(); row++) {
      System.arraycopy(rows[batch.indices()[row]], 0, features, row * hidden, hidden);
    }
    return model.outputs(views, step.create(features, new Shape(batch.size(), hidden)), context);
  }
}
