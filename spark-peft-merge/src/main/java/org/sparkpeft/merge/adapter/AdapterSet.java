package org.sparkpeft.merge.adapter;

import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.io.Serializable;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Set;
import org.jspecify.annotations.Nullable;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.error.DataException;
import org.sparkpeft.core.io.AdapterDirectory;
import org.sparkpeft.core.io.DType;
import org.sparkpeft.core.io.TensorData;

/**
 * LoRA adapters to be merged, checked once and merged as often as wanted, on machines that do not
 * see their folders too.
 */
public final class AdapterSet implements Serializable {
  private static final long serialVersionUID = 1L;

  private final List<Stored> stored;
  private transient volatile @Nullable List<LoraAdapter> adapters;

  private AdapterSet(List<Stored> stored) {
    this.stored = stored;
  }

  /**
   * Reads adapters.
   *
   * @param folders at least two
   * @param force whether adapters of base models of different names are taken all the same
   * @throws ConfigException if there are too few
   * @throws DataException if one is not LoRA, or they are for different base models
   */
  public static AdapterSet read(List<Path> folders, boolean force) {
    if (folders.size() < 2) {
      throw new ConfigException(
          "models", "a merge needs at least two adapters, got " + folders.size());
    }
    List<Stored> stored = new ArrayList<>();
    Set<String> bases = new LinkedHashSet<>();
    for (Path folder : folders) {
      AdapterDirectory adapter = AdapterDirectory.read(folder);
      stored.add(Stored.of(adapter));
      bases.add(LoraAdapter.of(adapter).base());
    }
    if (bases.size() > 1 && !force) {
      throw new DataException(
          "the adapters name different base models, "
              + String.join(", ", bases.stream().map(b -> b.isEmpty() ? "none" : b).toList())
              + "; if these are one and the same, merge with --force");
    }
    return new AdapterSet(stored);
  }

  public int size() {
    return stored.size();
  }

  /** The adapters, put together when first asked for. */
  List<LoraAdapter> adapters() {
    List<LoraAdapter> known = adapters;
    if (known == null) {
      known = stored.stream().map(each -> LoraAdapter.of(each.open())).toList();
      adapters = known;
    }
    return known;
  }

  /** An adapter as bytes. */
  private record Stored(String path, String config, List<Tensor> tensors) implements Serializable {

    static Stored of(AdapterDirectory adapter) {
      List<Tensor> tensors = new ArrayList<>();
      for (TensorData tensor : adapter.tensors().values()) {
        ByteBuffer raw = tensor.raw();
        byte[] bytes = new byte[raw.remaining()];
        raw.get(bytes);
        tensors.add(
            new Tensor(tensor.name(), tensor.dtype(), new ArrayList<>(tensor.shape()), bytes));
      }
      return new Stored(adapter.path().toString(), adapter.config().toString(), tensors);
    }

    AdapterDirectory open() {
      try {
        ObjectNode node = (ObjectNode) new ObjectMapper().readTree(config);
        return AdapterDirectory.of(
            Path.of(path), node, TensorData.byName(tensors.stream().map(Tensor::open).toList()));
      } catch (IOException e) {
        throw new UncheckedIOException(e);
      }
    }
  }

  @SuppressWarnings("ArrayRecordComponent") // Stays inside, is never compared.
  private record Tensor(String name, DType dtype, ArrayList<Integer> shape, byte[] bytes)
      implements Serializable {
    TensorData open() {
      return TensorData.of(name, dtype, shape, ByteBuffer.wrap(bytes));
    }
  }
}
