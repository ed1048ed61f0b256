/**
 * The model in app.onnx, for Node. Everything that is particular to it (inputs, labels, characters) is in model.json.
 */
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';

import ort from 'onnxruntime-node';

const HERE = new URL('./', import.meta.url);

/** The typed array of each element type that an input may have. */
export const ARRAYS = {
  uint8: Uint8Array,
  int8: Int8Array,
  uint16: Uint16Array,
  int16: Int16Array,
  int32: Int32Array,
  int64: BigInt64Array,
  float32: Float32Array,
  float64: Float64Array,
};

/** An input that the model cannot take; its message is one line for the user. */
export class InputError extends Error {}

export class Model {
  #session;

  /** Loads app.onnx once, for the CPU. */
  static async load({ path = fileURLToPath(new URL('app.onnx', HERE)), threads = 1 } = {}) {
    const facts = JSON.parse(await readFile(new URL('model.json', HERE), 'utf8'));
    const options = {
      executionProviders: ['cpu'],
      intraOpNumThreads: threads,
      interOpNumThreads: 1,
      logSeverityLevel: 3,
    };
    let session;
    try {
      session = await ort.InferenceSession.create(path, options);
    } catch (error) {
      throw new InputError(`${path}: cannot be opened: ${firstLine(error)}`);
    }
    return new Model(session, facts);
  }

  constructor(session, facts) {
    this.#session = session;
    this.facts = facts;
    this.labels = facts.labels;
    this.symbols = [...facts.symbols];
    this.shape = facts.inputs[0].shape.slice(1);
  }

  /** What a sample is: "image", "text" or "numbers". */
  get takes() {
    if (this.symbols.length) return 'text';
    return this.facts.inputs[0].name === 'pixels' ? 'image' : 'numbers';
  }

  /** An answer for each sample. Throws InputError. */
  async predict(samples) {
    const feeds = this.takes === 'text' ? this.#texts(samples) : this.#numbers(samples);
    const outputs = await this.run(feeds);
    if (!outputs.label) return rows(outputs.value).map((value) => ({ value }));
    const indices = Array.from(outputs.label.data, Number);
    return rows(outputs.probabilities).map((probabilities, i) => ({
      label: this.labels[indices[i]] ?? String(indices[i]),
      probability: probabilities[indices[i]],
      probabilities,
    }));
  }

  /** The outputs of app.onnx by name, for its inputs by name: { data, shape } both; int64 holds BigInt. */
  async run(feeds) {
    const tensors = {};
    for (const { name, dtype } of this.facts.inputs) {
      if (!feeds[name]) throw new InputError(`input ${name} is missing`);
      tensors[name] = new ort.Tensor(dtype, feeds[name].data, feeds[name].shape);
    }
    try {
      const found = await this.#session.run(tensors);
      return Object.fromEntries(Object.entries(found).map(([k, v]) => [k, { data: v.data, shape: [...v.dims] }]));
    } catch (error) {
      throw new InputError(`the model cannot be asked this: ${firstLine(error)}`);
    }
  }

