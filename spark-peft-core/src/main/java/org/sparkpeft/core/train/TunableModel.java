package org.sparkpeft.core.train;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.function.Function;
import java.util.function.Predicate;
import java.util.stream.Collectors;
import org.sparkpeft.core.engine.ComputeDevice;
import org.sparkpeft.core.engine.GradientScope;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.generate.Generated;
import org.sparkpeft.core.generate.GenerationConfig;
import org.sparkpeft.core.io.AdapterDirectory;
import org.sparkpeft.core.io.ModelDirectory;
import org.sparkpeft.core.model.Backbone;
import org.sparkpeft.core.model.Backbones;
import org.sparkpeft.core.model.InputForm;
import org.sparkpeft.core.model.ModelInput;
import org.sparkpeft.core.model.ModelSizes;
import org.sparkpeft.core.model.ModuleSpec;
import org.sparkpeft.core.model.ModuleTree;
import org.sparkpeft.core.model.TokenExamples;
import org.sparkpeft.core.model.Tuning;
import org.sparkpeft.core.model.WeightForm;
import org.sparkpeft.core.peft.AttachedMethod;
import org.sparkpeft.core.peft.BaseWeights;
import org.sparkpeft.core.peft.ClientRows;
import org.sparkpeft.core.peft.MethodState;
import org.sparkpeft.core.peft.MethodTensors;
import org.sparkpeft.core.peft.Modification;
import org.sparkpeft.core.peft.ModifiedForward;
import org.sparkpeft.core.peft.PeftConfig;
import org.sparkpeft.core.peft.PeftMethods;
import org.sparkpeft.core.peft.RoundDecision;
import org.sparkpeft.core.peft.SavedModules;
import org.sparkpeft.core.peft.TargetSelection;
import org.sparkpeft.core.peft.TensorRole;
import org.sparkpeft.core.peft.TuningContext;
import org.sparkpeft.core.text.TextTokenizer;
import org.sparkpeft.core.vector.ParameterLayout;
import org.sparkpeft.core.vector.ParameterVector;

/**
 * A frozen base model with a task head and the plan of an adapter: everything tasks of one JVM
 * share. Holds no trained values; those are passed in. Immutable, so any number of threads may
 * train on it at once.
 */
public final class TunableModel implements AutoCloseable {
  /** Names that Hugging Face PEFT always tries as heads; no model has both. */
  private static final Set<String> HEAD_NAMES = Set.of("classifier", "score");

  private final ModelDirectory directory;
  private final TaskConfig task;
  private final PeftConfig peft;
  private final ComputeDevice device;
  private final Backbone backbone;
  private final AttachedMethod method;
  private final MethodState state;
  private final SavedModules saved;
  private final List<String> savedNames;
  private final ParameterLayout layout;
  private final AdapterStack below;

  private TunableModel(
      ModelDirectory directory,
      TaskConfig task,
      PeftConfig peft,
      ComputeDevice device,
      Backbone backbone,
      AdapterStack below) {
    this.directory = directory;
    this.task = task;
    this.peft = PeftMethods.suited(peft, backbone.modules());
    this.device = device;
    this.backbone = backbone;
    requireForm(peft, backbone.form());
    if (task.kind().isPreference()) {
      Preferences.requireNoDropout(task, peft);
    }
    this.savedNames = savedNames(peft, backbone);
    List<ModuleSpec> full = savedModules(savedNames, backbone.modules());
    this.saved = new SavedModules(full, backbone.missing(), backbone.config().initializerRange());
    this.method = PeftMethods.attach(this.peft, backbone.modules().without(full));
    this.below = below;
    Map<String, List<Integer>> shapes = new LinkedHashMap<>(method.shapes());
    shapes.putAll(saved.shapes());
    if (shapes.isEmpty()) {
      throw new ConfigException(
          "peft", "nothing would be trained; add modules_to_save or use another peft_type");
    }
    this.layout = ParameterLayout.of(shapes);
    this.state = MethodState.EMPTY;
    below.requireFit(this, method.virtualTokens());
  }

