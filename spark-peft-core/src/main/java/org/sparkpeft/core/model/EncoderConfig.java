package org.sparkpeft.core.model;

import org.sparkpeft.core.nn.Activation;

/**
 * Sizes of a BERT-like encoder.
 *
 * @param vocabulary rows of the word embedding
 * @param hidden size of a token's state
 * @param layers number of transformer layers
 * @param heads attention heads; divides {@code hidden}
 * @param intermediate inner size of the feed-forward block
 * @param activation of the feed-forward block
 * @param epsilon of the layer norms
 * @param positionRows rows of the position embedding; 0 when there is none
 * @param segments rows of the token type embedding; 0 when there is none
 * @param padId padding token
 * @param maxTokens longest sequence
 * @param initializerRange standard deviation of fresh weights
 * @param embedding size of a word embedding; where it is not {@code hidden}, a linear layer follows
 */
public record EncoderConfig(
    int vocabulary,
    int hidden,
    int layers,
    int heads,
    int intermediate,
    Activation activation,
    float epsilon,
    int positionRows,
    int segments,
    int padId,
    int maxTokens,
    double initializerRange,
    int embedding) {}
