package org.sparkpeft.tests.cluster;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermissions;
import java.util.List;
import java.util.TreeMap;
import java.util.concurrent.TimeUnit;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.apache.spark.resource.ResourceInformation;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestInstance;
import org.junit.jupiter.api.condition.EnabledOnOs;
import org.junit.jupiter.api.condition.OS;
import org.junit.jupiter.api.io.TempDir;
import org.sparkpeft.core.engine.NativeLibraries;
import org.sparkpeft.tests.support.AssignedGpus;
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

  private static final int SLOTS = 4;

  @TempDir static Path folder;
  private Path libraries;
  private int code;
  private String output;
  private String errors;

  /** One Spark application for both questions: starting three processes takes most of the time. */
  @BeforeAll
  void trainOnTwoGpus() throws IOException {
    libraries = copyOfLibraries();
    // What nvidia-smi would print is made up; the script that reads it is the project's.
    Path smi = fakeSmi("two-gpus", "printf '0\\n1\\n'");
    Path discovery =
        script(
            folder.resolve("discover.sh"),
            "PATH=" + smi + ":$PATH exec bash " + Project.root().resolve("conf/gpu-discovery.sh"));
    try (SparkPeftProcess process =
        SparkPeftProcess.startMain(
            folder.resolve("scratch"),
            AssignedGpus.class,
            CLUSTER,
            Integer.toString(SLOTS),
            Files.createDirectory(folder.resolve("meeting")).toString(),
            "spark.worker.resource.gpu.amount=2",
            "spark.worker.resource.gpu.discoveryScript=" + discovery,
            "spark.executor.resource.gpu.amount=1",
            "spark.task.resource.gpu.amount=0.5",
            "spark.executor.cores=2",
            "spark.executor.memory=1000m",
            "spark.executorEnv.PYTORCH_LIBRARY_PATH=" + libraries,
            "spark.executorEnv.PYTORCH_FLAVOR=cpu",
            "--",
            "train",
            "-c",
            recipe().toString())) {
      code = process.await();
      output = process.output();
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
  void aTaskTakesTheGpuThatSparkGaveItAndTwoShareOne() {
    assertThat(output).as(errors).isNotEmpty();
    List<String[]> tasks = output.lines().map(line -> line.split(" ")).toList();
    assertThat(tasks).hasSize(SLOTS);
    for (String[] task : tasks) {
      assertThat(task[2]).isEqualTo("cuda:" + task[1]);
      assertThat(task[3]).isEqualTo(libraries.toString());
    }
    TreeMap<String, List<String>> byExecutor =
        tasks.stream()
            .collect(
                Collectors.groupingBy(
                    task -> task[0],
                    TreeMap::new,
                    Collectors.mapping(task -> task[1], Collectors.toList())));
    assertThat(byExecutor.values()).containsExactlyInAnyOrder(List.of("0", "0"), List.of("1", "1"));
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
