package org.sparkpeft.core.model;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.Shape;
import java.util.HashMap;
import java.util.Map;
import org.jspecify.annotations.Nullable;
import org.sparkpeft.core.nn.Embedding;

/**
 * Keys and values of the tokens that a decoder has read, by attention block, so that it reads only
 * what is new. Belongs to one sequence of forward passes over the same examples.
 */
public final class KeyValueCache implements AutoCloseable {
  /** Of a forward pass that stands alone; stays empty. */
  public static final KeyValueCache NONE = new KeyValueCache(null);

  private final @Nullable NDManager manager;
  private final Map<String, Tuning.KeyValue> blocks = new HashMap<>();
  private int[] hidden = new int[0];
  private int textStart;
  private int length;

  private KeyValueCache(@Nullable NDManager manager) {
    this.manager = manager;
  }

  /** An empty cache; closing it frees what it holds. */
  public static KeyValueCache open(NDManager parent) {
    return new KeyValueCache(parent.newSubManager());
  }

  /** Positions read before this forward pass, a prefix included. */
  public int length() {
    return length;
  }

  boolean isKept() {
    return manager != null;
  }

  /**
   * All keys and values of a block: those read before, then the new ones.
   *
   * @param path path of the block's key projection
   * @param keys {@code [batch, new, size]}
   * @param values {@code [batch, new, size]}
   * @return {@code [batch, length + new, size]} both
   */
  Tuning.KeyValue extend(String path, NDArray keys, NDArray values) {
    if (manager == null) {
      return new Tuning.KeyValue(keys, values);
    }
    Tuning.KeyValue before = blocks.get(path);
    NDArray allKeys = before == null ? keys.duplicate() : before.keys().concat(keys, 1);
    NDArray allValues = before == null ? values.duplicate() : before.values().concat(values, 1);
    Tuning.KeyValue all = new Tuning.KeyValue(allKeys, allValues);
    keep(path, all);
    if (before != null) {
      before.keys().close();
      before.values().close();
    }
    return all;
  }

  /** What {@link #keep} kept, or null. */
  Tuning.@Nullable KeyValue kept(String path) {
    return blocks.get(path);
  }

  /** Keeps keys and values that do not grow, such as those of an encoder's output. */
  void keep(String path, Tuning.KeyValue keyValue) {
    if (manager != null) {
      keyValue.keys().attach(manager);
      keyValue.values().attach(manager);
      blocks.put(path, keyValue);
    }
  }

  /** Keys in front of the first token that had an id. */
  int textStart() {
    return textStart;
  }

  /** For each example, how many keys from {@link #textStart} on are padding. */
  int[] hiddenKeys(Pass pass, TokenBatch batch) {
    if (length > 0) {
      return hidden;
    }
    int[] starts = new int[batch.size()];
    for (int row = 0; row < starts.length; row++) {
      starts[row] = batch.start(row);
    }
    if (manager != null) {
      hidden = starts;
      textStart = pass.offset() + pass.virtualTokens();
    }
    return starts;
  }

  /**
   * Puts other examples in the place of the present ones: some of them, in any order, any of them
   * several times.
   *
   * @param rows for each example from now on, which of the present ones it goes on from
   */
  public void reorder(int[] rows) {
    if (manager == null || length == 0) {
      return;
    }
    try (NDManager scratch = manager.newSubManager()) {
      NDArray index = scratch.create(rows);
      blocks.replaceAll(
          (path, block) ->
              new Tuning.KeyValue(
                  pick(manager, block.keys(), index), pick(manager, block.values(), index)));
    }
    int[] picked = new int[rows.length];
    for (int i = 0; i < rows.length; i++) {
      picked[i] = hidden[rows[i]];
    }
    hidden = picked;
  }

  /** Rows of {@code states}, which is freed. */
  private static NDArray pick(NDManager manager, NDArray states, NDArray index) {
    Shape shape = states.getShape(); // [batch, keys, size]
    try (states;
        NDArray flat = states.reshape(shape.get(0), -1)) {
      NDArray picked = Embedding.of(index, flat).reshape(index.size(), shape.get(1), shape.get(2));
      picked.attach(manager);
      return picked;
    }
  }

  /** Counts positions as read, after all blocks have seen them. */
  void advance(int positions) {
    if (manager != null) {
      length += positions;
    }
  }

  @Override
  public void close() {
    if (manager != null) {
      manager.close();
    }
  }
}
