package org.sparkpeft.federated.ml;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import org.apache.commons.io.FileUtils;
import org.apache.hadoop.fs.FileSystem;
import org.apache.hadoop.fs.Path;
import org.apache.spark.ml.util.DefaultParamsReader;
import org.apache.spark.ml.util.DefaultParamsReader$;
import org.apache.spark.ml.util.DefaultParamsWriter$;
import org.apache.spark.ml.util.MLReader;
import org.apache.spark.ml.util.MLWriter;
import org.apache.spark.sql.SparkSession;
import org.sparkpeft.federated.client.TunedAdapter;

/**
 * A saved model: {@code metadata/} as every Spark ML stage has it, and {@code adapter/}, a Hugging
 * Face PEFT folder as it is. On any Hadoop file system.
 */
final class ModelFolder {
  private static final String ADAPTER = "adapter";

  private ModelFolder() {}

  static final class Writer extends MLWriter {
    private final PeftTextClassifierModel model;

    Writer(PeftTextClassifierModel model) {
      this.model = model;
    }

    @Override
    public void saveImpl(String path) {
      DefaultParamsWriter$.MODULE$.saveMetadata(model, path, sparkSession());
      inTemporaryFolder(
          folder -> {
            TunedAdapter.write(folder.resolve(ADAPTER), model.runtime(), model.parameters());
            fileSystem(path, sparkSession())
                .copyFromLocalFile(
                    new Path(folder.resolve(ADAPTER).toUri()), new Path(path, ADAPTER));
            return path;
          });
    }
  }

  static final class Reader extends MLReader<PeftTextClassifierModel> {
    @Override
    public PeftTextClassifierModel load(String path) {
      DefaultParamsReader.Metadata metadata =
          DefaultParamsReader$.MODULE$.loadMetadata(
              path, sparkSession(), PeftTextClassifierModel.class.getName());
      TunedAdapter adapter =
          inTemporaryFolder(
              folder -> {
                fileSystem(path, sparkSession())
                    .copyToLocalFile(
                        new Path(path, ADAPTER), new Path(folder.resolve(ADAPTER).toUri()));
                return TunedAdapter.read(folder.resolve(ADAPTER));
              });
      PeftTextClassifierModel model =
          new PeftTextClassifierModel(metadata.uid(), adapter.runtime(), adapter.parameters());
      metadata.getAndSetParams(model, metadata.getAndSetParams$default$2());
      return model;
    }
  }

  private interface InFolder<T> {
    T run(java.nio.file.Path folder) throws IOException;
  }

  private static <T> T inTemporaryFolder(InFolder<T> work) {
    try {
      java.nio.file.Path folder = Files.createTempDirectory("spark-peft-model");
      try {
        return work.run(folder);
      } finally {
        FileUtils.deleteDirectory(folder.toFile());
      }
    } catch (IOException e) {
      throw new UncheckedIOException("moving the adapter", e);
    }
  }

  private static FileSystem fileSystem(String path, SparkSession session) throws IOException {
    return new Path(path).getFileSystem(session.sessionState().newHadoopConf());
  }
}
