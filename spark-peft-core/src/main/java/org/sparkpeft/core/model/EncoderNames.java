package org.sparkpeft.core.model;

/**
 * What a family calls the parts of a transformer layer, relative to the layer's path.
 *
 * @param layers path of the list of layers
 * @param query query projection
 * @param key key projection
 * @param value value projection
 * @param attentionOutput projection of the joined heads
 * @param attentionNorm norm before or after attention
 * @param intermediate first feed-forward layer
 * @param output second feed-forward layer
 * @param outputNorm norm before or after the feed-forward block
 */
record EncoderNames(
    String layers,
    String query,
    String key,
    String value,
    String attentionOutput,
    String attentionNorm,
    String intermediate,
    String output,
    String outputNorm) {

  /** BERT's and RoBERTa's. */
  static EncoderNames bert() {
    return new EncoderNames(
        "encoder.layer",
        "attention.self.query",
        "attention.self.key",
        "attention.self.value",
        "attention.output.dense",
        "attention.output.LayerNorm",
        "intermediate.dense",
        "output.dense",
        "output.LayerNorm");
  }

  static EncoderNames distilBert() {
    return new EncoderNames(
        "transformer.layer",
        "attention.q_lin",
        "attention.k_lin",
        "attention.v_lin",
        "attention.out_lin",
        "sa_layer_norm",
        "ffn.lin1",
        "ffn.lin2",
        "output_layer_norm");
  }

  static EncoderNames mpnet() {
    return new EncoderNames(
        "encoder.layer",
        "attention.attn.q",
        "attention.attn.k",
        "attention.attn.v",
        "attention.attn.o",
        "attention.LayerNorm",
        "intermediate.dense",
        "output.dense",
        "output.LayerNorm");
  }

  static EncoderNames debertaV2() {
    return new EncoderNames(
        "encoder.layer",
        "attention.self.query_proj",
        "attention.self.key_proj",
        "attention.self.value_proj",
        "attention.output.dense",
        "attention.output.LayerNorm",
        "intermediate.dense",
        "output.dense",
        "output.LayerNorm");
  }

  /** The Vision Transformer's, whose norms come before the blocks. */
  static EncoderNames vit() {
    return new EncoderNames(
        "encoder.layer",
        "attention.attention.query",
        "attention.attention.key",
        "attention.attention.value",
        "attention.output.dense",
        "layernorm_before",
        "intermediate.dense",
        "output.dense",
        "layernorm_after");
  }

  /** Those of both of CLIP's towers, whose norms come before the blocks. */
  static EncoderNames clip() {
    return new EncoderNames(
        "encoder.layers",
        "self_attn.q_proj",
        "self_attn.k_proj",
        "self_attn.v_proj",
        "self_attn.out_proj",
        "layer_norm1",
        "mlp.fc1",
        "mlp.fc2",
        "layer_norm2");
  }

  static EncoderNames wav2Vec2() {
    return new EncoderNames(
        "encoder.layers",
        "attention.q_proj",
        "attention.k_proj",
        "attention.v_proj",
        "attention.out_proj",
        "layer_norm",
        "feed_forward.intermediate_dense",
        "feed_forward.output_dense",
        "final_layer_norm");
  }

  /** Those of Whisper's encoder and decoder, whose norms come before the blocks. */
  static EncoderNames whisper() {
    return new EncoderNames(
        "layers",
        "self_attn.q_proj",
        "self_attn.k_proj",
        "self_attn.v_proj",
        "self_attn.out_proj",
        "self_attn_layer_norm",
        "fc1",
        "fc2",
        "final_layer_norm");
  }
}
