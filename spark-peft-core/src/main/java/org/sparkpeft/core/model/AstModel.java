package org.sparkpeft.core.model;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import org.sparkpeft.core.error.DataException;

/**
 * Audio Spectrogram Transformer (Gong et al. 2021, arXiv 2104.01778): DeiT over a log-mel
 * spectrogram, cut into overlapping patches, lowest frequencies first.
 */
final class AstModel {
  private AstModel() {}

  static Architecture of(ModelConfig config) {
    Patches patches =
        new Patches(
            1,
            config.count("num_mel_bins", 128),
            config.count("max_length", 1024),
            config.count("patch_size", 16),
            config.count("frequency_stride", 10),
            config.count("time_stride", 10));
    if (patches.count() == 0) {
      throw config.error(
          "a patch of %d x %d does not fit into %d mel bins x %d frames"
              .formatted(patches.size(), patches.size(), patches.height(), patches.width()));
    }
    BlockConfig blocks = VitModel.blocks(config);
    return new PatchTransformer(
        "audio_spectrogram_transformer",
        PatchTransformer.sizes(blocks, patches, true, config.positive("initializer_range", 0.02)),
        blocks,
        true,
        patches,
        InputForm.frames(patches.width(), patches.height()),
        AstModel::spectrogram,
        PatchHead.NORMED_MEAN);
  }

  private static NDArray spectrogram(NDManager step, Patches patches, ModelInput input) {
    FrameBatch batch = Network.frames(input);
    if (batch.frames() != patches.width() || batch.features() != patches.height()) {
      throw new DataException(
          "the model reads %d frames of %d mel bins, got %s; pad or cut the recordings"
              .formatted(patches.width(), patches.height(), batch.shape()));
    }
    return patches.of(step, batch.images());
  }
}
