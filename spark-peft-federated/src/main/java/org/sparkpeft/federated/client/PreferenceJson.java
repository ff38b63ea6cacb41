package org.sparkpeft.federated.client;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import org.sparkpeft.core.train.PreferenceConfig;

/** Preference settings beside an adapter, under the names of the recipe. */
final class PreferenceJson {
  private PreferenceJson() {}

  static ObjectNode write(PreferenceConfig config) {
    return new ObjectMapper()
        .createObjectNode()
        .put("loss_type", config.lossType())
        .put("beta", config.beta())
        .put("label_smoothing", config.labelSmoothing())
        .put("desirable_weight", config.desirableWeight())
        .put("undesirable_weight", config.undesirableWeight())
        .put("reference_free", config.referenceFree())
        .put("rpo_alpha", config.rpoAlpha())
        .put("max_prompt_length", config.maxPromptLength());
  }

  /** What is missing is as usual. */
  static PreferenceConfig read(JsonNode node) {
    PreferenceConfig usual = PreferenceConfig.defaults();
    return new PreferenceConfig(
        node.path("loss_type").asText(usual.lossType()),
        node.path("beta").asDouble(usual.beta()),
        node.path("label_smoothing").asDouble(usual.labelSmoothing()),
        node.path("desirable_weight").asDouble(usual.desirableWeight()),
        node.path("undesirable_weight").asDouble(usual.undesirableWeight()),
        node.path("reference_free").asBoolean(usual.referenceFree()),
        node.path("rpo_alpha").asDouble(usual.rpoAlpha()),
        node.path("max_prompt_length").asInt(usual.maxPromptLength()));
  }
}
