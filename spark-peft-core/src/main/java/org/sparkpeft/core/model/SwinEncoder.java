package org.sparkpeft.core.model;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDArrays;
import ai.djl.ndarray.NDList;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.Shape;
import java.util.ArrayList;
import java.util.List;
import org.sparkpeft.core.engine.AttentionKernel;
import org.sparkpeft.core.nn.Embedding;
import org.sparkpeft.core.nn.Linear;
import org.sparkpeft.core.nn.Norm;

/** What a {@link SwinModel} computes. */
final class SwinEncoder implements Network {
  /** Of the norms outside blocks but the last: the reference leaves them PyTorch's own. */
  private static final float OWN_EPSILON = 1e-5f;

  private record Block(
      SwinWindows windows,
      Norm attentionNorm,
      Linear query,
      Linear key,
      Linear value,
      String biasTable,
      Linear attentionOutput,
      Norm outputNorm,
      Linear intermediate,
      Linear output) {}

  private record Merge(Norm norm, Linear reduction) {}

  private final SwinModel config;
  private final HeadConfig head;
  private final FrozenLayers frozen;
  private final Linear projection;
  private final Norm embeddingNorm;
  private final List<AttentionKernel> attention = new ArrayList<>();
  private final List<List<Block>> stages = new ArrayList<>();
  private final List<Merge> merges = new ArrayList<>();
  private final Norm norm;
  private final int[] relativePositions;

  SwinEncoder(SwinModel config, HeadConfig head, FrozenLayers frozen, NDManager manager) {
    this.config = config;
    this.head = head;
    this.frozen = frozen;
    this.relativePositions = SwinWindows.relativePositions(config.window());
    String base = config.path(head);
    this.projection = frozen.linear(base + "embeddings.patch_embeddings.projection");
    this.embeddingNorm = frozen.layerNorm(base + "embeddings.norm", OWN_EPSILON);
    for (int stage = 0; stage < config.stages(); stage++) {
      int heads = config.heads().get(stage);
      attention.add(new AttentionKernel(manager, heads, config.hidden(stage) / heads));
      List<Block> blocks = new ArrayList<>();
      for (int block = 0; block < config.depths().get(stage); block++) {
        blocks.add(block(SwinModel.blockPath(base, stage, block), config.windows(stage, block)));
      }
      stages.add(blocks);
      if (stage + 1 < config.stages()) {
        String merge = SwinModel.stagePath(base, stage) + "downsample.";
        merges.add(
            new Merge(
                frozen.layerNorm(merge + "norm", OWN_EPSILON), frozen.linear(merge + "reduction")));
      }
    }
    this.norm = frozen.layerNorm(base + "layernorm", config.epsilon());
  }

  private Block block(String path, SwinWindows windows) {
    String self = path + "attention.self.";
    return new Block(
        windows,
        frozen.layerNorm(path + "layernorm_before", config.epsilon()),
        frozen.linear(self + "query"),
        frozen.linear(self + "key"),
        frozen.linear(self + "value"),
        self + "relative_position_bias_table",
        frozen.linear(path + "attention.output.dense"),
        frozen.layerNorm(path + "layernorm_after", config.epsilon()),
        frozen.linear(path + "intermediate.dense"),
        frozen.linear(path + "output.dense"));
  }

  @Override
  public NDArray hidden(Pass pass, ModelInput input) {
    NDArray patches = VitModel.pixels(pass.step(), config.patches(), input);
    NDArray x = pass.norm(embeddingNorm, pass.linear(projection, patches)); // [batch, seq, hidden]
    for (int stage = 0; stage < stages.size(); stage++) {
      for (Block block : stages.get(stage)) {
        AttentionKernel kernel = attention.get(stage);
        x = pass.layer(x, (in, s) -> apply(in, block, kernel, s));
      }
      if (stage < merges.size()) {
        Merge merge = merges.get(stage);
        int height = config.height(stage);
        int width = config.width(stage);
        x = pass.layer(x, (in, s) -> merged(in, merge, s, height, width));
      }
    }
    return pass.norm(norm, x);
  }

  private NDArray apply(Pass pass, Block block, AttentionKernel kernel, NDArray x) {
    NDArray windows = block.windows.split(pass.norm(block.attentionNorm, x));
    NDArray scores = bias(pass, block);
    if (block.windows.shift() > 0) {
      int batch = (int) x.getShape().get(0);
      scores = block.windows.mask(pass.step(), batch).add(scores);
    }
    NDArray heads =
        kernel.apply(
            pass.linear(block.query, windows),
            pass.linear(block.key, windows),
            pass.linear(block.value, windows),
            scores);
    NDArray attended = block.windows.join(pass.linear(block.attentionOutput, heads));
    NDArray y = pass.tuning().residual(block.attentionOutput.path(), x, attended);
    NDArray inner = pass.linear(block.intermediate, pass.norm(block.outputNorm, y));
    NDArray outer = pass.linear(block.output, config.activation().apply(inner));
    return pass.tuning().residual(block.output.path(), y, outer);
  }

  /** What is added to all windows' scores, {@code [1, heads, tokens, tokens]}. */
  private NDArray bias(Pass pass, Block block) {
    NDArray table =
        pass.tuning().tensor(pass.step(), block.biasTable, frozen.tensor(block.biasTable));
    NDArray rows = pass.step().create(relativePositions, new Shape(relativePositions.length));
    int tokens = block.windows.tokens();
    return Embedding.of(rows, table).reshape(1, tokens, tokens, -1).transpose(0, 3, 1, 2);
  }

  /**
   * Joins squares of four tokens.
   *
   * @param x {@code [batch, height * width, hidden]}
   * @return {@code [batch, seq / 4, 2 hidden]}
   */
  private static NDArray merged(Pass pass, Merge merge, NDArray x, int height, int width) {
    long batch = x.getShape().get(0);
    long hidden = x.getShape().get(2);
    // Windows of two by two, read down before right.
    NDArray four = new SwinWindows(height, width, 2, 0).split(x); // [batch * squares, 4, hidden]
    NDList tokens = four.split(4, 1);
    NDArray joined =
        NDArrays.concat(new NDList(tokens.get(0), tokens.get(2), tokens.get(1), tokens.get(3)), 2);
    NDArray squares = joined.reshape(batch, -1, 4 * hidden);
    return pass.linear(merge.reduction, pass.norm(merge.norm, squares));
  }

  @Override
  public NDArray features(Pass pass, NDArray hidden, ModelInput input) {
    return hidden.mean(new int[] {1});
  }

  @Override
  public NDArray logits(NDArray features, Tuning tuning) {
    if (head.kind() == HeadConfig.Kind.NONE) {
      throw new IllegalStateException("the model was loaded without a head");
    }
    return new HeadLayers(frozen, tuning).linear(SwinModel.CLASSIFIER, features);
  }

  @Override
  public void close() {
    attention.forEach(AttentionKernel::close);
  }
}
