package org.sparkpeft.core.io;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.SortedMap;
import java.util.TreeMap;
import org.sparkpeft.core.error.DataException;
import org.sparkpeft.core.error.FormatException;
import org.sparkpeft.core.vector.ParameterLayout;

/**
 * The float32 initialisers of an ONNX file exported from PyTorch, under their Hugging Face names
 * and shapes. The file is mapped, from an untrusted source, and checked when opened. Initialisers
 * of other types are left out; external data is refused.
 *
 * <p>The exporter makes the weights of linear layers anonymous ({@code onnx::MatMul_NNN}) and
 * stores them transposed, {@code [in, out]}. Such an initialiser is the second input of a MatMul
 * node whose name gives the parameter: {@code /encoder/layer.0/output/dense/MatMul} is {@code
 * encoder.layer.0.output.dense.weight}, {@code [out, in]} here. An anonymous initialiser that no
 * MatMul uses keeps its ONNX name.
 */
public final class OnnxWeights implements WeightSource {
  // ModelProto, GraphProto and NodeProto field numbers.
  private static final int GRAPH = 7;
  private static final int NODE = 1;
  private static final int INITIALIZER = 5;
  private static final int NODE_INPUT = 1;
  private static final int NODE_NAME = 3;
  private static final int NODE_OP = 4;

  private static final String ANONYMOUS = "onnx::";
  private static final String MATMUL = "MatMul";

  /** One parameter: the initialiser, and whether it is stored the other way round. */
  private record Parameter(OnnxTensor tensor, boolean transposed) {
    List<Integer> shape() {
      List<Integer> stored = tensor.shape();
      return transposed ? List.of(stored.get(1), stored.get(0)) : stored;
    }
  }

  private final Path path;
  private final SortedMap<String, Parameter> parameters;

  private OnnxWeights(Path path, SortedMap<String, Parameter> parameters) {
    this.path = path;
    this.parameters = parameters;
  }

  /**
   * Opens a file of up to 2 GiB, the limit of the format.
   *
   * @throws DataException if there is no such file
   * @throws FormatException if it is not a valid ONNX file
   */
  public static OnnxWeights open(Path path) {
    if (!Files.isRegularFile(path)) {
      throw new DataException("there is no file " + path);
    }
    try (FileChannel channel = FileChannel.open(path, StandardOpenOption.READ)) {
      if (channel.size() > Integer.MAX_VALUE) {
        throw new FormatException(
            path.toString(),
            "has " + channel.size() + " bytes, an ONNX file at most " + Integer.MAX_VALUE);
      }
      ByteBuffer bytes = channel.map(FileChannel.MapMode.READ_ONLY, 0, channel.size());
      return new OnnxWeights(path, new GraphReader(path.toString()).read(bytes));
    } catch (IOException e) {
      throw new UncheckedIOException("cannot read " + path, e);
    }
  }

  @Override
  public Set<String> names() {
    return Collections.unmodifiableSet(parameters.keySet());
  }

  @Override
  public boolean contains(String name) {
    return parameters.containsKey(name);
  }

  @Override
  public List<Integer> shape(String name) {
    return parameter(name).shape();
  }

  @Override
  public float[] floats(String name) {
    Parameter parameter = parameter(name);
    float[] stored = parameter.tensor().floats();
    if (!parameter.transposed()) {
      return stored;
    }
    int out = parameter.shape().get(0);
    int in = parameter.shape().get(1);
    float[] values = new float[stored.length]; // [out, in]
    for (int o = 0; o < out; o++) {
      for (int i = 0; i < in; i++) {
        values[o * in + i] = stored[i * out + o];
      }
    }
    return values;
  }

  @Override
  public TensorData tensor(String name) {
    Parameter parameter = parameter(name);
    Optional<ByteBuffer> raw = parameter.transposed() ? Optional.empty() : parameter.tensor().raw();
    return raw.map(bytes -> TensorData.of(name, DType.F32, parameter.shape(), bytes))
        .orElseGet(() -> TensorData.ofFloats(name, parameter.shape(), floats(name)));
  }

