package org.sparkpeft.core.peft.additive;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.Shape;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.SortedMap;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import org.sparkpeft.core.engine.AttentionKernel;
import org.sparkpeft.core.engine.ComputeDevice;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.io.TensorData;
import org.sparkpeft.core.model.ModuleTree;
import org.sparkpeft.core.model.TokenBatch;
import org.sparkpeft.core.model.Tuning;
import org.sparkpeft.core.nn.Embedding;
import org.sparkpeft.core.peft.AdapterTensors;
import org.sparkpeft.core.peft.AttachedMethod;
import org.sparkpeft.core.peft.BaseWeights;
import org.sparkpeft.core.peft.MethodState;
import org.sparkpeft.core.peft.MethodTensors;
import org.sparkpeft.core.peft.ModifiedForward;
import org.sparkpeft.core.peft.PeftMethods;
import org.sparkpeft.core.peft.Probes;
import org.sparkpeft.core.peft.TensorRole;
import org.sparkpeft.core.peft.TuningContext;
import org.sparkpeft.core.random.Philox;
import org.sparkpeft.core.vector.ParameterLayout;
import org.sparkpeft.core.vector.ParameterVector;

/** Prefix tuning, prompt tuning, P-tuning and DePT. */
class VirtualTokensTest {
  private static final ModuleTree BERT = TinyModel.bert(2, 4, 6, 50);

  /** Word i has the embedding (i, i, i, i); texts have tokens 7, 8, 9. */
  private static final BaseWeights WORDS =
      new BaseWeights() {
        @Override
        public float[] tensor(String name) {
          float[] table = new float[50 * 4];
          for (int i = 0; i < table.length; i++) {
            table[i] = Math.floorDiv(i, 4);
          }
          return table;
        }

        @Override
        public int[] tokenIds(String text) {
          return new int[] {7, 8, 9};
        }
      };

  private static ParameterVector flat(AttachedMethod method, Map<String, float[]> values) {
    ParameterLayout layout = ParameterLayout.of(method.shapes());
    float[] flat = new float[layout.size()];
    for (ParameterLayout.Entry entry : layout.entries()) {
      System.arraycopy(values.get(entry.name()), 0, flat, entry.offset(), entry.size());
    }
    return ParameterVector.of(layout, flat);
  }

  /** q = (1,0), K = [[0,1],[2,0]], V = I, prefix key (1,0) and value (5,5). */
  @Test
  void prefixIsAGate() {
    try (NDManager manager = ComputeDevice.cpu().newManager();
        AttentionKernel attention = new AttentionKernel(manager, 1, 2)) {
      Shape one = new Shape(1, 1, 2);
      // the kernel divides scores by sqrt 2, the worked example does not
      NDArray q = manager.create(new float[] {(float) Math.sqrt(2), 0}, one);
      NDArray k = manager.create(new float[] {1, 0, 0, 1, 2, 0}, new Shape(1, 3, 2));
      NDArray v = manager.create(new float[] {5, 5, 1, 0, 0, 1}, new Shape(1, 3, 2));
      float[] out = attention.apply(q, k, v).toFloatArray();
      assertThat(out[0]).isCloseTo(1.3136729f, within(2e-6f));
      assertThat(out[1]).isCloseTo(1.8888833f, within(2e-6f));
    }
  }

  @Test
  void prefixesAreLaidOutByLayerKeyFirst() {
    AttachedMethod method =
        TinyModel.attach(new PrefixTuning.Config(3, false, 0, "", List.of()), BERT);
    assertThat(method.shapes()).isEqualTo(Map.of("prompt_embeddings", List.of(3, 16)));
    float[] values = new float[48];
    for (int i = 0; i < values.length; i++) {
      values[i] = i;
    }
    try (NDManager manager = ComputeDevice.cpu().newManager()) {
      Tuning tuning =
          ModifiedForward.of(
              method.modifications(
                  TinyModel.tensors(
                      manager, method, Map.of("prompt_embeddings", values), MethodState.EMPTY),
                  TinyModel.context(manager)));
      assertThat(tuning.prefixLength()).isEqualTo(3);
      Tuning.KeyValue second =
          tuning.prefix("bert.encoder.layer.1.attention.self.key", 2).orElseThrow();
      assertThat(second.keys().getShape()).isEqualTo(new Shape(2, 3, 4));
      assertThat(second.keys().get("0,:,0").toFloatArray()).containsExactly(8, 24, 40);
      assertThat(second.values().get("1,2,:").toFloatArray()).containsExactly(44, 45, 46, 47);
    }
  }

