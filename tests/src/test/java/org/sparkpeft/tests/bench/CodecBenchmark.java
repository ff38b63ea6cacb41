package org.sparkpeft.tests.bench;

import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.BenchmarkMode;
import org.openjdk.jmh.annotations.Fork;
import org.openjdk.jmh.annotations.Measurement;
import org.openjdk.jmh.annotations.Mode;
import org.openjdk.jmh.annotations.OutputTimeUnit;
import org.openjdk.jmh.annotations.Param;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.State;
import org.openjdk.jmh.annotations.Warmup;
import org.sparkpeft.core.random.Philox;
import org.sparkpeft.core.vector.ParameterLayout;
import org.sparkpeft.core.vector.TaskVector;
import org.sparkpeft.merge.compress.Codec;
import org.sparkpeft.merge.compress.Payload;
import org.sparkpeft.merge.compress.PayloadHeader;
import org.sparkpeft.merge.compress.Pipeline;

/** Encoding and decoding of payloads on one core. */
@State(Scope.Benchmark)
@BenchmarkMode(Mode.AverageTime)
@OutputTimeUnit(TimeUnit.MILLISECONDS)
@Warmup(iterations = 3, time = 2)
@Measurement(iterations = 5, time = 2)
@Fork(1)
public class CodecBenchmark {
  private static final int ENTRIES = 4_000_000;

  /** How the vector is compressed. */
  @Param({
    "topk(0.05)|ternary(mean)",
    "topk(0.05)|ternary(mean)|range",
    "topk(0.05)|ternary(mean)|rans",
    "topk(0.05)|ternary(mean)|rice",
    "topk(0.05)|ternary(mean)|bitmask"
  })
  public String pipeline = "topk(0.05)|ternary(mean)|rice";

  private final ParameterLayout layout = ParameterLayout.of(Map.of("w", List.of(ENTRIES)));
  private final PayloadHeader header = PayloadHeader.of(0, "", layout);
  private TaskVector vector = TaskVector.zeros(layout);
  private Codec codec = Codec.of(Pipeline.parse(pipeline));
  private byte[] payload = new byte[0];

  @Setup
  public void prepare() {
    vector = TaskVector.wrap(layout, Philox.of(5, "codec bench").gaussian(ENTRIES, 1));
    codec = Codec.of(Pipeline.parse(pipeline));
    payload = codec.encode(vector, header);
  }

  @Benchmark
  public byte[] encode() {
    return codec.encode(vector, header);
  }

  @Benchmark
  public Payload decode() {
    return Payload.decode(payload, layout);
  }
}
