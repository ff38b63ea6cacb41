package org.sparkpeft.merge.spark;

/**
 * What came of a merge.
 *
 * @param tensors number of tensors
 * @param merged how many of them were merged, not copied
 * @param bytes bytes of all
 * @param bytesRead bytes of the inputs, each counted once
 * @param shards files
 * @param shardsKept files an earlier attempt had finished
 * @param seconds time taken
 */
public record MergeSummary(
    int tensors,
    int merged,
    long bytes,
    long bytesRead,
    int shards,
    int shardsKept,
    double seconds) {}
