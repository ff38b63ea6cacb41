package org.sparkpeft.federated.config;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.sparkpeft.core.error.ConfigException;

class LocationsTest {

  @ParameterizedTest
  @CsvSource({
    "train.jsonl.gz, /home/me/recipes/train.jsonl.gz",
    "./train.jsonl.gz, /home/me/recipes/train.jsonl.gz",
    "../models/bert, /home/me/models/bert",
    "runs/a/../b, /home/me/recipes/runs/b",
    "'with space/x', '/home/me/recipes/with space/x'",
    "part-*.json, /home/me/recipes/part-*.json",
    "~/x, /home/me/recipes/~/x",
    "/data/train.json, /data/train.json",
    "/data/../train.json, /data/../train.json",
    "/Volumes/main/default/vol/x, /Volumes/main/default/vol/x",
    "/dbfs/mnt/x, /dbfs/mnt/x",
    "dbfs:/mnt/x, dbfs:/mnt/x",
    "file:/data/x, file:/data/x",
    "file:///data/x, file:///data/x",
    "hdfs://name:8020/x, hdfs://name:8020/x",
    "s3a://bucket/x, s3a://bucket/x",
    "abfss://c@a.dfs.core.windows.net/x, abfss://c@a.dfs.core.windows.net/x",
    "gs://bucket/x, gs://bucket/x",
    "bundled:all-MiniLM-L6-v2, bundled:all-MiniLM-L6-v2",
    "'', ''",
  })
  void aLocationResolves(String location, String expected) {
    assertThat(Locations.resolve(Path.of("/home/me/recipes"), location, "data.train"))
        .isEqualTo(expected);
  }

  @Test
  void whatCannotBeAPathIsRefusedByKey() {
    assertThatThrownBy(() -> Locations.resolve(Path.of("/"), "a\0b", "data.train"))
        .isInstanceOf(ConfigException.class)
        .hasMessageStartingWith("data.train: is not a path");
  }
}
