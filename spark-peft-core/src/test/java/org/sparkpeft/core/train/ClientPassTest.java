package org.sparkpeft.core.train;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CancellationException;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;
import org.sparkpeft.core.engine.ComputeDevice;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.error.DataException;
import org.sparkpeft.core.peft.HeadOnlyConfig;
import org.sparkpeft.core.peft.LoraConfig;
import org.sparkpeft.core.peft.PeftConfig;
import org.sparkpeft.core.peft.TargetModules;
import org.sparkpeft.core.random.Philox;
import org.sparkpeft.core.vector.ParameterVector;

/** Clients that share passes get what they get alone. */
class ClientPassTest {
  private static final String BERT = "bert-sequence-classification";
  private static final TrainConfig TRAINING =
      new TrainConfig(
          2, 0, 8, 1, "adamw", 5e-3, 0.01, 0.9, 0.999, 1e-8, 0.3, "rex", "federation", 0.1, true);

  private static LoraConfig lora(double dropout, List<String> save, String... targets) {
    return new LoraConfig(
        3,
        6,
        dropout,
        TargetModules.of(targets),
        List.of(),
        true,
        "false",
        Map.of("value", 5),
        Map.of(),
        List.of(),
        save);
  }

  private static LoraConfig plain() {
    return lora(0, List.of(), "query", "value", "output.dense");
  }

  private static TunableModel load(String fixture, PeftConfig peft) {
    return load(fixture, Models.classification(3), peft);
  }

  private static TunableModel load(String fixture, TaskConfig task, PeftConfig peft) {
    return TunableModel.load(Models.fixture(fixture), task, peft, ComputeDevice.cpu()).started(3);
  }

  private static LocalPlan plan(int client, double mu) {
    return new LocalPlan(11, 2, "client-" + client, 0.2, 0.7, mu, () -> false);
  }

  private static List<ClientPass.Client> clients(
      TunableModel model, double mu, List<? extends ListExamples> examples) {
    return IntStream.range(0, examples.size())
        .mapToObj(
            i ->
                new ClientPass.Client(
                    model.initialParameters(5 + i % 2), examples.get(i), plan(i, mu)))
        .toList();
  }

  /** Of 1, 3, 9, ... texts, of 4 to 27 tokens. */
  private static List<ListExamples> uneven() {
    int[] sizes = {24, 3, 61, 9, 1, 17};
    return IntStream.range(0, sizes.length)
        .mapToObj(i -> ListExamples.random(sizes[i], 3, 12 + 3 * i, 160, i))
        .toList();
  }

  private static void assertAsAlone(
      TunableModel model, TrainConfig config, List<ClientPass.Client> clients) {
    assertAsAlone(model, config, clients, new ClientPass(model, config));
  }

  private static void assertAsAlone(
      TunableModel model, TrainConfig config, List<ClientPass.Client> clients, ClientPass pass) {
    assertThat(model.whyOneByOne()).isEmpty();
    List<ClientPass.Outcome> outcomes = pass.train(clients);
    assertThat(outcomes).hasSameSizeAs(clients);
    for (int i = 0; i < clients.size(); i++) {
      ClientPass.Client client = clients.get(i);
      LocalResult alone =
          new LocalTrainer(model, config).train(client.start(), client.examples(), client.plan());
      LocalResult shared = outcomes.get(i).result();
      assertThat(shared.steps()).isEqualTo(alone.steps());
      assertThat(shared.tokens()).isEqualTo(alone.tokens());
      assertThat(shared.numExamples()).isEqualTo(alone.numExamples());
      assertThat(shared.losses()).hasSameSizeAs(alone.losses());
      for (int b = 0; b < alone.losses().size(); b++) {
        double expected = alone.losses().get(b);
        assertThat(Math.abs(shared.losses().get(b) - expected))
            .as("loss %d of client %d", b, i)
            .isLessThan(TOLERANCE * Math.max(1, expected));
      }
      double moved = distance(alone.parameters(), client.start());
      assertThat(moved).isPositive();
      assertThat(distance(shared.parameters(), alone.parameters()))
          .as("parameters of client %d", i)
          .isLessThan(TOLERANCE * norm(alone.parameters()));
    }
  }

  private static final double TOLERANCE = 1e-6;

  private static double distance(ParameterVector a, ParameterVector b) {
    float[] x = a.toArray();
    float[] y = b.toArray();
    return Math.sqrt(
        IntStream.range(0, x.length).mapToDouble(i -> Math.pow((double) x[i] - y[i], 2)).sum());
  }

