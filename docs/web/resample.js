// Another sample rate, by a sinc under a Kaiser window: the same in every browser.

const CROSSINGS = 80; // zeros of the sinc on either side
const CUTOFF = 0.956; // of the lower rate's Nyquist frequency; as soxr's, which Python uses
const BETA = 10; // about 100 dB down where the stop band begins

/**
 * @param {Float32Array} samples
 * @param {number} from rate of `samples` in Hz
 * @param {number} to
 * @returns {Float32Array} the same sound at `to` Hz; the very same array if that is its rate
 */
export function resample(samples, from, to) {
  if (from === to) return samples;
  const common = gcd(from, to);
  const [up, down] = [to / common, from / common];
  const scale = CUTOFF * Math.min(1, to / from); // of the input's Nyquist frequency
  const half = Math.ceil(CROSSINGS / scale);
  const filters = new Map(); // by phase; one each of `up`, made when it is first needed
  const result = new Float32Array(Math.round((samples.length * up) / down));
  for (let n = 0; n < result.length; n++) {
    const centre = Math.floor((n * down) / up);
    const phase = (n * down) % up;
    if (!filters.has(phase)) filters.set(phase, makeFilter(phase / up, scale, half));
    const filter = filters.get(phase);
    const first = Math.max(0, centre - half + 1);
    const last = Math.min(samples.length - 1, centre + half);
    let sum = 0;
    for (let k = first; k <= last; k++) sum += samples[k] * filter[k - centre + half - 1];
    result[n] = sum;
  }
  return result;
}

/** Weights of the samples from `half` - 1 before to `half` after, for a point that lies `offset` samples behind one. */
function makeFilter(offset, scale, half) {
  const filter = new Float32Array(2 * half);
  for (let i = 0; i < filter.length; i++) {
    const distance = i - half + 1 - offset;
    const x = Math.PI * scale * distance;
    const inside = 1 - (distance / half) ** 2;
    const window = inside > 0 ? bessel(BETA * Math.sqrt(inside)) / bessel(BETA) : 0;
    filter[i] = (x === 0 ? 1 : Math.sin(x) / x) * scale * window;
  }
  return filter;
}

/** Modified Bessel function of the first kind, of order 0. */
function bessel(x) {
  let [sum, term] = [1, 1];
  for (let k = 1; term > 1e-12 * sum; k++) {
    term *= (x / (2 * k)) ** 2;
    sum += term;
  }
  return sum;
}

function gcd(a, b) {
  return b ? gcd(b, a % b) : a;
}
