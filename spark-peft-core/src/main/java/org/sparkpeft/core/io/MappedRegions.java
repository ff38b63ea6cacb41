package org.sparkpeft.core.io;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.NavigableMap;
import java.util.TreeMap;

/**
 * The tensors of a file of any length, mapped into memory in regions of at most 2 GiB that are cut
 * between tensors, and inside a tensor only if it alone is longer. The channel may be closed
 * afterwards; the mapping goes when the last view of it does.
 */
final class MappedRegions {
  /** The longest mapping Java can make, in whole elements of every type. */
  static final long MAX_REGION = Integer.MAX_VALUE & ~7;

  private final NavigableMap<Long, ByteBuffer> regions;

  private MappedRegions(NavigableMap<Long, ByteBuffer> regions) {
    this.regions = regions;
  }

  /**
   * @param tensors in file order, contiguous
   * @param maxRegion longest region in bytes; a multiple of 8
   */
  static MappedRegions map(FileChannel channel, List<TensorInfo> tensors, long maxRegion)
      throws IOException {
    NavigableMap<Long, ByteBuffer> regions = new TreeMap<>();
    if (!tensors.isEmpty()) {
      long start = tensors.get(0).offset();
      for (TensorInfo tensor : tensors) {
        if (tensor.end() - start > maxRegion) {
          add(regions, channel, start, tensor.offset());
          start = tensor.offset();
        }
        while (tensor.end() - start > maxRegion) {
          add(regions, channel, start, start + maxRegion);
          start += maxRegion;
        }
      }
      add(regions, channel, start, tensors.get(tensors.size() - 1).end());
    }
    return new MappedRegions(regions);
  }

  private static void add(
      NavigableMap<Long, ByteBuffer> regions, FileChannel channel, long start, long end)
      throws IOException {
    if (end > start) {
      regions.put(start, channel.map(FileChannel.MapMode.READ_ONLY, start, end - start));
    }
  }

  /** Views of a tensor's bytes in order: one, unless the tensor is longer than a region. */
  List<ByteBuffer> views(TensorInfo tensor) {
    List<ByteBuffer> views = new ArrayList<>(1);
    long at = tensor.offset();
    while (at < tensor.end()) {
      Map.Entry<Long, ByteBuffer> region = regions.floorEntry(at);
      if (region == null) {
        throw new IllegalStateException("no region holds byte " + at);
      }
      int from = (int) (at - region.getKey());
      int length = (int) Math.min(region.getValue().limit() - from, tensor.end() - at);
      views.add(region.getValue().slice(from, length));
      at += length;
    }
    return views;
  }
}
