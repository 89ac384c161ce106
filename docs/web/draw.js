// Tables of numbers as pictures.

/** @typedef {{values: Float32Array, columns: number, rows: number}} Picture column by column, the lowest row first */

const SOUND = ['#0b0724', '#3b0f70', '#8c2981', '#de4968', '#fe9f6d', '#fcfdbf'].map(parse); // loud is bright
const FEATURES = ['#1b4f8f', '#6fa3d0', '#f6f5f2', '#e0945c', '#9c3a12'].map(parse); // zero is white

/** A spectrogram in dB, of which the loudest 70 dB are seen. */
export function drawSpectrogram(canvas, picture) {
  const highest = picture.values.reduce((a, b) => Math.max(a, b), -Infinity);
  paint(canvas, picture, SOUND, highest - 70, highest);
}

/** Features, from -3 to 3 standard deviations. */
export function drawFeatures(canvas, picture) {
  paint(canvas, picture, FEATURES, -3, 3);
}

function paint(canvas, { values, columns, rows }, colours, low, high) {
  canvas.width = columns;
  canvas.height = rows;
  const context = canvas.getContext('2d');
  const image = context.createImageData(columns, rows);
  for (let x = 0; x < columns; x++) {
    for (let y = 0; y < rows; y++) {
      const share = Math.min(1, Math.max(0, (values[x * rows + y] - low) / (high - low)));
      const place = share * (colours.length - 1);
      const i = Math.min(Math.floor(place), colours.length - 2);
      const at = 4 * ((rows - 1 - y) * columns + x);
      for (let c = 0; c < 3; c++) {
        image.data[at + c] = colours[i][c] + (place - i) * (colours[i + 1][c] - colours[i][c]);
      }
      image.data[at + 3] = 255;
    }
  }
  context.putImageData(image, 0, 0);
}

function parse(colour) {
  return [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
}
