package org.sparkpeft.core.peft.reparam;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.Shape;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.TreeMap;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import org.sparkpeft.core.engine.ComputeDevice;
import org.sparkpeft.core.error.FormatException;
import org.sparkpeft.core.io.DType;
import org.sparkpeft.core.io.TensorData;
import org.sparkpeft.core.model.ModuleSpec;
import org.sparkpeft.core.model.ModuleTree;
import org.sparkpeft.core.peft.AdapterTensors;
import org.sparkpeft.core.peft.AttachedMethod;
import org.sparkpeft.core.peft.MethodState;
import org.sparkpeft.core.peft.PeftConfig;
import org.sparkpeft.core.peft.PeftMethods;
import org.sparkpeft.core.peft.StepObserver;
import org.sparkpeft.core.peft.TrainingSpan;
import org.sparkpeft.core.random.Philox;
import org.sparkpeft.core.vector.ParameterLayout;
import org.sparkpeft.core.vector.ParameterVector;

/** Numbers worked out by hand or by the reference, method by method. */
class ReparamDetailsTest {
  private static AttachedMethod attach(Map<String, Object> settings, int in, int out) {
    return attach(settings, Map.of(), in, out);
  }

  private static AttachedMethod attach(
      Map<String, Object> settings, Map<String, List<Integer>> tensors, int in, int out) {
    Map<String, Object> fields = new TreeMap<>(settings);
    fields.put("target_modules", List.of("a"));
    PeftConfig config = PeftMethods.readConfig(fields, tensors);
    ModuleSpec layer =
        new ModuleSpec("a", ModuleSpec.Kind.LINEAR, in, out, false, ModuleSpec.Origin.REQUIRED);
    return PeftMethods.attach(config, new ModuleTree(List.of(layer)));
  }

  /** The fused weight for parameters given in the order of their names in UTF-8. */
  private static float[] fused(AttachedMethod method, float[] weight, float... parameters) {
    MethodState state = method.initialState(1, name -> weight);
    ParameterVector vector = ParameterVector.of(ParameterLayout.of(method.shapes()), parameters);
    return Objects.requireNonNull(method.fuse(vector, state, name -> weight).get("a.weight"));
  }

  @Test
  void lohaMultipliesTwoProducts() {
    AttachedMethod method = attach(Map.of("peft_type", "LOHA", "r", 1, "alpha", 2), 2, 2);
    // A1 = (1, 2), B1 = (3, 4), A2 = (1, -1), B2 = (5, 6); times alpha / r = 2
    assertThat(fused(method, new float[4], 1, 2, 3, 4, 1, -1, 5, 6))
        .containsExactly(30, 48, -60, -96);
  }

  @Test
  void lokrFactorsSizesAsLycorisDoes() {
    assertThat(Lokr.Factors.of(256, -1)).isEqualTo(new Lokr.Factors(16, 16));
    assertThat(Lokr.Factors.of(384, -1)).isEqualTo(new Lokr.Factors(16, 24));
    assertThat(Lokr.Factors.of(128, -1)).isEqualTo(new Lokr.Factors(8, 16));
    assertThat(Lokr.Factors.of(127, -1)).isEqualTo(new Lokr.Factors(1, 127));
    assertThat(Lokr.Factors.of(128, 4)).isEqualTo(new Lokr.Factors(4, 32));
    assertThat(Lokr.Factors.of(384, 20)).isEqualTo(new Lokr.Factors(16, 24));
    assertThat(Lokr.Factors.of(384, 5)).isEqualTo(new Lokr.Factors(4, 96));
    AttachedMethod method = attach(Map.of("peft_type", "LOKR", "r", 4, "alpha", 4), 4, 2);
    // C = (2, 3) [1, 2], D = ((1, 2), (0, 1)) [2, 2]
    assertThat(fused(method, new float[8], 2, 3, 1, 2, 0, 1))
        .containsExactly(2, 4, 3, 6, 0, 2, 0, 3);
  }

