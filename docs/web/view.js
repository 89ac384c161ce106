// What is known of the recordings, put into the page.

import { drawLayer, drawSpectrogram } from './draw.js';
import { cosine } from './model.js';
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

const percent = (probability) => `${Math.round(100 * probability)} %`;
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
  $('.threshold', section).style.left = percent(threshold);
  if (!(first && second)) {
    $('p', section).textContent = 'Record or open two recordings to compare their voices.';
    return;
  }
  const likeness = cosine(first.answer.embedding, second.answer.embedding);
  $('.bar', section).style.width = percent(Math.max(0, likeness));
  const verdict = likeness >= threshold ? 'probably the same voice' : 'probably two voices';
  $('p', section).replaceChildren(
    make('strong', '', likeness.toFixed(3)),
    ` cosine of the two voices: ${verdict} (the same from ${threshold.toFixed(3)} on)`,
  );
}

/** The large pictures of one recording. */
export function showDetails(recording, labels, layer, onLayer) {
  const { sound, picture, answer, words } = recording;
  $('#details').hidden = false;
  drawSpectrogram($('#spectrogram'), picture);
  showTime($('#time'), sound.samples.length / RATE);
  showMarks($('#marks'), words ?? [], sound.samples.length / RATE);
  if (words) showList($('#keywords'), words);
  else showBars($('#keywords'), answer.probabilities, labels);
  showLayers(answer.layers, layer, onLayer);
}

function showTime(axis, seconds) {
  const step = [0.1, 0.2, 0.5, 1, 2, 5, 10].find((size) => seconds / size <= 8) ?? 20;
  const ticks = [];
  for (let i = 0; i * step < seconds * 0.97; i++) {
    const tick = make('span', '', `${+(i * step).toFixed(1)}${i ? '' : ' s'}`);
    tick.style.left = `${(100 * i * step) / seconds}%`;
    ticks.push(tick);
  }
  axis.replaceChildren(...ticks);
}

function showMarks(box, words, seconds) {
  box.replaceChildren(
    ...words.map(({ label, start, end }) => {
      const mark = make('span', '', label);
      mark.style.left = `${(100 * start) / seconds}%`;
      mark.style.width = `${(100 * (end - start)) / seconds}%`;
      return mark;
    }),
  );
}

function showBars(box, probabilities, labels) {
  const highest = Math.max(...probabilities);
  const rows = labels.map((label, i) => {
    const fill = make('span', 'fill');
    fill.style.width = percent(probabilities[i]);
    const row = [make('span', '', readable(label)), make('span', 'track', fill), make('span', '', percent(probabilities[i]))];
    return make('li', probabilities[i] === highest ? 'best' : '', row);
  });
  box.replaceChildren(make('ul', 'bars', rows));
}

function showList(box, words) {
  const rows = words.map(({ label, probability, start, end }) =>
    make('li', '', [make('strong', '', label), ` ${percent(probability)}, ${start.toFixed(1)} to ${end.toFixed(1)} s`]),
  );
  const none = 'No keyword is surer than 80 %. It knows yes, no, up, down, left, right, on, off, stop and go.';
  box.replaceChildren(rows.length ? make('ol', 'hits', rows) : make('p', '', none));
}

function showLayers(layers, chosen, onLayer) {
  drawLayer($('#layer'), layers, chosen);
  $('#layer-name').textContent = `Layer ${chosen + 1} of ${layers.count}`;
  const box = $('#layers');
  if (box.children.length !== layers.count) {
    const buttons = Array.from({ length: layers.count }, (_, i) => {
      const button = make('button', '', [make('canvas'), String(i + 1)]);
      button.setAttribute('aria-label', `layer ${i + 1}`);
      button.addEventListener('click', () => onLayer(i));
      return button;
    });
    box.replaceChildren(...buttons);
  }
  [...box.children].forEach((button, i) => {
    button.setAttribute('aria-pressed', i === chosen);
    drawLayer($('canvas', button), layers, i);
  });
}
