// What is known of the recordings, put into the page.

import { drawFeatures, drawSpectrogram } from './draw.js';
import { SURE, cosine } from './model.js';
import { RATE } from './sound.js';

const NAMES = { _unknown_: 'another word', _silence_: 'silence' };
const $ = (selector, inside = document) => inside.querySelector(selector);

/** An element with a class and a text, or with other elements. */
function make(tag, name = '', content = []) {
  const element = document.createElement(tag);
  element.className = name;
  element.append(...[content].flat());
  return element;
}

const percent = (share) => `${Math.round(100 * share)} %`;
const width = (share) => `${100 * share}%`; // in CSS
const readable = (label) => NAMES[label] ?? label;

/** The line at the top. @param {'busy' | 'ready' | 'problem'} kind */
export function say(kind, text) {
  const line = $('#status');
  line.dataset.kind = kind;
  line.textContent = text;
}

/** A recording's own card: what it is, and what was heard. */
export function showCard(slot, { name, sound, words, best }) {
  const card = $(`#${slot}`);
  const rate = sound.rate === RATE || !sound.rate ? '' : `, resampled from ${sound.rate.toLocaleString('en')} Hz`;
  const cut = sound.cut ? `; the first ${sound.samples.length / RATE} s are used` : '';
  $('.about', card).textContent = `${name}: ${sound.seconds.toFixed(2)} s${rate}${cut}`;
  const heard = $('.heard', card);
  if (!words) {
    heard.replaceChildren(make('strong', '', readable(best.label)), ` ${percent(best.probability)}`);
  } else {
    const labels = [...new Set(words.map((word) => word.label))];
    heard.replaceChildren(make('strong', labels.length > 4 ? 'many' : '', labels.join(', ') || 'no keyword'));
  }
  card.classList.add('filled');
}

/** Are two recordings of one voice? Null for one that is not there. */
export function showLikeness(first, second, threshold) {
  const section = $('#likeness');
  section.classList.toggle('known', Boolean(first && second));
  $('.threshold', section).style.left = width(threshold);
  if (!(first && second)) {
    $('p', section).textContent = 'Record or open two recordings to compare their voices.';
    return;
  }
  const likeness = cosine(first.answer.embedding, second.answer.embedding);
  $('.bar', section).style.width = width(Math.max(0, likeness));
  const verdict = likeness >= threshold ? 'probably the same voice' : 'probably two voices';
  $('p', section).replaceChildren(
    make('strong', '', likeness.toFixed(3)),
    ` cosine of the two voices: ${verdict} (the same from ${threshold.toFixed(3)} on)`,
  );
}

/** The large pictures of one recording. */
export function showDetails({ sound, spectrum, layers, answer, words }, labels, layer, onLayer) {
  const seconds = sound.samples.length / RATE;
  $('#details').hidden = false;
  drawSpectrogram($('#spectrogram'), spectrum);
  showTime($('#time'), seconds);
  showMarks($('#marks'), words ?? [], seconds);
  if (words) showList($('#keywords'), words);
  else showBars($('#keywords'), answer.probabilities, labels);
  const buttons = layers.map((picture, i) => {
    const canvas = make('canvas');
    drawFeatures(canvas, picture);
    const button = make('button', '', [canvas, String(i + 1)]);
    button.setAttribute('aria-label', `Layer ${i + 1}`);
    button.addEventListener('click', () => onLayer(i));
    return button;
  });
  $('#layers').replaceChildren(...buttons);
  showLayer(layers, layer);
}

/** One layer of the recording that is shown, in large. */
export function showLayer(layers, chosen) {
  drawFeatures($('#layer'), layers[chosen]);
  $('#layer-name').textContent = `Layer ${chosen + 1} of ${layers.length}`;
  [...$('#layers').children].forEach((button, i) => button.setAttribute('aria-pressed', i === chosen));
}

function showTime(axis, seconds) {
  const step = [0.1, 0.2, 0.5, 1, 2, 5, 10].find((size) => seconds / size <= 8) ?? 20;
  const ticks = [];
  for (let i = 0; i * step < seconds * 0.97; i++) {
    const tick = make('span', '', `${+(i * step).toFixed(1)}${i ? '' : ' s'}`);
    tick.style.left = width((i * step) / seconds);
    ticks.push(tick);
  }
  axis.replaceChildren(...ticks);
}

function showMarks(box, words, seconds) {
  box.replaceChildren(
    ...words.map(({ label, start, end }) => {
      const mark = make('span', '', label);
      mark.style.left = width(start / seconds);
      mark.style.width = width((end - start) / seconds);
      return mark;
    }),
  );
}

function showBars(box, probabilities, labels) {
  const highest = Math.max(...probabilities);
  const rows = labels.map((label, i) => {
    const fill = make('span', 'fill');
    fill.style.width = width(probabilities[i]);
    const row = [make('span', '', readable(label)), make('span', 'track', fill), make('span', '', percent(probabilities[i]))];
    return make('li', probabilities[i] === highest ? 'best' : '', row);
  });
  box.replaceChildren(make('ul', 'bars', rows));
}

function showList(box, words) {
  const rows = words.map(({ label, probability, start, end }) =>
    make('li', '', [make('strong', '', label), ` ${percent(probability)}, ${start.toFixed(1)} to ${end.toFixed(1)} s`]),
  );
  const none = `No keyword is surer than ${percent(SURE)}. It knows yes, no, up, down, left, right, on, off, stop and go.`;
  box.replaceChildren(rows.length ? make('ol', 'hits', rows) : make('p', '', none));
}
