package org.sparkpeft.core.model;

/**
 * Where the parts of one transformer layer are, by Hugging Face path.
 *
 * @param query query projection
 * @param key key projection
 * @param value value projection
 * @param attentionOutput projection of the joined heads, the attention block's last layer
 * @param attentionNorm norm of the attention block, before or after it
 * @param intermediate first feed-forward layer
 * @param output second feed-forward layer, the block's last
 * @param outputNorm norm of the feed-forward block, before or after it
 */
public record LayerPaths(
    String query,
    String key,
    String value,
    String attentionOutput,
    String attentionNorm,
    String intermediate,
    String output,
    String outputNorm) {}
