/** What the model says of one sample: of a classifier all but `value`, else `value` alone. */
export interface Answer {
  /** Name of the most probable class. */
  label?: string;
  /** Of that class. */
  probability?: number;
  /** Of every class, in the order of `Model.labels`. */
  probabilities?: number[];
  /** The answer of a model that does not classify, flattened. */
  value?: number[];
}

type Nested = number | readonly Nested[];
type Numbers = Uint8Array | Int8Array | Uint16Array | Int16Array | Int32Array | BigInt64Array | Float32Array | Float64Array;

/** An array of app.onnx; int64 is a BigInt64Array. */
export interface Values {
  data: Numbers;
  shape: number[];
}

export interface Input {
  name: string;
  dtype: string;
  shape: (number | string)[];
  low?: number;
  high?: number;
}

/** An input that the model cannot take; its message is one line for the user. */
export class InputError extends Error {}

export class Model {
  /** Loads app.onnx once, for the CPU. Throws InputError where it cannot be opened. */
  static load(options?: { path?: string; threads?: number }): Promise<Model>;
  /** What model.json says. */
  readonly facts: { name: string; task: string; description: string; labels: string[]; symbols: string; inputs: Input[] };
  /** Names of the classes; empty where the model does not classify. */
  readonly labels: string[];
  /** The characters that a model of texts knows, by their number. */
  readonly symbols: string[];
  /** Of one sample: [28, 28]. */
  readonly shape: (number | string)[];
  readonly takes: 'image' | 'text' | 'numbers';
  /**
   * An answer for each sample: texts, or numbers as nested arrays of a sample's shape, as N of them, or flat in a typed
   * array. Throws InputError.
   */
  predict(samples: string | readonly string[] | Nested | Numbers): Promise<Answer[]>;
  /** The outputs of app.onnx by name, for its inputs by name. Throws InputError. */
  run(feeds: Record<string, Values>): Promise<Record<string, Values>>;
}

/** "Jose" of "José": as a model of texts reads it. */
export function withoutMarks(text: string): string;

/** A text as messages repeat it: in double quotes, 60 characters at most. */
export function quoted(text: string): string;