  @Test
  void countsOfBertBase() {
    ModuleTree base = TinyModel.bert(12, 768, 3072, 10);
    assertThat(
            TinyModel.parameters(
                TinyModel.attach(new PrefixTuning.Config(16, false, 0, "", List.of()), base)))
        .isEqualTo(294_912);
    int h = 512;
    assertThat(
            TinyModel.parameters(
                TinyModel.attach(new PrefixTuning.Config(16, true, h, "", List.of()), base)))
        .isEqualTo(16 * 768 + 768L * h + h + h * 18_432L + 18_432);
    AttachedMethod mam = TinyModel.attach(new Mam().defaults(), base);
    assertThat(TinyModel.parameters(mam)).isEqualTo(294_912 + 12 * (2 * 768 * 16 + 16 + 768));
    assertThat(mam.virtualTokens()).isEqualTo(16);
    for (int[] budget : new int[][] {{40, 45}, {60, 30}}) {
      Dept.Config dept = new Dept.Config(budget[0], budget[1], 8, 256, 60, "RANDOM", "", List.of());
      assertThat(TinyModel.parameters(TinyModel.attach(dept, base))).isEqualTo(76_800);
    }
    assertThat(new Dept.Config(1, 30, 8, 9, 60, "RANDOM", "", List.of()).scale())
        .isCloseTo(1.4605935f, within(1e-6f));
    assertThat(new Dept.Config(1, 45, 8, 9, 60, "RANDOM", "", List.of()).scale())
        .isCloseTo(1.1925696f, within(1e-6f));
  }

  @Test
  void zeroPrefixesStartAtZero() {
    for (boolean projected : List.of(true, false)) {
      AttachedMethod method =
          TinyModel.attach(new PrefixTuning.Config(3, projected, 5, "zero", List.of()), BERT);
      ParameterVector start = flat(method, method.initialValues(1, MethodState.EMPTY, WORDS));
      assertThat(
              TinyModel.of(method.save(start, MethodState.EMPTY), "prompt_embeddings").toFloats())
          .containsOnly(0);
    }
  }

  @Test
  void promptsStartFromWords() {
    float[] text =
        TinyModel.of(
            TinyModel.attach(new PromptTuning.Config(5, "TEXT", "x", "", List.of()), BERT)
                .initialValues(1, MethodState.EMPTY, WORDS),
            "prompt_embeddings");
    assertThat(text).hasSize(20);
    assertThat(List.of(text[0], text[4], text[8], text[12], text[16]))
        .as("repeated to the length")
        .containsExactly(7f, 8f, 9f, 7f, 8f);
    assertThat(
            TinyModel.attach(new PromptTuning.Config(2, "TEXT", "x", "", List.of()), BERT)
                .initialValues(1, MethodState.EMPTY, WORDS)
                .get("prompt_embeddings"))
        .as("cut to the length")
        .containsExactly(7, 7, 7, 7, 8, 8, 8, 8);
    float[] sampled =
        TinyModel.of(
            TinyModel.attach(new PromptTuning.Config(40, "SAMPLE_VOCAB", "", "", List.of()), BERT)
                .initialValues(1, MethodState.EMPTY, WORDS),
            "prompt_embeddings");
    List<Float> words = new ArrayList<>();
    for (int i = 0; i < 160; i += 4) {
      assertThat(sampled[i]).isBetween(0f, 49f).isEqualTo(sampled[i + 3]);
      words.add(sampled[i]);
    }
    assertThat(words.stream().distinct().count()).isGreaterThan(15);
    assertThatThrownBy(() -> new PromptTuning.Config(2, "TEXT", "", "", List.of()))
        .isInstanceOf(ConfigException.class)
        .hasMessageContaining("prompt_tuning_init_text");
  }

  @Test
  void promptComesFirst() {
    AttachedMethod method =
        TinyModel.attach(
            new PromptTuning.Config(2, "RANDOM", "", "", List.of()), TinyModel.bert(1, 2, 3, 5));
    try (NDManager manager = ComputeDevice.cpu().newManager()) {
      Tuning tuning =
          ModifiedForward.of(
              method.modifications(
                  TinyModel.tensors(
                      manager,
                      method,
                      Map.of("prompt_embeddings", new float[] {1, 0, 0, 1}),
                      MethodState.EMPTY),
                  TinyModel.context(manager)));
      NDArray text = manager.create(new float[] {2, 2}, new Shape(1, 1, 2));
      assertThat(tuning.virtualTokens()).isEqualTo(2);
      assertThat(tuning.inputEmbeddings(text).toFloatArray()).containsExactly(1, 0, 0, 1, 2, 2);
    }
  }

