package org.sparkpeft.federated.config;

import java.io.Serializable;
import java.util.Set;
import org.sparkpeft.core.error.Problems;
import org.sparkpeft.core.metric.TextMetric;
import org.sparkpeft.core.peft.LoraConfig;
import org.sparkpeft.core.peft.PeftConfig;
import org.sparkpeft.core.train.ClientsPerPass;
import org.sparkpeft.core.train.TrainConfig;
import org.sparkpeft.federated.aggregate.AggregateConfig;
import org.sparkpeft.federated.server.ServerConfig;

/**
 * One federated fine-tuning run, complete: what {@link RecipeReader} makes of a YAML file and what
 * {@link RecipeWriter} writes back. Each section checks its own values; this record checks what
 * spans sections, in messages that name every key they looked at.
 */
public record Recipe(
    RunConfig run,
    ModelConfig model,
    DataConfig data,
    ClientsConfig clients,
    PeftConfig peft,
    TrainConfig train,
    RoundsConfig rounds,
    CompressConfig compress,
    AggregateConfig aggregate,
    ServerConfig server,
    EvaluateConfig evaluate,
    SparkConfig spark)
    implements Serializable {
  /** Partitions that need exactly one label for each example. */
  private static final Set<String> BY_LABEL = Set.of("dirichlet", "shard");

  /** Tasks whose examples are prompts and replies. */
  private static final Set<String> MAKES_TEXT = Set.of("text-generation", "text2text-generation");

  public Recipe {
    Problems problems = new Problems();
    if (clients.countIsKnown()) {
      checkCohort(problems, clients, rounds);
    }
    problems
        .require(
            !BY_LABEL.contains(clients.partition()) || ModelConfig.hasOneClass(model.task()),
            "clients.partition",
            clients.partition(),
            "needs one label for each example, which model.task "
                + model.task()
                + " has not; use column, iid or quantity")
        .require(
            !data.label().isBlank() || !ModelConfig.hasLabel(model.task()),
            "data.label",
            "\"\"",
            "model.task " + model.task() + " needs the column of the label")
        .require(
            data.rejected().isEmpty() != needsRejected(model.task()),
            "data.rejected",
            "\"" + data.rejected() + "\"",
            needsRejected(model.task())
                ? "model.task " + model.task() + " needs the column of the rejected completion"
                : "is for model.task dpo, ipo and orpo")
        .require(
            !ModelConfig.isPreference(model.task()) || !data.textPair().isEmpty(),
            "data.text_pair",
            "\"\"",
            "model.task "
                + model.task()
                + " needs the column of the completion (of pairs, of the chosen one)")
        .require(
            data.targetTokenizer().isEmpty() || model.task().equals("text2text-generation"),
            "data.target_tokenizer",
            data.targetTokenizer(),
            "is for model.task text2text-generation, got " + model.task())
        .require(
            !ModelConfig.isLanguage(model.task()) || !evaluate.references().contains("head_only"),
            "evaluate.references",
            evaluate.references(),
            "a language model has no head to train alone; leave head_only out")
        .require(
            evaluate.textMetrics().isEmpty() || hasReplies(model.task(), data),
            "evaluate.metrics",
            evaluate.metrics(),
            "those that compare texts ("
                + String.join(", ", TextMetric.names())
                + ") need references: model.task text-generation with data.text_pair or"
                + " a data.formatting with replies, or text2text-generation")
        .require(
            data.formatting().equals(DataConfig.COLUMNS) || MAKES_TEXT.contains(model.task()),
            "data.formatting",
            data.formatting(),
            "is for model.task text-generation and text2text-generation, got " + model.task())
        .require(
            !data.packing() || model.task().equals("text-generation"),
            "data.packing",
            data.packing(),
            "is for model.task text-generation, got " + model.task())
        .require(
            !data.packing() || train.clientsPerPass().equals(ClientsPerPass.ONE),
            "data.packing",
            data.packing(),
            "needs train.clients_per_pass 1: packed texts of several clients do not share passes")
        .require(
            data.task().isEmpty() || peft.taskCount().isPresent(),
            "data.task",
            data.task(),
            "peft.peft_type "
                + peft.peftType()
                + " does not tell tasks apart; use MTLORA, or POLY with trainable all or logits, or"
                + " leave the column out")
        .require(
            !data.trainOnPrompt() || model.task().equals("text-generation"),
            "data.train_on_prompt",
            data.trainOnPrompt(),
            "is for model.task text-generation, got " + model.task())
        .require(
            !clients.partition().equals("shard")
                || data.labels().isEmpty()
                || clients.labelsPerClient() <= data.labels().size(),
            "clients.labels_per_client",
            clients.labelsPerClient(),
            "data.labels has only " + data.labels().size() + " names")
        .require(
            !data.test().isBlank() || evaluate.references().isEmpty(),
            "evaluate.references",
            evaluate.references(),
            "needs data.test to compare on")
        .require(
            spark.localThreads() == 0 || spark.taskCpus() <= spark.localThreads(),
            "spark.task_cpus",
            spark.taskCpus(),
            "spark.master " + spark.master() + " has fewer cores, so no task would ever start")
        .throwIfAny();
  }

  /** Whether every row says what is to be said after its text. */
  private static boolean hasReplies(String task, DataConfig data) {
    return task.equals("text2text-generation")
        || (task.equals("text-generation") && (!data.textPair().isEmpty() || data.hasTurns()));
  }

  private static boolean needsRejected(String task) {
    return ModelConfig.isPreference(task) && !ModelConfig.hasLabel(task);
  }

  private static void checkCohort(Problems problems, ClientsConfig clients, RoundsConfig rounds) {
    problems
        .require(
            rounds.clientsPerRound() <= clients.count(),
            "rounds.clients_per_round",
            rounds.clientsPerRound(),
            "must be at most clients.count, which is " + clients.count())
        .require(
            rounds.minClients() <= rounds.cohortSize(clients.count()),
            "rounds.min_clients",
            rounds.minClients(),
            "must be at most the cohort that rounds.clients_per_round, rounds.participation and"
                + " clients.count give, which is "
                + rounds.cohortSize(clients.count()));
  }

  /** Every default of a recipe; a recipe on file must at least name its data. */
  public static Recipe defaults() {
    return new Recipe(
        RunConfig.defaults(),
        ModelConfig.defaults(),
        DataConfig.defaults(),
        ClientsConfig.defaults(),
        LoraConfig.defaults(),
        TrainConfig.defaults(),
        RoundsConfig.defaults(),
        CompressConfig.defaults(),
        AggregateConfig.defaults(),
        ServerConfig.defaults(),
        EvaluateConfig.defaults(),
        SparkConfig.defaults());
  }

  /** The same run that measures other things. */
  Recipe withEvaluate(EvaluateConfig other) {
    return new Recipe(
        run, model, data, clients, peft, train, rounds, compress, aggregate, server, other, spark);
  }

  /** The same run with its files elsewhere. */
  public Recipe withPlaces(RunConfig newRun, ModelConfig newModel, DataConfig newData) {
    return new Recipe(
        newRun, newModel, newData, clients, peft, train, rounds, compress, aggregate, server,
        evaluate, spark);
  }
}
