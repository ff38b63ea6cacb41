package org.sparkpeft.tests.cluster;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermissions;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;
import org.apache.spark.resource.ResourceInformation;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestInstance;
import org.junit.jupiter.api.condition.EnabledOnOs;
import org.junit.jupiter.api.condition.OS;
import org.junit.jupiter.api.io.TempDir;
import org.sparkpeft.core.engine.NativeLibraries;
import org.sparkpeft.tests.support.DeviceWitness;
import org.sparkpeft.tests.support.Project;
import org.sparkpeft.tests.support.SparkPeftProcess;
import org.sparkpeft.tests.support.TinyBert;

/**
 * Spark's resource scheduling on one machine with two GPUs that exist only in what {@code
 * nvidia-smi} says: which device each task takes, and what a user hears whose PyTorch has no CUDA.
 */
@TestInstance(TestInstance.Lifecycle.PER_CLASS)
@EnabledOnOs(OS.LINUX)
class GpuSchedulingTest {
  /** A worker whose cores and memory are two executors of two cores. */
  private static final String CLUSTER = "local-cluster[1,4,2048]";

  @TempDir static Path folder;
  private Path libraries;
  private Path witness;
  private int code;
  private String errors;

  /** One run for both questions: starting its three processes takes most of the time. */
  @BeforeAll
  void trainOnTwoGpus() throws IOException {
    libraries = copyOfLibraries();
    witness = Files.createDirectory(folder.resolve("witness"));
    // What nvidia-smi would print is made up; the script that reads it is the project's.
    Path smi = fakeSmi("two-gpus", "printf '0\\n1\\n'");
    Path discovery =
        script(
            folder.resolve("discover.sh"),
            "PATH=" + smi + ":$PATH exec bash " + Project.root().resolve("conf/gpu-discovery.sh"));
    List<String> args = new ArrayList<>(List.of("train", "-c", recipe().toString()));
    args.addAll(List.of("--master", CLUSTER));
    for (String setting :
        List.of(
            "spark.worker.resource.gpu.amount=2",
            "spark.worker.resource.gpu.discoveryScript=" + discovery,
            "spark.executor.resource.gpu.amount=1",
            "spark.task.resource.gpu.amount=0.5",
            "spark.executor.cores=2",
            "spark.executor.memory=1000m",
            "spark.executorEnv.PYTORCH_LIBRARY_PATH=" + libraries,
            "spark.executorEnv.PYTORCH_FLAVOR=cpu",
            "spark.plugins=" + DeviceWitness.class.getName(),
            DeviceWitness.FOLDER + "=" + witness,
            "spark.task.maxFailures=1")) {
      args.addAll(List.of("--set", "spark.conf." + setting));
    }
    args.addAll(List.of("--set", SparkPeftProcess.BRIEF_EXECUTORS));
    try (SparkPeftProcess process =
        SparkPeftProcess.start(folder.resolve("scratch"), args.toArray(String[]::new))) {
      code = process.await();
      errors = process.errors();
    }
  }

  private static Path recipe() throws IOException {
    TinyBert.write(folder.resolve("model"));
    TinyBert.writeRequests(folder.resolve("train.jsonl"), 60, 6, 1);
    return Files.writeString(
        folder.resolve("recipe.yaml"),
        """
        run:     {name: gpus, seed: 5}
        model:   {path: model, max_length: 16}
        data:    {train: train.jsonl, test: ""}
        clients: {partition: iid, count: 4}
        peft:    {peft_type: LORA, target_modules: all-linear}
        rounds:  {count: 1}
        """,
        StandardCharsets.UTF_8);
  }

  private static Path script(Path file, String command) throws IOException {
    Files.createDirectories(file.getParent());
    Files.writeString(file, "#!/bin/bash\n" + command + "\n", StandardCharsets.UTF_8);
    return Files.setPosixFilePermissions(file, PosixFilePermissions.fromString("rwx------"));
  }

  private static Path fakeSmi(String name, String command) throws IOException {
    return script(folder.resolve(name).resolve("nvidia-smi"), command).getParent();
  }

