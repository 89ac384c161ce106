// The joint model in onnxruntime-web: keyword, speaker and features of a recording from one forward pass.

import { Problem } from './problem.js';
import { RATE } from './sound.js';

const MISSING = 'run "python docs/web/get_files.py" and load the page again.';
const WINDOW = RATE; // samples; the model learned keywords from clips of one second
const HOP = RATE / 2;
export const SHORT = 1.5; // s; up to here a recording is one clip
export const SURE = 0.7; // lowest probability of a word in a longer recording

/**
 * @typedef {{probabilities: Float32Array, embedding: Float32Array, layers: Layers}} Answer
 *   of the classes; a vector of length 1
 * @typedef {{values: Float32Array, count: number, frames: number, width: number}} Layers
 *   (count, frames, width), a frame every 20 ms
 */

/** Load the runtime and the model that `get_files.py` put beside the page. */
export async function loadModel() {
  const runtime = new URL('runtime/', import.meta.url).href;
  let ort;
  try {
    ort = await import(`${runtime}ort.wasm.min.mjs`);
  } catch {
    throw new Problem(`onnxruntime-web is missing; ${MISSING}`);
  }
  ort.env.wasm.wasmPaths = runtime;
  ort.env.wasm.numThreads = 1; // more need headers that a plain web server does not send
  const about = await (await fetchFile('model/model.json')).json();
  const file = await (await fetchFile('model/joint.onnx')).arrayBuffer();
  if (file.byteLength !== about.bytes) throw new Problem(`The model is not whole; ${MISSING}`);
  let session;
  try {
    session = await ort.InferenceSession.create(file, { executionProviders: ['wasm'], logSeverityLevel: 3 });
  } catch (error) {
    throw new Problem(`The model does not start in this browser (${firstLine(error)}); try a current one.`);
  }
  return new Model(ort, session, about);
}

async function fetchFile(name) {
  const response = await fetch(new URL(name, import.meta.url)).catch(() => null);
  if (!response?.ok) throw new Problem(`The model is missing (${name}); ${MISSING}`);
  return response;
}

function firstLine(error) {
  return String(error?.message ?? error).split('\n')[0];
}

export class Model {
  constructor(ort, session, about) {
    Object.assign(this, { ort, session, about });
  }

  /** @param {Float32Array} samples at 16 kHz @returns {Promise<Answer>} */
  async listen(samples) {
    const { Tensor } = this.ort;
    const results = await this.session.run({
      waveforms: new Tensor('float32', samples, [1, samples.length]),
      lengths: new Tensor('int64', [BigInt(samples.length)], [1]),
    });
    const [count, , frames, width] = results.hidden_states.dims; // (N, 1, L, D)
    return {
      probabilities: softmax(results.keyword_logits.data),
      embedding: results.embedding.data,
      layers: { values: results.hidden_states.data, count, frames, width },
    };
  }

  /** The most probable class. @returns {{label: string, probability: number}} */
  best(probabilities) {
    const i = probabilities.indexOf(Math.max(...probabilities));
    return { label: this.about.labels[i], probability: probabilities[i] };
  }

  /**
   * Words of a longer recording, from windows of 1 s every 0.5 s; of neighbours that agree, the surer one.
   *
   * @returns {Promise<{label: string, probability: number, start: number, end: number}[]>} times in seconds
   */
  async words(samples, progress = () => {}) {
    const found = [];
    const windows = Math.max(1, Math.ceil((samples.length - WINDOW) / HOP) + 1);
    for (let i = 0; i < windows; i++) {
      await progress(i / windows);
      const start = i * HOP;
      const end = Math.min(start + WINDOW, samples.length);
      const best = this.best((await this.listen(samples.slice(start, end))).probabilities);
      if (best.label.startsWith('_') || best.probability < SURE) continue;
      const hit = { ...best, start: start / RATE, end: end / RATE };
      const before = found.at(-1);
      if (before?.label !== hit.label || hit.start > before.end) found.push(hit);
      else if (hit.probability > before.probability) found[found.length - 1] = hit;
    }
    return found;
  }
}

function softmax(logits) {
  const highest = Math.max(...logits);
  const powers = logits.map((x) => Math.exp(x - highest));
  const sum = powers.reduce((a, b) => a + b);
  return powers.map((x) => x / sum);
}

/** Cosine of two vectors of length 1. */
export function cosine(a, b) {
  return a.reduce((sum, x, i) => sum + x * b[i], 0);
}
