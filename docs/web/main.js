// The page: two recordings, what was heard in each, and how alike their voices are.

import { layerPicture } from './features.js';
import { SHORT, loadModel } from './model.js';
import { Problem } from './problem.js';
import { RATE, readFile, record } from './sound.js';
import { spectrogram } from './spectrogram.js';
import { say, showCard, showDetails, showLayer, showLikeness } from './view.js';

/** What is known of each recording; null until there is one. */
export const recordings = { a: null, b: null };

const READY = 'Ready. Choose, drop or record a sound; it stays on this device.';
const TAKE = 10; // s of the microphone at most
let model = null; // a promise of a Model
let shown = 'a';
let layer = 7;
let work = Promise.resolve(); // the session takes one recording after another

/** Do something that may fail, and say how. */
async function attempt(action) {
  try {
    return await action();
  } catch (error) {
    say('problem', error instanceof Problem ? error.message : `This should not happen: ${error.message ?? error}`);
    if (!(error instanceof Problem)) console.error(error);
    return undefined;
  }
}

/** Take a sound into a slot. @param {() => Promise<import('./sound.js').Sound>} read */
function take(slot, name, read, url) {
  work = work.then(() =>
    attempt(async () => {
      say('busy', `Reading ${name} ...`);
      const sound = await read();
      const recording = await analyse(await model, sound, name);
      recordings[slot] = recording;
      shown = slot;
      showAll(slot, url);
      say('ready', READY);
    }),
  );
  return work;
}

async function analyse(loaded, sound, name) {
  const { samples } = sound;
  const progress = (share) => {
    say('busy', `Listening to ${name}: ${Math.round(100 * share)} %`);
    return new Promise((resolve) => setTimeout(resolve)); // so that the page is drawn
  };
  await progress(0);
  const words = samples.length > SHORT * RATE ? await loaded.words(samples, progress) : null;
  await progress(words ? 1 : 0);
  const answer = await loaded.listen(samples);
  const layers = Array.from({ length: answer.layers.count }, (_, i) => layerPicture(answer.layers, i));
  const best = loaded.best(answer.probabilities);
  return { name, sound, words, answer, best, layers, spectrum: spectrogram(samples) };
}

async function showAll(slot, url) {
  const { about } = await model;
  showCard(slot, recordings[slot]);
  showLikeness(recordings.a, recordings.b, about.threshold);
  const player = document.querySelector(`#${slot} audio`);
  URL.revokeObjectURL(player.src);
  player.src = url;
  showChosen();
}

async function showChosen() {
  for (const slot of ['a', 'b']) {
    const tab = document.querySelector(`#show-${slot}`);
    tab.disabled = !recordings[slot];
    tab.setAttribute('aria-pressed', slot === shown);
  }
  const { about } = await model;
  if (!recordings[shown]) return;
  showDetails(recordings[shown], about.labels, layer, (chosen) => {
    layer = chosen;
    showLayer(recordings[shown].layers, layer);
  });
}

/** The record button: press, speak, press again. */
function recordInto(slot, button) {
  let recording = null;
  button.addEventListener('click', () =>
    attempt(async () => {
      if (recording) return recording.finish();
      button.disabled = true;
      const session = await record().finally(() => (button.disabled = false));
      say('busy', 'Recording; press the button again to stop.');
      const timer = setInterval(() => {
        button.textContent = `Stop (${session.seconds().toFixed(1)} s)`;
        if (session.seconds() >= TAKE) recording?.finish();
      }, 100);
      recording = {
        finish: () => {
          clearInterval(timer);
          recording = null;
          button.textContent = 'Record';
          button.classList.remove('on');
          return attempt(async () => {
            const sound = await session.stop();
            await take(slot, 'microphone', async () => sound, URL.createObjectURL(wavFile(sound.samples)));
          });
        },
      };
      button.classList.add('on');
    }),
  );
}

/** Samples at 16 kHz as a WAV of 16 bits, for the player. */
function wavFile(samples) {
  const view = new DataView(new ArrayBuffer(44 + 2 * samples.length));
  const text = (at, letters) => [...letters].forEach((letter, i) => view.setUint8(at + i, letter.charCodeAt(0)));
  text(0, 'RIFF');
  view.setUint32(4, 36 + 2 * samples.length, true);
  text(8, 'WAVEfmt ');
  [16, 0x10001, RATE, 2 * RATE, 0x100002].forEach((value, i) => view.setUint32(16 + 4 * i, value, true));
  text(36, 'data');
  view.setUint32(40, 2 * samples.length, true);
  samples.forEach((x, i) => view.setInt16(44 + 2 * i, Math.round(32767 * Math.max(-1, Math.min(1, x))), true));
  return new Blob([view], { type: 'audio/wav' });
}

function wire(slot) {
  const card = document.querySelector(`#${slot}`);
  const open = (file) => file && take(slot, file.name, () => readFile(file), URL.createObjectURL(file));
  const input = card.querySelector('input');
  input.addEventListener('change', () => {
    open(input.files[0]);
    input.value = ''; // so that the same file can be chosen again
  });
  card.addEventListener('drop', (event) => open(event.dataTransfer.files[0]));
  for (const kind of ['dragenter', 'dragover', 'dragleave', 'drop']) {
    card.addEventListener(kind, () => card.classList.toggle('over', kind.endsWith('r') && kind !== 'drop'));
  }
  recordInto(slot, card.querySelector('.record'));
  document.querySelector(`#show-${slot}`).addEventListener('click', () => {
    shown = slot;
    showChosen();
  });
}

async function start() {
  say('busy', 'Loading the model ...');
  for (const kind of ['dragover', 'drop']) {
    document.addEventListener(kind, (event) => event.preventDefault()); // or the browser opens what is dropped
  }
  model = loadModel();
  wire('a');
  wire('b');
  const loaded = await attempt(() => model);
  if (loaded) {
    showLikeness(null, null, loaded.about.threshold);
    say('ready', READY);
  }
}

start();