  /** A = [[1], [2]], B = [[1, 0]], alpha 8, r 1. */
  @Test
  void deptWorkedExample() {
    Dept.Config config = new Dept.Config(1, 1, 8, 2, 60, "RANDOM", "", List.of());
    AttachedMethod method = TinyModel.attach(config, TinyModel.bert(1, 2, 3, 5));
    assertThat(method.role("prompt_embeddings").rate()).isEqualTo(60);
    assertThat(method.role("lora_embedding_A")).isEqualTo(TensorRole.FACTOR);
    try (NDManager manager = ComputeDevice.cpu().newManager()) {
      Map<String, float[]> values =
          Map.of(
              "prompt_embeddings", new float[] {7, 7},
              "lora_embedding_A", new float[] {1, 2},
              "lora_embedding_B", new float[] {1, 0});
      Tuning tuning =
          ModifiedForward.of(
              method.modifications(
                  TinyModel.tensors(manager, method, values, MethodState.EMPTY),
                  TinyModel.context(manager)));
      Embedding words =
          new Embedding("bert.embeddings.word_embeddings", manager.zeros(new Shape(5, 2)));
      NDArray ids = manager.create(new int[] {3, 1, 1, 2}, new Shape(2, 2));
      assertThat(tuning.embedding(words, ids).toFloatArray())
          .as("by position, every example alike")
          .containsExactly(8, 0, 16, 0, 8, 0, 16, 0);
      NDArray shorter = manager.create(new int[] {3}, new Shape(1, 1));
      assertThat(tuning.embedding(words, shorter).toFloatArray()).containsExactly(8, 0);
      NDArray longer = manager.create(new int[] {3, 1, 1}, new Shape(1, 3));
      assertThatThrownBy(() -> tuning.embedding(words, longer))
          .isInstanceOf(ConfigException.class)
          .hasMessageContaining("max_seq_length")
          .hasMessageContaining("3 tokens");
    }
  }

  @ParameterizedTest
  @ValueSource(strings = {"MLP", "LSTM"})
  void encodersWithoutTheirTensorsCanBeUsedButNotTrained(String kind) {
    AttachedMethod method = TinyModel.attach(new PTuning.Config(3, kind, 5, 3, 0, List.of()), BERT);
    ParameterVector start = flat(method, method.initialValues(1, MethodState.EMPTY, WORDS));
    SortedMap<String, TensorData> file = method.save(start, MethodState.EMPTY);
    assertThat(file.keySet()).containsAll(method.shapes().keySet()).contains("prompt_embeddings");
    TensorData computed = TinyModel.of(file, "prompt_embeddings");
    assertThat(computed.shape()).containsExactly(3, 4);

    AttachedMethod.Loaded whole = method.load(new AdapterTensors("file", file), WORDS);
    assertThat(flat(method, whole.values())).isEqualTo(start);
    assertThat(whole.state().isEmpty()).isTrue();

    file.keySet().removeIf(name -> name.startsWith("prompt_encoder."));
    AttachedMethod.Loaded bare = method.load(new AdapterTensors("file", file), WORDS);
    assertThat(method.save(flat(method, bare.values()), bare.state())).isEqualTo(file);
    try (NDManager manager = ComputeDevice.cpu().newManager()) {
      MethodTensors tensors = TinyModel.tensors(manager, method, bare.values(), bare.state());
      NDArray embedded = manager.zeros(new Shape(1, 1, 4));
      float[] all =
          ModifiedForward.of(method.modifications(tensors, TinyModel.context(manager)))
              .inputEmbeddings(embedded)
              .toFloatArray();
      assertThat(java.util.Arrays.copyOf(all, 12)).containsExactly(computed.toFloats());
      TuningContext training =
          new TuningContext(
              manager,
              true,
              Philox.of(1, "x"),
              TokenBatch.of(List.of(new int[] {1}), 0),
              Probes.none(),
              new ArrayList<>());
      assertThatThrownBy(() -> method.modifications(tensors, training))
          .isInstanceOf(ConfigException.class)
          .hasMessageContaining("cannot be trained further");
    }
  }

  @Test
  void refusesWhatItCannotDoByName() {
    Map<String, Object> fields = new LinkedHashMap<>();
    fields.put("peft_type", "PREFIX_TUNING");
    assertThatThrownBy(() -> PeftMethods.readConfig(fields))
        .isInstanceOf(ConfigException.class)
        .hasMessageContaining("num_virtual_tokens");
    fields.put("num_virtual_tokens", 4);
    fields.put("token_dim", 4);
    fields.put("num_transformer_submodules", 2);
    assertThatThrownBy(() -> PeftMethods.readConfig(fields))
        .isInstanceOf(ConfigException.class)
        .hasMessageContaining("num_transformer_submodules")
        .hasMessageContaining("2");
    fields.put("num_transformer_submodules", 1);
    fields.put("init_weights", "ones");
    assertThatThrownBy(() -> PeftMethods.readConfig(fields))
        .isInstanceOf(ConfigException.class)
        .hasMessageContaining("init_weights");
    fields.put("init_weights", null);
    assertThat(PeftMethods.readConfig(fields))
        .isEqualTo(new PrefixTuning.Config(4, false, 0, "", List.of()));
    assertThat(
            TinyModel.attach(new PrefixTuning.Config(4, false, 0, "", List.of()), BERT)
                .modelFields())
        .containsEntry("token_dim", 4)
        .containsEntry("num_layers", 2)
        .containsEntry("encoder_hidden_size", 4);
    fields.put("peft_type", "PROMPT_TUNING");
    fields.put("tokenizer_kwargs", Map.of("use_fast", false));
    assertThatThrownBy(() -> PeftMethods.readConfig(fields))
        .isInstanceOf(ConfigException.class)
        .hasMessageContaining("tokenizer_kwargs");
  }
}
