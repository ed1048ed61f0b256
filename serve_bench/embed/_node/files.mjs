/** Files as samples: .npy, .pgm (grey image) and .json. */
import { readFileSync } from 'node:fs';
import { extname } from 'node:path';

import { InputError } from './index.mjs';

const KINDS = {
  u1: Uint8Array,
  i1: Int8Array,
  u2: Uint16Array,
  i2: Int16Array,
  i4: Int32Array,
  i8: BigInt64Array,
  f4: Float32Array,
  f8: Float64Array,
};
/** A border whose median is above this is paper: the image is turned to light on dark, as the model was trained. */
const BRIGHT = 127;

/** Whether a word of the command line names a file that can be read. */
export const isFile = (word) => ['.npy', '.pgm', '.json'].includes(extname(word).toLowerCase());

/** { samples, note }: nested arrays, and what was done to make them fit. Throws InputError. */
export function readSamples(path, model) {
  let bytes;
  try {
    bytes = readFileSync(path);
  } catch (error) {
    throw new InputError(`${path}: ${error.code === 'ENOENT' ? 'no such file' : error.code}`);
  }
  try {
    const suffix = extname(path).toLowerCase();
    if (suffix === '.pgm') return pgm(bytes, model);
    return { samples: suffix === '.npy' ? npy(bytes) : JSON.parse(bytes.toString('utf8')), note: '' };
  } catch (error) {
    throw new InputError(`${path}: ${error instanceof InputError ? error.message : 'is cut off or damaged'}`);
  }
}

function npy(bytes) {
  if (bytes.toString('latin1', 0, 6) !== '\x93NUMPY') throw new InputError('is no .npy');
  const long = bytes[6] > 1;
  const start = (long ? 12 : 10) + (long ? bytes.readUInt32LE(8) : bytes.readUInt16LE(8));
  const header = bytes.toString('latin1', 10, start);
  const kind = /'descr': '[|<]([a-z]\d)'/.exec(header)?.[1];
  if (!KINDS[kind] || !header.includes("'fortran_order': False")) throw new InputError('holds no numbers that are read here');
  const shape = /'shape': \(([^)]*)\)/.exec(header)[1].split(',').filter((n) => n.trim()).map(Number);
  const size = shape.reduce((a, b) => a * b, 1);
  const { buffer } = new Uint8Array(bytes.subarray(start));
  return shape.reduceRight((values, n) => cut(values, n), new KINDS[kind](buffer, 0, size))[0];
}

/** Values in pieces of n. */
function cut(values, n) {
  return Array.from({ length: n ? values.length / n : 1 }, (_, i) => Array.from(values.slice(i * n, (i + 1) * n)));
}

/** For each of `target` cells the [index, share] of the `source` cells that it covers; shares sum to 1. */
function overlaps(source, target) {
  const size = source / target;
  return Array.from({ length: target }, (_, cell) => {
    const [low, high] = [cell * size, (cell + 1) * size];
    const cells = [];
    for (let index = Math.floor(low); index < Math.min(Math.ceil(high), source); index += 1) {
      cells.push([index, (Math.min(high, index + 1) - Math.max(low, index)) / size]);
    }
    return cells;
  });
}

/** Rows of grey values at another size: each value the mean of the area that it covers. */
function resized(image, rows, columns) {
  const mean = (cells, valueAt) => cells.reduce((sum, [index, share]) => sum + share * valueAt(index), 0);
  const across = overlaps(image[0].length, columns);
  const down = overlaps(image.length, rows);
  const narrow = image.map((row) => across.map((cells) => mean(cells, (index) => row[index])));
  return down.map((cells) => across.map((_, column) => mean(cells, (index) => narrow[index][column])));
}

/** A binary grey image at the model's size, as values 0 to the model's largest, light on dark. */
function pgm(bytes, model) {
  if (model.takes !== 'image') throw new InputError('is an image, and this model takes none');
  const head = /^P5\s(?:\s*#.*\n)*\s*(\d+)\s+(\d+)\s+(\d+)\s/.exec(bytes.toString('latin1', 0, 512));
  if (!head || Number(head[3]) > 255) {
    throw new InputError('is no binary PGM (P5) of 8 bits; magick in.pgm -depth 8 out.pgm makes one');
  }
  const [width, height, largest] = head.slice(1).map(Number);
  const [rows, columns] = model.shape;
  if (!width || !height || !largest) throw new InputError('holds no pixel');
  const grey = bytes.subarray(head[0].length, head[0].length + width * height);
  if (grey.length < width * height) throw new InputError('is cut off');
  const given = cut(Array.from(grey, (v) => (v * 255) / largest), width);
  const fits = height === rows && width === columns;
  const image = fits ? given : resized(given, rows, columns);
  const border = [...image[0], ...image.at(-1), ...image.flatMap((row) => [row[0], row.at(-1)])].sort((a, b) => a - b);
  const paper = border[border.length >> 1] > BRIGHT;
  const scale = (model.facts.inputs[0].high ?? 255) / 255;
  const samples = image.map((row) => row.map((v) => Math.round((paper ? 255 - v : v) * scale)));
  const done = fits ? [] : [`resized from ${width}×${height} to ${columns}×${rows}`];
  if (paper) done.push('inverted, since its border is bright and the model was trained on light on dark');
  return { samples, note: done.join('; ') };
}
