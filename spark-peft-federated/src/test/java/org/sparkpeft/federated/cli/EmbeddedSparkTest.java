package org.sparkpeft.federated.cli;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import org.apache.spark.SparkConf;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.federated.config.SparkConfig;

class EmbeddedSparkTest {
  private static final SparkConfig DEFAULTS = SparkConfig.defaults();

  private static SparkConf conf(
      SparkConf given, SparkConfig config, Map<String, String> variables) {
    return EmbeddedSpark.conf(given, config, "x", variables);
  }

  private static SparkConf empty() {
    return new SparkConf(false);
  }

  @Test
  void aLocalMasterListensOnThisHostOnly() {
    SparkConf conf = conf(empty(), DEFAULTS.withMaster("local[3]"), Map.of());

    assertThat(conf.get("spark.master")).isEqualTo("local[3]");
    assertThat(conf.get("spark.app.name")).isEqualTo("spark-peft x");
    assertThat(conf.get("spark.driver.host")).isEqualTo("127.0.0.1");
    assertThat(conf.get("spark.ui.enabled")).isEqualTo("false");
    assertThat(conf.get("spark.sql.shuffle.partitions")).isEqualTo("3");
    assertThat(conf.get("spark.serializer")).endsWith("KryoSerializer");
    assertThat(conf.get("spark.cleaner.referenceTracking.blocking")).isEqualTo("false");
  }

  @Test
  void aRealClusterKeepsItsOwnNetworkSettings() {
    SparkConf conf = conf(empty(), DEFAULTS.withMaster("yarn"), Map.of());

    assertThat(conf.contains("spark.driver.host")).isFalse();
    assertThat(conf.contains("spark.ui.enabled")).isFalse();
    assertThat(conf.contains("spark.executor.extraClassPath")).isFalse();
  }

  @Test
  void submitNamesTheMasterAndTheRecipeTheRest() {
    SparkConf given =
        empty().set("spark.master", "yarn").set("spark.serializer", "S").set("spark.a", "given");
    SparkConfig recipe = new SparkConfig("local[2]", Map.of("spark.a", "recipe"), 3);

    SparkConf conf = conf(given, recipe, Map.of());

    assertThat(conf.get("spark.master")).isEqualTo("yarn");
    assertThat(conf.get("spark.a")).isEqualTo("recipe");
    assertThat(conf.get("spark.serializer")).isEqualTo("S");
    assertThat(conf.get("spark.task.cpus")).isEqualTo("3");
    assertThat(conf.get("spark.executorEnv.OMP_NUM_THREADS")).isEqualTo("3");
    assertThat(given.contains("spark.task.cpus")).as("the given settings are left alone").isFalse();
  }

  @Test
  void executorProcessesRunTheJarsOfAnInstallation(@TempDir Path home) {
    SparkConf conf =
        conf(
            empty(),
            DEFAULTS.withMaster("local-cluster[2, 1, 1500]"),
            Map.of("SPARK_HOME", home.toString()));

    assertThat(conf.get("spark.executor.extraClassPath")).endsWith(home + "/jars/*");
    assertThat(conf.get("spark.executor.memory")).isEqualTo("1500m");
    assertThat(conf.get("spark.executorEnv.SPARK_SCALA_VERSION")).isEqualTo("2.13");
    assertThat(home.resolve("jars"))
        .isDirectoryContaining(jar -> jar.getFileName().toString().startsWith("spark-core"));
  }

  @Test
  void executorProcessesWithoutAnInstallationAreRefused() {
    assertThatThrownBy(
            () -> conf(empty(), DEFAULTS.withMaster("local-cluster[2,1,1024]"), Map.of()))
        .isInstanceOf(ConfigException.class)
        .hasMessageContaining("executor processes need SPARK_HOME")
        .hasMessageEndingWith("got local-cluster[2,1,1024]");
  }

  @Test
  void aSessionThatExistsIsUsedAndLeftRunning() {
    try (EmbeddedSpark first = EmbeddedSpark.open(DEFAULTS.withMaster("local[1]"), "first")) {
      try (EmbeddedSpark second = EmbeddedSpark.open(DEFAULTS.withMaster("local[2]"), "second")) {
        assertThat(second.session()).isSameAs(first.session());
      }
      assertThat(first.session().range(3).count()).isEqualTo(3);
      assertThat(EmbeddedSpark.session(DEFAULTS, "third").sparkContext().master())
          .isEqualTo("local[1]");
    }
    try (EmbeddedSpark after = EmbeddedSpark.open(DEFAULTS.withMaster("local[1]"), "after")) {
      assertThat(after.session().sparkContext().appName()).isEqualTo("spark-peft after");
    }
  }

  @Test
  void anInstallationHasExactlyTheJarsOfTheClassPath(@TempDir Path folder) throws IOException {
    Path lib = Files.createDirectories(folder.resolve("lib with space"));
    Path classes = Files.createDirectories(folder.resolve("classes"));
    Path a = Files.writeString(lib.resolve("a.jar"), "a");
    Path b = Files.writeString(lib.resolve("b.jar"), "b");
    Path home = folder.resolve("home");

    SparkHome.prepare(home, String.join(":", a.toString(), classes.toString(), "/none/x.jar"));
    SparkHome prepared =
        SparkHome.prepare(home, String.join(":", classes.toString(), b.toString()));

    assertThat(prepared).isEqualTo(new SparkHome(home, List.of(classes)));
    assertThat(prepared.classPath()).isEqualTo(classes + ":" + home + "/jars/*");
    assertThat(home.resolve("jars")).isDirectoryNotContaining("glob:**/a.jar");
    assertThat(home.resolve("jars/b.jar")).hasContent("b");
    assertThat(SparkHome.of(Map.of("SPARK_HOME", home.toString()))).isPresent();
    assertThat(SparkHome.of(Map.of("SPARK_HOME", "/none"))).isEmpty();
    assertThat(SparkHome.of(Map.of())).isEmpty();
  }
}
