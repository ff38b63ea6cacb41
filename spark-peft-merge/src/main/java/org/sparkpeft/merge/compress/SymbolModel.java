package org.sparkpeft.merge.compress;

/**
 * Adaptive probabilities of symbols of up to 16 bits: the leading bits are coded one by one, each
 * under a probability of its own for what came before it, the rest unmodelled. Learning goes on
 * over all tensors of a payload.
 */
final class SymbolModel {
  private final int bits;
  private final int modelled;
  private final AdaptiveBit[] nodes;

  /**
   * @param bits width of a symbol
   * @param modelled how many of its leading bits are worth learning
   */
  SymbolModel(int bits, int modelled) {
    this.bits = bits;
    this.modelled = Math.min(bits, modelled);
    nodes = new AdaptiveBit[1 << this.modelled];
    for (int i = 1; i < nodes.length; i++) {
      nodes[i] = new AdaptiveBit();
    }
  }

  int bits() {
    return bits;
  }

  void encode(RangeEncoder coder, int symbol) {
    int node = 1;
    for (int shift = bits - 1; shift >= bits - modelled; shift--) {
      int bit = symbol >>> shift & 1;
      nodes[node].encode(coder, bit != 0);
      node = node << 1 | bit;
    }
    coder.bits(symbol, bits - modelled);
  }

  int decode(RangeDecoder coder) {
    int node = 1;
    for (int i = 0; i < modelled; i++) {
      node = node << 1 | (nodes[node].decode(coder) ? 1 : 0);
    }
    int leading = node - (1 << modelled);
    return leading << (bits - modelled) | (int) coder.bits(bits - modelled);
  }
}
