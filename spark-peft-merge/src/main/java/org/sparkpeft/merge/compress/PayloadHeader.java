package org.sparkpeft.merge.compress;

import java.nio.charset.StandardCharsets;
import org.sparkpeft.core.vector.ParameterLayout;

/**
 * What a payload says about itself before its values.
 *
 * @param round the round the update belongs to, from 0
 * @param clientId who made it; at most 255 bytes of UTF-8
 * @param layoutFingerprint {@link ParameterLayout#fingerprint()} of the vector inside
 */
public record PayloadHeader(int round, String clientId, long layoutFingerprint) {
  /** Most bytes of a client id. */
  public static final int MAX_CLIENT_ID_BYTES = 255;

  public PayloadHeader {
    if (round < 0) {
      throw new IllegalArgumentException("round must be at least 0, got " + round);
    }
    int bytes = clientId.getBytes(StandardCharsets.UTF_8).length;
    if (bytes > MAX_CLIENT_ID_BYTES) {
      throw new IllegalArgumentException(
          "a client id takes at most "
              + MAX_CLIENT_ID_BYTES
              + " bytes of UTF-8, this one takes "
              + bytes
              + ": "
              + clientId);
    }
    if (!StandardCharsets.UTF_8.newEncoder().canEncode(clientId)) {
      throw new IllegalArgumentException("a client id must be valid Unicode");
    }
  }

  /** A header for an update in {@code layout}. */
  public static PayloadHeader of(int round, String clientId, ParameterLayout layout) {
    return new PayloadHeader(round, clientId, layout.fingerprint());
  }
}
