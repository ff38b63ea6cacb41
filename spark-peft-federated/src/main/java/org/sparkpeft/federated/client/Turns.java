package org.sparkpeft.federated.client;

import java.util.ArrayList;
import java.util.List;
import org.sparkpeft.core.error.DataException;
import org.sparkpeft.core.text.ChatTemplate.Turn;

/**
 * Prompts and replies as one string, which travels where a plain text would: each turn is a record
 * separator, its role, a unit separator and its content. Roles are those of a chat, or {@value
 * #PROMPT} and {@value #REPLY} where no chat template applies.
 *
 * @param turns in order
 */
record Turns(List<Turn> turns) {
  static final String PROMPT = "prompt";
  static final String REPLY = "reply";

  private static final char TURN = '\u001E';
  private static final char CONTENT = '\u001F';

  Turns {
    turns = List.copyOf(turns);
  }

  static Turns promptAndReply(String prompt, String reply) {
    return new Turns(List.of(new Turn(PROMPT, prompt), new Turn(REPLY, reply)));
  }

  /** Whether a text holds turns. */
  static boolean isIn(String text) {
    return !text.isEmpty() && text.charAt(0) == TURN;
  }

  /** What {@link #toText} made. */
  static Turns of(String text) {
    List<Turn> turns = new ArrayList<>();
    for (String turn : text.substring(1).split(String.valueOf(TURN), -1)) {
      int at = turn.indexOf(CONTENT);
      turns.add(new Turn(turn.substring(0, at), turn.substring(at + 1)));
    }
    return new Turns(turns);
  }

  /**
   * As one string.
   *
   * @throws DataException if a turn holds a separator
   */
  String toText() {
    StringBuilder text = new StringBuilder();
    for (Turn turn : turns) {
      if (turn.content().indexOf(TURN) >= 0 || turn.content().indexOf(CONTENT) >= 0) {
        throw new DataException(
            "a text holds a record or unit separator (U+001E, U+001F); remove it");
      }
      text.append(TURN).append(turn.role()).append(CONTENT).append(turn.content());
    }
    return text.toString();
  }

  /** Whether a chat template applies. */
  boolean isChat() {
    return !turns.get(0).role().equals(PROMPT);
  }

  /** The last turn's content. */
  String reply() {
    return turns.get(turns.size() - 1).content();
  }

  /** All turns but the last. */
  List<Turn> asked() {
    return turns.subList(0, turns.size() - 1);
  }
}
