package org.sparkpeft.core.generate;

/**
 * One generated text.
 *
 * @param tokens the new tokens, without the prompt; the token that ended the text is the last
 * @param score sum of the logarithms of the tokens' probabilities, divided by {@code tokens.length
 *     ^ length_penalty}; of beam search, with the penalties applied
 */
public record Generated(int[] tokens, double score) {}
