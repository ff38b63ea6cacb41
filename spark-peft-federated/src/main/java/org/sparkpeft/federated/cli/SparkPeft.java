package org.sparkpeft.federated.cli;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.SerializationFeature;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.TreeMap;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.error.DataException;
import org.sparkpeft.core.error.FormatException;
import picocli.CommandLine;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.ScopeType;

/**
 * The command line as a function from arguments to a result; prints nothing but progress, exits
 * never. {@link Main} and {@link JobMain} are its two ways into a process.
 */
@CommandLine.Command(
    name = "spark-peft",
    description = "Federated, parameter-efficient fine-tuning of transformers on Apache Spark.",
    subcommands = {
      QuickstartCommand.class,
      TrainCommand.class,
      PlanCommand.class,
      EvaluateCommand.class,
      PredictCommand.class,
      GenerateCommand.class,
      InspectCommand.class,
      PullCommand.class,
      MergeCommand.class,
      CompressCommand.class,
      DecompressCommand.class,
      BenchCommand.class,
      ClusterCommand.class,
      VersionCommand.class,
      CompletionCommand.class
    },
    footer = {
      "",
      "Exit codes: 0 done, 2 wrong recipe or option, 3 unusable data or file, 1 anything else.",
      "Start with: spark-peft quickstart"
    })
public final class SparkPeft {
  static final int FAILED = 1;
  static final int BAD_CONFIG = 2;
  static final int BAD_DATA = 3;

  private static final ObjectMapper JSON =
      new ObjectMapper().enable(SerializationFeature.ORDER_MAP_ENTRIES_BY_KEYS);

  private final Actions actions;
  private final Shell shell;

  @Option(
      names = {"-h", "--help"},
      usageHelp = true,
      scope = ScopeType.INHERIT,
      description = "Show this help.")
  @SuppressWarnings("unused") // picocli acts on it
  private boolean help;

  @Option(
      names = "--json",
      scope = ScopeType.INHERIT,
      description = "Print the result as one JSON object; draw no progress.")
  private boolean json;

  @Option(
      names = "--verbose",
      scope = ScopeType.INHERIT,
      description = "Show stack traces of failures.")
  private boolean verbose;

  SparkPeft(Actions actions, Shell shell) {
    this.actions = actions;
    this.shell = shell;
  }

  /** The command line of this process. */
  public SparkPeft(Actions actions) {
    this(actions, Shell.ofProcess());
  }

  /** Runs one command; never throws. */
  public CommandResult run(String... args) {
    json = false;
    verbose = false;
    CommandLine line = commandLine();
    try {
      CommandLine.ParseResult parsed = line.parseArgs(args);
      StringWriter usage = new StringWriter();
      line.setOut(new PrintWriter(usage));
      if (CommandLine.printHelpIfRequested(parsed)) {
        return new CommandResult(0, usage.toString(), "", Optional.empty(), Optional.empty());
      }
      CommandLine.ParseResult last = parsed;
      while (last.hasSubcommand()) {
        last = last.subcommand();
      }
      CommandLine.Model.CommandSpec spec = last.commandSpec();
      if (!(spec.userObject() instanceof Command command)) {
        return failure(BAD_CONFIG, spec.commandLine().getUsageMessage(), Optional.empty());
      }
      Outcome outcome = command.run(new Command.Context(actions, shell, json));
      String output = json ? toJson(outcome.data()) : outcome.message();
      return new CommandResult(0, output, "", Optional.of(outcome), Optional.empty());
    } catch (ParameterException e) {
      json = Arrays.asList(args).contains("--json");
      return failure(BAD_CONFIG, usage(e), Optional.of(e));
    } catch (Exception e) {
      // Spark throws checked exceptions from methods that do not declare them.
      RuntimeException known = known(e);
      return failure(exitCode(known), message(known, e), Optional.of(known));
    }
  }

  /** A fresh picocli model; options given before do not linger in it. */
  CommandLine commandLine() {
    return new CommandLine(this)
        .setCaseInsensitiveEnumValuesAllowed(true)
        .setUsageHelpAutoWidth(true)
        .setExpandAtFiles(false);
  }

  private static String usage(ParameterException e) {
    CommandLine line = e.getCommandLine();
    StringWriter text = new StringWriter();
    PrintWriter writer = new PrintWriter(text);
    writer.println(e.getMessage());
    if (!CommandLine.UnmatchedArgumentException.printSuggestions(e, writer)) {
      writer.println("See: " + line.getCommandSpec().qualifiedName(" ") + " --help");
    }
    writer.flush();
    return text.toString();
  }

  private static int exitCode(RuntimeException known) {
    if (known instanceof ConfigException) {
      return BAD_CONFIG;
    }
    return known instanceof DataException || known instanceof FormatException ? BAD_DATA : FAILED;
  }

  /** The failure a user can act on, which Spark or a thread pool may have wrapped. */
  private static RuntimeException known(Exception thrown) {
    Throwable cause = thrown;
    // Bounded, since a chain of causes may be a ring.
    for (int depth = 0; depth < 20 && cause != null; depth++) {
      if (cause instanceof ConfigException
          || cause instanceof DataException
          || cause instanceof FormatException) {
        return (RuntimeException) cause;
      }
      cause = cause.getCause();
    }
    return thrown instanceof RuntimeException unchecked
        ? unchecked
        : new IllegalStateException(summary(thrown), thrown);
  }

  /** The first cause in one line; Spark's own message holds a stack trace. */
  private static String summary(Exception thrown) {
    Throwable first = thrown;
    for (int depth = 0; depth < 20 && first.getCause() != null; depth++) {
      first = first.getCause();
    }
    String message = first.getMessage() == null ? "" : first.getMessage();
    return first.getClass().getSimpleName() + ": " + message.replaceAll("\\s+", " ");
  }

  private String message(RuntimeException known, Exception thrown) {
    String text = known.getMessage() == null ? "" : known.getMessage();
    boolean ours = exitCode(known) != FAILED || thrown instanceof IllegalStateException;
    boolean told = ours || known != thrown;
    String said = told && !text.isBlank() ? text : known.getClass().getSimpleName() + ": " + text;
    if (verbose) {
      return said + System.lineSeparator() + StackTrace.of(thrown);
    }
    return ours ? said : said + System.lineSeparator() + "(--verbose shows where)";
  }

  private CommandResult failure(int exitCode, String error, Optional<RuntimeException> thrown) {
    String output = "";
    if (json) {
      Map<String, Object> data = new TreeMap<>();
      data.put("error", error.strip());
      data.put("exit_code", exitCode);
      thrown
          .filter(ConfigException.class::isInstance)
          .ifPresent(e -> data.put("problems", problems((ConfigException) e)));
      output = toJson(data);
    }
    return new CommandResult(exitCode, output, error, Optional.empty(), thrown);
  }

  private static List<Map<String, String>> problems(ConfigException e) {
    return e.problems().stream()
        .map(p -> Map.of("key", p.key(), "message", p.message(), "where", p.where()))
        .toList();
  }

  static String toJson(Map<String, Object> data) {
    try {
      return JSON.writeValueAsString(data);
    } catch (JsonProcessingException e) {
      throw new IllegalStateException("the result has a value that JSON cannot hold", e);
    }
  }
}