  /** Does nothing: the mapping goes with this object. */
  @Override
  public void close() {}

  private Parameter parameter(String name) {
    Parameter parameter = parameters.get(name);
    if (parameter == null) {
      throw new DataException(
          path + " has no float32 parameter named " + name + " among its " + parameters.size());
    }
    return parameter;
  }

  /** Collects initialisers and MatMul names, then joins them. */
  private static final class GraphReader {
    private final String source;
    private final SortedMap<String, OnnxTensor> initializers =
        new TreeMap<>(ParameterLayout.UTF8_ORDER);
    private final SortedMap<String, List<String>> matMulsOf = new TreeMap<>();

    GraphReader(String source) {
      this.source = source;
    }

    SortedMap<String, Parameter> read(ByteBuffer bytes) {
      boolean found = false;
      ProtoReader model = new ProtoReader(source, bytes, 0, bytes.limit());
      while (model.next()) {
        if (model.field() == GRAPH) {
          if (found) {
            throw model.wrong("holds two graphs");
          }
          found = true;
          readGraph(model.message());
        }
      }
      if (!found) {
        throw new FormatException(source, 0, "holds no graph; is it an ONNX file?");
      }
      return join();
    }

    private void readGraph(ProtoReader graph) {
      while (graph.next()) {
        if (graph.field() == NODE) {
          readNode(graph.message());
        } else if (graph.field() == INITIALIZER) {
          OnnxTensor tensor = OnnxTensor.read(graph);
          if (tensor.isFloat() && initializers.put(tensor.name(), tensor) != null) {
            throw graph.wrong("two initialisers are named " + tensor.name());
          }
        }
      }
    }

    private void readNode(ProtoReader node) {
      List<String> inputs = new ArrayList<>(2);
      String name = "";
      String op = "";
      while (node.next()) {
        switch (node.field()) {
          case NODE_INPUT -> {
            if (inputs.size() < 2) { // of a MatMul there are no more
              inputs.add(node.text());
            }
          }
          case NODE_NAME -> name = node.text();
          case NODE_OP -> op = node.text();
          default -> {}
        }
      }
      if (op.equals(MATMUL)
          && !name.isEmpty()
          && inputs.size() == 2
          && inputs.get(1).startsWith(ANONYMOUS)) {
        matMulsOf.computeIfAbsent(inputs.get(1), key -> new ArrayList<>(1)).add(name);
      }
    }

    private SortedMap<String, Parameter> join() {
      SortedMap<String, Parameter> parameters = new TreeMap<>(ParameterLayout.UTF8_ORDER);
      for (Map.Entry<String, OnnxTensor> entry : initializers.entrySet()) {
        OnnxTensor tensor = entry.getValue();
        List<String> matMuls = matMulsOf.getOrDefault(entry.getKey(), List.of());
        boolean named = tensor.shape().size() == 2 && !matMuls.isEmpty();
        if (named) {
          matMuls.forEach(m -> add(parameters, parameterName(m), new Parameter(tensor, true)));
        } else {
          add(parameters, entry.getKey(), new Parameter(tensor, false));
        }
      }
      return parameters;
    }

    private void add(SortedMap<String, Parameter> parameters, String name, Parameter parameter) {
      if (parameters.put(name, parameter) != null) {
        throw new FormatException(source, "two initialisers stand for the parameter " + name);
      }
    }

    /** {@code /a/b/MatMul} is {@code a.b.weight}. */
    private static String parameterName(String node) {
      String dotted = (node.startsWith("/") ? node.substring(1) : node).replace('/', '.');
      String suffix = "." + MATMUL;
      return (dotted.endsWith(suffix)
              ? dotted.substring(0, dotted.length() - suffix.length())
              : dotted)
          + ".weight";
    }
  }
}