  private TunableModel(TunableModel same, MethodState state, AdapterStack below) {
    this.directory = same.directory;
    this.task = same.task;
    this.peft = same.peft;
    this.device = same.device;
    this.backbone = same.backbone;
    this.method = same.method;
    this.saved = same.saved;
    this.savedNames = same.savedNames;
    this.layout = same.layout;
    this.state = state;
    this.below = below;
  }

  private static void requireForm(PeftConfig peft, WeightForm held) {
    WeightForm asked = PeftMethods.baseForm(peft, held);
    if (!asked.equals(held)) {
      throw new ConfigException(
          "peft_type",
          "%s needs a base in %s, this one is in %s; load the model for it"
              .formatted(peft.peftType(), asked, held));
    }
  }

  /** With the base in the form that the method asks for, else in float32. */
  public static TunableModel load(
      ModelDirectory directory, TaskConfig task, PeftConfig peft, ComputeDevice device) {
    return load(directory, task, peft, device, WeightForm.FLOAT32);
  }

  /**
   * Loads the base model and lays the adapter out on it.
   *
   * @param form what the base is held in, unless the method asks for a form, see {@link
   *     PeftMethods#baseForm}
   * @throws ConfigException if the adapter's configuration or the task does not fit the model, or
   *     the form does not fit the method
   * @throws org.sparkpeft.core.error.FormatException if the model cannot be read
   */
  public static TunableModel load(
      ModelDirectory directory,
      TaskConfig task,
      PeftConfig peft,
      ComputeDevice device,
      WeightForm form) {
    TaskConfig.requireInput(task.task(), Backbones.input(directory));
    task.requireArchitecture(directory);
    WeightForm held = PeftMethods.baseForm(peft, form);
    Backbone backbone = Backbones.load(directory, device, task.head(), held);
    try {
      return new TunableModel(directory, task, peft, device, backbone, AdapterStack.NONE);
    } catch (RuntimeException e) {
      backbone.close();
      throw e;
    }
  }

  /**
   * The same base and task under another method. The base is shared, not copied; closing either
   * frees it.
   *
   * @throws ConfigException if the adapter's configuration does not fit the model
   */
  public TunableModel withPeft(PeftConfig other) {
    return new TunableModel(directory, task, other, device, backbone, below);
  }

  /**
   * This model with what its method needs beside its parameters; see {@link #initialState}. The
   * base is shared.
   */
  public TunableModel withState(MethodState other) {
    return other.equals(state) ? this : new TunableModel(this, other, below);
  }

  /**
   * The same model on top of other adapters, which stay as they are: it trains, and computes with,
   * its own adapter above them. Modules that it trains in full take the place of theirs. What it
   * exports is its own adapter alone.
   *
   * @param frozen whatever was there before is replaced
   * @throws ConfigException if one is for another base, if nobody says whose modules are meant, or
   *     if there is no room for their virtual tokens
   */
  public TunableModel withAdapters(AdapterStack frozen) {
    frozen.requireFit(this, method.virtualTokens());
    frozen.moduleOwners(savedPaths());
    return new TunableModel(this, state, frozen);
  }

  /**
   * Whether the base can be used under these adapters alone.
   *
   * @throws ConfigException as {@link #withAdapters}, if not
   */
  public void requireUsable(AdapterStack adapters) {
    adapters.requireFit(this, 0);
    adapters.moduleOwners(Set.of());
  }

  private Set<String> savedPaths() {
    return saved.modules().stream().map(ModuleSpec::path).collect(Collectors.toSet());
  }

  /** The adapters under this model's own. */
  AdapterStack below() {
    return below;
  }

  /** Whether both use one loaded base, with one head. */
  boolean sharesBase(TunableModel other) {
    return backbone == other.backbone;
  }

