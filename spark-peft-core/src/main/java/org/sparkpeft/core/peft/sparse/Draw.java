package org.sparkpeft.core.peft.sparse;

import ai.djl.ndarray.NDArray;
import java.util.List;
import java.util.SortedMap;
import java.util.TreeMap;
import org.sparkpeft.core.io.TensorData;
import org.sparkpeft.core.peft.AdapterTensors;
import org.sparkpeft.core.peft.MethodState;
import org.sparkpeft.core.peft.MethodTensors;
import org.sparkpeft.core.random.Philox;

/**
 * The state of a method that trains other modules from time to time: which draw it is at. What is
 * drawn follows from it, so all clients of a round, and a run that is resumed, agree.
 *
 * @param seed of the run
 * @param number of the draw, from 0
 */
record Draw(long seed, int number) {
  private static final String NAME = "draw";

  static Draw of(MethodState state) {
    int[] stored = state.integers(NAME);
    return new Draw(((long) stored[0] << 32) | (stored[1] & 0xFFFFFFFFL), stored[2]);
  }

  static Draw of(MethodTensors tensors) {
    NDArray array = tensors.state(NAME);
    long[] stored = array.toLongArray();
    return new Draw((stored[0] << 32) | (stored[1] & 0xFFFFFFFFL), (int) stored[2]);
  }

  MethodState state() {
    int[] stored = {(int) (seed >>> 32), (int) seed, number};
    return new MethodState.Builder().integers(NAME, List.of(3), stored).build();
  }

  Draw next() {
    return new Draw(seed, number + 1);
  }

  Philox random(String purpose) {
    return Philox.of(seed, purpose, number);
  }

  /** A file's tensors with the draw among them. */
  static SortedMap<String, TensorData> save(
      SortedMap<String, TensorData> tensors, MethodState state) {
    SortedMap<String, TensorData> file = new TreeMap<>(tensors);
    String name = AdapterTensors.PREFIX + NAME;
    file.put(name, state.tensor(NAME).withName(name));
    return TensorData.byName(file.values());
  }

  static MethodState load(AdapterTensors file) {
    long[] stored = file.take(AdapterTensors.PREFIX + NAME, List.of(3)).toLongs();
    int[] numbers = {(int) stored[0], (int) stored[1], (int) stored[2]};
    return new MethodState.Builder().integers(NAME, List.of(3), numbers).build();
  }
}
