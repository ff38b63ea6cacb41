package org.sparkpeft.federated.client;

import java.util.List;
import org.sparkpeft.core.data.Examples;
import org.sparkpeft.core.media.MediaReader;
import org.sparkpeft.core.model.TokenExamples;
import org.sparkpeft.core.train.TaskConfig;

/** Turns images or recordings into numbers. */
record MediaEncoder(MediaReader reader, TaskConfig task) implements ExampleEncoder {

  @Override
  public ClientShard shard(String clientId, List<RawExample> rows) {
    Examples.Builder builder = Examples.builder();
    for (RawExample row : rows) {
      MediaReader.Values values = row.media().read(reader);
      builder
          .ofTask(row.task())
          .addMedia(values.values(), values.shape(), row.targets().classIndex());
    }
    return ClientShard.of(task, clientId, rows, builder.build());
  }

  @Override
  public TokenExamples unlabelled(List<RawExample> rows) {
    List<MediaReader.Values> all = rows.stream().map(row -> row.media().read(reader)).toList();
    return new Unlabelled() {
      @Override
      public int size() {
        return all.size();
      }

      @Override
      public float[] input(int index) {
        return all.get(index).values();
      }

      @Override
      public int[] shape(int index) {
        return all.get(index).shape();
      }

      @Override
      public int task(int index) {
        return rows.get(index).task();
      }
    };
  }
}