  /** This model as a training starts: with the method's initial state for a seed. */
  public TunableModel started(long seed) {
    return withState(initialState(seed));
  }

  /** The method's state at the start of a training: the same bits for the same seed. */
  public MethodState initialState(long seed) {
    return method.initialState(seed, base());
  }

  /** Whether the adapter changes nothing before it is trained. */
  public boolean startsAsBase() {
    return method.startsAsBase();
  }

  /** What decides the method's effect beside its parameters. */
  public MethodState state() {
    return state;
  }

  /**
   * What is trained in full: the user's modules, the output layer, and what the base lacks. Names
   * that Hugging Face PEFT always tries are left out where the model has no such head.
   */
  private static List<String> savedNames(PeftConfig peft, Backbone backbone) {
    Set<String> names = new LinkedHashSet<>(peft.modulesToSave());
    names.removeIf(name -> HEAD_NAMES.contains(name) && backbone.modules().named(name).isEmpty());
    for (ModuleSpec module : backbone.modules().all()) {
      String head = headName(module, backbone.prefix());
      boolean output = module.isHead() && HEAD_NAMES.contains(head);
      boolean lacking =
          module.origin() == ModuleSpec.Origin.FRESH && backbone.missing().contains(module.path());
      if (output || lacking) {
        names.add(head);
      }
    }
    return List.copyOf(names);
  }

  /** {@code pooler} for {@code bert.pooler.dense}, {@code classifier} for {@code classifier}. */
  static String headName(ModuleSpec module, String prefix) {
    String base = prefix + ".";
    String path =
        module.path().startsWith(base) ? module.path().substring(base.length()) : module.path();
    return path.contains(".") ? path.substring(0, path.indexOf('.')) : path;
  }

  private static List<ModuleSpec> savedModules(List<String> names, ModuleTree modules) {
    Set<ModuleSpec> full = new LinkedHashSet<>();
    for (String name : names) {
      List<ModuleSpec> meant = modules.named(name);
      if (meant.isEmpty()) {
        throw new ConfigException(
            "modules_to_save",
            "no module is named "
                + name
                + "; close names are "
                + TargetSelection.closest(modules, name));
      }
      full.addAll(meant);
    }
    return List.copyOf(full);
  }

  public TaskConfig task() {
    return task;
  }

  public PeftConfig peft() {
    return peft;
  }

  public ComputeDevice device() {
    return device;
  }

  public ModelDirectory directory() {
    return directory;
  }

  /** Names, shapes and order of the trained tensors. */
  public ParameterLayout layout() {
    return layout;
  }

  /** The layers of base and head. */
  public ModuleTree modules() {
    return backbone.modules();
  }

  /** In how many bits the base is held. */
  public WeightForm baseForm() {
    return backbone.form();
  }

  /** Bytes of the engine's memory that the base takes, head included. */
  public long baseBytes() {
    return backbone.bytes();
  }

  /** What the model reads of an example. */
  public InputForm input() {
    return backbone.input();
  }

  /** Sizes of the base model. */
  public ModelSizes config() {
    return backbone.config();
  }

  /** Number of parameters of the base, without the task head. */
  public long baseParameters() {
    return backbone.modules().parameters(ModuleSpec.Origin.REQUIRED);
  }

  /** Starting values for this state: the same bits for the same seed, on every machine. */
  public ParameterVector initialParameters(long seed) {
    Map<String, float[]> values = new LinkedHashMap<>(method.initialValues(seed, state, base()));
    values.putAll(saved.initialValues(seed, base()));
    return flatten(values);
  }

  /** The frozen tensors, and the tokenizer beside them. */
  BaseWeights base() {
    return new BaseWeights() {
      @Override
      public float[] tensor(String name) {
        return backbone.frozen(name);
      }

      @Override
      public int[] tokenIds(String text) {
        try (TextTokenizer tokenizer = TextTokenizer.open(directory, config().maxTokens())) {
          return tokenizer.encode(text);
        }
      }
    };
  }

