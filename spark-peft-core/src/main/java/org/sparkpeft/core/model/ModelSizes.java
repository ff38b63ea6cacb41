package org.sparkpeft.core.model;

/**
 * Sizes that every model has.
 *
 * @param vocabulary rows of the word embedding; 0 where there is none
 * @param hidden size of a position's state
 * @param layers number of transformer layers; of an encoder-decoder, those of both
 * @param heads attention heads
 * @param padId padding token
 * @param maxTokens longest sequence
 * @param initializerRange standard deviation of fresh weights
 */
public record ModelSizes(
    int vocabulary,
    int hidden,
    int layers,
    int heads,
    int padId,
    int maxTokens,
    double initializerRange) {}
