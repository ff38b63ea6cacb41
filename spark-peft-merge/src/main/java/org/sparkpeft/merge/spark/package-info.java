/**
 * Merging of checkpoints of any size: tensor by tensor and block by block, from files to files, on
 * threads of one process or as a Spark job, to the same bits as the methods give in memory.
 *
 * <p>A merge learns first what spans tensors (the order of the vectors, global thresholds), then
 * what spans a tensor, and then merges pieces of tensors that know nothing of each other. Memory is
 * a few blocks for each thread, whatever the size of the models.
 */
@NullMarked
package org.sparkpeft.merge.spark;

import org.jspecify.annotations.NullMarked;
