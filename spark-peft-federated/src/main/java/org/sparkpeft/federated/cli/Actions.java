package org.sparkpeft.federated.cli;

import java.nio.file.Path;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.TreeMap;
import java.util.function.Consumer;
import org.sparkpeft.core.metric.TextMetric;
import org.sparkpeft.federated.config.GenerateConfig;
import org.sparkpeft.federated.config.ModelConfig;
import org.sparkpeft.federated.config.Recipe;
import org.sparkpeft.federated.config.SparkConfig;
import org.sparkpeft.federated.round.RunListener;

/**
 * The work behind the commands. Requests are complete and checked; relative paths are resolved.
 * Failures are thrown and become exit codes.
 */
public interface Actions {

  /** Trains as the recipe says; with {@code dryRun} checks everything up to the first round. */
  Outcome train(Recipe recipe, TrainOptions options, RunListener listener);

  /** What a recipe would cost with each of the methods; trains nothing. */
  Outcome plan(Recipe recipe, List<String> methods);

  /** Trains each of the methods on the recipe's data in one place and compares them. */
  Outcome benchMethods(Recipe recipe, MethodBenchOptions options);

  /**
   * How to compare methods.
   *
   * @param methods Hugging Face names
   * @param steps optimiser updates of each
   * @param out Markdown file to write; empty for none
   * @param progress told of each method that is done
   */
  record MethodBenchOptions(
      List<String> methods, int steps, String out, Consumer<String> progress) {
    public MethodBenchOptions {
      methods = List.copyOf(methods);
    }
  }

  /** Times the updates of one training. */
  Outcome benchTrain(Recipe recipe, TrainBenchOptions options);

  /**
   * What to time.
   *
   * @param madeUp whether on random examples of full length instead of the recipe's
   * @param warmup updates before the clock starts
   * @param steps updates timed; 0 for a pass over all examples
   * @param out JSON file to write; empty for none
   */
  record TrainBenchOptions(boolean madeUp, int warmup, int steps, Path out) {}

  /** Trains made-up clients one by one and in shared passes and compares the time. */
  Outcome benchClients(Recipe recipe, ClientBenchOptions options);

  /**
   * How to compare.
   *
   * @param clients number of clients
   * @param turns how often each way is measured
   * @param progress told of each turn that is done
   */
  record ClientBenchOptions(int clients, int turns, Consumer<String> progress) {}

  /** Trains the bundled example and shows what came of it. */
  Outcome quickstart(Recipe recipe, TrainOptions options, RunListener listener);

  /** Metrics of an adapter on test data. */
  Outcome evaluate(EvaluateRequest request);

  /** Labels and scores for texts, images or recordings. */
  Outcome predict(PredictRequest request);

  /**
   * Fetches a model from a hub.
   *
   * @param name {@code ORGANISATION/MODEL}
   * @param revision branch, tag or commit
   * @param folder where it goes
   * @param variables of the environment: {@code HF_ENDPOINT}, {@code HF_TOKEN}
   * @param progress told of each file as it begins
   */
  Outcome pull(
      String name,
      String revision,
      Path folder,
      Map<String, String> variables,
      Consumer<String> progress);

  /** Continues texts. */
  Outcome generate(GenerateRequest request);

  /**
   * How to train.
   *
   * @param resume go on from the last complete round in {@code run.dir}; without it a folder that
   *     holds a run is refused
   * @param dryRun check and describe, train nothing, write nothing
   */
  record TrainOptions(boolean resume, boolean dryRun) {}

  /** Where an adapter and all that is needed to run it come from. */
  sealed interface AdapterSource {
    /**
     * A finished or interrupted run.
     *
     * @param recipe the run's {@code config.yaml}, its {@code run.dir} being where it was found
     */
    record FromRun(Recipe recipe) implements AdapterSource {}

