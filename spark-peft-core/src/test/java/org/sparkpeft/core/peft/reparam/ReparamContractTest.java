package org.sparkpeft.core.peft.reparam;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.Shape;
import com.fasterxml.jackson.core.type.TypeReference;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;
import org.sparkpeft.core.engine.ComputeDevice;
import org.sparkpeft.core.engine.GradientScope;
import org.sparkpeft.core.engine.TorchEngine;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.error.Problem;
import org.sparkpeft.core.io.TensorData;
import org.sparkpeft.core.model.ModuleSpec;
import org.sparkpeft.core.model.ModuleTree;
import org.sparkpeft.core.model.TokenBatch;
import org.sparkpeft.core.model.Tuning;
import org.sparkpeft.core.nn.Linear;
import org.sparkpeft.core.peft.AdapterTensors;
import org.sparkpeft.core.peft.AttachedMethod;
import org.sparkpeft.core.peft.BaseWeights;
import org.sparkpeft.core.peft.MethodState;
import org.sparkpeft.core.peft.MethodTensors;
import org.sparkpeft.core.peft.ModifiedForward;
import org.sparkpeft.core.peft.PeftConfig;
import org.sparkpeft.core.peft.PeftMethod;
import org.sparkpeft.core.peft.PeftMethods;
import org.sparkpeft.core.peft.Probes;
import org.sparkpeft.core.peft.TuningContext;
import org.sparkpeft.core.random.Philox;
import org.sparkpeft.core.vector.ParameterLayout;
import org.sparkpeft.core.vector.ParameterVector;

/** What every method of the package promises, with all forms its settings give it. */
class ReparamContractTest {
  private static final List<ModuleSpec> LAYERS =
      List.of(
          ModuleSpec.linear("m.layer.0.narrow", 16, 12),
          ModuleSpec.linear("m.layer.1.wide", 12, 16));
  private static final ModuleTree MODULES = new ModuleTree(LAYERS);
  private static final List<String> BOTH = List.of("narrow", "wide");

  /** A tensor named path.weight or path.bias, a function of its name. */
  private static final BaseWeights BASE =
      name -> {
        ModuleSpec layer =
            LAYERS.stream().filter(l -> name.startsWith(l.path())).findFirst().orElseThrow();
        int size = name.endsWith("bias") ? layer.out() : layer.in() * layer.out();
        return Philox.of(5, "base", Philox.hash(name)).gaussian(size, 0.3);
      };

  /** Method, trained numbers, whether it starts as the base, settings beside target_modules. */
  private static final String FORMS =
      """
      LOHA 224 base {"r": 2, "alpha": 3}
      LOHA 224 moved {"r": 3, "rank_pattern": {"wide": 1}, "init_weights": false}
      LOKR 56 base {"r": 2}
      LOKR 40 base {"r": 1, "init_weights": "lycoris"}
      LOKR 30 moved {"r": 1, "decompose_both": true, "init_weights": false}
      LOKR 104 base {"r": 4, "decompose_factor": 2, "alpha_pattern": {"narrow": 2.5}}
      OFT 42 base {"oft_block_size": 4}
      OFT 12 base {"oft_block_size": 4, "block_share": true}
      OFT 86 moved {"oft_block_size": 0, "r": 2, "init_weights": false, "use_cayley_neumann": false}
      OFT 70 moved {"oft_block_size": 4, "init_weights": false, "num_cayley_neumann_terms": 3, "bias": "oft_only"}
      OFT 42 moved {"oft_block_size": 4, "init_weights": false, "coft": true, "eps": 0.01}
      BOFT 140 base {"boft_block_size": 4}
      BOFT 140 moved {"boft_block_size": 2, "boft_n_butterfly_factor": 2, "init_weights": false}
      BOFT 156 moved {"boft_block_size": 0, "boft_block_num": 4, "init_weights": false, "bias": "boft_only"}
      FOURIERFT 20 moved {"n_frequency": 10}
      FOURIERFT 17 base {"n_frequency": 10, "n_frequency_pattern": {"wide": 7}, "init_weights": true}
      VBLORA 192 moved {"r": 2, "num_vectors": 6, "vector_length": 4}
      VBLORA 192 moved {"r": 2, "num_vectors": 6, "vector_length": 4, "topk": 3, "save_only_topk_weights": true}
      RANDLORA 96 base {"r": 4}
      RANDLORA 130 moved {"r": 5, "randlora_alpha": 5, "sparse": true, "init_weights": false, "save_projection": false, "bias": "randlora_only"}
      RANDLORA 102 moved {"r": 5, "randlora_alpha": 5, "very_sparse": true, "init_weights": false}
      SHIRA 168 base {"r": 3}
      SHIRA 112 moved {"r": 2, "random_seed": 9, "init_weights": false}
      MISS 140 base {"r": 5}
      MISS 112 moved {"r": 4, "init_weights": false}
      MISS 20 base {"r": 5, "init_weights": "mini", "mini_r": 2}
      MISS 112 base {"r": 4, "init_weights": "bat"}
      HRA 112 base {"r": 4}
      HRA 112 moved {"r": 3, "bias": "hra_only"}
      HRA 84 moved {"r": 3, "apply_GS": true}
      ROAD 28 base {"group_size": 4}
      ROAD 56 moved {"group_size": 4, "variant": "road_2", "init_weights": false}
      ROAD 112 moved {"group_size": 2, "variant": "road_4", "init_weights": false}
      DELORA 170 base {"r": 3}
      DELORA 142 moved {"r": 3, "rank_pattern": {"narrow": 2}, "lambda_pattern": {"wide": 4.5}, "init_weights": false}
      C3A 96 moved {"block_size": 4}
      C3A 144 base {"block_size": 4, "block_size_pattern": {"wide": 2}, "init_weights": true}
      C3A 384 moved {"block_size": 1, "init_weights": "gaussian"}
      WAVEFT 40 base {"n_frequency": 20}
      WAVEFT 40 moved {"n_frequency": 20, "wavelet_family": "sym3", "init_weights": false}
      WAVEFT 40 moved {"n_frequency": 20, "wavelet_family": "coif2", "proportional_parameters": true, "init_weights": false}
      WAVEFT 40 moved {"n_frequency": 20, "use_idwt": false, "init_weights": false}
      """;

