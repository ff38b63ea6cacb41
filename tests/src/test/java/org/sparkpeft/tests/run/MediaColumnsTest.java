package org.sparkpeft.tests.run;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.awt.image.BufferedImage;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;
import javax.imageio.ImageIO;
import org.apache.spark.sql.Dataset;
import org.apache.spark.sql.Row;
import org.apache.spark.sql.RowFactory;
import org.apache.spark.sql.SparkSession;
import org.apache.spark.sql.functions;
import org.apache.spark.sql.types.DataTypes;
import org.apache.spark.sql.types.StructType;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.sparkpeft.core.data.Examples;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.error.DataException;
import org.sparkpeft.core.random.Philox;
import org.sparkpeft.federated.client.FederatedData;
import org.sparkpeft.federated.config.Recipe;
import org.sparkpeft.federated.config.RecipeReader;
import org.sparkpeft.tests.support.TinyBert;
import org.sparkpeft.tests.support.TinyVit;

/** The kinds of columns that hold images become the same examples; what is wrong is named. */
class MediaColumnsTest {
  private static final StructType FILES =
      new StructType()
          .add("image", DataTypes.StringType)
          .add("label", DataTypes.StringType)
          .add("client_id", DataTypes.StringType);

  @TempDir static Path folder;
  private static SparkSession spark;
  private static final List<Row> ROWS = new ArrayList<>();

  @BeforeAll
  static void prepare() throws IOException {
    spark =
        SparkSession.builder().master("local[2]").config("spark.ui.enabled", false).getOrCreate();
    TinyVit.write(folder.resolve("model"));
    TinyBert.write(folder.resolve("text-model"));
    Files.createDirectories(folder.resolve("images"));
    for (int i = 0; i < 12; i++) {
      BufferedImage image = new BufferedImage(8, 8, BufferedImage.TYPE_BYTE_GRAY);
      Philox random = Philox.of(1, "pixels", i);
      for (int p = 0; p < 64; p++) {
        image.getRaster().setSample(p % 8, p / 8, 0, (int) (random.doubleAt(p) * 256));
      }
      String name = "images/%02d.png".formatted(i);
      ImageIO.write(image, "png", folder.resolve(name).toFile());
      ROWS.add(RowFactory.create(name, "label-" + i % 3, "client-" + i % 2));
    }
  }

  @AfterAll
  static void stop() {
    spark.stop();
  }

  private static Recipe recipe(String model, String task) {
    return RecipeReader.parse(
        """
        run:     {name: columns, seed: 3}
        model:   {path: %s, task: %s, max_length: 16}
        data:    {train: train.csv, test: ""}
        clients: {partition: column, column: client_id}
        peft:    {peft_type: LORA, target_modules: all-linear}
        """
            .formatted(model, task),
        "test",
        folder,
        List.of());
  }

  private static Dataset<Row> paths() {
    return spark.createDataFrame(ROWS, FILES);
  }

  /** The clients' examples, in one place. */
  private static Examples read(Dataset<Row> rows, Recipe recipe) {
    try (FederatedData data = FederatedData.prepare(rows, Optional.empty(), recipe)) {
      return data.clients().pooled();
    }
  }

  private static Examples read(Dataset<Row> rows) {
    return read(rows, recipe("model", "image-classification"));
  }

  private static Dataset<Row> bytes() {
    Dataset<Row> files =
        spark.read().format("binaryFile").load(folder.resolve("images").toString() + "/*.png");
    return paths()
        .join(
            files,
            functions
                .element_at(functions.split(files.col("path"), "/"), -1)
                .equalTo(functions.element_at(functions.split(functions.col("image"), "/"), -1)))
        .select(
            files.col("content").as("image"), functions.col("label"), functions.col("client_id"));
  }

