package org.sparkpeft.tests.run;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.zip.ZipFile;
import org.apache.commons.io.FileUtils;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.federated.cli.JobMain;
import org.sparkpeft.tests.support.DigitFiles;
import org.sparkpeft.tests.support.Project;
import org.sparkpeft.tests.support.Said;

/** Models of images and of sound are tuned, evaluated, asked, compressed and resumed as others. */
class MediaRunTest {
  private static final ObjectMapper JSON = new ObjectMapper();

  @TempDir Path folder;

  private void recipe(String model, String task, String column, String clients) throws IOException {
    Files.writeString(
        folder.resolve("recipe.yaml"),
        """
        run:      {name: media, dir: run, seed: 7}
        model:    {path: "%s", task: %s, fuse: true}
        data:     {train: train.csv, test: test.csv, format: csv, options: {header: true}, %s}
        clients:  {%s}
        peft:     {peft_type: LORA, r: 8, lora_alpha: 16, target_modules: [query, value]}
        train:    {local_epochs: 3, batch_size: 8, learning_rate: 1.0e-2}
        rounds:   {count: 2}
        compress: {uplink: {density: 0.5}, downlink: {density: 0.5}}
        evaluate: {every: 0, references: [baseline]}
        spark:    {master: "local[2]"}
        """
            .formatted(Project.shared("models/" + model), task, column, clients));
  }

  private JsonNode summary() throws IOException {
    return JSON.readTree(folder.resolve("run/summary.json").toFile());
  }

  private void train(String... more) {
    List<String> args =
        new ArrayList<>(List.of("train", "-c", folder.resolve("recipe.yaml").toString(), "--json"));
    args.addAll(List.of(more));
    JobMain.main(args.toArray(String[]::new));
  }

  @Test
  void aVisionTransformerLearnsDigits() throws IOException {
    for (String part : List.of("train", "test")) {
      Path table = Project.shared("data/optdigits/" + part + ".csv.gz");
      DigitFiles.write(table, folder, part, part.equals("test") ? 60 : 160);
    }
    recipe("vit-mnist-3class", "image-classification", "image: image", "partition: iid, count: 4");
    train();
    JsonNode summary = summary();
    assertThat(summary.get("final.accuracy").doubleValue())
        .isGreaterThan(summary.get("baseline.accuracy").doubleValue() + 0.25);
    JsonNode config = JSON.readTree(folder.resolve("run/merged/config.json").toFile());
    assertThat(config.get("architectures").get(0).asText()).isEqualTo("ViTForImageClassification");
    assertThat(folder.resolve("run/merged/preprocessor_config.json")).exists();

    String run = folder.resolve("run").toString();
    assertThat(Said.json("evaluate", "--run", run).get("accuracy"))
        .isEqualTo(summary.get("final.accuracy"));
    List<String> test = Files.readAllLines(folder.resolve("test.csv"));
    String image = folder.resolve(test.get(1).split(",", -1)[0]).toString();
    JsonNode one = Said.json("predict", "--run", run, "--file", image);
    assertThat(one.get("predictions").get(0).get("file").asText()).isEqualTo(image);
    String out = folder.resolve("predicted").toString();
    Said.json(
        "predict", "--run", run, "--data", folder.resolve("test.csv").toString(), "--out", out);
    assertThat(
            FileUtils.listFiles(folder.resolve("predicted").toFile(), new String[] {"json"}, false))
        .isNotEmpty();
    assertThatThrownBy(() -> Said.json("predict", "--run", run, "--text", "a text"))
        .isInstanceOf(ConfigException.class)
        .hasMessageContaining("images");

    String small = folder.resolve("a.spta").toString();
    Said.json("compress", "--adapter", run + "/adapter", "--density", "0.5", "--out", small);
    String again = folder.resolve("again").toString();
    Said.json("decompress", small, "--out", again);
    assertThat(Path.of(again, "adapter_model.safetensors")).exists();

    // One round, then the rest: the same bits.
    FileUtils.deleteDirectory(folder.resolve("run/checkpoints/round-0002").toFile());
    Files.delete(folder.resolve("run/summary.json"));
    train("--resume");
    assertThat(summary().get("adapter_sha256")).isEqualTo(summary.get("adapter_sha256"));
  }

  @Test
  void aKeywordTransformerLearnsDigits() throws IOException {
    List<String> train = new ArrayList<>(List.of("file,label,client_id"));
    List<String> test = new ArrayList<>(train);
    try (ZipFile zip = new ZipFile(Project.shared("data/fsdd/recordings.zip").toFile())) {
      for (String speaker : List.of("george", "theo")) {
        for (int digit = 0; digit < 3; digit++) {
          for (int index = 0; index < 7; index++) {
            String name = "%d_%s_%d.wav".formatted(digit, speaker, index);
            try (InputStream in = zip.getInputStream(zip.getEntry(name))) {
              Files.write(folder.resolve(name), in.readAllBytes());
            }
            (index < 2 ? test : train).add(name + "," + digit + "," + speaker);
          }
        }
      }
    }
    Files.write(folder.resolve("train.csv"), train);
    Files.write(folder.resolve("test.csv"), test);
    recipe("kwt-1", "audio-classification", "audio: file", "partition: column, column: client_id");
    train();
    JsonNode summary = summary();
    assertThat(summary.get("final.accuracy").doubleValue())
        .isGreaterThan(summary.get("baseline.accuracy").doubleValue() + 0.25);
    String run = folder.resolve("run").toString();
    String seven = folder.resolve("2_theo_0.wav").toString();
    JsonNode told = Said.json("predict", "--run", run, "--file", seven);
    assertThat(told.get("predictions").get(0).get("prediction").asText()).isIn("0", "1", "2");
    JsonNode config = JSON.readTree(folder.resolve("run/merged/config.json").toFile());
    assertThat(config.get("architectures").get(0).asText()).isEqualTo("KeywordTransformer");
    assertThat(folder.resolve("run/merged/frontend.safetensors")).exists();
  }
}
