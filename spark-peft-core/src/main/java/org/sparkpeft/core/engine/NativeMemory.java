package org.sparkpeft.core.engine;

import com.sun.jna.Function;
import com.sun.jna.NativeLibrary;
import com.sun.jna.Structure;
import java.util.Optional;
import java.util.OptionalLong;

/**
 * The C library's memory of this process, from which the engine's tensors on the CPU come. Known of
 * glibc, which Linux usually has; elsewhere nothing is known and nothing changed.
 */
public final class NativeMemory {
  private static final int M_MMAP_THRESHOLD = -3; // malloc.h

  /** Blocks from here on go back to the system when they are freed. */
  private static final int LARGE = 1 << 20;

  private static final Optional<Function> STATISTICS = function("mallinfo2"); // glibc 2.33
  private static final Optional<Function> SETTING = function("mallopt");

  private NativeMemory() {}

  private static Optional<Function> function(String name) {
    try {
      return Optional.of(NativeLibrary.getInstance("c").getFunction(name));
    } catch (UnsatisfiedLinkError e) {
      return Optional.empty();
    }
  }

  /** Bytes in use; other threads' count too. Empty where the C library does not tell. */
  public static OptionalLong bytesInUse() {
    if (STATISTICS.isEmpty()) {
      return OptionalLong.empty();
    }
    Statistics all = (Statistics) STATISTICS.get().invoke(Statistics.class, new Object[0]);
    return OptionalLong.of(all.uordblks + all.hblkhd);
  }

  /**
   * Makes the memory of large tensors go back to the system at once. Otherwise glibc keeps it and
   * cuts it up, so that a process holds far more than its tensors take; but memory from the system
   * costs time, about a tenth of a training step. Is for the whole process and stays.
   */
  static void giveBackLargeBlocks() {
    SETTING.ifPresent(setting -> setting.invokeInt(new Object[] {M_MMAP_THRESHOLD, LARGE}));
  }

  /** {@code struct mallinfo2}; JNA wants it public. */
  @Structure.FieldOrder({
    "arena",
    "ordblks",
    "smblks",
    "hblks",
    "hblkhd",
    "usmblks",
    "fsmblks",
    "uordblks",
    "fordblks",
    "keepcost"
  })
  public static final class Statistics extends Structure implements Structure.ByValue {
    public long arena;
    public long ordblks;
    public long smblks;
    public long hblks;
    public long hblkhd;
    public long usmblks;
    public long fsmblks;
    public long uordblks;
    public long fordblks;
    public long keepcost;
  }
}
