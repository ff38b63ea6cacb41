package org.sparkpeft.core.model;

/**
 * What sits on top of the encoder.
 *
 * @param kind form of the head
 * @param outputs numbers the head returns for each example or token; 0 for {@code NONE} and for
 *     {@code LANGUAGE}, where the model decides it
 */
public record HeadConfig(Kind kind, int outputs) {

  /** Form of a head. */
  public enum Kind {
    /** No head: the hidden states are the result. */
    NONE,
    /**
     * The head of Hugging Face's {@code ForSequenceClassification} class, on the first or last
     * token, or of its {@code ForImageClassification} or {@code ForAudioClassification} class.
     */
    SEQUENCE,
    /** One linear layer, {@code classifier}, on the mean of the hidden states of all tokens. */
    MEAN,
    /** The head of Hugging Face's {@code ForTokenClassification} class, on every token. */
    TOKEN,
    /**
     * The head that predicts words: of {@code ForCausalLM}, {@code ForConditionalGeneration} or
     * {@code ForMaskedLM}. Its outputs are the vocabulary.
     */
    LANGUAGE
  }

  public static final HeadConfig NO_HEAD = new HeadConfig(Kind.NONE, 0);

  public static final HeadConfig LANGUAGE = new HeadConfig(Kind.LANGUAGE, 0);

  public HeadConfig {
    boolean none = kind == Kind.NONE || kind == Kind.LANGUAGE;
    if (none != (outputs == 0) || outputs < 0) {
      throw new IllegalArgumentException("a head of kind " + kind + " with outputs " + outputs);
    }
  }
}
