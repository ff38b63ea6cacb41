package org.sparkpeft.tests.model;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.abort;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.Shape;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.TreeSet;
import java.util.stream.Stream;
import org.assertj.core.data.Offset;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.TestFactory;
import org.junit.jupiter.api.io.TempDir;
import org.sparkpeft.core.engine.ComputeDevice;
import org.sparkpeft.core.engine.FlatParameters;
import org.sparkpeft.core.engine.GradientScope;
import org.sparkpeft.core.io.ModelDirectory;
import org.sparkpeft.core.model.Backbone;
import org.sparkpeft.core.model.Backbones;
import org.sparkpeft.core.model.HeadConfig;
import org.sparkpeft.core.model.ImageTextBatch;
import org.sparkpeft.core.model.ModelInput;
import org.sparkpeft.core.model.ModuleSpec;
import org.sparkpeft.core.model.Tuning;
import org.sparkpeft.core.peft.ModifiedForward;
import org.sparkpeft.core.peft.SavedModules;
import org.sparkpeft.core.vector.ParameterLayout;
import org.sparkpeft.tests.support.Project;

/**
 * What Hugging Face's models compute, number by number: every folder under the system property
 * {@code golden.architectures.dir} (else {@code golden/architectures} in the shared folder):
 * outputs, losses, the gradient of every tensor, the losses of four steps of training in full, and
 * what is generated. Model types that are not supported are skipped; {@code golden.case}, a regular
 * expression, picks some.
 */
class ArchitectureGoldenTest {
  private static final ObjectMapper JSON = new ObjectMapper();
  private static final ComputeDevice CPU = ComputeDevice.cpu();
  private static final float OUTPUT = 2e-5f;
  private static final double RELATIVE = 1e-4;
  private static final String LEGACY = "config.legacy.json";

  @TempDir Path temp;

  @TestFactory
  Stream<DynamicTest> sameNumbers() throws IOException {
    String given = System.getProperty("golden.architectures.dir", "");
    Path golden = given.isEmpty() ? Project.shared("golden/architectures") : Path.of(given);
    assumeTrue(Files.isDirectory(golden), () -> golden + " is not there");
    String only = System.getProperty("golden.case", ".*");
    List<Path> cases = new ArrayList<>();
    try (Stream<Path> folders = Files.list(golden)) {
      folders
          .filter(path -> Files.exists(path.resolve("config.json")))
          .filter(path -> path.getFileName().toString().matches(only))
          .sorted()
          .forEach(cases::add);
    }
    assertThat(cases).as("cases in " + golden).isNotEmpty();
    return cases.stream()
        .flatMap(
            path -> {
              String name = path.getFileName().toString();
              Stream<DynamicTest> usual =
                  Stream.of(DynamicTest.dynamicTest(name, () -> check(path)));
              return Files.exists(path.resolve(LEGACY))
                  ? Stream.concat(
                      usual,
                      Stream.of(
                          DynamicTest.dynamicTest(name + ", " + LEGACY, () -> checkLegacy(path))))
                  : usual;
            });
  }

  /** The same model with the configuration keys of older checkpoints: same outputs. */
  private void checkLegacy(Path folder) throws IOException {
    Path copy = Files.createDirectory(temp.resolve(folder.getFileName().toString()));
    try (Stream<Path> files = Files.list(folder)) {
      for (Path file : files.filter(f -> f.toString().contains(".safetensors")).toList()) {
        Files.copy(file, copy.resolve(file.getFileName()));
      }
    }
    Files.copy(folder.resolve(LEGACY), copy.resolve("config.json"));
    checkOutputs(copy, json(folder.resolve("golden.json")));
  }

  private static void check(Path folder) {
    JsonNode golden = json(folder.resolve("golden.json"));
    MediaInputs.addDecoderInputs(golden, ModelDirectory.open(folder).config());
    checkOutputs(folder, golden);
    if (golden.has("training")) {
      HeadConfig head = head(golden, folder);
      try (Backbone model = Backbones.load(ModelDirectory.open(folder), CPU, head)) {
        new FullTraining(model, head, golden).check();
      }
    }
  }

  private static void checkOutputs(Path folder, JsonNode golden) {
    HeadConfig head = head(golden, folder);
    ModelDirectory directory = ModelDirectory.open(folder);
    CPU.bindThread();
    try (Backbone model = Backbones.load(directory, CPU, head)) {
      for (int c = 0; c < golden.get("cases").size(); c++) {
        ArchitectureCase one =
            new ArchitectureCase(golden.get("cases").get(c), model.config().padId());
        checkOutputs(model, head, one, one.input(decoderIds(golden, c)));
      }
      GenerationGolden.check(model, directory, golden);
    }
  }