  ParameterVector flatten(Map<String, float[]> values) {
    float[] flat = new float[layout.size()];
    for (ParameterLayout.Entry entry : layout.entries()) {
      float[] tensor = values.get(entry.name());
      if (tensor == null || tensor.length != entry.size()) {
        throw new IllegalStateException("no values of the right size for " + entry.name());
      }
      System.arraycopy(tensor, 0, flat, entry.offset(), entry.size());
    }
    return ParameterVector.wrap(layout, flat);
  }

  /**
   * The model's outputs for batches: logits, or unit vectors for sentence embeddings.
   *
   * @param manager owner of the method's frozen tensors, loaded once; must outlive the result
   */
  BatchForward forward(NDManager manager) {
    Map<String, NDArray> frozen = MethodTensors.load(manager, state);
    LoadedStack under = new LoadedStack(manager, below, saved.modules());
    return (step, views, batch, context) ->
        outputs(step, batch.input(), tuning(views, frozen, under, context), isTokenwise());
  }

  /** Why several clients cannot share a forward pass; empty if they can. */
  public Optional<String> whyOneByOne() {
    return method
        .whyOneByOne()
        .map(reason -> "peft_type " + peft.peftType() + ": " + reason)
        .or(saved::whyOneByOne)
        .or(
            () ->
                backbone.isRowByRow()
                    ? Optional.empty()
                    : Optional.of("a layer of the base reads what all texts have in common"))
        .or(this::whyTaskOneByOne);
  }

  /**
   * Checks that the model can be trained with {@code train.gradient_checkpointing}.
   *
   * @throws ConfigException if its method, or one that it lies on, does not allow that
   */
  public void requireRecomputable() {
    below.active().forEach(layer -> layer.model().requireRecomputable());
    method
        .whyNotRecomputed()
        .ifPresent(
            reason -> {
              throw new ConfigException(
                  "train.gradient_checkpointing",
                  "cannot be on with peft_type %s: %s; turn it off"
                      .formatted(peft.peftType(), reason));
            });
  }

  /**
   * What a training step keeps of each layer for its backward pass.
   *
   * @param checkpointing whether layers may be computed a second time, see {@link
   *     #requireRecomputable}
   */
  GradientScope.Keeps keeps(boolean checkpointing) {
    if (checkpointing) {
      return GradientScope.Keeps.INPUTS;
    }
    return isPacked() && layersStandAlone()
        ? GradientScope.Keeps.ALL_BUT_WEIGHTS
        : GradientScope.Keeps.ALL;
  }

  private boolean isPacked() {
    return baseForm().type() == WeightForm.Type.NF4;
  }

  /** Whether all methods at work treat each token of a layer by itself. */
  boolean isTokenwise() {
    return method.isTokenwise() && below.isTokenwise();
  }

  private boolean layersStandAlone() {
    return method.whyNotRecomputed().isEmpty()
        && below.active().stream().allMatch(layer -> layer.model().layersStandAlone());
  }

  private Optional<String> whyTaskOneByOne() {
    if (task.isPreference()) {
      return Optional.of("preferences are measured against a reference of their own");
    }
    return task.kind().reads(InputForm.Kind.TOKENS)
        ? Optional.empty()
        : Optional.of("images and recordings go one client at a time");
  }

  /** From a batch of several clients' texts and their trained tensors to the outputs. */
  interface ForwardByClient {
    /**
     * @param views the trained tensors by name, {@code [clients, ...]}
     * @param context of the whole batch
     * @return one row for each row of the batch, owned by the step's manager
     */
    Outputs outputs(Map<String, NDArray> views, ClientRows rows, TuningContext context);
  }

