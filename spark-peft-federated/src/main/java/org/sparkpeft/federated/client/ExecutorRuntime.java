package org.sparkpeft.federated.client;

import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.Map;
import java.util.Set;
import org.sparkpeft.core.engine.ComputeDevice;
import org.sparkpeft.core.engine.TorchEngine;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.io.ModelDirectory;
import org.sparkpeft.core.media.MediaReader;
import org.sparkpeft.core.model.Backbones;
import org.sparkpeft.core.model.WeightForm;
import org.sparkpeft.core.text.ChatTemplate;
import org.sparkpeft.core.text.TextTokenizer;
import org.sparkpeft.core.train.TaskConfig;
import org.sparkpeft.core.train.TunableModel;
import org.sparkpeft.federated.config.ModelConfig;

/**
 * What a JVM needs to train: one frozen base model and what makes its inputs for each device,
 * loaded by the first task that asks and shared by all that follow.
 */
public final class ExecutorRuntime {
  /**
   * Outlives tasks by design: loading the base once in a JVM is the point. Least recently used
   * first; guarded by the class.
   */
  private static final Map<Key, ExecutorRuntime> LOADED = new LinkedHashMap<>(16, 0.75f, true);

  /** Bases kept in a JVM: a notebook that tries many models does not hold all of them. */
  private static final int MAX_BASES = 4;

  /** Tokens of a text that is cut later, where its parts are known. */
  private static final int UNCUT = 1 << 20;

  private record Key(RuntimeSpec spec, ComputeDevice device) {
    /** What decides the tensors of the base and its head. */
    Base base() {
      return new Base(spec.model(), spec.task(), spec.encoding(), spec.form(), device);
    }
  }

  private record Base(
      String model,
      TaskConfig task,
      EncodingConfig encoding,
      WeightForm form,
      ComputeDevice device) {}

  private final TunableModel model;
  private final ExampleEncoder encoder;
  private final StateBytes state;

  private ExecutorRuntime(TunableModel model, ExampleEncoder encoder, StateBytes state) {
    this.model = model;
    this.encoder = encoder;
    this.state = state;
  }

  /**
   * The runtime of the calling task, on its {@linkplain TaskDevice device}.
   *
   * @throws ConfigException if Spark assigned a GPU that cannot be used
   * @throws org.sparkpeft.core.error.FormatException if the model cannot be read
   */
  public static synchronized ExecutorRuntime of(RuntimeSpec spec) {
    Key key = new Key(spec.withoutState(), TaskDevice.current(spec.mathThreads()));
    ExecutorRuntime loaded = LOADED.get(key);
    if (loaded == null) {
      loaded = load(key);
      LOADED.put(key, loaded);
      forgetOldest();
    }
    if (!loaded.state.equals(spec.state())) {
      loaded =
          new ExecutorRuntime(
              loaded.model.withState(spec.state().state()), loaded.encoder, spec.state());
      LOADED.put(key, loaded);
    }
    return loaded;
  }

  /** A base that a task still uses stays until that task lets go of it. */
  private static void forgetOldest() {
    Set<Base> byUse = new LinkedHashSet<>();
    for (Key key : LOADED.keySet()) {
      // A base was used when the last of the methods on it was.
      byUse.remove(key.base());
      byUse.add(key.base());
    }
    if (byUse.size() > MAX_BASES) {
      Base oldest = byUse.iterator().next();
      LOADED.keySet().removeIf(key -> key.base().equals(oldest));
    }
  }

  private static ExecutorRuntime load(Key key) {
    TorchEngine.start();
    TaskDevice.require(key.device);
    ModelDirectory directory = ModelDirectory.resolve(key.spec.model());
    for (Map.Entry<Key, ExecutorRuntime> other : LOADED.entrySet()) {
      if (other.getKey().base().equals(key.base())) {
        ExecutorRuntime sharing = other.getValue();
        return new ExecutorRuntime(
            sharing.model.withPeft(key.spec.peft()), sharing.encoder, StateBytes.EMPTY);
      }
    }
    TaskConfig task = key.spec.task();
    TaskConfig.requireInput(task.task(), Backbones.input(directory));
    ExampleEncoder encoder =
        ModelConfig.isMedia(task.task())
            ? new MediaEncoder(MediaReader.of(directory), task)
            : textEncoder(directory, task, key.spec.encoding());
    TunableModel model =
        TunableModel.load(directory, task, key.spec.peft(), key.device, key.spec.form());
    return new ExecutorRuntime(model, encoder, StateBytes.EMPTY);
  }

  private static TextEncoder textEncoder(
      ModelDirectory directory, TaskConfig task, EncodingConfig encoding) {
    int length = task.isPreference() ? UNCUT : task.maxLength();
    TextTokenizer own = TextTokenizer.open(directory, length);
    TextTokenizer target =
        encoding.targetTokenizer().isEmpty()
            ? own
            : TextTokenizer.open(directory, Path.of(encoding.targetTokenizer()), length);
    return new TextEncoder(
        own,
        target,
        task,
        encoding,
        () ->
            ChatTemplate.named(encoding.chatTemplate())
                .map(named -> new ChatTemplate.Own(named, ""))
                .orElseGet(() -> ChatTemplate.of(directory)));
  }

  public TunableModel model() {
    return model;
  }

  /** Turns rows into what the model reads. */
  ExampleEncoder encoder() {
    return encoder;
  }

  /**
   * Turns texts into tokens and back.
   *
   * @throws ConfigException if the model reads no text
   */
  TextEncoder textEncoder() {
    if (encoder instanceof TextEncoder texts) {
      return texts;
    }
    throw new ConfigException(
        "model.task", "the model reads " + model.input().kind().what() + ", not text");
  }
}
