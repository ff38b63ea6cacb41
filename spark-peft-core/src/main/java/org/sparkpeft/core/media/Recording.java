package org.sparkpeft.core.media;

import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import javax.sound.sampled.AudioFileFormat;
import javax.sound.sampled.AudioFormat;
import javax.sound.sampled.AudioInputStream;
import javax.sound.sampled.AudioSystem;
import javax.sound.sampled.UnsupportedAudioFileException;
import org.sparkpeft.core.error.DataException;

/** Sound of one channel. Immutable. */
public final class Recording {
  /** Longest recording that is read: an hour at 48 kHz. */
  public static final int MAX_SAMPLES = 3600 * 48_000;

  private static final int MAX_CHANNELS = 32;
  private static final int MAX_RATE = 768_000;

  private final float[] samples;
  private final int rate;

  private Recording(float[] samples, int rate) {
    this.samples = samples;
    this.rate = rate;
  }

  /**
   * @param samples from -1 to 1; copied
   * @param rate samples in a second
   * @throws DataException if there is no sample, one is not finite, or the rate is out of range
   */
  public static Recording of(float[] samples, int rate) {
    if (rate < 1 || rate > MAX_RATE) {
      throw new DataException(
          "a recording needs 1 to " + MAX_RATE + " samples in a second, got " + rate);
    }
    if (samples.length == 0 || samples.length > MAX_SAMPLES) {
      throw new DataException(
          "a recording has 1 to " + MAX_SAMPLES + " samples, got " + samples.length);
    }
    for (int i = 0; i < samples.length; i++) {
      if (!Float.isFinite(samples[i])) {
        throw new DataException("sample " + i + " of the recording is " + samples[i]);
      }
    }
    return new Recording(samples.clone(), rate);
  }

  /**
   * Reads a WAV file of whole or floating numbers; several channels become their mean.
   *
   * @param source what the bytes are, for messages
   * @throws DataException if they are no such file, or it is cut off, empty or longer than {@link
   *     #MAX_SAMPLES}
   */
  public static Recording wav(String source, byte[] bytes) {
    try (AudioInputStream stream =
        AudioSystem.getAudioInputStream(new ByteArrayInputStream(bytes))) {
      AudioFileFormat file = AudioSystem.getAudioFileFormat(new ByteArrayInputStream(bytes));
      if (!file.getType().equals(AudioFileFormat.Type.WAVE)) {
        throw new DataException(source + ": a file of type " + file.getType() + "; WAV is read");
      }
      Layout layout = Layout.of(source, stream.getFormat());
      long frames = stream.getFrameLength();
      if (frames < 1 || frames > MAX_SAMPLES) {
        throw new DataException(
            source + ": " + frames + " samples; a recording has 1 to " + MAX_SAMPLES);
      }
      if (frames * layout.frameBytes() > bytes.length) {
        throw cutOff(source, frames);
      }
      byte[] data = stream.readNBytes((int) (frames * layout.frameBytes()));
      if (data.length < frames * layout.frameBytes()) {
        throw cutOff(source, frames);
      }
      return new Recording(layout.samples(source, data), layout.rate());
    } catch (DataException e) {
      throw e;
    } catch (UnsupportedAudioFileException e) {
      throw new DataException(source + ": not a WAV file that can be read", e);
    } catch (IOException | RuntimeException e) {
      // The decoder answers broken headers with any of these.
      throw new DataException(source + ": the recording is damaged: " + e.getMessage(), e);
    }
  }

  private static DataException cutOff(String source, long frames) {
    return new DataException(
        source + ": the file is cut off: it should hold " + frames + " samples");
  }

  /** Samples from -1 to 1; must not be changed. */
  float[] samples() {
    return samples;
  }

  /** A copy of the samples, from -1 to 1. */
  public float[] toArray() {
    return samples.clone();
  }

  /** Samples in a second. */
  public int rate() {
    return rate;
  }

  /** Number of samples. */
  public int length() {
    return samples.length;
  }