  /**
   * The model's outputs for batches that clients share. Not where {@link #whyOneByOne} has a
   * reason.
   *
   * @param manager owner of the method's frozen tensors, loaded once; must outlive the result
   */
  ForwardByClient forwardByClient(NDManager manager) {
    Map<String, NDArray> frozen = MethodTensors.load(manager, state);
    LoadedStack under = new LoadedStack(manager, below, saved.modules());
    return (views, rows, context) -> {
      List<Modification> all = new ArrayList<>(saved.modificationsByClient(views, rows));
      all.addAll(under.modules());
      all.addAll(under.methods(context));
      all.addAll(method.modificationsByClient(new MethodTensors(views, frozen), rows, context));
      return outputs(context.manager(), context.batch(), ModifiedForward.of(all), isTokenwise());
    };
  }

  /**
   * The outputs of the base under given adapters and nothing of this model's own, neither its
   * adapter nor {@link #withAdapters what lies below it}.
   *
   * @param manager owner of the adapters' tensors, loaded once; must outlive the result
   * @throws ConfigException as {@link #withAdapters}
   */
  BatchForward forward(NDManager manager, AdapterStack adapters) {
    requireUsable(adapters);
    LoadedStack loaded = new LoadedStack(manager, adapters, List.of());
    return (step, views, batch, context) -> {
      List<Modification> all = new ArrayList<>(loaded.modules());
      all.addAll(loaded.methods(context));
      return outputs(step, batch.input(), ModifiedForward.of(all), adapters.isTokenwise());
    };
  }

  /**
   * Continues prompts with the base under given adapters and nothing of this model's own.
   *
   * @param prompts token ids, none empty; of an encoder-decoder, what the encoder reads
   * @param text turns tokens into text, for stop strings
   * @throws ConfigException if the task predicts no words, or a setting does not fit the model
   */
  public List<List<Generated>> generate(
      AdapterStack adapters,
      List<int[]> prompts,
      GenerationConfig config,
      Function<int[], String> text) {
    return new TunedLanguageModel(this, adapters).generate(prompts, config, text);
  }

  private Outputs outputs(NDManager step, ModelInput input, Tuning tuning, boolean tokenwise) {
    NDArray features =
        tokenwise
            ? backbone.read(step, input, tuning)
            : backbone.features(step, backbone.forward(step, input, tuning), input, tuning);
    if (task.kind() == Task.SENTENCE_EMBEDDING) {
      return Outputs.of(unit(features));
    }
    int words = task.kind().isLanguage() ? config().vocabulary() : 0;
    return new Outputs(features, rows -> backbone.logits(rows, tuning), words);
  }

  private static NDArray unit(NDArray vectors) {
    return vectors.div(vectors.square().sum(new int[] {1}, true).sqrt());
  }

  /** Modules trained in full replace those of the base, so they come first. */
  private Tuning tuning(
      Map<String, NDArray> views,
      Map<String, NDArray> frozen,
      LoadedStack under,
      TuningContext context) {
    List<Modification> all = new ArrayList<>(saved.modifications(views));
    all.addAll(under.modules());
    all.addAll(under.methods(context));
    all.addAll(method.modifications(new MethodTensors(views, frozen), context));
    return ModifiedForward.of(all);
  }

  /** Whether training changes nothing below the head, so that an example's features stay. */
  boolean hasFixedFeatures() {
    return below.names().isEmpty()
        && task.kind() != Task.SENTENCE_EMBEDDING
        && !task.kind().isPerToken()
        && method.shapes().isEmpty()
        && saved.modules().stream().allMatch(ModuleSpec::isHead);
  }

  /** What the untrained encoder gives the head, {@code [batch, hidden]}. */
  NDArray fixedFeatures(NDManager step, ModelInput batch) {
    return backbone.read(step, batch, Tuning.NONE);
  }