  private static double norm(ParameterVector a) {
    return distance(a, ParameterVector.zeros(a.layout()));
  }

  @Test
  void unevenClientsTrainAsAlone() {
    try (TunableModel model = load(BERT, plain())) {
      assertAsAlone(model, TRAINING, clients(model, 0, uneven()));
    }
  }

  @Test
  void accumulationProximalTermAndSgdToo() {
    TrainConfig config =
        new TrainConfig(
            1, 5, 4, 3, "sgd", 5e-2, 0.1, 0.9, 0.999, 1e-8, 0.5, "cosine", "round", 0, false);
    try (TunableModel model = load(BERT, plain())) {
      assertAsAlone(model, config, clients(model, 0.1, uneven()));
    }
  }

  @ParameterizedTest
  @ValueSource(strings = {"pissa", "olora", "gaussian", "true"})
  void everyStart(String init) {
    LoraConfig config = plain().withInit(init).withLoraplusRatio(4);
    try (TunableModel model = load(BERT, config)) {
      assertAsAlone(model, TRAINING, clients(model, 0, uneven().subList(0, 3)));
    }
    try (TunableModel model = load(BERT, config.withFrozenA())) {
      assertAsAlone(model, TRAINING, clients(model, 0, uneven().subList(0, 3)));
    }
  }

  @ParameterizedTest
  @CsvSource({
    "bert-token-classification, token-classification, query",
    "bert-model, sentence-embedding, query",
    "bert-model, regression, value",
    "bert-model, multi-label-classification, value",
    "roberta-sequence-classification, text-classification, query",
    "distilbert-sequence-classification, text-classification, q_lin",
    "mpnet-sequence-classification, text-classification, attn.q",
    "electra-sequence-classification, text-classification, query",
    "llama-gqa, text-generation, q_proj",
    "gpt2, text-generation, c_attn",
    "t5, text2text-generation, q",
    "bart, text2text-generation, q_proj"
  })
  void everyTaskAndArchitecture(String fixture, String task, String target) {
    List<String> labels =
        task.endsWith("classification") ? List.of("label0", "label1", "label2") : List.of();
    TaskConfig config = new TaskConfig(task, labels, "auto", 32);
    try (TunableModel model = load(fixture, config, lora(0, List.of(), target))) {
      List<ListExamples> examples =
          IntStream.of(11, 4, 7).mapToObj(size -> labelled(task, size)).toList();
      assertAsAlone(model, TRAINING, clients(model, 0, examples));
    }
  }

  private static ListExamples labelled(String task, int size) {
    ListExamples texts = ListExamples.random(size, 3, 15, 90, size);
    ListExamples labelled = new ListExamples();
    for (int i = 0; i < size; i++) {
      int[] text = texts.tokens(i);
      Philox random = Philox.of(size, "labels", i);
      switch (task) {
        case "token-classification" ->
            labelled.add(text, Arrays.stream(text).map(token -> token % 3).toArray());
        case "text-generation" -> labelled.add(text, text);
        case "text2text-generation" -> labelled.add(text, Arrays.copyOf(text, 3));
        case "sentence-embedding" ->
            labelled.addPair(text, Arrays.copyOfRange(text, 1, text.length));
        case "regression" -> labelled.addValues(text, (float) random.doubleAt(0));
        case "multi-label-classification" -> labelled.addValues(text, i & 1, (i >> 1) & 1, 1);
        default -> labelled.add(text, i % 3);
      }
    }
    return labelled;
  }

  /** Scores of words in pieces, and layers computed a second time. */
  @ParameterizedTest
  @CsvSource({"llama-gqa, text-generation, q_proj", "t5, text2text-generation, q"})
  void inPieces(String fixture, String task, String target) {
    TaskConfig config = new TaskConfig(task, List.of(), "auto", 32);
    try (TunableModel model = load(fixture, config, lora(0, List.of(), target))) {
      List<ListExamples> examples =
          IntStream.of(11, 4, 7).mapToObj(size -> labelled(task, size)).toList();
      Objective objective = new LanguageObjective(task.equals("text-generation"), 3000);
      for (boolean checkpointing : new boolean[] {false, true}) {
        TrainConfig training = TRAINING.withGradientCheckpointing(checkpointing);
        assertAsAlone(
            model,
            training,
            clients(model, 0, examples),
            new ClientPass(model, training, objective));
      }
    }
  }

