// Short-time Fourier transform: 25 ms Hann windows every 10 ms at 16 kHz, each zero-padded to 512 samples.

const WINDOW = 400;
const HOP = 160;
const SIZE = 512;
export const BINS = SIZE / 2 + 1;

const hann = Float64Array.from({ length: WINDOW }, (_, i) => 0.5 - 0.5 * Math.cos((2 * Math.PI * i) / WINDOW));

/**
 * @param {Float32Array} samples at 16 kHz; padded with zeros to one window if there are fewer
 * @returns {{values: Float32Array, columns: number, rows: number}} power in dB, column by column, from 0 to 8 kHz
 */
export function spectrogram(samples) {
  const columns = Math.max(1, Math.floor((samples.length - WINDOW) / HOP) + 1);
  const values = new Float32Array(columns * BINS);
  const [real, imaginary] = [new Float64Array(SIZE), new Float64Array(SIZE)];
  for (let column = 0; column < columns; column++) {
    real.fill(0);
    imaginary.fill(0);
    for (let i = 0; i < WINDOW; i++) real[i] = hann[i] * (samples[column * HOP + i] ?? 0);
    fft(real, imaginary);
    for (let bin = 0; bin < BINS; bin++) {
      values[column * BINS + bin] = 10 * Math.log10(real[bin] ** 2 + imaginary[bin] ** 2 + 1e-10);
    }
  }
  return { values, columns, rows: BINS };
}

/** In place, radix 2 (Cooley and Tukey); the length is a power of two. */
function fft(real, imaginary) {
  const size = real.length;
  for (let i = 1, j = 0; i < size; i++) {
    let bit = size >> 1;
    for (; j & bit; bit >>= 1) j ^= bit;
    j ^= bit;
    if (i < j) {
      [real[i], real[j]] = [real[j], real[i]];
      [imaginary[i], imaginary[j]] = [imaginary[j], imaginary[i]];
    }
  }
  for (let length = 2; length <= size; length *= 2) {
    for (let k = 0; k < length / 2; k++) {
      const [c, s] = [Math.cos((2 * Math.PI * k) / length), -Math.sin((2 * Math.PI * k) / length)];
      for (let a = k; a < size; a += length) {
        const b = a + length / 2;
        const [x, y] = [real[b] * c - imaginary[b] * s, real[b] * s + imaginary[b] * c];
        [real[b], imaginary[b]] = [real[a] - x, imaginary[a] - y];
        [real[a], imaginary[a]] = [real[a] + x, imaginary[a] + y];
      }
    }
  }
}
