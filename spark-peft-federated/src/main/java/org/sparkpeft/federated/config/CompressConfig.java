package org.sparkpeft.federated.config;

import java.io.Serializable;
import org.sparkpeft.merge.compress.CodecConfig;

/**
 * Compression of both directions.
 *
 * @param uplink client to driver
 * @param downlink driver to clients
 */
public record CompressConfig(CodecConfig uplink, CodecConfig downlink) implements Serializable {

  public static CompressConfig defaults() {
    return new CompressConfig(CodecConfig.defaults(), CodecConfig.defaults());
  }
}