  @Test
  void theSameClientsGiveTheSameBits() {
    try (TunableModel model = load(BERT, plain())) {
      List<ClientPass.Client> clients = clients(model, 0, uneven());
      List<ClientPass.Outcome> first = new ClientPass(model, TRAINING).train(clients);
      List<ClientPass.Outcome> again = new ClientPass(model, TRAINING).train(clients);
      for (int i = 0; i < clients.size(); i++) {
        assertThat(again.get(i).result().parameters())
            .isEqualTo(first.get(i).result().parameters());
      }
    }
  }

  @Test
  void aClientThatFailsLeavesTheOthersAlone() {
    try (TunableModel model = load(BERT, plain())) {
      List<ListExamples> examples = new ArrayList<>(uneven());
      examples.set(1, new ListExamples().add(new int[] {5, 6, 7}, 9)); // there are three classes
      List<ClientPass.Client> clients = new ArrayList<>(clients(model, 0, examples));
      float[] huge = clients.get(3).start().toArray();
      Arrays.fill(huge, Float.MAX_VALUE);
      clients.set(
          3,
          new ClientPass.Client(
              ParameterVector.of(model.layout(), huge), examples.get(3), plan(3, 0)));
      clients.set(5, new ClientPass.Client(clients.get(5).start(), new ListExamples(), plan(5, 0)));
      AtomicInteger asked = new AtomicInteger();
      LocalPlan cancelled =
          new LocalPlan(11, 2, "client-2", 0.2, 0.7, 0, () -> asked.incrementAndGet() > 4);
      clients.set(2, new ClientPass.Client(clients.get(2).start(), examples.get(2), cancelled));

      List<ClientPass.Outcome> outcomes = new ClientPass(model, TRAINING).train(clients);
      assertThatThrownBy(() -> outcomes.get(1).result())
          .isInstanceOf(DataException.class)
          .hasMessageContaining("example 0");
      assertThatThrownBy(() -> outcomes.get(2).result())
          .isInstanceOf(CancellationException.class)
          .hasMessageContaining("client-2");
      assertThatThrownBy(() -> outcomes.get(3).result())
          .isInstanceOf(NonFiniteException.class)
          .hasMessageContaining("client-3");
      assertThatThrownBy(() -> outcomes.get(5).result()).isInstanceOf(DataException.class);
      for (int i : new int[] {0, 4}) {
        ClientPass.Client client = clients.get(i);
        LocalResult alone =
            new LocalTrainer(model, TRAINING)
                .train(client.start(), client.examples(), client.plan());
        assertThat(distance(outcomes.get(i).result().parameters(), alone.parameters()))
            .isLessThan(TOLERANCE * norm(alone.parameters()));
      }
    }
  }

  @Test
  void whatCannotBeSharedSaysWhy() {
    assertReason(lora(0.1, List.of(), "query"), "lora_dropout is 0.1");
    assertReason(plain().withDora(), "use_dora");
    assertReason(plain().withBias("all"), "biases");
    assertReason(lora(0, List.of(), "query", "word_embeddings"), "embedding");
    assertReason(lora(0, List.of("LayerNorm"), "query"), "LayerNorm");
    assertReason(HeadOnlyConfig.defaults(), "peft_type NONE");
    try (TunableModel model =
        load("deberta-v2-sequence-classification", lora(0, List.of(), "query_proj"))) {
      assertThat(model.whyOneByOne()).get().asString().contains("in common");
    }
  }

  private static void assertReason(PeftConfig config, String reason) {
    try (TunableModel model = load(BERT, config)) {
      assertThat(model.whyOneByOne()).get().asString().contains(reason);
      assertThatThrownBy(() -> new ClientPass(model, TRAINING))
          .isInstanceOf(IllegalArgumentException.class)
          .hasMessageContaining(reason);
    }
  }

  @Test
  void clientsOfAPassFollowFromTheConfiguration() {
    assertThat(ClientsPerPass.AUTO.clients(4)).isEqualTo(16);
    assertThat(ClientsPerPass.AUTO.clients(1000)).isOne();
    assertThat(ClientsPerPass.fromConfig(5).clients(4)).isEqualTo(5);
    assertThat(ClientsPerPass.fromConfig("auto")).isEqualTo(ClientsPerPass.AUTO);
    for (Object wrong : List.of(0, -1, 65, 4.0, "many", List.of(4))) {
      assertThatThrownBy(() -> ClientsPerPass.fromConfig(wrong))
          .isInstanceOf(ConfigException.class)
          .hasMessageContaining("clients_per_pass")
          .hasMessageContaining(String.valueOf(wrong));
    }
  }
}
