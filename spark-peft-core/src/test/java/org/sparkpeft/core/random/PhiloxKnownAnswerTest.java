package org.sparkpeft.core.random;

import static org.assertj.core.api.Assertions.assertThat;

import java.lang.reflect.Constructor;
import org.junit.jupiter.api.Test;

/** Known answers of Philox4x32-10 published with Random123 (kat_vectors). */
class PhiloxKnownAnswerTest {

  private static Philox with(long key, long stream) throws ReflectiveOperationException {
    Constructor<Philox> constructor = Philox.class.getDeclaredConstructor(long.class, long.class);
    constructor.setAccessible(true);
    return constructor.newInstance(key, stream);
  }

  @Test
  void allZero() throws Exception {
    int[] out = new int[4];
    with(0, 0).block(0, out);
    assertThat(out).containsExactly(0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8);
  }

  @Test
  void allOnes() throws Exception {
    int[] out = new int[4];
    with(-1, -1).block(-1, out);
    assertThat(out).containsExactly(0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd);
  }
}
