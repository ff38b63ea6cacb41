package org.sparkpeft.federated.client;

import org.sparkpeft.core.model.TokenExamples;

/** Examples of which nothing but the input is known. */
interface Unlabelled extends TokenExamples {

  @Override
  default int[] tokens(int index) {
    return new int[0];
  }

  @Override
  default int[] pair(int index) {
    return new int[0];
  }

  @Override
  default int[] classes(int index) {
    return new int[0];
  }

  @Override
  default float[] values(int index) {
    return new float[0];
  }
}
