package org.sparkpeft.core.peft;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.Shape;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.function.UnaryOperator;
import org.sparkpeft.core.model.Tuning;
import org.sparkpeft.core.nn.Embedding;
import org.sparkpeft.core.nn.Linear;
import org.sparkpeft.core.nn.Norm;

/** A forward pass through the frozen model with modifications on top, the first innermost. */
public final class ModifiedForward implements Tuning {
  private final Map<String, Modification.LinearForward> linears = new HashMap<>();
  private final Map<String, Modification.EmbeddingForward> embeddings = new HashMap<>();
  private final Map<String, Modification.NormForward> norms = new HashMap<>();
  private final Map<String, Modification.ResidualChange> residuals = new HashMap<>();
  private final Map<String, Modification.Prefix> prefixes = new HashMap<>();
  private final Map<String, Modification.AttentionChange> attentions = new HashMap<>();
  private final Map<String, UnaryOperator<NDArray>> loose = new HashMap<>();
  private Optional<NDArray> prompt = Optional.empty();

  private ModifiedForward() {}

  /**
   * @throws IllegalArgumentException if two put virtual tokens in front
   */
  public static Tuning of(List<Modification> modifications) {
    if (modifications.isEmpty()) {
      return NONE;
    }
    ModifiedForward forward = new ModifiedForward();
    modifications.forEach(forward::add);
    return forward;
  }

  private void add(Modification modification) {
    String path = modification.path();
    if (modification instanceof Modification.OnLinear on) {
      Modification.LinearForward below = linears.getOrDefault(path, Linear::apply);
      linears.put(path, (layer, x) -> on.change().apply(below, layer, x));
    } else if (modification instanceof Modification.OnEmbedding on) {
      Modification.EmbeddingForward below = embeddings.getOrDefault(path, Embedding::apply);
      embeddings.put(path, (layer, ids) -> on.change().apply(below, layer, ids));
    } else if (modification instanceof Modification.OnNorm on) {
      Modification.NormForward below = norms.getOrDefault(path, Norm::apply);
      norms.put(path, (layer, x) -> on.change().apply(below, layer, x));
    } else if (modification instanceof Modification.OnResidual on) {
      Modification.ResidualChange inner = residuals.get(path);
      residuals.put(
          path,
          inner == null
              ? on.change()
              : (below, input, output) ->
                  on.change().apply((i, o) -> inner.apply(below, i, o), input, output));
    } else if (modification instanceof Modification.Prefix prefix) {
      Modification.Prefix before = prefixes.get(path);
      prefixes.put(
          path,
          before == null
              ? prefix
              : new Modification.Prefix(
                  path,
                  before.keys().concat(prefix.keys(), 0),
                  before.values().concat(prefix.values(), 0)));
    } else if (modification instanceof Modification.OnAttention on) {
      attentions.merge(
          path,
          on.change(),
          (first, then) ->
              (key, value, query, heads) ->
                  then.apply(key, value, query, first.apply(key, value, query, heads)));
    } else if (modification instanceof Modification.OnTensor on) {
      loose.merge(path, on.change(), (below, above) -> value -> above.apply(below.apply(value)));
    } else if (modification instanceof Modification.Prompt tokens) {
      prompt =
          Optional.of(
              prompt.map(first -> first.concat(tokens.tokens(), 0)).orElse(tokens.tokens()));
    }
  }

  @Override
  public NDArray linear(Linear layer, NDArray x) {
    return linears.getOrDefault(layer.path(), Linear::apply).apply(layer, x);
  }

  @Override
  public NDArray embedding(Embedding layer, NDArray ids) {
    return embeddings.getOrDefault(layer.path(), Embedding::apply).apply(layer, ids);
  }

  @Override
  public NDArray layerNorm(Norm layer, NDArray x) {
    return norms.getOrDefault(layer.path(), Norm::apply).apply(layer, x);
  }

  @Override
  public NDArray residual(String path, Norm norm, NDArray input, NDArray output) {
    Modification.ResidualForward plain = (i, o) -> layerNorm(norm, o.add(i));
    Modification.ResidualChange change = residuals.get(path);
    return change == null ? plain.apply(input, output) : change.apply(plain, input, output);
  }

  @Override
  public NDArray residual(String path, NDArray input, NDArray output) {
    Modification.ResidualForward plain = (i, o) -> o.add(i);
    Modification.ResidualChange change = residuals.get(path);
    return change == null ? plain.apply(input, output) : change.apply(plain, input, output);
  }

  @Override
  public NDArray tensor(NDManager step, String path, NDArray value) {
    UnaryOperator<NDArray> change = loose.get(path);
    NDArray own = Tuning.super.tensor(step, path, value);
    return change == null ? own : change.apply(own);
  }

  @Override
  public NDArray attended(Linear key, Linear value, NDArray query, NDArray heads) {
    Modification.AttentionChange change = attentions.get(key.path());
    return change == null ? heads : change.apply(key, value, query, heads);
  }

  @Override
  public int virtualTokens() {
    return prompt.map(tokens -> (int) tokens.getShape().get(0)).orElse(0);
  }

  @Override
  public NDArray inputEmbeddings(NDArray embedded) {
    return prompt.map(tokens -> inFront(tokens, embedded)).orElse(embedded);
  }

  @Override
  public int prefixLength() {
    return prefixes.values().stream()
        .findFirst()
        .map(prefix -> (int) prefix.keys().getShape().get(0))
        .orElse(0);
  }

  @Override
  public Optional<KeyValue> prefix(String path, long batch) {
    return Optional.ofNullable(prefixes.get(path))
        .map(prefix -> new KeyValue(repeat(prefix.keys(), batch), repeat(prefix.values(), batch)));
  }

  private static NDArray inFront(NDArray tokens, NDArray embedded) {
    NDArray all = repeat(tokens, embedded.getShape().get(0)).concat(embedded, 1);
    all.attach(embedded.getManager());
    return all;
  }

  /** {@code [n, size]} to {@code [batch, n, size]}. */
  private static NDArray repeat(NDArray vectors, long batch) {
    Shape shape = vectors.getShape();
    return vectors.expandDims(0).broadcast(batch, shape.get(0), shape.get(1));
  }
}
