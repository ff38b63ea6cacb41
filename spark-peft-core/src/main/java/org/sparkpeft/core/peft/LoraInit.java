package org.sparkpeft.core.peft;

import org.sparkpeft.core.random.Philox;
import org.sparkpeft.core.vector.LeadingFactors;

/** Starting values of LoRA's factors. */
final class LoraInit {
  private LoraInit() {}

  /**
   * A pair of factors.
   *
   * @param a {@code [r, in]}
   * @param b {@code [out, r]}
   */
  @SuppressWarnings("ArrayRecordComponent") // Taken apart at once, never compared.
  record Factors(float[] a, float[] b) {}

  /**
   * Factors that do not depend on the base. Linear layers: A uniform within 1/sqrt(in) (Kaiming
   * with a = sqrt 5) or N(0, 1/r), B zero. Embeddings: A zero, B standard normal. With {@code
   * false}, nothing is zero.
   */
  static Factors random(LoraSite site, String init, long seed) {
    Philox random = Philox.of(seed, "lora", Philox.hash(site.path()));
    int sizeA = site.r() * site.in();
    int sizeB = site.r() * site.out();
    boolean zero = !init.equals("false");
    if (site.isEmbedding()) {
      return new Factors(
          zero ? new float[sizeA] : random.child(0).gaussian(sizeA, 1),
          random.child(1).gaussian(sizeB, 1));
    }
    return new Factors(
        init.equals("gaussian")
            ? random.child(0).gaussian(sizeA, 1.0 / site.r())
            : kaiming(random.child(0), sizeA, site.in()),
        zero ? new float[sizeB] : kaiming(random.child(1), sizeB, site.r()));
  }

  /** Uniform within 1/sqrt(fanIn). */
  static float[] kaiming(Philox random, int size, int fanIn) {
    float bound = (float) (1 / Math.sqrt(fanIn));
    return random.uniform(size, -bound, bound);
  }

  /**
   * Factors whose product, times s, is a part of the weight. PiSSA: {@code A = sqrt(S/s) Vt} and
   * {@code B = U sqrt(S/s)} of the r largest singular values. OLoRA: the first rows of R and
   * columns of Q of {@code W = Q R}; s times their product is taken from the base.
   *
   * @param weight {@code [out, in]}
   */
  static Factors fromBase(LoraSite site, String init, float[] weight) {
    int r = site.r();
    if (init.equals("olora")) {
      LeadingFactors qr = LeadingFactors.qr(weight, site.out(), site.in(), r);
      double[] ones = new double[r];
      java.util.Arrays.fill(ones, 1);
      return new Factors(qr.right(ones), qr.left(ones));
    }
    LeadingFactors svd =
        init.equals("pissa")
            ? LeadingFactors.svd(weight, site.out(), site.in(), r)
            : LeadingFactors.svdThrough(
                weight,
                site.out(),
                site.in(),
                start(site),
                Integer.parseInt(init.substring("pissa_niter_".length())));
    double[] roots = new double[r];
    for (int i = 0; i < r; i++) {
      roots[i] = Math.sqrt(svd.value(i) / site.scale());
    }
    return new Factors(svd.right(roots), svd.left(roots));
  }

  /** Depends on the layer alone, so that whoever loads the adapter finds the same factors. */
  private static double[][] start(LoraSite site) {
    Philox random = Philox.of(0, "pissa", Philox.hash(site.path()));
    double[][] vectors = new double[site.r()][site.in()];
    for (int j = 0; j < vectors.length; j++) {
      Philox row = random.child(j);
      java.util.Arrays.setAll(vectors[j], row::gaussianAt);
    }
    return vectors;
  }
}
