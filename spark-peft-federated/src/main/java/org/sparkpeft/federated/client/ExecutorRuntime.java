package org.sparkpeft.federated.client;

import java.util.LinkedHashMap;
import java.util.Map;
import org.apache.spark.TaskContext;
import org.apache.spark.resource.ResourceInformation;
import org.sparkpeft.core.engine.ComputeDevice;
import org.sparkpeft.core.engine.TorchEngine;
import org.sparkpeft.core.io.ModelDirectory;
import org.sparkpeft.core.text.TextTokenizer;
import org.sparkpeft.core.train.TunableModel;

/**
 * What a JVM needs to train: one frozen base model and its tokenizer for each device, loaded by the
 * first task that asks and shared by all that follow.
 */
public final class ExecutorRuntime {
  /**
   * Outlives tasks by design: loading the base once in a JVM is the point. Guarded by the class.
   */
  private static final Map<Key, ExecutorRuntime> LOADED = new LinkedHashMap<>();

  private static final Map<String, TextTokenizer> TOKENIZERS = new LinkedHashMap<>();

  private record Key(RuntimeSpec spec, ComputeDevice device) {}

  private final TunableModel model;
  private final ExampleEncoder encoder;

  private ExecutorRuntime(TunableModel model, ExampleEncoder encoder) {
    this.model = model;
    this.encoder = encoder;
  }

  /**
   * The runtime of the calling task: on the GPU that Spark gave it, else on the processor.
   *
   * @throws org.sparkpeft.core.error.FormatException if the model cannot be read
   */
  public static synchronized ExecutorRuntime of(RuntimeSpec spec) {
    Key key = new Key(spec, device(spec));
    ExecutorRuntime loaded = LOADED.get(key);
    if (loaded == null) {
      loaded = load(key);
      LOADED.put(key, loaded);
    }
    return loaded;
  }

  private static ExecutorRuntime load(Key key) {
    TorchEngine.start();
    ModelDirectory directory = ModelDirectory.resolve(key.spec.model());
    for (Map.Entry<Key, ExecutorRuntime> other : LOADED.entrySet()) {
      Key known = other.getKey();
      if (known.device.equals(key.device)
          && known.spec.model().equals(key.spec.model())
          && known.spec.task().equals(key.spec.task())) {
        ExecutorRuntime sharing = other.getValue();
        return new ExecutorRuntime(sharing.model.withPeft(key.spec.peft()), sharing.encoder);
      }
    }
    TextTokenizer tokenizer =
        TOKENIZERS.computeIfAbsent(
            key.spec.model() + "#" + key.spec.task().maxLength(),
            name -> TextTokenizer.open(directory, key.spec.task().maxLength()));
    TunableModel model = TunableModel.load(directory, key.spec.task(), key.spec.peft(), key.device);
    return new ExecutorRuntime(model, new ExampleEncoder(tokenizer, key.spec.task()));
  }

  private static ComputeDevice device(RuntimeSpec spec) {
    TaskContext context = TaskContext.get();
    if (context != null) {
      ResourceInformation gpu = context.resourcesJMap().get("gpu");
      if (gpu != null && gpu.addresses().length > 0) {
        return new ComputeDevice("cuda:" + gpu.addresses()[0], spec.mathThreads());
      }
    }
    return new ComputeDevice("cpu", spec.mathThreads());
  }

  public TunableModel model() {
    return model;
  }

  /** Turns texts into tokens. */
  ExampleEncoder encoder() {
    return encoder;
  }
}
