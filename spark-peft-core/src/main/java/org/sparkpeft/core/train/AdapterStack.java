package org.sparkpeft.core.train;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.io.AdapterDirectory;
import org.sparkpeft.core.model.InputForm;
import org.sparkpeft.core.model.ModuleSpec;
import org.sparkpeft.core.peft.MethodState;
import org.sparkpeft.core.peft.PeftConfig;
import org.sparkpeft.core.vector.ParameterVector;

/**
 * Trained adapters of one base, by name, in the order in which they act: none is the base, several
 * lie on top of each other, the first innermost. Immutable, and no part of the model: every forward
 * pass may have another, at the same time.
 *
 * <p>A weight scales what an adapter's method does to each layer it acts on, {@code h + weight
 * (changed(h) - h)}; 1 leaves it as it is, 0 leaves the adapter out. Prefixes and virtual tokens
 * are there or not, so their methods have no other weight than 1.
 *
 * <p>Modules trained in full ({@code modules_to_save}, the task head among them) are taken as they
 * are, whatever the weight. As in Hugging Face PEFT one adapter gives each of them: where several
 * have the same, {@link #withModulesOf} says whose is meant, and without it they are refused.
 */
public final class AdapterStack {
  /** No adapter: the base, with the head it has. */
  public static final AdapterStack NONE = new AdapterStack(List.of(), List.of());

  /**
   * One adapter.
   *
   * @param model the base under the adapter's method, with the method's state
   * @param values what was trained
   */
  record Layer(String name, TunableModel model, ParameterVector values, float weight) {
    Layer {
      if (name.isBlank()) {
        throw new ConfigException("adapter", "needs a name");
      }
      if (!values.layout().equals(model.layout())) {
        throw new IllegalArgumentException(
            "adapter " + name + " has " + values.layout() + ", its method " + model.layout());
      }
      if (!Float.isFinite(weight)) {
        throw new ConfigException("weight", "of adapter " + name + " must be finite, is " + weight);
      }
      if (weight != 1 && model.method().virtualTokens() > 0) {
        throw new ConfigException(
            "weight",
            "of adapter "
                + name
                + " must be 1, is "
                + weight
                + ": the prefixes and virtual tokens of "
                + model.peft().peftType()
                + " are there or not; leave the adapter out to turn it off");
      }
    }
  }

  private final List<Layer> layers;

  /** Whose modules trained in full are taken where several have them, most wanted first. */
  private final List<String> preferred;

  private AdapterStack(List<Layer> layers, List<String> preferred) {
    this.layers = List.copyOf(layers);
    this.preferred = List.copyOf(preferred);
  }

  /** {@link #with(String, TunableModel, ParameterVector, float)} as it was trained. */
  public AdapterStack with(String name, TunableModel model, ParameterVector values) {
    return with(name, model, values, 1);
  }

  /**
   * These and one more on top.
   *
   * @param model the base under the adapter's method, with the method's state
   * @param values what was trained
   * @throws ConfigException if the name is taken, or the weight cannot be
   */
  public AdapterStack with(String name, TunableModel model, ParameterVector values, float weight) {
    if (names().contains(name)) {
      throw new ConfigException("adapter", "there are two of the name " + name);
    }
    List<Layer> more = new ArrayList<>(layers);
    more.add(new Layer(name, model, values, weight));
    return new AdapterStack(more, preferred);
  }

  /**
   * These and, on top, an adapter from a Hugging Face PEFT directory.
   *
   * @param base any model on the same base and for the same task
   * @throws ConfigException if its method or settings are not supported
   * @throws org.sparkpeft.core.error.FormatException if it does not fit the base
   */
  public AdapterStack read(
      String name, TunableModel base, AdapterDirectory directory, float weight) {
    PeftConfig config = AdapterImport.config(directory);
    TunableModel model = base.withAdapters(NONE).withPeft(config);
    MethodState state = model.importState(directory);
    return with(name, model.withState(state), model.importAdapter(directory), weight);
  }

  /** Names, innermost first. */
  public List<String> names() {
    return layers.stream().map(Layer::name).toList();
  }

  /** The strength of an adapter. */
  public float weight(String name) {
    return layer(name).weight();
  }

