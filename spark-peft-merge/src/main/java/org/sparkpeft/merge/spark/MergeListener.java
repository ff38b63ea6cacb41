package org.sparkpeft.merge.spark;

/** Is told how a merge goes on; called by the thread that runs it. */
public interface MergeListener {
  /** Hears nothing. */
  MergeListener NONE = (phase, done, total) -> {};

  /**
   * Some work is done.
   *
   * @param phase what is going on: {@code selecting}, {@code planning}, {@code merging}
   * @param done bytes of the result that the phase has dealt with
   * @param total bytes of the result
   */
  void progress(String phase, long done, long total);
}
