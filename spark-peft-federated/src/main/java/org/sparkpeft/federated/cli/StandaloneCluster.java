package org.sparkpeft.federated.cli;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.ServerSocket;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Optional;
import java.util.stream.Stream;
import org.apache.spark.launcher.JavaModuleOptions;
import org.sparkpeft.core.error.ConfigException;

/**
 * A Spark standalone cluster on this host: one Master and some Workers as background processes, run
 * from the jars of this project. Their ids and logs lie in one folder, so that a later command
 * finds them.
 */
final class StandaloneCluster {
  private static final String MASTER = "org.apache.spark.deploy.master.Master";
  private static final String WORKER = "org.apache.spark.deploy.worker.Worker";
  private static final Duration START_LIMIT = Duration.ofSeconds(180);
  private static final ObjectMapper JSON = new ObjectMapper();

  private final Path folder;
  private final SparkHome home;

  /**
   * @param folder where process ids and logs are kept
   * @param home whose jars the processes and their executors run
   */
  StandaloneCluster(Path folder, SparkHome home) {
    this.folder = folder;
    this.home = home;
  }

  /**
   * What to start.
   *
   * @param workers number of workers
   * @param cores cores that each offers
   * @param memory memory that each offers, as Spark writes it: {@code 2g}
   * @param host address that everything listens on
   * @param port port of the master; 0 takes a free one
   */
  record Plan(int workers, int cores, String memory, String host, int port) {}

  /**
   * What runs.
   *
   * @param url for {@code --master}
   * @param ui address of the master's pages
   * @param workers workers that are registered and alive
   * @param cores cores of all of them
   * @param coresUsed cores taken by applications
   */
  record Status(String url, String ui, int workers, int cores, int coresUsed) {}

  /**
   * Starts a cluster and waits until every worker is registered.
   *
   * @throws IllegalStateException if one runs already or the processes do not come up
   */
  Status start(Plan plan) {
    Optional<Status> running = status();
    if (running.isPresent()) {
      throw new IllegalStateException(
          "a cluster runs already at "
              + running.get().url()
              + "; end it with: spark-peft cluster stop");
    }
    stop();
    try {
      Files.createDirectories(folder);
      int port = plan.port() == 0 ? freePort(plan.host()) : requireFree(plan.host(), plan.port());
      int uiPort = freePort(plan.host());
      Place place =
          new Place("spark://" + plan.host() + ":" + port, "http://" + plan.host() + ":" + uiPort);
      place.write(folder);
      List<String> master =
          List.of(MASTER, "--host", plan.host(), "--port", "" + port, "--webui-port", "" + uiPort);
      launch("master", plan.host(), master);
      for (int i = 0; i < plan.workers(); i++) {
        launch("worker-" + i, plan.host(), worker(plan, place.url(), i));
      }
      return awaitWorkers(plan.workers());
    } catch (IOException e) {
      stop();
      throw new UncheckedIOException("cannot start a cluster from " + folder, e);
    } catch (InterruptedException e) {
      stop();
      Thread.currentThread().interrupt();
      throw new IllegalStateException("interrupted while the cluster was starting", e);
    }
  }

  private List<String> worker(Plan plan, String url, int index) {
    return List.of(
        WORKER,
        "--host",
        plan.host(),
        "--webui-port",
        "0",
        "--cores",
        "" + plan.cores(),
        "--memory",
        plan.memory(),
        "--work-dir",
        folder.resolve("work-" + index).toString(),
        url);
  }

  private void launch(String name, String host, List<String> mainAndArguments) throws IOException {
    List<String> command = new ArrayList<>();
    command.add(Path.of(System.getProperty("java.home"), "bin", "java").toString());
    command.add("-Xmx512m");
    command.addAll(List.of(JavaModuleOptions.defaultModuleOptionArray()));
    // A port that was announced must be the one in use.
    command.add("-Dspark.port.maxRetries=0");
    command.addAll(mainAndArguments);
    Path log = folder.resolve(name + ".log");
    ProcessBuilder builder =
        new ProcessBuilder(command).redirectErrorStream(true).redirectOutput(log.toFile());
    // The class path goes by environment to keep the command line, by which a process is known
    // again, short.
    builder.environment().put("CLASSPATH", home.classPath());
    builder.environment().put("SPARK_HOME", home.folder().toString());
    builder.environment().put("SPARK_SCALA_VERSION", "2.13");
    builder.environment().put("SPARK_LOCAL_IP", host);
    DaemonProcess.started(name, builder.start()).write(folder);
  }

