package org.sparkpeft.merge.adapter;

import java.io.Serializable;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Set;
import org.jspecify.annotations.Nullable;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.error.DataException;
import org.sparkpeft.core.io.AdapterDirectory;

/**
 * LoRA adapters to be merged, checked once and merged as often as wanted, on machines that do not
 * see their folders too.
 */
public final class AdapterSet implements Serializable {
  private static final long serialVersionUID = 1L;

  private final List<StoredAdapter> stored;
  private transient volatile @Nullable List<LoraAdapter> adapters;

  private AdapterSet(List<StoredAdapter> stored) {
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
    List<StoredAdapter> stored = new ArrayList<>();
    Set<String> bases = new LinkedHashSet<>();
    for (Path folder : folders) {
      AdapterDirectory adapter = AdapterDirectory.read(folder);
      stored.add(StoredAdapter.of(adapter));
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
}
