package org.sparkpeft.core.peft.additive;

import java.util.List;
import org.sparkpeft.core.error.Problems;
import org.sparkpeft.core.nn.Activation;
import org.sparkpeft.core.peft.PeftConfig;

/**
 * Settings of the bottleneck adapters. Hugging Face PEFT has none of them; names are those of the
 * field's adapter library.
 *
 * @param peftType which of them
 * @param reductionFactor the hidden size divided by this is the size of the bottleneck, at least 1
 * @param nonLinearity name of the function between the two layers
 * @param scaling factor on the adapter's output; for {@code ADAPTER_PLUS} the start of a trained
 *     factor for each channel
 * @param initAdapterWeights {@code lora} (the identity), {@code bert} or {@code houlsby}
 * @param dropPath probability in [0, 1) of leaving out an example's adapter in training
 * @param layersToTransform numbers of the layers that get one; empty means all
 * @param modulesToSave modules trained and saved in full
 */
public record BottleneckConfig(
    String peftType,
    int reductionFactor,
    String nonLinearity,
    double scaling,
    String initAdapterWeights,
    double dropPath,
    List<Integer> layersToTransform,
    List<String> modulesToSave)
    implements PeftConfig {

  public BottleneckConfig {
    layersToTransform = List.copyOf(layersToTransform);
    modulesToSave = List.copyOf(modulesToSave);
    Problems problems = new Problems();
    problems
        .require(
            reductionFactor >= 1,
            "reduction_factor",
            reductionFactor,
            "must be 1 or more; usual 16")
        .require(
            Activation.named(nonLinearity).isPresent(),
            "non_linearity",
            nonLinearity,
            "must be one of " + Activation.names())
        .require(
            Double.isFinite(scaling) && scaling != 0, "scaling", scaling, "must be a number but 0")
        .require(
            Bottleneck.STARTS.contains(initAdapterWeights),
            "init_adapter_weights",
            initAdapterWeights,
            "must be one of " + Bottleneck.STARTS)
        .require(dropPath >= 0 && dropPath < 1, "drop_path", dropPath, "must be in [0, 1)");
    layersToTransform.forEach(
        layer ->
            problems.require(layer >= 0, "layers_to_transform", layer, "layer numbers start at 0"));
    problems.throwIfAny();
  }

  Activation activation() {
    return Activation.named(nonLinearity).orElseThrow();
  }

  int size(int hidden) {
    return Math.max(1, hidden / reductionFactor);
  }
}