  /** The outputs for features as {@link #fixedFeatures} makes them. */
  Outputs outputs(Map<String, NDArray> views, NDArray features, TuningContext context) {
    List<Modification> all = new ArrayList<>(saved.modifications(views));
    all.addAll(method.modifications(new MethodTensors(views, Map.of()), context));
    Tuning tuning = ModifiedForward.of(all);
    return new Outputs(features, rows -> backbone.logits(rows, tuning), 0);
  }

  /** Some examples as the model reads them. */
  ExampleBatch batch(TokenExamples examples, int[] indices, boolean pairs) {
    ExampleBatch batch = ExampleBatch.of(examples, indices, pairs, padId());
    if (task.kind() != Task.TEXT_TO_TEXT) {
      return batch;
    }
    return batch.withTargets(
        directory.config().path("decoder_start_token_id").asInt(padId()), padId());
  }

  /** Token that pads shorter examples. */
  int padId() {
    return backbone.config().padId();
  }

  Backbone backbone() {
    return backbone;
  }

  AttachedMethod method() {
    return method;
  }

  SavedModules saved() {
    return saved;
  }

  /** What the method decides between two rounds of a federation. */
  public RoundDecision.Output decide(RoundDecision.Input input) {
    return method.decide(state, input);
  }

  /** How each tensor of the layout is treated. */
  public Function<String, TensorRole> roles() {
    Set<String> own = method.shapes().keySet();
    return name -> own.contains(name) ? method.role(name) : method.savedRole(name);
  }

  /** Which tensors are averaged slice by slice, over the clients that trained one. */
  public Predicate<String> slicedTensors() {
    return name -> roles().apply(name).support() == TensorRole.Support.SLICES;
  }

  /** Names in {@code modules_to_save}, given and added. */
  List<String> savedNames() {
    return savedNames;
  }

  /**
   * Writes an adapter that Hugging Face PEFT loads onto the task's model class.
   *
   * @throws org.sparkpeft.core.error.DataException if a value is not finite
   */
  public void exportAdapter(ParameterVector parameters, Path target) {
    AdapterExport.write(this, parameters, target);
  }

  /**
   * Writes the adapter as LoRA on the untouched base, for readers that know no other method.
   *
   * @throws ConfigException if the method has no such form
   * @throws org.sparkpeft.core.error.DataException if a value is not finite
   */
  public void exportAsLora(ParameterVector parameters, Path target) {
    AdapterExport.writeAsLora(this, parameters, target);
  }

  /**
   * The trained values in an adapter of the same method and settings.
   *
   * @throws org.sparkpeft.core.error.FormatException if tensors are missing, unknown or of another
   *     shape
   * @throws ConfigException if the settings differ in a way that changes the result
   */
  public ParameterVector importAdapter(AdapterDirectory adapter) {
    return AdapterImport.read(this, adapter);
  }

  /** The method's state in an adapter, read as {@link #importAdapter} reads the trained values. */
  public MethodState importState(AdapterDirectory adapter) {
    return AdapterImport.load(this, adapter).state();
  }

  /** Why {@link #exportFused} would be refused; empty if it would not. */
  public Optional<String> whyNotFused() {
    return !below.names().isEmpty()
        ? Optional.of("it lies on the adapters " + below.names() + "; merge them first")
        : method
            .whyNotFused()
            .or(
                () ->
                    isPacked()
                        ? Optional.of(
                            "the base is in 4 bits, and rounding to them would lose what was"
                                + " trained; export the adapter")
                        : Optional.empty());
  }

  /**
   * The base with the adapter folded in, as a model directory that needs no adapter.
   *
   * @throws ConfigException if the method cannot be folded in
   * @throws org.sparkpeft.core.error.DataException if a value is not finite
   */
  public ModelDirectory exportFused(ParameterVector parameters, Path target) {
    return FusedExport.write(this, parameters, target);
  }

  /** Frees the base model. No task may be using it. */
  @Override
  public void close() {
    backbone.close();
  }
}