  static Stream<Arguments> forms() {
    return FORMS.lines().map(line -> line.split(" ", 4)).map(ReparamContractTest::form);
  }

  private static Arguments form(String[] words) {
    return Arguments.of(
        fields(words[0], words[3]), Integer.parseInt(words[1]), words[2].equals("base"));
  }

  private static Map<String, Object> fields(String method, String settings) {
    Map<String, Object> fields = new TreeMap<>();
    try {
      fields.putAll(
          new ObjectMapper().readValue(settings, new TypeReference<Map<String, Object>>() {}));
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
    fields.put("peft_type", method);
    fields.put("target_modules", BOTH);
    return fields;
  }

  private static PeftConfig config(Map<String, Object> fields) {
    return PeftMethods.readConfig(fields);
  }

  private static ParameterVector vector(AttachedMethod method, Map<String, float[]> values) {
    ParameterLayout layout = ParameterLayout.of(method.shapes());
    float[] flat = new float[layout.size()];
    layout
        .entries()
        .forEach(
            entry ->
                System.arraycopy(values.get(entry.name()), 0, flat, entry.offset(), entry.size()));
    return ParameterVector.of(layout, flat);
  }

  /** The starting values and some noise, so that nothing is zero. */
  private static ParameterVector trained(AttachedMethod method, MethodState state) {
    Map<String, float[]> values = new LinkedHashMap<>();
    method
        .initialValues(3, state, BASE)
        .forEach(
            (name, start) -> {
              float[] noise = Philox.of(8, name).gaussian(start.length, 0.05);
              float[] moved = start.clone();
              for (int i = 0; i < moved.length; i++) {
                moved[i] += noise[i];
              }
              values.put(name, moved);
            });
    return vector(method, values);
  }

  private static float[][] outputs(
      AttachedMethod method, MethodState state, ParameterVector parameters, boolean training) {
    try (NDManager manager = ComputeDevice.cpu().newManager();
        NDManager baseManager = ComputeDevice.cpu().newManager()) {
      Map<String, NDArray> views = views(manager, parameters);
      MethodTensors tensors = new MethodTensors(views, MethodTensors.load(manager, state));
      Tuning tuning = ModifiedForward.of(method.modifications(tensors, context(manager, training)));
      float[][] outputs = new float[LAYERS.size()][];
      for (int i = 0; i < outputs.length; i++) {
        Linear layer = layer(baseManager, LAYERS.get(i), Map.of());
        outputs[i] = tuning.linear(layer, input(manager, LAYERS.get(i))).toFloatArray();
      }
      return outputs;
    }
  }

  private static Map<String, NDArray> views(NDManager manager, ParameterVector parameters) {
    Map<String, NDArray> views = new HashMap<>();
    parameters
        .layout()
        .shapes()
        .forEach(
            (name, shape) ->
                views.put(name, TorchEngine.tensor(manager, parameters.tensor(name), shape)));
    return views;
  }

  private static TuningContext context(NDManager manager, boolean training) {
    TokenBatch batch = TokenBatch.of(List.of(new int[] {1}), 0);
    return training
        ? new TuningContext(
            manager, true, Philox.of(4, "step"), batch, Probes.none(), new ArrayList<>())
        : TuningContext.inference(manager, batch);
  }

  private static Linear layer(NDManager manager, ModuleSpec spec, Map<String, float[]> changed) {
    String weight = spec.path() + ".weight";
    String bias = spec.path() + ".bias";
    return new Linear(
        spec.path(),
        TorchEngine.tensor(
            manager,
            changed.getOrDefault(weight, BASE.tensor(weight)),
            List.of(spec.out(), spec.in())),
        TorchEngine.tensor(
            manager, changed.getOrDefault(bias, BASE.tensor(bias)), List.of(spec.out())));
  }

  private static NDArray input(NDManager manager, ModuleSpec spec) {
    float[] values = Philox.of(6, spec.path()).gaussian(2 * 3 * spec.in(), 1);
    return manager.create(values, new Shape(2, 3, spec.in()));
  }

  private static float[][] plain(Map<String, float[]> changed) {
    try (NDManager manager = ComputeDevice.cpu().newManager()) {
      float[][] outputs = new float[LAYERS.size()][];
      for (int i = 0; i < outputs.length; i++) {
        Linear layer = layer(manager, LAYERS.get(i), changed);
        outputs[i] = layer.apply(input(manager, LAYERS.get(i))).toFloatArray();
      }
      return outputs;
    }
  }

  private static double distance(float[][] a, float[][] b) {
    double worst = 0;
    for (int i = 0; i < a.length; i++) {
      assertThat(a[i]).hasSameSizeAs(b[i]);
      for (int j = 0; j < a[i].length; j++) {
        worst = Math.max(worst, Math.abs((double) a[i][j] - b[i][j]));
      }
    }
    return worst;
  }

  @ParameterizedTest
  @MethodSource("forms")
  void trainsAsManyNumbersAndStartsWhereItSays(
      Map<String, Object> fields, int numbers, boolean startsAsBase) {
    AttachedMethod method = PeftMethods.attach(config(fields), MODULES);
    MethodState state = method.initialState(3, BASE);
    Map<String, float[]> start = method.initialValues(3, state, BASE);
    assertThat(vector(method, start).layout().size()).isEqualTo(numbers);
    double moved = distance(outputs(method, state, vector(method, start), false), plain(Map.of()));
    if (startsAsBase) {
      assertThat(moved).isLessThan(2e-6);
    } else {
      assertThat(moved).isGreaterThan(1e-4);
    }
    assertThat(method.initialState(3, BASE)).isEqualTo(state);
    method
        .initialValues(3, state, BASE)
        .forEach((name, values) -> assertThat(values).as(name).isEqualTo(start.get(name)));
  }

  @ParameterizedTest
  @MethodSource("forms")
  void fusedWeightsComputeTheSame(Map<String, Object> fields) {
    AttachedMethod method = PeftMethods.attach(config(fields), MODULES);
    MethodState state = method.initialState(3, BASE);
    ParameterVector parameters = trained(method, state);
    assertThat(method.whyNotFused()).isEmpty();
    float[][] unfused = outputs(method, state, parameters, false);
    assertThat(distance(unfused, plain(method.fuse(parameters, state, BASE)))).isLessThan(2e-5);
    assertThat(distance(unfused, plain(Map.of()))).isGreaterThan(1e-4);
  }

  @ParameterizedTest
  @MethodSource("forms")
  void filesAndFieldsReadBack(Map<String, Object> fields) {
    PeftConfig config = config(fields);
    Map<String, Object> written = PeftMethods.writeConfig(config);
    assertThat(PeftMethods.readConfig(written)).isEqualTo(config);
    fields.forEach(
        (name, value) ->
            assertThat(String.valueOf(written.get(name)).replaceFirst("\\.0$", ""))
                .isEqualTo(String.valueOf(value)));
    AttachedMethod method = PeftMethods.attach(config, MODULES);
    MethodState state = method.initialState(3, BASE);
    ParameterVector parameters = trained(method, state);
    Map<String, TensorData> saved = method.save(parameters, state);
    AdapterTensors file = new AdapterTensors("file", TensorData.byName(saved.values()));
    AttachedMethod.Loaded loaded = method.load(file, BASE);
    assertThat(file.left()).isEmpty();
    assertThat(loaded.state()).isEqualTo(state);
    float[][] before = outputs(method, state, parameters, false);
    float[][] after = outputs(method, loaded.state(), vector(method, loaded.values()), false);
    assertThat(distance(before, after)).isLessThan(1e-6);
  }

  @ParameterizedTest
  @MethodSource("forms")
  void everyTensorGetsAGradientAndTheBaseGetsNoTensors(Map<String, Object> fields) {
    AttachedMethod method = PeftMethods.attach(config(fields), MODULES);
    MethodState state = method.initialState(3, BASE);
    try (NDManager baseManager = ComputeDevice.cpu().newManager();
        NDManager stateManager = ComputeDevice.cpu().newManager();
        NDManager manager = ComputeDevice.cpu().newManager();
        GradientScope scope = GradientScope.open()) {
      Map<String, NDArray> views = views(manager, trained(method, state));
      views.values().forEach(view -> view.setRequiresGradient(true));
      Map<String, NDArray> frozen = MethodTensors.load(stateManager, state);
      List<Linear> layers =
          LAYERS.stream().map(spec -> layer(baseManager, spec, Map.of())).toList();
      int owned = baseManager.getManagedArrays().size();
      Tuning tuning =
          ModifiedForward.of(
              method.modifications(new MethodTensors(views, frozen), context(manager, true)));
      NDArray loss = manager.create(0f);
      for (int i = 0; i < layers.size(); i++) {
        NDArray y = tuning.linear(layers.get(i), input(manager, LAYERS.get(i)));
        loss = loss.add(y.mul(y).sum());
      }
      scope.backward(loss);
      views.forEach(
          (name, view) ->
              assertThat(view.getGradient().abs().sum().toFloatArray()[0])
                  .as(name)
                  .isFinite()
                  .isPositive());
      assertThat(baseManager.getManagedArrays()).hasSize(owned);
      assertThat(stateManager.getManagedArrays()).hasSize(frozen.size());
    }
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "LOHA {\"rank_dropout\": 0.5}",
        "LOHA {\"module_dropout\": 0.99}",
        "LOKR {\"rank_dropout\": 0.5, \"rank_dropout_scale\": true}",
        "OFT {\"oft_block_size\": 4, \"module_dropout\": 0.5}",
        "BOFT {\"boft_dropout\": 0.5}",
        "VBLORA {\"vector_length\": 4, \"vblora_dropout\": 0.5}",
        "RANDLORA {\"r\": 4, \"randlora_dropout\": 0.5}",
        "MISS {\"r\": 5, \"miss_dropout\": 0.5}",
        "DELORA {\"module_dropout\": 0.5}"
      })
  void dropoutActsInTrainingOnly(String form) {
    String[] words = form.split(" ", 2);
    AttachedMethod method = PeftMethods.attach(config(fields(words[0], words[1])), MODULES);
    MethodState state = method.initialState(3, BASE);
    ParameterVector parameters = trained(method, state);
    float[][] evaluated = outputs(method, state, parameters, false);
    float[][] once = outputs(method, state, parameters, true);
    assertThat(distance(evaluated, once)).isGreaterThan(1e-4);
    assertThat(outputs(method, state, parameters, true)).isDeepEqualTo(once);
  }

