// Files and the microphone as samples at 16 kHz.

import { Problem } from './problem.js';
import { resample } from './resample.js';
import { readWav } from './wav.js';

export const RATE = 16000;
export const LONGEST = 60; // s; attention takes time with the square of the length
const LARGEST = 200e6; // bytes
const COMMON = 48000; // Hz, at least the rate of nearly all compressed files

/**
 * @typedef {{samples: Float32Array, rate: number | null, seconds: number, cut: boolean}} Sound
 *   16 kHz samples of at most LONGEST seconds; the rate that the recording had, where the browser tells it; its whole
 *   length; whether samples are missing at the end
 */

/**
 * Read an audio file. WAV is read here, so that its samples stay as they are; the browser decodes all other files. At
 * 16 kHz nothing else is done to WAV and FLAC.
 *
 * @param {File} file
 * @returns {Promise<Sound>}
 */
export async function readFile(file) {
  if (file.size > LARGEST) throw new Problem(`${file.name} is larger than ${LARGEST / 1e6} MB; choose a shorter piece.`);
  const buffer = await file.arrayBuffer();
  const wav = readWav(buffer);
  if (wav) return finish(wav.samples, wav.rate, file.name);
  const told = flacRate(buffer);
  // The browser resamples to the rate of the context, not as well as we do.
  const context = new OfflineAudioContext(1, 1, told >= 8000 && told <= 96000 ? told : COMMON);
  let decoded;
  try {
    decoded = await context.decodeAudioData(buffer);
  } catch {
    throw new Problem(`${file.name} is no audio file that this browser reads; choose WAV, FLAC, MP3, Ogg or M4A.`);
  }
  const samples = new Float32Array(decoded.length);
  for (let c = 0; c < decoded.numberOfChannels; c++) {
    decoded.getChannelData(c).forEach((value, i) => (samples[i] += value / decoded.numberOfChannels));
  }
  return finish(samples, decoded.sampleRate, file.name, told);
}

/** The rate in a FLAC's header in Hz; null for other files. */
function flacRate(buffer) {
  const bytes = new Uint8Array(buffer, 0, Math.min(buffer.byteLength, 21));
  if (String.fromCharCode(...bytes.slice(0, 4)) !== 'fLaC') return null;
  return (bytes[18] << 12) | (bytes[19] << 4) | (bytes[20] >> 4);
}

/** @param {number | null} told the rate to tell, where it is known */
function finish(samples, rate, name, told = rate) {
  if (!samples.length) throw new Problem(`${name} holds no samples; choose another recording.`);
  if (!samples.every(Number.isFinite)) throw new Problem(`${name} holds NaN or infinite samples; choose another file.`);
  if (!(rate >= 1000 && rate <= 768000)) throw new Problem(`${name} says that it has ${rate} Hz; choose another file.`);
  const seconds = samples.length / rate;
  const cut = seconds > LONGEST;
  const used = cut ? samples.slice(0, LONGEST * rate) : samples;
  return { samples: resample(used, rate, RATE), rate: told, seconds, cut };
}

/**
 * Start to record.
 *
 * @returns {Promise<{seconds: () => number, stop: () => Promise<Sound>}>} how much is recorded; the end of it
 */
export async function record() {
  if (!navigator.mediaDevices?.getUserMedia) {
    throw new Problem('The browser gives the microphone only to pages from https or localhost; choose a file instead.');
  }
  const stream = await openMicrophone();
  const context = new AudioContext();
  const blocks = [];
  let count = 0;
  try {
    await context.resume();
    await context.audioWorklet.addModule(new URL('recorder.js', import.meta.url));
    const node = new AudioWorkletNode(context, 'recorder', { numberOfOutputs: 0 });
    node.port.onmessage = ({ data }) => {
      blocks.push(data);
      count += data.length;
    };
    context.createMediaStreamSource(stream).connect(node);
  } catch (error) {
    await close();
    throw error;
  }

  async function close() {
    stream.getTracks().forEach((track) => track.stop());
    await context.close();
  }

  async function stop() {
    await close();
    const samples = new Float32Array(count);
    let at = 0;
    for (const block of blocks.splice(0)) {
      samples.set(block.subarray(0, count - at), at);
      at += block.length;
    }
    if (samples.every((value) => value === 0)) {
      throw new Problem('The microphone gave only silence; check that it is not muted.');
    }
    return finish(samples, context.sampleRate, 'The recording');
  }

  return { seconds: () => count / context.sampleRate, stop };
}

async function openMicrophone() {
  // Filters made for telephone calls change the voice.
  const plain = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };
  try {
    return await navigator.mediaDevices.getUserMedia({ audio: { channelCount: 1, ...plain } });
  } catch (error) {
    const messages = {
      NotFoundError: 'No microphone was found; connect one, or choose a file.',
      NotAllowedError: 'The microphone is not allowed; allow it beside the address of the page, or choose a file.',
      NotReadableError: 'Another program uses the microphone; close it, or choose a file.',
    };
    throw new Problem(messages[error.name] ?? `The microphone does not start (${error.name}); choose a file instead.`);
  }
}
