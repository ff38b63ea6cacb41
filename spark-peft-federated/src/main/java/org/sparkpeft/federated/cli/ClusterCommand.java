package org.sparkpeft.federated.cli;

import java.util.Map;
import java.util.Optional;
import org.sparkpeft.core.error.Problems;
import org.sparkpeft.federated.cli.Command.Context;
import org.sparkpeft.federated.cli.StandaloneCluster.Plan;
import org.sparkpeft.federated.cli.StandaloneCluster.Status;
import picocli.CommandLine.Option;

@picocli.CommandLine.Command(
    name = "cluster",
    description = "Run a Spark standalone cluster on this host, without installing Spark.",
    subcommands = {
      ClusterCommand.Start.class,
      ClusterCommand.Stop.class,
      ClusterCommand.Show.class
    },
    footer = {
      "",
      "Example:",
      "  spark-peft cluster start --workers 2",
      "  spark-peft train -c conf/quickstart.yaml --master spark://127.0.0.1:7077",
      "  spark-peft cluster stop"
    })
final class ClusterCommand {

  private static StandaloneCluster cluster(Context context) {
    SparkHome home =
        SparkHome.of(context.shell().variables())
            .orElseGet(
                () ->
                    SparkHome.prepare(
                        context.shell().cache().resolve("spark-home"),
                        System.getProperty("java.class.path", "")));
    return new StandaloneCluster(context.shell().cache().resolve("cluster"), home);
  }

  private static Map<String, Object> data(Status status) {
    return Map.of(
        "running", true,
        "master", status.url(),
        "ui", status.ui(),
        "workers", status.workers(),
        "cores", status.cores(),
        "cores_used", status.coresUsed());
  }

  @picocli.CommandLine.Command(
      name = "start",
      description = "Start a master and workers in the background; print the master's address.")
  static final class Start implements Command {
    @Option(
        names = "--workers",
        defaultValue = "2",
        description = "Number of workers (default: ${DEFAULT-VALUE}).")
    private int workers;

    @Option(
        names = "--cores",
        defaultValue = "1",
        description = "Cores of each (default: ${DEFAULT-VALUE}).")
    private int cores;

    @Option(
        names = "--memory",
        defaultValue = "2g",
        description = "Memory of each (default: ${DEFAULT-VALUE}).")
    private String memory = "";

    @Option(
        names = "--host",
        defaultValue = "127.0.0.1",
        description = "Address to listen on (default: ${DEFAULT-VALUE}).")
    private String host = "";

    @Option(
        names = "--port",
        defaultValue = "7077",
        description = "Port of the master, 0 for any free one (default: ${DEFAULT-VALUE}).")
    private int port;

    @Override
    public Outcome run(Context context) {
      new Problems()
          .require(workers >= 1 && workers <= 1000, "--workers", workers, "must be 1..1000")
          .require(cores >= 1 && cores <= 10_000, "--cores", cores, "must be 1..10000")
          .require(memory.matches("[1-9]\\d*[mgMG]"), "--memory", memory, "must be like 512m or 2g")
          .require(port >= 0 && port <= 65_535, "--port", port, "must be 0..65535")
          .throwIfAny();
      Status status = cluster(context).start(new Plan(workers, cores, memory, host, port));
      return Outcome.of(status.url(), data(status));
    }
  }

  @picocli.CommandLine.Command(
      name = "stop",
      description = "End the master and workers that cluster start started.")
  static final class Stop implements Command {
    @Override
    public Outcome run(Context context) {
      int ended = cluster(context).stop();
      return Outcome.of(
          ended == 0 ? "no cluster runs" : "ended " + ended + " processes", Map.of("ended", ended));
    }
  }

  @picocli.CommandLine.Command(
      name = "status",
      description = "Show the cluster that cluster start started.")
  static final class Show implements Command {
    @Override
    public Outcome run(Context context) {
      Optional<Status> status = cluster(context).status();
      return status
          .map(
              s ->
                  Outcome.of(
                      "%s  %d workers, %d of %d cores in use%npages: %s"
                          .formatted(s.url(), s.workers(), s.coresUsed(), s.cores(), s.ui()),
                      data(s)))
          .orElseGet(() -> Outcome.of("no cluster runs", Map.of("running", false)));
    }
  }
}
