// A layer's features as a picture whose rows lie in an order that an eye can follow.

/**
 * How far each dimension is from its mean over time, in standard deviations of the layer. Rows that go up and down
 * together are put side by side: they are ordered by the angle of their weights in the two principal components.
 *
 * @param {import('./model.js').Layers} layers
 * @param {number} layer from 0
 * @returns {import('./draw.js').Picture}
 */
export function layerPicture({ values, frames, width }, layer) {
  const centred = values.slice(layer * frames * width, (layer + 1) * frames * width); // (L, D)
  for (let d = 0; d < width; d++) {
    let mean = 0;
    for (let i = d; i < centred.length; i += width) mean += centred[i] / frames;
    for (let i = d; i < centred.length; i += width) centred[i] -= mean;
  }
  const deviation = Math.sqrt(centred.reduce((sum, x) => sum + x * x, 0) / centred.length) || 1;
  const first = principal(centred, width);
  const second = principal(centred, width, first);
  const angles = first.map((x, d) => Math.atan2(second[d], x));
  const order = Array.from({ length: width }, (_, d) => d).sort((a, b) => angles[a] - angles[b]);
  const sorted = centred.map((_, i) => centred[i - (i % width) + order[i % width]] / deviation);
  return { values: sorted, columns: frames, rows: width };
}

/** The direction in which the rows of (L, D) differ most, orthogonal to another one: power iteration from one start. */
function principal(rows, width, other = null) {
  let direction = Float64Array.from({ length: width }, (_, d) => Math.cos(d * d + 1));
  for (let step = 0; step < 15; step++) {
    const next = new Float64Array(width);
    for (let i = 0; i < rows.length; i += width) {
      let dot = 0;
      for (let d = 0; d < width; d++) dot += rows[i + d] * direction[d];
      for (let d = 0; d < width; d++) next[d] += dot * rows[i + d];
    }
    const along = other ? next.reduce((sum, x, d) => sum + x * other[d], 0) : 0;
    if (other) next.forEach((_, d) => (next[d] -= along * other[d]));
    const norm = Math.sqrt(next.reduce((sum, x) => sum + x * x, 0));
    if (!(norm > 0)) return direction; // one frame, or nothing left
    direction = next.map((x) => x / norm);
  }
  return direction;
}