  /** What was trained of an adapter. */
  public ParameterVector values(String name) {
    return layer(name).values();
  }

  /** Only these of them, in the order given. */
  public AdapterStack only(String... names) {
    Set<String> kept = new LinkedHashSet<>(List.of(names));
    if (kept.size() != names.length) {
      throw new ConfigException("adapter", "one is named twice in " + Arrays.toString(names));
    }
    return new AdapterStack(
        kept.stream().map(this::layer).toList(),
        preferred.stream().filter(kept::contains).toList());
  }

  /** All but this one. */
  public AdapterStack without(String name) {
    layer(name);
    return only(names().stream().filter(each -> !each.equals(name)).toArray(String[]::new));
  }

  /** The same adapters, one of them at another strength. */
  public AdapterStack withWeight(String name, float weight) {
    Layer old = layer(name);
    Layer changed = new Layer(name, old.model(), old.values(), weight);
    return new AdapterStack(
        layers.stream().map(layer -> layer.name().equals(name) ? changed : layer).toList(),
        preferred);
  }

  /** The same adapters; where several train a module in full, this one's is taken. */
  public AdapterStack withModulesOf(String name) {
    layer(name);
    List<String> more = new ArrayList<>(preferred);
    more.remove(name);
    more.add(0, name);
    return new AdapterStack(layers, more);
  }

  private Layer layer(String name) {
    return layers.stream()
        .filter(layer -> layer.name().equals(name))
        .findFirst()
        .orElseThrow(
            () ->
                new ConfigException(
                    "adapter", "there is none of the name " + name + "; there are " + names()));
  }

  /** Those that do something. */
  List<Layer> active() {
    return layers.stream().filter(layer -> layer.weight() != 0).toList();
  }

  /** Whether each treats every token by itself. */
  boolean isTokenwise() {
    return active().stream().allMatch(layer -> layer.model().method().isTokenwise());
  }

  /** Positions of the model that go to virtual tokens or prefixes. */
  int virtualTokens() {
    return active().stream().mapToInt(layer -> layer.model().method().virtualTokens()).sum();
  }

  /**
   * Which adapter gives each module that is trained in full, by path.
   *
   * @param given paths of modules that come from elsewhere
   * @throws ConfigException if several would and nobody said which
   */
  Map<String, String> moduleOwners(Set<String> given) {
    Map<String, String> owners = new HashMap<>();
    for (Layer layer : active()) {
      for (ModuleSpec module : layer.model().saved().modules()) {
        String path = module.path();
        if (given.contains(path)) {
          continue;
        }
        String before = owners.putIfAbsent(path, layer.name());
        if (before != null) {
          owners.put(path, chosen(path, before, layer.name()));
        }
      }
    }
    return owners;
  }

  private String chosen(String path, String one, String other) {
    Set<String> both = new LinkedHashSet<>(List.of(one, other));
    return preferred.stream()
        .filter(both::contains)
        .findFirst()
        .orElseThrow(
            () ->
                new ConfigException(
                    "modules_to_save",
                    "adapters "
                        + one
                        + " and "
                        + other
                        + " both have their own "
                        + path
                        + "; say whose is meant (withModulesOf, or --head)"));
  }

  /**
   * @throws ConfigException if an adapter is for another base, or there is no room in a text for
   *     all virtual tokens
   */
  void requireFit(TunableModel model, int ownVirtualTokens) {
    for (Layer layer : layers) {
      if (!layer.model().sharesBase(model)) {
        throw new ConfigException(
            "adapter",
            layer.name() + " is on another base or task; make it with withPeft of this model");
      }
    }
    int virtual = virtualTokens() + ownVirtualTokens;
    int positions = model.config().maxTokens();
    boolean text = model.input().kind() == InputForm.Kind.TOKENS;
    if (text && model.task().maxLength() + virtual > positions) {
      throw new ConfigException(
          "max_length",
          "the model has "
              + positions
              + " positions, got "
              + model.task().maxLength()
              + (virtual > 0 ? " and " + virtual + " virtual tokens" : ""));
    }
  }

  @Override
  public String toString() {
    return "AdapterStack" + layers.stream().map(l -> l.name() + ":" + l.weight()).toList();
  }
}