  @Test
  void oftMovesSizesToTheNearestDivisor() {
    assertThat(Oft.divisor(384, 32)).isEqualTo(32);
    assertThat(Oft.divisor(384, 30)).isEqualTo(32);
    assertThat(Oft.divisor(384, 20)).isEqualTo(24 - 20 < 20 - 16 ? 24 : 16);
    assertThat(Oft.divisor(10, 64)).isEqualTo(10);
    AttachedMethod method =
        attach(Map.of("peft_type", "OFT", "oft_block_size", 2, "use_cayley_neumann", false), 2, 1);
    // Q = ((0, 1), (-1, 0)): the Cayley transform is ((0, -1), (1, 0)); y = W (x R)
    float[] weight = fused(method, new float[] {3, 4}, 1);
    assertThat(weight[0]).isCloseTo(-4, within(1e-6f));
    assertThat(weight[1]).isCloseTo(3, within(1e-6f));
    AttachedMethod series =
        attach(
            Map.of("peft_type", "OFT", "oft_block_size", 2, "num_cayley_neumann_terms", 4), 2, 1);
    // I + 2 Q + 2 Q^2 + Q^3 = (1 - 2 q^2) I + (2 q - q^3) J with q = 0.5
    assertThat(fused(series, new float[] {1, 0}, 0.5f)).containsExactly(0.5f, -0.875f);
  }

  @Test
  void constrainedOftStaysInItsBall() {
    AttachedMethod method =
        attach(Map.of("peft_type", "OFT", "oft_block_size", 2, "coft", true, "eps", 0.1), 8, 1);
    ParameterLayout layout = ParameterLayout.of(method.shapes());
    float[] parameters = {1, 0.01f, -2, 0.03f};
    StepObserver observer =
        method.observer(MethodState.EMPTY, new TrainingSpan(1, 0, 1, true), layout);
    observer.afterStep(
        new StepObserver.Update(
            0, layout, parameters, new float[4], Map.of(), 0.1, (index, first, second, age) -> {}));
    // eps / sqrt(4 blocks) = 0.05 is the Frobenius norm of ((0, q), (-q, 0)), sqrt(2) q
    float limit = (float) (0.05 / Math.sqrt(2));
    assertThat(parameters).containsExactly(limit, 0.01f, -limit, 0.03f);
  }

