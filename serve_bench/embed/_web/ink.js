/* From strokes to the image that the model was trained on. Pure functions, no canvas: the same on every device. */
/* exported Ink */
"use strict";

const Ink = (() => {
  /** Side of the paper, in its own units; strokes are in them. */
  const SIDE = 280;

  /**
   * Strokes ({ pen: width, points: [[x, y], …] }) as coverage 0…1, SIDE × SIDE, row by row: round pens along the lines
   * between points, with edges one unit soft.
   */
  function raster(strokes) {
    const ink = new Float32Array(SIDE * SIDE);
    for (const { pen, points } of strokes) {
      points.forEach((point, index) => line(ink, points[Math.max(index - 1, 0)], point, pen / 2));
    }
    return ink;
  }

  function line(ink, [x0, y0], [x1, y1], radius) {
    const [dx, dy] = [x1 - x0, y1 - y0];
    const length2 = dx * dx + dy * dy;
    const reach = radius + 1;
    const clamp = (v) => Math.min(Math.max(v, 0), SIDE);
    const [left, right] = [clamp(Math.floor(Math.min(x0, x1) - reach)), clamp(Math.ceil(Math.max(x0, x1) + reach))];
    const [top, bottom] = [clamp(Math.floor(Math.min(y0, y1) - reach)), clamp(Math.ceil(Math.max(y0, y1) + reach))];
    for (let y = top; y < bottom; y += 1) {
      for (let x = left; x < right; x += 1) {
        const [px, py] = [x + 0.5 - x0, y + 0.5 - y0];
        const along = length2 ? Math.min(Math.max((px * dx + py * dy) / length2, 0), 1) : 0;
        const cover = Math.min(Math.max(radius + 0.5 - Math.hypot(px - along * dx, py - along * dy), 0), 1);
        const at = y * SIDE + x;
        if (cover > ink[at]) ink[at] = cover;
      }
    }
  }

  /** The smallest box that holds all ink: { left, top, width, height }; null where there is none. */
  function bounds(ink) {
    let [left, top, right, bottom] = [SIDE, SIDE, -1, -1];
    ink.forEach((cover, at) => {
      if (cover === 0) return;
      const [x, y] = [at % SIDE, Math.floor(at / SIDE)];
      [left, right, top, bottom] = [Math.min(left, x), Math.max(right, x), Math.min(top, y), Math.max(bottom, y)];
    });
    return right < 0 ? null : { left, top, width: right - left + 1, height: bottom - top + 1 };
  }

  /** Weights of `source` cells in each of `target` cells that cover the same length: rows sum to 1. */
  function overlaps(source, target) {
    const size = source / target;
    return Array.from({ length: target }, (_, t) => {
      const [low, high] = [t * size, (t + 1) * size];
      const cells = [];
      for (let s = Math.floor(low); s < Math.min(Math.ceil(high), source); s += 1) {
        cells.push([s, (Math.min(high, s + 1) - Math.max(low, s)) / size]);
      }
      return cells;
    });
  }

  /** The ink in `box` as width × height means of the area that each pixel covers, row by row. */
  function scaled(ink, box, width, height) {
    const columns = overlaps(box.width, width);
    const rows = overlaps(box.height, height);
    return Float32Array.from({ length: width * height }, (_, at) => {
      let sum = 0;
      for (const [y, high] of rows[Math.floor(at / width)]) {
        for (const [x, wide] of columns[at % width]) sum += high * wide * ink[(box.top + y) * SIDE + box.left + x];
      }
      return sum;
    });
  }

  /** First pixel that puts a picture's centre of mass along one axis nearest to the middle of a frame. */
  function start(picture, length, frame, place) {
    let [mass, moment] = [0, 0];
    picture.forEach((value, at) => {
      mass += value;
      moment += value * (place(at) + 0.5);
    });
    return Math.min(Math.max(Math.round(frame / 2 - moment / mass), 0), frame - length);
  }

  /** The ink scaled to fit a square of `box` pixels, its centre of mass in the middle of width × height; null if none. */
  function framed(ink, box, width, height) {
    const found = bounds(ink);
    if (!found) return null;
    const scale = box / Math.max(found.width, found.height);
    const [wide, high] = [found.width, found.height].map((side) => Math.max(1, Math.round(side * scale)));
    const picture = scaled(ink, found, wide, high);
    const left = start(picture, wide, width, (at) => at % wide);
    const top = start(picture, high, height, (at) => Math.floor(at / wide));
    const frame = new Float32Array(width * height);
    picture.forEach((value, at) => { frame[(top + Math.floor(at / wide)) * width + left + (at % wide)] = value; });
    return frame;
  }

  /** As MNIST was made: the ink fits 20 of 28 pixels, the centre of mass is in the middle; values 0…high. */
  function mnist(ink, { width, height, high }) {
    const frame = framed(ink, Math.round((Math.min(width, height) * 20) / 28), width, height);
    return frame && Array.from(frame, (value) => Math.round(value * high));
  }

  /**
   * As UCI's 8×8 digits were made: a bitmap of 32×32 that the digit fills from top to bottom, and how many of each 4×4
   * block are ink (0…16). MNIST's margin would be wrong here: in every image of that set, ink touches both edges.
   */
  function counted(ink, { width, height }) {
    const bitmap = framed(ink, 4 * Math.min(width, height), 4 * width, 4 * height);
    if (!bitmap) return null;
    const counts = new Array(width * height).fill(0);
    bitmap.forEach((value, at) => {
      const [x, y] = [at % (4 * width), Math.floor(at / (4 * width))];
      if (value >= 0.5) counts[Math.floor(y / 4) * width + Math.floor(x / 4)] += 1;
    });
    return counts;
  }

  /** The image of strokes, row by row, as facts.image says; null where there is no ink. */
  function image(strokes, wanted) {
    const ink = raster(strokes);
    return wanted.counted ? counted(ink, wanted) : mnist(ink, wanted);
  }

  return { SIDE, raster, bounds, overlaps, mnist, counted, image };
})();