  @Test
  void everyKindOfColumnGivesTheSameExamples() {
    Examples expected = read(paths());
    assertThat(expected.size()).isEqualTo(12);
    assertThat(expected.shape(0)).containsExactly(1, 8, 8);
    assertThat(expected.toArrow()).isEqualTo(read(bytes()).toArrow());

    Dataset<Row> pixels =
        spark
            .read()
            .format("image")
            .load(folder.resolve("images").toString())
            .withColumn(
                "name",
                functions.element_at(functions.split(functions.col("image.origin"), "/"), -1));
    Dataset<Row> structs =
        pixels
            .join(
                paths().withColumnRenamed("image", "file"),
                functions.expr("concat('images/', name) = file"))
            .select("image", "label", "client_id");
    assertThat(read(structs).toArrow()).isEqualTo(expected.toArrow());

    Dataset<Row> huggingFace =
        bytes()
            .withColumn(
                "image",
                functions.struct(
                    functions.col("image").as("bytes"),
                    functions.lit(null).cast("string").as("path")));
    assertThat(read(huggingFace).toArrow()).isEqualTo(expected.toArrow());
    Dataset<Row> absolute =
        paths()
            .withColumn(
                "image",
                functions.struct(
                    functions.lit(null).cast("binary").as("bytes"),
                    functions
                        .concat(functions.lit(folder + "/"), functions.col("image"))
                        .as("path")));
    assertThat(read(absolute).toArrow()).isEqualTo(expected.toArrow());
  }

  @Test
  void oneMadeUpPartitionForTheSameContent() {
    Recipe iid =
        RecipeReader.parse(
            """
            run:     {name: columns, seed: 3}
            model:   {path: model, task: image-classification}
            data:    {train: train.csv, test: ""}
            clients: {partition: dirichlet, count: 2}
            """,
            "test",
            folder,
            List.of());
    assertThat(read(paths(), iid).toArrow()).isEqualTo(read(bytes().repartition(5), iid).toArrow());
  }

  private static Dataset<Row> with(String image, String label) {
    List<Row> rows = new ArrayList<>(ROWS);
    rows.add(RowFactory.create(image, label, "client-0"));
    return spark.createDataFrame(rows, FILES);
  }

  @Test
  void whatIsWrongWithAFileIsNamed() throws IOException {
    byte[] whole = Files.readAllBytes(folder.resolve("images/00.png"));
    Files.write(folder.resolve("cut.png"), Arrays.copyOf(whole, whole.length / 2));
    Files.write(folder.resolve("empty.png"), new byte[0]);
    ImageIO.write(
        new BufferedImage(9, 8, BufferedImage.TYPE_BYTE_GRAY),
        "png",
        folder.resolve("wide.png").toFile());
    refused("cut.png", "data.image", "damaged");
    refused("empty.png", "0 bytes");
    refused("wide.png", "1 x 8 x 9", "1 x 8 x 8");
    refused("missing.png", "there is no file", "folder of the data");
    refused("images", "is a folder");
    Files.writeString(folder.resolve("text.png"), "no image");
    refused("text.png", "not an image");
  }

  /** Spark wraps what an executor throws. */
  private static void refused(String file, String... told) {
    assertThatThrownBy(() -> read(with(file, "label-0")))
        .satisfies(
            thrown -> {
              Throwable data = thrown;
              while (data != null && !(data instanceof DataException)) {
                data = data.getCause();
              }
              assertThat(data).hasMessageContaining(file);
              for (String part : told) {
                assertThat(data).hasMessageContaining(part);
              }
            });
  }

  @Test
  void columnsAndTasksThatDoNotGoTogetherAreRefused() {
    Recipe images = recipe("model", "image-classification");
    assertThatThrownBy(() -> read(paths().withColumn("image", functions.lit(7)), images))
        .isInstanceOf(DataException.class)
        .hasMessageContaining("data.image")
        .hasMessageContaining("int");
    assertThatThrownBy(() -> read(paths().withColumnRenamed("image", "picture"), images))
        .isInstanceOf(DataException.class)
        .hasMessageContaining("picture");
    assertThatThrownBy(
            () ->
                read(
                    bytes().withColumnRenamed("image", "text"),
                    recipe("text-model", "text-classification")))
        .isInstanceOf(DataException.class)
        .hasMessageContaining("binary");
    for (String task : List.of("text-classification", "audio-classification")) {
      assertThatThrownBy(() -> read(paths(), recipe("model", task)))
          .isInstanceOf(ConfigException.class)
          .hasMessageContaining("image-classification");
    }
    assertThatThrownBy(() -> read(paths(), recipe("text-model", "image-classification")))
        .isInstanceOf(ConfigException.class)
        .hasMessageContaining("reads text");
  }

  @Test
  void testRowsOfAnUnknownLabelAreRefused() {
    Recipe images = recipe("model", "image-classification");
    assertThatThrownBy(
            () ->
                FederatedData.prepare(
                    paths(), Optional.of(with("images/00.png", "label-9")), images))
        .isInstanceOf(DataException.class)
        .hasMessageContaining("label-9");
  }
}
