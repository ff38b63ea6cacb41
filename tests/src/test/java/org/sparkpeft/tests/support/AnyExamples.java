package org.sparkpeft.tests.support;

import java.util.stream.IntStream;
import org.sparkpeft.core.data.Examples;
import org.sparkpeft.core.model.InputForm;
import org.sparkpeft.core.random.Philox;
import org.sparkpeft.core.train.TunableModel;

/** Examples of whatever a model reads and its task asks for. */
public final class AnyExamples {
  private AnyExamples() {}

  /**
   * Adds the same examples each time: texts of 4 tokens and more, or images.
   *
   * @param name other examples for another name
   */
  public static void add(Examples.Builder builder, TunableModel model, String name, int count) {
    for (int i = 0; i < count; i++) {
      Philox random = Philox.of(1, name, i);
      int[] text =
          IntStream.range(0, 4 + i).map(t -> 5 + (int) (random.doubleAt(t) * 100)).toArray();
      if (model.input().kind() == InputForm.Kind.IMAGE) {
        int[] shape = model.input().shape().stream().mapToInt(Integer::intValue).toArray();
        int size = IntStream.of(shape).reduce(1, (a, b) -> a * b);
        builder.addMedia(random.gaussian(size, 1), shape, i % 3);
      } else if (model.task().task().equals("text-generation")) {
        builder.addTokenClasses(text, text);
      } else if (model.task().labels().isEmpty()) {
        builder.addTargets(text, text);
      } else {
        builder.addClass(text, i % 3);
      }
    }
  }
}