  /** Also that PYTORCH_LIBRARY_PATH, which is how executors get CUDA, wins over what is bundled. */
  @Test
  void aTaskTakesTheGpuThatSparkGaveItAndThoseOfAnExecutorShareOne() throws IOException {
    Map<String, Set<String>> addresses = new TreeMap<>();
    int tasks = 0;
    try (DirectoryStream<Path> files = Files.newDirectoryStream(witness, "task-*")) {
      for (Path file : files) {
        String[] task = Files.readString(file).split(" ");
        assertThat(task[2]).isEqualTo("cuda:" + task[1]);
        assertThat(task[3]).isEqualTo(libraries.toString());
        addresses.computeIfAbsent(task[0], executor -> new TreeSet<>()).add(task[1]);
        tasks++;
      }
    }
    assertThat(tasks).as(errors).isGreaterThan(2);
    assertThat(addresses.values()).containsExactlyInAnyOrder(Set.of("0"), Set.of("1"));
  }

  private static Path copyOfLibraries() throws IOException {
    Path copy = Files.createDirectory(folder.resolve("libtorch"));
    try (Stream<Path> files = Files.list(Path.of(NativeLibraries.loaded().folder()))) {
      for (Path file : files.filter(f -> !f.toString().contains("djl_torch")).toList()) {
        Files.createSymbolicLink(copy.resolve(file.getFileName()), file);
      }
    }
    return copy;
  }

  @Test
  void aGpuThatPyTorchCannotUseEndsTheRunWithAReason() {
    assertThat(code).as(errors).isEqualTo(2);
    assertThat(errors)
        .containsPattern(
            "spark\\.task\\.resource\\.gpu\\.amount: Spark gave the GPU cuda:[01] to a task on"
                + " executor [01], but ")
        .contains(libraries.toString())
        .contains("mvn -Pgpu")
        .contains("take spark.task.resource.gpu.amount away")
        .doesNotContain("\tat ");
  }

  private record Said(int code, String output, String errors) {}

  /** Runs conf/gpu-discovery.sh with nothing but the given folder on the path. */
  private static Said discover(Path bin) throws IOException, InterruptedException {
    ProcessBuilder builder =
        new ProcessBuilder("/bin/bash", Project.root().resolve("conf/gpu-discovery.sh").toString());
    builder.environment().put("PATH", bin.toString());
    Path errors = Files.createTempFile(folder, "discovery", ".txt");
    Process process = builder.redirectError(errors.toFile()).start();
    String output = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
    assertThat(process.waitFor(10, TimeUnit.SECONDS)).isTrue();
    return new Said(process.exitValue(), output, Files.readString(errors));
  }

  @Test
  void theDiscoveryScriptPrintsWhatSparkReads() throws Exception {
    Said said = discover(fakeSmi("three-gpus", "printf '0\\n1\\n10\\n'"));
    assertThat(said.code()).as(said.errors()).isZero();
    ResourceInformation gpus = ResourceInformation.parseJson(said.output());
    assertThat(gpus.name()).isEqualTo("gpu");
    assertThat(gpus.addresses()).containsExactly("0", "1", "10");
    said = discover(fakeSmi("no-gpu", "true"));
    assertThat(ResourceInformation.parseJson(said.output()).addresses()).isEmpty();
  }

  @Test
  void theDiscoveryScriptSaysWhatIsMissing() throws Exception {
    Said none = discover(Files.createDirectory(folder.resolve("nothing")));
    assertThat(none.code()).isEqualTo(1);
    assertThat(none.output()).isEmpty();
    assertThat(none.errors()).contains("nvidia-smi failed; is the NVIDIA driver installed on ");
    Said broken = discover(fakeSmi("broken", "echo 'No devices were found'; exit 6"));
    assertThat(broken.code()).isEqualTo(1);
    assertThat(broken.errors()).contains("nvidia-smi failed");
    Said odd = discover(fakeSmi("odd", "echo '[N/A]'"));
    assertThat(odd.code()).isEqualTo(1);
    assertThat(odd.output()).isEmpty();
    assertThat(odd.errors()).contains("printed \"[N/A]\" for the number of a GPU");
  }
}