  @Test
  void boftPermutesAsTheReferenceDoes() {
    assertThat(Boft.order(16, 4, 4, 0, 3))
        .containsExactly(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    assertThat(Boft.order(16, 4, 4, 1, 3))
        .containsExactly(0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15);
    assertThat(Boft.order(16, 4, 4, 2, 3))
        .containsExactly(0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15);
    assertThat(Boft.order(8, 4, 2, 1, 2)).containsExactly(0, 2, 1, 3, 4, 6, 5, 7);
  }

  @Test
  void boftRotatesAndMixesBlocks() {
    Map<String, Object> settings =
        Map.of("peft_type", "BOFT", "boft_block_size", 2, "boft_n_butterfly_factor", 3);
    AttachedMethod method = attach(settings, 8, 8);
    float[] identity = new float[64];
    for (int i = 0; i < 8; i++) {
      identity[9 * i] = 1;
    }
    float[] parameters = new float[3 * 4 * 4 + 8];
    System.arraycopy(Philox.of(2, "boft").gaussian(48, 1), 0, parameters, 0, 48);
    java.util.Arrays.fill(parameters, 48, 56, 1);
    float[] rotation = fused(method, identity, parameters);
    int zeros = 0;
    for (int i = 0; i < 8; i++) {
      for (int j = 0; j < 8; j++) {
        double product = 0;
        for (int k = 0; k < 8; k++) {
          product += rotation[8 * i + k] * rotation[8 * j + k];
        }
        assertThat(product).isCloseTo(i == j ? 1 : 0, within(1e-5));
        zeros += Math.abs(rotation[8 * i + j]) < 1e-6 ? 1 : 0;
      }
    }
    assertThat(zeros).as("three factors of size 2 reach all 8 inputs").isZero();
  }

  /** Hugging Face without its CUDA kernel keeps one factor, whatever the setting says. */
  @Test
  void boftTakesTheNumberOfFactorsFromTheFile() {
    Map<String, Object> settings =
        Map.of("peft_type", "BOFT", "boft_block_size", 2, "boft_n_butterfly_factor", 2);
    String name = "base_model.model.a.boft_R";
    assertThat(attach(settings, Map.of(name, List.of(1, 4, 2, 2)), 8, 8).shapes())
        .containsEntry("a.boft_R", List.of(1, 4, 2, 2));
    assertThat(attach(settings, Map.of(name, List.of(2, 4, 2, 2)), 8, 8).shapes())
        .containsEntry("a.boft_R", List.of(2, 4, 2, 2));
    Map<String, Object> fields = new TreeMap<>(settings);
    fields.put("target_modules", List.of("a"));
    PeftConfig one = PeftMethods.readConfig(fields, Map.of(name, List.of(1, 4, 2, 2)));
    assertThat(PeftMethods.writeConfig(one))
        .containsEntry("boft_n_butterfly_factor", 2)
        .doesNotContainKey("factors_in_file");
  }

  @Test
  void hraReflects() {
    AttachedMethod method = attach(Map.of("peft_type", "HRA", "r", 1), 2, 1);
    // u = (3, 4) / 5: I - 2 u ut = ((7, -24), (-24, -7)) / 25
    float[] weight = fused(method, new float[] {25, 0}, 3, 4);
    assertThat(weight[0]).isCloseTo(7, within(1e-5f));
    assertThat(weight[1]).isCloseTo(-24, within(1e-5f));
  }

  @Test
  void roadRotatesPairsOfHalves() {
    AttachedMethod method = attach(Map.of("peft_type", "ROAD", "group_size", 4), 1, 4);
    float quarter = (float) (Math.PI / 2);
    // lengths (2, 1), angles (90 degrees, 0): pairs are (h0, h2) and (h1, h3)
    float[] weight = fused(method, new float[] {1, 2, 3, 4}, 2, 1, quarter, 0);
    float[] expected = {-6, 2, 2, 4};
    for (int i = 0; i < 4; i++) {
      assertThat(weight[i]).isCloseTo(expected[i], within(1e-5f));
    }
  }

  @Test
  void missRepeatsColumns() {
    AttachedMethod plain = attach(Map.of("peft_type", "MISS", "r", 2), 3, 2);
    // D = ((1, 2), (3, 4)): row o of the change is D[0, o], D[1, o], D[0, o]
    assertThat(fused(plain, new float[6], 1, 2, 3, 4)).containsExactly(1, 3, 1, 2, 4, 2);
    AttachedMethod mini = attach(Map.of("peft_type", "MISS", "r", 2, "init_weights", "mini"), 3, 2);
    assertThat(fused(mini, new float[6], 1, 3)).containsExactly(1, 3, 1, 1, 3, 1);
    AttachedMethod bat = attach(Map.of("peft_type", "MISS", "r", 1, "init_weights", "bat"), 2, 2);
    // w + w d + d with d = (2, 3)
    assertThat(fused(bat, new float[] {1, 2, 3, 4}, 2, 3)).containsExactly(5, 8, 15, 19);
  }

  @Test
  void deloraBoundsTheChange() {
    AttachedMethod method =
        attach(Map.of("peft_type", "DELORA", "r", 1, "delora_lambda", 15), 2, 2);
    // column norms of W are 5 and 2; a = (3, 4), b = (0, 2), strength 10
    float[] weight = fused(method, new float[] {3, 0, 4, 2}, 3, 4, 0, 2, 10);
    float[] expected = {3, 0, 4 + 10 * 0.6f * 5, 2 + 10 * 0.8f * 2};
    for (int i = 0; i < 4; i++) {
      assertThat(weight[i]).isCloseTo(expected[i], within(1e-5f));
    }
  }

  @Test
  void c3aConvolves() {
    AttachedMethod method = attach(Map.of("peft_type", "C3A", "block_size", 3), 3, 3);
    assertThat(fused(method, new float[9], 3, 6, 9)).containsExactly(1, 2, 3, 3, 1, 2, 2, 3, 1);
  }

  @Test
  void vbloraMixesTheLargest() {
    AttachedMethod method =
        attach(Map.of("peft_type", "VBLORA", "r", 1, "num_vectors", 3, "vector_length", 1), 1, 1);
    // equal largest logits of A: mean of bank 0 and 1; of B: of 1 and 2; the bank is (2, 4, 8)
    assertThat(fused(method, new float[1], 1, 1, 0, 0, 1, 1, 2, 4, 8)).containsExactly(18);
  }

  /** What Hugging Face drew for seed 5: the bases of a layer of 384 x 384 at rank 16. */
  @Test
  void randLoraDrawsThePublishedBases() {
    RandomBases bases = RandomBases.ofSeed(new RandomBases.Sides(384, 384, 16), 5, false, false);
    assertThat(java.util.Arrays.copyOf(bases.a(), 4))
        .containsExactly(1.1484375f, -1.296875f, 1.4140625f, 1.1171875f);
    assertThat(java.util.Arrays.copyOf(bases.b(), 4))
        .containsExactly(0.439453125f, 0.328125f, 1.1171875f, 0.88671875f);
  }

  @Test
  void randLoraRefusesBasesThatDiffer() {
    AttachedMethod method = attach(Map.of("peft_type", "RANDLORA", "r", 2), 4, 4);
    MethodState state = method.initialState(1, name -> new float[16]);
    ParameterVector parameters =
        ParameterVector.of(ParameterLayout.of(method.shapes()), new float[12]);
    Map<String, TensorData> file = new TreeMap<>(method.save(parameters, state));
    String name = "base_model.randlora_A";
    file.put(name, TensorData.ofFloats(name, List.of(2, 1, 4), new float[8]));
    assertThatThrownBy(
            () ->
                method.load(
                    new AdapterTensors("file", TensorData.byName(file.values())),
                    base -> new float[16]))
        .isInstanceOf(FormatException.class)
        .hasMessageContaining("differs from the basis");
  }

  @ParameterizedTest
  @ValueSource(longs = {-1, 4})
  void placesOutsideAreRefused(long row) {
    refused(new long[] {row, 0, 1, 1}, "outside");
  }

  @Test
  void placesThatComeTwiceAreRefused() {
    refused(new long[] {1, 1, 2, 2}, "twice");
  }

  private static void refused(long[] places, String reason) {
    AttachedMethod method = attach(Map.of("peft_type", "FOURIERFT", "n_frequency", 2), 4, 4);
    String values = "base_model.model.a.fourierft_spectrum";
    String indices = "base_model.model.a.indices";
    List<TensorData> tensors =
        List.of(
            TensorData.ofFloats(values, List.of(2), new float[2]),
            TensorData.ofLongs(indices, List.of(2, 2), places, DType.I64));
    AdapterTensors file = new AdapterTensors("file", TensorData.byName(tensors));
    assertThatThrownBy(() -> method.load(file, name -> new float[16]))
        .isInstanceOf(FormatException.class)
        .hasMessageContaining(reason);
  }

  @Test
  void placesThatNothingImpliesMustBeInTheFile() {
    AttachedMethod method = attach(Map.of("peft_type", "SHIRA", "r", 1), 4, 4);
    String values = "base_model.model.a.shira_weight";
    AdapterTensors file =
        new AdapterTensors(
            "file",
            TensorData.byName(List.of(TensorData.ofFloats(values, List.of(8), new float[8]))));
    assertThatThrownBy(() -> method.load(file, name -> new float[16]))
        .isInstanceOf(FormatException.class)
        .hasMessageContaining("shira_indices")
        .hasMessageContaining("no seed");
  }

  /** An orthogonal transform keeps lengths; inside the border, nothing is lost. */
  @ParameterizedTest
  @ValueSource(strings = {"db1", "db2", "db10", "sym2", "sym8", "sym10", "coif1", "coif3"})
  void waveletsAreOrthogonal(String name) {
    Wavelet wavelet = Objects.requireNonNull(Wavelet.all().get(name));
    int size = 4 * wavelet.low().length;
    try (NDManager manager = ComputeDevice.cpu().newManager()) {
      float[] coefficients = new float[size * size];
      int middle = size / 4; // low-pass quarter, away from the border
      coefficients[middle * size + middle] = 3;
      coefficients[(middle + size / 2) * size + middle] = 4;
      NDArray image = wavelet.inverse(manager.create(coefficients, new Shape(size, size)));
      assertThat(image.getShape())
          .isEqualTo(new Shape(size - wavelet.border(), size - wavelet.border()));
      assertThat(image.mul(image).sum().sqrt().toFloatArray()[0]).isCloseTo(5, within(1e-4f));
    }
  }

  @Test
  void haarWaveletSpreadsOverFour() {
    AttachedMethod method =
        attach(
            Map.of("peft_type", "WAVEFT", "n_frequency", 4, "scaling", 2, "random_loc_seed", 1),
            2,
            2);
    MethodState state = method.initialState(1, name -> new float[4]);
    int[] places = state.integers("a.waveft_indices");
    float[] byPlace = {4, 1, 2, 3}; // low, then high in columns, in rows, in both
    float[] trained = new float[4];
    for (int i = 0; i < 4; i++) {
      trained[i] = byPlace[places[i]];
    }
    // Hugging Face's upper right coefficient alternates along rows, the lower left along columns.
    float[] weight = fused(method, new float[4], trained);
    float[] expected = {10, 0, 2, 4};
    for (int i = 0; i < 4; i++) {
      assertThat(weight[i]).isCloseTo(expected[i], within(1e-5f));
    }
  }
}
