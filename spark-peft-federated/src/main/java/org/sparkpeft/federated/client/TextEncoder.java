package org.sparkpeft.federated.client;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.SortedMap;
import java.util.TreeMap;
import java.util.function.Supplier;
import org.sparkpeft.core.data.Examples;
import org.sparkpeft.core.model.TokenExamples;
import org.sparkpeft.core.text.ChatTemplate;
import org.sparkpeft.core.text.ChatTemplate.Piece;
import org.sparkpeft.core.text.TextTokenizer;
import org.sparkpeft.core.train.TaskConfig;

/** Turns texts into tokens. */
final class TextEncoder implements ExampleEncoder {
  /** A token whose label does not count. */
  private static final int IGNORED = -100;

  private final TextTokenizer tokenizer;
  private final TextTokenizer target;
  private final TaskConfig task;
  private final EncodingConfig encoding;
  private final Supplier<ChatTemplate.Own> chat;

  /**
   * @param target of what a decoder says; often the same
   * @param chat how conversations become text; asked for when the first one is met
   */
  TextEncoder(
      TextTokenizer tokenizer,
      TextTokenizer target,
      TaskConfig task,
      EncodingConfig encoding,
      Supplier<ChatTemplate.Own> chat) {
    this.tokenizer = tokenizer;
    this.target = target;
    this.encoding = encoding;
    this.chat = chat;
    this.task = task;
  }

  @Override
  public ClientShard shard(String clientId, List<RawExample> rows) {
    Examples.Builder builder = Examples.builder();
    SortedMap<Integer, List<WordTargets>> texts = new TreeMap<>(); // by task
    for (int i = 0; i < rows.size(); i++) {
      RawExample row = rows.get(i);
      builder.ofTask(row.task());
      switch (task.task()) {
        case "text-classification" ->
            builder.addClass(tokenizer.encode(row.text()), row.targets().classIndex());
        case "multi-label-classification", "regression" ->
            builder.addValues(tokenizer.encode(row.text()), row.targets().values());
        case "token-classification" -> addWords(builder, row);
        case "sentence-embedding" ->
            builder.addPair(tokenizer.encode(row.text()), tokenizer.encode(row.pair()));
        case "text-generation" ->
            texts.computeIfAbsent(row.task(), number -> new ArrayList<>()).add(words(row));
        case "text2text-generation" ->
            builder.addTargets(asked(row), WordTargets.target(target, task, reference(row)));
        case "dpo", "ipo", "orpo" ->
            PreferenceTargets.of(tokenizer, task, row.text())
                .addPair(builder, row.pair(), row.rejected());
        case "kto" ->
            PreferenceTargets.of(tokenizer, task, row.text())
                .addJudged(
                    builder,
                    row.pair(),
                    rows.get((i + 1) % rows.size()).pair(),
                    row.targets().classIndex() == 1);
        default -> throw new IllegalStateException("no encoding for task " + task.task());
      }
    }
    texts.forEach((number, some) -> addTexts(builder.ofTask(number), some));
    return ClientShard.of(task, clientId, rows, builder.build());
  }

  /** Texts of one task, packed or not. */
  private void addTexts(Examples.Builder builder, List<WordTargets> texts) {
    if (encoding.packing()) {
      Packing.pack(builder, texts, task.maxLength());
    } else {
      texts.forEach(text -> builder.addTokenClasses(text.tokens(), text.labels()));
    }
  }

  private WordTargets words(RawExample row) {
    if (!Turns.isIn(row.text())) {
      return WordTargets.continuation(
          tokenizer, task, row.text(), row.pair(), encoding.trainOnPrompt());
    }
    Turns turns = Turns.of(row.text());
    List<Piece> pieces = new ArrayList<>();
    if (turns.isChat()) {
      pieces.addAll(chat.get().render(turns.turns(), false));
      endChat(pieces, chat.get().template().end());
    } else {
      pieces.add(new Piece(turns.asked().get(0).content(), true, false, false));
      pieces.add(new Piece(turns.reply(), false, true, true));
    }
    return WordTargets.of(tokenizer, task, pieces, encoding.trainOnPrompt());
  }

  /** A mark that is no token of the model ends no text that is generated; its own token does. */
  private void endChat(List<Piece> pieces, String mark) {
    if (mark.isEmpty() || tokenizer.encodeContinuation(mark).length > 1) {
      int last = pieces.size() - 1;
      pieces.set(last, new Piece(pieces.get(last).text(), false, true, true));
    }
  }

  /** What a model reads before it says {@link #reference}. */
  int[] asked(RawExample row) {
    if (!Turns.isIn(row.text())) {
      return prompt(row.text());
    }
    Turns turns = Turns.of(row.text());
    if (!turns.isChat()) {
      return prompt(turns.asked().get(0).content());
    }
    int[] tokens = WordTargets.tokens(tokenizer, chat.get().render(turns.asked(), true));
    return tokens.length > task.maxLength()
        ? Arrays.copyOfRange(tokens, tokens.length - task.maxLength(), tokens.length)
        : tokens;
  }

  /** What should be said for a row. */
  static String reference(RawExample row) {
    return Turns.isIn(row.text()) ? Turns.of(row.text()).reply() : row.pair();
  }

  /** A text to continue, as a model reads it: without the token that ends texts, for a decoder. */
  int[] prompt(String text) {
    return task.task().equals("text-generation") || task.isPreference()
        ? WordTargets.prompt(tokenizer, text)
        : tokenizer.encode(text);
  }

  /** The text of what was generated. */
  String decode(int[] tokens) {
    return target.decode(tokens);
  }

  @Override
  public TokenExamples unlabelled(List<RawExample> rows) {
    List<int[]> tokens = tokenizer.encodeAll(rows.stream().map(RawExample::text).toList());
    return new Unlabelled() {
      @Override
      public int size() {
        return tokens.size();
      }

      @Override
      public int[] tokens(int index) {
        return tokens.get(index);
      }

      @Override
      public int task(int index) {
        return rows.get(index).task();
      }
    };
  }

  /**
   * Words are tokenised one by one between the special tokens that the model puts around a text;
   * the first piece of a word carries its label, the others do not count.
   */
  private void addWords(Examples.Builder builder, RawExample row) {
    int[] frame = tokenizer.encode("");
    float[] labels = row.targets().values();
    String[] words = row.text().split(String.valueOf(RowReader.WORD_SEPARATOR), -1);
    List<Integer> tokens = new ArrayList<>(List.of(frame[0]));
    List<Integer> classes = new ArrayList<>(List.of(IGNORED));
    for (int w = 0; w < words.length; w++) {
      // Vocabularies that mark the start of a word do so by the space before it.
      int[] pieces = tokenizer.encode(w == 0 ? words[w] : " " + words[w]);
      for (int p = 1; p < pieces.length - 1 && tokens.size() < task.maxLength() - 1; p++) {
        tokens.add(pieces[p]);
        classes.add(p == 1 ? (int) labels[w] : IGNORED);
      }
    }
    tokens.add(frame[frame.length - 1]);
    classes.add(IGNORED);
    builder.addTokenClasses(ints(tokens), ints(classes));
  }

  private static int[] ints(List<Integer> list) {
    return list.stream().mapToInt(Integer::intValue).toArray();
  }
}
