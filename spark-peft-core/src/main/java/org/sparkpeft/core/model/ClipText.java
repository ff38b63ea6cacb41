package org.sparkpeft.core.model;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.Shape;
import java.util.ArrayList;
import java.util.List;
import org.sparkpeft.core.error.DataException;
import org.sparkpeft.core.nn.Embedding;

/**
 * CLIP's text tower: each token sees those before it; the text's vector is the state of its end
 * token.
 *
 * @param positions longest text
 * @param endId end token; 2 in old configurations, which means the token with the highest id
 */
record ClipText(BlockConfig blocks, int vocabulary, int positions, int endId, int padId) {
  private static final int OLD_END = 2;
  private static final String BASE = "text_model.";
  private static final String WORDS = BASE + "embeddings.token_embedding";
  private static final String POSITIONS = BASE + "embeddings.position_embedding";
  private static final String NORM = BASE + "final_layer_norm";

  static ClipText of(ModelConfig config) {
    return new ClipText(
        ClipModel.blocks(config, 512, 8, 2048),
        config.count("vocab_size", 49408),
        config.count("max_position_embeddings", 77),
        config.id("eos_token_id", 49407),
        config.id("pad_token_id", 1));
  }

  List<ModuleSpec> modules() {
    List<ModuleSpec> modules = new ArrayList<>();
    modules.add(ModuleSpec.embedding(WORDS, vocabulary, blocks.hidden()));
    modules.add(ModuleSpec.embedding(POSITIONS, positions, blocks.hidden()));
    modules.addAll(TransformerBlocks.modules(blocks, EncoderNames.clip(), BASE));
    modules.add(ModuleSpec.layerNorm(NORM, blocks.hidden()));
    return modules;
  }

  Tower tower(FrozenLayers frozen, NDManager manager) {
    return new Tower(
        this,
        frozen,
        frozen.embedding(WORDS),
        frozen.embedding(POSITIONS),
        new TransformerBlocks(blocks, EncoderNames.clip(), BASE, frozen, manager));
  }

  /** The tower over loaded layers. */
  record Tower(
      ClipText config,
      FrozenLayers frozen,
      Embedding words,
      Embedding places,
      TransformerBlocks blocks)
      implements AutoCloseable {

    /** {@code [batch, virtual tokens + seq, hidden]}. */
    NDArray hidden(Pass pass, TokenBatch batch) {
      if (batch.width() > config.positions) {
        throw new DataException(
            "the model reads texts of at most %d tokens, got %d; truncate them"
                .formatted(config.positions, batch.width()));
      }
      NDArray ids = pass.step().create(batch.flatIds(), new Shape(batch.size(), batch.width()));
      NDArray x = pass.embedded(words, ids); // [batch, seq, hidden]
      NDArray at = pass.step().create(Visibility.positions(pass, batch));
      x = x.add(pass.embedding(places, at));
      x = blocks.forward(pass, x, Visibility.causal(pass, batch, 0));
      return pass.norm(frozen.layerNorm(NORM, config.blocks.epsilon()), x);
    }

    /** The end tokens' states, {@code [batch, hidden]}. */
    NDArray pooled(Pass pass, NDArray hidden, TokenBatch batch) {
      int width = (int) hidden.getShape().get(1);
      int virtual = width - batch.width();
      int[] ids = batch.flatIds();
      float[] picked = new float[batch.size() * width];
      for (int row = 0; row < batch.size(); row++) {
        picked[row * width + virtual + end(ids, row, batch)] = 1;
      }
      NDArray weights = pass.step().create(picked, new Shape(batch.size(), 1, width));
      return weights.batchMatMul(hidden).squeeze(1);
    }

    /** The first end token of a text. */
    private int end(int[] ids, int row, TokenBatch batch) {
      int from = row * batch.width() + batch.start(row);
      int best = from;
      for (int at = from; at < from + batch.length(row); at++) {
        if (ids[at] == config.endId && config.endId != OLD_END) {
          return at - row * batch.width();
        }
        best = ids[at] > ids[best] ? at : best;
      }
      if (config.endId != OLD_END) {
        throw new DataException(
            "text " + row + " has no end token " + config.endId + "; truncate before adding it");
      }
      return best - row * batch.width();
    }

    @Override
    public void close() {
      blocks.close();
    }
  }
}
