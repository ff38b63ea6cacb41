package org.sparkpeft.core.model;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDList;
import ai.djl.ndarray.index.NDIndex;
import java.util.List;
import org.sparkpeft.core.engine.Scalars;

/** Hugging Face's classification heads on transformers over patches, and the tokens they read. */
enum PatchHead {
  /** {@code classifier} on the class token: ViT and DeiT. */
  CLASS_TOKEN {
    @Override
    List<ModuleSpec> modules(int hidden, int outputs) {
      return List.of(fresh("classifier", hidden, outputs));
    }

    @Override
    NDArray features(NDArray hidden, int classToken) {
      return token(hidden, classToken);
    }

    @Override
    NDArray logits(HeadLayers layers, NDArray features, float epsilon) {
      return layers.linear("classifier", features);
    }
  },

  /** The mean of a head on the class token and one on the distillation token: DeiT. */
  WITH_TEACHER {
    @Override
    List<ModuleSpec> modules(int hidden, int outputs) {
      return List.of(
          fresh("cls_classifier", hidden, outputs),
          fresh("distillation_classifier", hidden, outputs));
    }

    @Override
    NDArray features(NDArray hidden, int classToken) {
      return token(hidden, classToken).concat(token(hidden, classToken + 1), 1);
    }

    @Override
    NDArray logits(HeadLayers layers, NDArray features, float epsilon) {
      NDList parts = features.split(2, 1);
      NDArray own = layers.linear("cls_classifier", parts.get(0)); // [batch, outputs]
      NDArray taught = layers.linear("distillation_classifier", parts.get(1));
      return Scalars.times(own.add(taught), 0.5f);
    }
  },

  /** A norm and {@code classifier.dense} on the mean of class and distillation token: AST. */
  NORMED_MEAN {
    @Override
    List<ModuleSpec> modules(int hidden, int outputs) {
      return List.of(
          ModuleSpec.layerNorm(NORM, hidden).orElse(ModuleSpec.Origin.IDENTITY),
          fresh("classifier.dense", hidden, outputs));
    }

    @Override
    NDArray features(NDArray hidden, int classToken) {
      return Scalars.times(token(hidden, classToken).add(token(hidden, classToken + 1)), 0.5f);
    }

    @Override
    NDArray logits(HeadLayers layers, NDArray features, float epsilon) {
      return layers.linear("classifier.dense", layers.norm(NORM, epsilon, features));
    }
  };

  private static final String NORM = "classifier.layernorm";

  abstract List<ModuleSpec> modules(int hidden, int outputs);

  /**
   * @param hidden {@code [batch, virtual tokens + tokens, hidden]}
   * @param classToken where the class token is; the distillation token follows
   * @return {@code [batch, hidden]}, or {@code [batch, 2 hidden]} of two heads
   */
  abstract NDArray features(NDArray hidden, int classToken);

  /**
   * @return {@code [batch, outputs]}
   */
  abstract NDArray logits(HeadLayers layers, NDArray features, float epsilon);

  private static ModuleSpec fresh(String path, int hidden, int outputs) {
    return ModuleSpec.linear(path, hidden, outputs).orElse(ModuleSpec.Origin.FRESH);
  }

  private static NDArray token(NDArray hidden, int index) {
    return hidden.get(new NDIndex(":, " + index));
  }
}