  /** Setting, method and what does not fit. */
  private static final String REFUSED =
      """
      r LOHA {"r": 0}
      use_effective_conv2d LOHA {"use_effective_conv2d": true}
      decompose_factor LOKR {"decompose_factor": 0}
      oft_block_size OFT {"r": 4}
      bias OFT {"bias": "all"}
      boft_block_size BOFT {"boft_block_size": 5}
      boft_n_butterfly_factor BOFT {"boft_n_butterfly_factor": 2}
      n_frequency FOURIERFT {"n_frequency": 193}
      vector_length VBLORA {"vector_length": 8}
      r SHIRA {"r": 7}
      mask_type SHIRA {"r": 2, "mask_type": "mine"}
      r MISS {"r": 13}
      r MISS {"r": 8, "init_weights": "bat"}
      mini_r MISS {"r": 4, "init_weights": "mini", "mini_r": 5}
      group_size ROAD {"group_size": 8}
      group_size ROAD {"group_size": 3}
      delora_lambda DELORA {"delora_lambda": 0}
      block_size C3A {"block_size": 8}
      wavelet_family WAVEFT {"wavelet_family": "db11"}
      """;

  static Stream<String> refusals() {
    return REFUSED.lines();
  }

  @ParameterizedTest
  @MethodSource("refusals")
  void refusesWhatDoesNotFitByName(String refusal) {
    String[] words = refusal.split(" ", 3);
    assertThatThrownBy(() -> PeftMethods.attach(config(fields(words[1], words[2])), MODULES))
        .isInstanceOfSatisfying(
            ConfigException.class,
            e -> assertThat(e.problems()).extracting(Problem::key).containsExactly(words[0]));
  }

  @Test
  void everyMethodOfThePackageIsHere() {
    List<String> ours =
        PeftMethods.all().stream()
            .filter(m -> m.getClass().getPackage().equals(Loha.class.getPackage()))
            .map(PeftMethod::peftType)
            .toList();
    List<String> tested =
        FORMS.lines().map(line -> line.split(" ", 2)[0]).distinct().sorted().toList();
    assertThat(ours).hasSize(14).isEqualTo(tested);
  }
}
