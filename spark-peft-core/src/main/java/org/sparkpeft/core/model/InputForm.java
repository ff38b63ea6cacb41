package org.sparkpeft.core.model;

import java.util.List;

/**
 * What a model reads of one example.
 *
 * @param kind form of the input
 * @param shape numbers of an example: {@code [channels, height, width]} of an image, {@code
 *     [frames, features]} of a recording; empty where examples may have any length
 */
public record InputForm(Kind kind, List<Integer> shape) {

  /** Forms of inputs. */
  public enum Kind {
    /** Token ids. */
    TOKENS("text"),
    /** An image. */
    IMAGE("images"),
    /** A recording as rows of features. */
    FRAMES("sound"),
    /** A recording as samples. */
    SAMPLES("sound");

    private final String what;

    Kind(String what) {
      this.what = what;
    }

    /** In a word, for messages: text, images or sound. */
    public String what() {
      return what;
    }
  }

  public static final InputForm TOKENS = new InputForm(Kind.TOKENS, List.of());
  public static final InputForm SAMPLES = new InputForm(Kind.SAMPLES, List.of());

  public InputForm {
    shape = List.copyOf(shape);
  }

  static InputForm image(int channels, int height, int width) {
    return new InputForm(Kind.IMAGE, List.of(channels, height, width));
  }

  static InputForm frames(int frames, int features) {
    return new InputForm(Kind.FRAMES, List.of(frames, features));
  }

  /** The shape as {@code 1 x 28 x 28}. */
  public static String shown(List<Integer> shape) {
    return String.join(" x ", shape.stream().map(String::valueOf).toList());
  }
}
