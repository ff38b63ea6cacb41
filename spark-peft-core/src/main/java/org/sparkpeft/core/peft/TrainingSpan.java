package org.sparkpeft.core.peft;

/**
 * Which part of a whole training an observer sees.
 *
 * @param updates updates of this training
 * @param progressStart progress of the whole, in [0, 1], at its first update
 * @param progressEnd progress after its last
 * @param alone whether this is the whole training: then the observer decides what otherwise the
 *     driver decides between rounds
 */
public record TrainingSpan(int updates, double progressStart, double progressEnd, boolean alone) {

  /** Updates of the whole training, as far as this part lets one tell. */
  public long totalUpdates() {
    double share = progressEnd - progressStart;
    return share <= 0 ? updates : Math.round(updates / share);
  }

  /** Number of the first update of this part in the whole. */
  public long firstUpdate() {
    return Math.round(progressStart * totalUpdates());
  }
}
