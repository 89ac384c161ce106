// WAV files without the browser's decoder, so that every sample is the one that libsndfile reads.

import { Problem } from './problem.js';

const PCM = 1, FLOAT = 3, EXTENSIBLE = 0xfffe;

// (bytes at an offset) -> a sample in [-1, 1], by format and bits
const READERS = {
  [`${PCM}/8`]: (view, at) => (view.getUint8(at) - 128) / 128,
  [`${PCM}/16`]: (view, at) => view.getInt16(at, true) / 2 ** 15,
  [`${PCM}/24`]: (view, at) => ((view.getInt8(at + 2) << 16) | view.getUint16(at, true)) / 2 ** 23,
  [`${PCM}/32`]: (view, at) => view.getInt32(at, true) / 2 ** 31,
  [`${FLOAT}/32`]: (view, at) => view.getFloat32(at, true),
  [`${FLOAT}/64`]: (view, at) => view.getFloat64(at, true),
};

/**
 * Decode a WAV file.
 *
 * @param {ArrayBuffer} buffer the file
 * @returns {{samples: Float32Array, rate: number} | null} the mean of its channels, and its rate in Hz;
 *   null for other files, and for WAV with compressed samples
 */
export function readWav(buffer) {
  const view = new DataView(buffer);
  const tag = (at) => (at + 4 <= view.byteLength ? String.fromCharCode(...new Uint8Array(buffer, at, 4)) : '');
  if (tag(0) !== 'RIFF' || tag(8) !== 'WAVE') return null;
  let format = null;
  for (let at = 12; at + 8 <= view.byteLength; ) {
    const start = at + 8;
    const size = view.getUint32(at + 4, true);
    if (tag(at) === 'fmt ' && start + 16 <= view.byteLength) format = readFormat(view, start, size);
    if (tag(at) === 'data') {
      if (!format?.read) return null;
      return { samples: readSamples(view, start, size, format), rate: format.rate };
    }
    at = start + size + (size % 2);
  }
  throw new Problem('The WAV file holds no samples; choose another file.');
}

function readFormat(view, at, size) {
  let kind = view.getUint16(at, true);
  if (kind === EXTENSIBLE && size >= 40) kind = view.getUint16(at + 24, true);
  const bits = view.getUint16(at + 14, true);
  return {
    channels: view.getUint16(at + 2, true),
    rate: view.getUint32(at + 4, true),
    bytes: bits / 8,
    read: READERS[`${kind}/${bits}`],
  };
}

function readSamples(view, start, size, { channels, bytes, read }) {
  const there = view.byteLength - start;
  const streamed = size === 0 || size >= 0xfffffff0; // written without knowing the length
  if (!streamed && size > there) {
    throw new Problem(`The WAV file ends ${size - there} bytes before the end that it promises; copy it again.`);
  }
  const frame = channels * bytes;
  const samples = new Float32Array(Math.floor((streamed ? there : size) / frame));
  for (let i = 0; i < samples.length; i++) {
    let sum = 0;
    for (let c = 0; c < channels; c++) sum += read(view, start + i * frame + c * bytes);
    samples[i] = sum / channels;
  }
  return samples;
}