  /** The head of a fixture's class; skips models that are not supported. */
  private static HeadConfig head(JsonNode golden, Path folder) {
    JsonNode config = ModelDirectory.open(folder).config();
    String type = config.path("model_type").asText();
    if (!Backbones.supported().contains(type)) {
      abort("models of type " + type + " are not supported");
    }
    return head(golden.get("class").asText(), config);
  }

  private static JsonNode json(Path file) {
    try {
      return JSON.readTree(file.toFile());
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  private static HeadConfig head(String modelClass, JsonNode config) {
    if (modelClass.endsWith("CausalLM")
        || modelClass.endsWith("LMHeadModel")
        || modelClass.endsWith("MaskedLM")
        || modelClass.endsWith("ConditionalGeneration")) {
      return HeadConfig.LANGUAGE;
    }
    int labels = config.has("id2label") ? config.get("id2label").size() : 2;
    if (modelClass.endsWith("TokenClassification")) {
      return new HeadConfig(HeadConfig.Kind.TOKEN, labels);
    }
    return modelClass.contains("Classification")
        ? new HeadConfig(HeadConfig.Kind.SEQUENCE, labels)
        : HeadConfig.NO_HEAD;
  }

  private static Optional<JsonNode> decoderIds(JsonNode golden, int c) {
    return Optional.ofNullable(golden.get("decoder_inputs_from_labels"))
        .map(list -> list.get(c).get("decoder_input_ids"));
  }

  private static NDArray outputs(
      Backbone model, HeadConfig head, NDManager step, ModelInput input, Tuning tuning) {
    NDArray hidden = model.forward(step, input, tuning);
    return head.kind() == HeadConfig.Kind.NONE && !(input instanceof ImageTextBatch)
        ? hidden
        : model.logits(model.features(step, hidden, input, tuning), tuning);
  }

  private static void checkOutputs(
      Backbone model, HeadConfig head, ArchitectureCase one, ModelInput input) {
    String output = head.kind() == HeadConfig.Kind.NONE ? "last_hidden_state" : "logits";
    JsonNode expected =
        one.json()
            .get("outputs")
            .get(input instanceof ImageTextBatch ? "logits_per_image" : output);
    JsonNode shape = expected.get("shape");
    try (NDManager step = CPU.newManager()) {
      NDArray actual = outputs(model, head, step, input, Tuning.NONE);
      assertThat(actual.getShape().getShape())
          .as(one.name())
          .containsExactly(shape.valueStream().mapToLong(JsonNode::longValue).toArray());
      float[] values = actual.toFloatArray();
      JsonNode known =
          expected.has("values") ? expected.get("values") : expected.get("first_values");
      boolean positions = shape.size() == 3;
      int last = shape.get(shape.size() - 1).intValue();
      int width = positions ? shape.get(1).intValue() : 1;
      for (int i = 0; i < known.size(); i++) {
        int row = i / (width * last);
        if (!positions
            || one.counts(
                row,
                i / last % width,
                input instanceof org.sparkpeft.core.model.TokenBatch t && t.target().isPresent())) {
          assertThat(values[i])
              .as("%s, output %d", one.name(), i)
              .isCloseTo(known.get(i).floatValue(), Offset.offset(OUTPUT));
        }
      }
    }
  }

  /** Training of every tensor of a model, as the fixtures do it. */
  private static final class FullTraining {
    private static final double RATE = 1e-3;

    private final Backbone model;
    private final HeadConfig head;
    private final JsonNode golden;
    private final ArchitectureCase one;
    private final ModelInput input;
    private final SavedModules all;
    private final Map<String, String> tied = new HashMap<>();
    private final ParameterLayout layout;
    private final FlatParameters flat;
    private final float[] values;

    FullTraining(Backbone model, HeadConfig head, JsonNode golden) {
      this.model = model;
      this.head = head;
      this.golden = golden;
      JsonNode training = golden.get("training");
      int index = 0;
      while (!golden.get("cases").get(index).get("name").equals(training.get("case"))) {
        index++;
      }
      this.one = new ArchitectureCase(golden.get("cases").get(index), model.config().padId());
      this.input = one.input(decoderIds(golden, index));
      this.all = new SavedModules(model.modules().all(), Set.of(), 0);
      Map<String, List<Integer>> shapes = new LinkedHashMap<>();
      for (ModuleSpec module : model.modules().all()) {
        String shared = model.tied().get(module.path());
        if (shared == null) {
          shapes.putAll(module.tensors());
        } else {
          tied.put(module.path() + ".weight", shared + ".weight");
        }
      }
      this.layout = ParameterLayout.of(shapes);
      this.flat = new FlatParameters(layout);
      this.values = new float[layout.size()];
      for (ParameterLayout.Entry entry : layout.entries()) {
        float[] tensor = model.frozen(entry.name());
        System.arraycopy(tensor, 0, values, entry.offset(), entry.size());
      }
    }

    void check() {
      JsonNode training = golden.get("training");
      float[] gradient = new float[values.length];
      double loss = gradient(gradient);
      double expected = training.get("loss").doubleValue();
      assertThat(loss).as("loss").isCloseTo(expected, Offset.offset(RELATIVE * expected));
      double total = training.get("total_grad_norm").doubleValue();
      assertThat(norm(gradient, 0, gradient.length))
          .as("norm of the gradient")
          .isCloseTo(total, Offset.offset(RELATIVE * total));
      JsonNode norms = training.get("grad_norms");
      Set<String> unseen = new TreeSet<>();
      norms.fieldNames().forEachRemaining(unseen::add);
      for (ParameterLayout.Entry entry : layout.entries()) {
        String name = golden.path("gradient_names").path(entry.name()).asText(entry.name());
        JsonNode norm = norms.get(name);
        unseen.remove(name);
        if (norm != null) {
          assertThat(norm(gradient, entry.offset(), entry.size()))
              .as("gradient of " + entry.name())
              .isCloseTo(
                  norm.doubleValue(), Offset.offset(RELATIVE * norm.doubleValue() + 1e-5 * total));
        }
      }
      assertThat(unseen).as("tensors that the model does not have").isEmpty();
      checkSteps(training.path("losses_before_each_step"), gradient);
    }

    private void checkSteps(JsonNode losses, float[] gradient) {
      double[] first = new double[values.length];
      double[] second = new double[values.length];
      for (int step = 1; step <= losses.size(); step++) {
        java.util.Arrays.fill(gradient, 0);
        double loss = gradient(gradient);
        double expected = losses.get(step - 1).doubleValue();
        assertThat(loss)
            .as("loss before step " + step)
            .isCloseTo(expected, Offset.offset(RELATIVE * expected));
        for (int i = 0; i < values.length; i++) {
          first[i] = 0.9 * first[i] + 0.1 * gradient[i];
          second[i] = 0.999 * second[i] + 0.001 * gradient[i] * gradient[i];
          double mean = first[i] / (1 - Math.pow(0.9, step));
          double scale = Math.sqrt(second[i] / (1 - Math.pow(0.999, step))) + 1e-8;
          values[i] = (float) (values[i] * (1 - RATE * 0.01) - RATE * mean / scale);
        }
      }
    }

    private static double norm(float[] values, int from, int size) {
      double sum = 0;
      for (int i = from; i < from + size; i++) {
        sum += (double) values[i] * values[i];
      }
      return Math.sqrt(sum);
    }

    private double gradient(float[] sum) {
      flat.set(values);
      try (NDManager step = CPU.newManager()) {
        Map<String, NDArray> leaves = flat.leaves(step);
        NDArray loss;
        try (GradientScope scope = GradientScope.open()) {
          Map<String, NDArray> views = new HashMap<>(leaves);
          tied.forEach((name, shared) -> views.put(name, views.get(shared)));
          Tuning tuning = ModifiedForward.of(all.modifications(views));
          loss = loss(step, outputs(model, head, step, input, tuning));
          scope.backward(loss);
        }
        flat.addGradients(leaves, 1, sum);
        return loss.getFloat();
      }
    }

    /** Mean cross entropy over the labels that count. */
    private NDArray loss(NDManager step, NDArray logits) {
      if (input instanceof ImageTextBatch) {
        return MediaInputs.contrastiveLoss(step, logits);
      }
      JsonNode labels = one.json().get("labels");
      boolean shifted =
          head.kind() == HeadConfig.Kind.LANGUAGE
              && !golden.has("decoder_inputs_from_labels")
              && !golden.get("class").asText().endsWith("MaskedLM");
      Shape shape = logits.getShape();
      int classes = (int) shape.get(shape.dimension() - 1);
      int width = shape.dimension() == 3 ? (int) shape.get(1) : 1;
      List<int[]> targets = new ArrayList<>(); // output, class
      for (int row = 0; row < labels.size(); row++) {
        if (!labels.get(row).isArray()) {
          targets.add(new int[] {row, labels.get(row).intValue()});
          continue;
        }
        int[] wanted = ArchitectureCase.ints(labels.get(row));
        for (int t = shifted ? 1 : 0; t < wanted.length; t++) {
          if (wanted[t] != ArchitectureCase.IGNORE) {
            targets.add(new int[] {row * width + t - (shifted ? 1 : 0), wanted[t]});
          }
        }
      }
      float[] shares = new float[(int) shape.size()];
      targets.forEach(t -> shares[t[0] * classes + t[1]] = -1f / targets.size());
      int axis = shape.dimension() - 1;
      return logits.logSoftmax(axis).mul(step.create(shares, shape)).sum();
    }
  }
}