  /**
   * The same sound at another rate by linear interpolation, the last sample held. Going down does
   * not filter: frequencies above half the new rate fold back; use a recording made for the rate
   * where that matters.
   */
  public Recording atRate(int wanted) {
    if (wanted == rate) {
      return this;
    }
    if (wanted < 1 || wanted > MAX_RATE) {
      throw new DataException("a rate must be 1 to " + MAX_RATE + ", got " + wanted);
    }
    long length = (long) samples.length * wanted / rate;
    if (length < 1 || length > MAX_SAMPLES) {
      throw new DataException(
          length + " samples at rate " + wanted + "; a recording has 1 to " + MAX_SAMPLES);
    }
    float[] result = new float[(int) length];
    for (int i = 0; i < result.length; i++) {
      double place = (double) i * rate / wanted;
      int before = (int) place;
      int after = Math.min(before + 1, samples.length - 1);
      double share = place - before;
      result[i] = (float) ((1 - share) * samples[before] + share * samples[after]);
    }
    return new Recording(result, wanted);
  }

  /**
   * @throws DataException if the rate is not {@code expected}
   */
  void requireRate(int expected) {
    if (rate != expected) {
      throw new DataException(
          "the model hears "
              + expected
              + " samples in a second, the recording has "
              + rate
              + "; convert it");
    }
  }

  /** How samples lie in a file. */
  private record Layout(
      AudioFormat.Encoding encoding, int bytes, int channels, int rate, ByteOrder order) {

    static Layout of(String source, AudioFormat format) {
      int bits = format.getSampleSizeInBits();
      int channels = format.getChannels();
      float rate = format.getSampleRate();
      AudioFormat.Encoding encoding = format.getEncoding();
      boolean whole =
          (encoding.equals(AudioFormat.Encoding.PCM_SIGNED) && bits >= 16 && bits <= 32)
              || (encoding.equals(AudioFormat.Encoding.PCM_UNSIGNED) && bits == 8);
      boolean floating =
          encoding.equals(AudioFormat.Encoding.PCM_FLOAT) && (bits == 32 || bits == 64);
      if (bits % 8 != 0
          || !(whole || floating)
          || channels < 1
          || channels > MAX_CHANNELS
          || !(rate >= 1 && rate <= MAX_RATE)
          || format.getFrameSize() != bits / 8 * channels) {
        throw new DataException(
            source
                + ": sound as "
                + format
                + " is not read; write 16-bit PCM with at most "
                + MAX_CHANNELS
                + " channels");
      }
      return new Layout(
          encoding,
          bits / 8,
          channels,
          (int) rate,
          format.isBigEndian() ? ByteOrder.BIG_ENDIAN : ByteOrder.LITTLE_ENDIAN);
    }

    long frameBytes() {
      return (long) bytes * channels;
    }

    float[] samples(String source, byte[] data) {
      ByteBuffer buffer = ByteBuffer.wrap(data).order(order);
      float[] samples = new float[data.length / bytes / channels];
      for (int i = 0; i < samples.length; i++) {
        double sum = 0;
        for (int channel = 0; channel < channels; channel++) {
          sum += sample(buffer, (i * channels + channel) * bytes);
        }
        samples[i] = (float) (sum / channels);
        if (!Float.isFinite(samples[i])) {
          throw new DataException(source + ": sample " + i + " is not finite");
        }
      }
      return samples;
    }

    private double sample(ByteBuffer buffer, int at) {
      if (encoding.equals(AudioFormat.Encoding.PCM_FLOAT)) {
        return bytes == 4 ? buffer.getFloat(at) : buffer.getDouble(at);
      }
      return switch (bytes) {
        case 1 -> ((buffer.get(at) & 0xff) - 128) / 128.0;
        case 2 -> buffer.getShort(at) / 32768.0;
        case 3 -> threeBytes(buffer, at) / 8388608.0;
        default -> buffer.getInt(at) / 2147483648.0;
      };
    }

    private int threeBytes(ByteBuffer buffer, int at) {
      boolean little = order == ByteOrder.LITTLE_ENDIAN;
      int high = buffer.get(little ? at + 2 : at);
      int low = buffer.get(little ? at : at + 2) & 0xff;
      return high << 16 | (buffer.get(at + 1) & 0xff) << 8 | low;
    }
  }
}