    /**
     * An adapter on its own.
     *
     * @param adapter Hugging Face PEFT directory
     * @param model base model and task
     * @param labels class names in index order; empty when the adapter directory knows them
     */
    record FromDirectory(String adapter, ModelConfig model, List<String> labels)
        implements AdapterSource {
      public FromDirectory {
        labels = List.copyOf(labels);
      }
    }

    /**
     * Adapters on top of each other, the first innermost.
     *
     * @param adapters at least one
     * @param model base model and task
     * @param labels class names in index order; empty when the adapter directories know them
     * @param head name of the adapter whose task head is used; empty where only one has one
     */
    record Stack(List<Named> adapters, ModelConfig model, List<String> labels, String head)
        implements AdapterSource {
      public Stack {
        adapters = List.copyOf(adapters);
        labels = List.copyOf(labels);
      }
    }

    /**
     * An adapter of a stack.
     *
     * @param adapter Hugging Face PEFT directory
     * @param weight strength, 1 as trained
     */
    record Named(String name, String adapter, float weight) {}
  }

  /**
   * Rows to read.
   *
   * @param path what Spark is asked to load, or a table name with format {@code table}
   * @param format Spark data source
   * @param options options of Spark's reader
   * @param input column of the text, image or recording
   * @param textPair column of a second text, empty for none
   * @param rejected column of the rejected completion, empty for none
   * @param label column of the label, empty for none
   * @param task column of the task, empty where all is one task
   */
  record InputData(
      String path,
      String format,
      Map<String, String> options,
      String input,
      String textPair,
      String rejected,
      String label,
      String task) {
    public InputData {
      options = Collections.unmodifiableMap(new TreeMap<>(options));
    }
  }

  /**
   * What to evaluate.
   *
   * @param data the data; empty means the test data of the run
   * @param texts how generated texts are compared with references; with no metrics nothing is
   *     generated
   * @param generate how texts are generated
   */
  record EvaluateRequest(
      AdapterSource source,
      Optional<InputData> data,
      List<TextMetric> texts,
      GenerateConfig generate,
      SparkConfig spark) {
    public EvaluateRequest {
      texts = List.copyOf(texts);
    }
  }

  /**
   * What to predict.
   *
   * @param texts texts given on the command line; empty when {@code data} is there
   * @param files images or recordings given on the command line, likewise
   * @param taskName name of the task of texts or files; empty for the first
   * @param data rows to predict
   * @param out where rows with predictions are written, empty when {@code texts} are given
   */
  record PredictRequest(
      AdapterSource source,
      List<String> texts,
      List<String> files,
      String taskName,
      Optional<InputData> data,
      String out,
      SparkConfig spark) {
    public PredictRequest {
      texts = List.copyOf(texts);
      files = List.copyOf(files);
    }
  }

  /**
   * Proxy tuning.
   *
   * @param model the smaller model
   * @param adapter what training made of it; empty if {@code model} itself was trained
   * @param base the smaller model before that; empty for {@code model} without the adapter
   * @param alpha strength
   */
  record ProxyInput(String model, String adapter, String base, double alpha) {}

  /**
   * What to continue.
   *
   * @param run folder of a run; empty where {@code model} is given
   * @param model base model
   * @param adapter adapter on {@code model}; empty for the base alone
   * @param texts what to continue
   * @param taskName name of their task; empty for the first
   * @param settings of {@code generation_config.json}, in place of the model's
   * @param maxLength tokens kept of a text
   * @param data rows to continue in place of {@code texts}
   * @param out where those rows are written
   * @param proxy a smaller model whose training tunes this one
   * @param perplexity whether to say how unexpected {@code texts} are in place of continuing them
   */
  record GenerateRequest(
      String run,
      String model,
      String adapter,
      List<String> texts,
      String taskName,
      Map<String, Object> settings,
      int maxLength,
      Optional<InputData> data,
      String out,
      SparkConfig spark,
      Optional<ProxyInput> proxy,
      boolean perplexity) {
    public GenerateRequest {
      texts = List.copyOf(texts);
      settings = Map.copyOf(settings);
    }
  }
}