  private Status awaitWorkers(int workers) throws InterruptedException {
    long limit = System.nanoTime() + START_LIMIT.toNanos();
    while (System.nanoTime() < limit) {
      Optional<Status> status = status();
      if (status.isPresent() && status.get().workers() >= workers) {
        return status.get();
      }
      for (DaemonProcess process : DaemonProcess.readAll(folder)) {
        if (process.handle().isEmpty()) {
          stop();
          throw new IllegalStateException(
              process.name() + " ended at once; see " + folder.resolve(process.name() + ".log"));
        }
      }
      Thread.sleep(200);
    }
    stop();
    throw new IllegalStateException(
        "no %d workers after %d seconds; see the logs in %s"
            .formatted(workers, START_LIMIT.toSeconds(), folder));
  }

  /**
   * Ends the processes that {@link #start} started and that are still those.
   *
   * @return how many were ended
   */
  int stop() {
    List<DaemonProcess> processes = new ArrayList<>(DaemonProcess.readAll(folder));
    // Workers before their master, whose absence they would complain about; all at once.
    Collections.reverse(processes);
    processes.forEach(process -> process.handle().ifPresent(ProcessHandle::destroy));
    int ended = 0;
    for (DaemonProcess process : processes) {
      if (process.end()) {
        ended++;
      }
      process.forget(folder);
    }
    return ended;
  }

  /** The running cluster, if its master answers. */
  Optional<Status> status() {
    boolean masterRuns =
        DaemonProcess.readAll(folder).stream()
            .anyMatch(process -> process.name().equals("master") && process.handle().isPresent());
    return masterRuns ? Place.read(folder).flatMap(StandaloneCluster::ask) : Optional.empty();
  }

  private static Optional<Status> ask(Place place) {
    try {
      HttpClient client = HttpClient.newBuilder().connectTimeout(Duration.ofSeconds(2)).build();
      HttpRequest request =
          HttpRequest.newBuilder(URI.create(place.ui() + "/json/"))
              .timeout(Duration.ofSeconds(5))
              .build();
      HttpResponse<String> response = client.send(request, HttpResponse.BodyHandlers.ofString());
      JsonNode json = JSON.readTree(response.body());
      return Optional.of(
          new Status(
              place.url(),
              place.ui(),
              json.path("aliveworkers").asInt(),
              json.path("cores").asInt(),
              json.path("coresused").asInt()));
    } catch (IOException e) {
      // Not up yet, or on its way down.
      return Optional.empty();
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      return Optional.empty();
    }
  }

  private static int freePort(String host) throws IOException {
    try (ServerSocket socket = new ServerSocket()) {
      socket.bind(new InetSocketAddress(InetAddress.getByName(host), 0));
      return socket.getLocalPort();
    }
  }

  private static int requireFree(String host, int port) {
    try (ServerSocket socket = new ServerSocket()) {
      socket.setReuseAddress(true);
      socket.bind(new InetSocketAddress(InetAddress.getByName(host), port));
      return port;
    } catch (IOException e) {
      throw new ConfigException(
          "--port", "cannot be listened on (" + e.getMessage() + "); try --port 0, got " + port);
    }
  }

  /**
   * Where the master listens.
   *
   * @param url its Spark address
   * @param ui its pages
   */
  private record Place(String url, String ui) {
    private static final String FILE = "master.url";

    void write(Path folder) throws IOException {
      Files.writeString(folder.resolve(FILE), url + "\n" + ui + "\n");
    }

    static Optional<Place> read(Path folder) {
      try (Stream<String> lines = Files.lines(folder.resolve(FILE))) {
        List<String> both = lines.toList();
        return both.size() == 2
            ? Optional.of(new Place(both.get(0), both.get(1)))
            : Optional.empty();
      } catch (IOException e) {
        return Optional.empty();
      }
    }
  }
}