  #numbers(samples) {
    const spec = this.facts.inputs[0];
    const size = this.shape.reduce((a, b) => a * b, 1);
    const count = this.#count(samples, size);
    const values = ArrayBuffer.isView(samples) ? samples : flattened(samples);
    const data = ARRAYS[spec.dtype].from(values, (value) => element(value, spec));
    return { [spec.name]: { data, shape: [count, ...this.shape] } };
  }

  /** How many samples there are; throws where their shape is not the model's. */
  #count(samples, size) {
    const found = shapeOf(samples);
    const wanted = this.shape;
    const same = (a, b) => a.length === b.length && a.every((n, i) => n === b[i]);
    if (same(found, wanted)) return 1;
    if (found[0] > 0 && same(found.slice(1), wanted)) return found[0];
    const flat = ArrayBuffer.isView(samples) && samples.length > 0 && samples.length % size === 0;
    if (flat || (size === 1 && wanted.length === 1 && (found.length === 0 || (found.length === 1 && found[0] > 0)))) {
      return (found[0] ?? 1) / size;
    }
    const text = found.includes(NaN) ? 'samples that differ in their shapes' : `shape [${found}]`;
    throw new InputError(`${this.facts.inputs[0].name}: has ${text}, a sample is ${wanted.join(' × ')}`);
  }

  /** Each text's characters as their numbers, padded to the longest, and the lengths. */
  #texts(samples) {
    const texts = typeof samples === 'string' ? [samples] : [...samples];
    if (!texts.length) throw new InputError('no text was given');
    const numbers = texts.map((text) => this.#characters(text));
    const longest = Math.max(...numbers.map((row) => row.length));
    const [first, second] = this.facts.inputs;
    const padded = new ARRAYS[first.dtype](numbers.length * longest);
    numbers.forEach((row, i) => row.forEach((n, j) => (padded[i * longest + j] = own(n, first.dtype))));
    const lengths = numbers.map((row) => own(row.length, second.dtype));
    return {
      [first.name]: { data: padded, shape: [numbers.length, longest] },
      [second.name]: { data: ARRAYS[second.dtype].from(lengths), shape: [numbers.length] },
    };
  }

  /** The number of each character; marks such as accents are dropped. */
  #characters(text) {
    if (typeof text !== 'string') throw new InputError(`${String(text)}: is no text`);
    const plain = [...withoutMarks(text)];
    if (!plain.join('').trim()) throw new InputError(`${quoted(text)}: holds no letter`);
    const { high: longest = Infinity } = this.facts.inputs[1];
    if (plain.length > longest) {
      throw new InputError(`${quoted(text)}: has ${plain.length} characters, the model takes ${longest} at most`);
    }
    const unknown = plain.find((c) => !this.symbols.includes(c));
    if (unknown !== undefined) {
      const known = this.symbols.join('');
      throw new InputError(`${quoted(text)}: ${JSON.stringify(unknown)} is none of the characters known: ${known}`);
    }
    return plain.map((c) => this.symbols.indexOf(c));
  }
}

/** "Jose" of "José": as the texts were read that the model was trained on. */
export const withoutMarks = (text) => text.normalize('NFD').replace(/\p{Mn}/gu, '');

/** A text as messages repeat it: 60 characters at most. */
export function quoted(text) {
  const characters = [...text];
  return JSON.stringify(characters.length > 60 ? `${characters.slice(0, 60).join('')}…` : text);
}

const isList = (value) => Array.isArray(value) || ArrayBuffer.isView(value);
const flattened = (value) => (isList(value) ? Array.from(value).flatMap(flattened) : [value]);

/** [2, 28, 28]; holds NaN where samples differ in their shapes. */
function shapeOf(value) {
  if (!isList(value)) return [];
  const inner = Array.from(value, shapeOf);
  const ragged = inner.some((shape) => String(shape) !== String(inner[0]));
  return [value.length, ...(ragged ? [NaN] : (inner[0] ?? []))];
}

/** A value as an array of the input's type takes it; throws where it is outside the type or a whole number's range. */
function element(given, { name, dtype, low = -Infinity, high = Infinity }) {
  const value = typeof given === 'bigint' ? Number(given) : given;
  const whole = !dtype.startsWith('float');
  const fits = whole
    ? Number.isSafeInteger(value) && value >= low && value <= high && Number(ARRAYS[dtype].of(own(value, dtype))[0]) === value
    : Number.isFinite(value) && Number.isFinite(ARRAYS[dtype].of(value)[0]);
  if (!fits) {
    const span = whole && Number.isFinite(high) ? ` from ${low} to ${high}` : '';
    const said = typeof given === 'string' ? JSON.stringify(given) : String(given);
    throw new InputError(`${name}: holds ${said}, which is no ${dtype}${span}`);
  }
  return own(value, dtype);
}

const own = (value, dtype) => (dtype === 'int64' ? BigInt(value) : value);

/** An output's samples as plain arrays. */
function rows({ data, shape }) {
  const size = data.length / shape[0];
  return Array.from({ length: shape[0] }, (_, i) => Array.from(data.slice(i * size, (i + 1) * size), Number));
}

function firstLine(error) {
  return String(error.message ?? error).trim().split('\n')[0].slice(0, 300);
}
