/* The model: asked in raw values, and held to the golden answers. Needs no page: test.mjs runs it in Node. */
/* exported Model */
"use strict";

const Model = (() => {
  const KINDS = {
    float32: Float32Array, float64: Float64Array, uint8: Uint8Array, int8: Int8Array, uint16: Uint16Array,
    int16: Int16Array, uint32: Uint32Array, int32: Int32Array, uint64: BigUint64Array, int64: BigInt64Array,
  };

  function typed(dtype, values) {
    const kind = KINDS[dtype];
    return dtype.endsWith("64") && dtype !== "float64" ? kind.from(values, BigInt) : kind.from(values);
  }

  class Session {
    #ort;
    #session;
    #dtypes;
    #last = Promise.resolve();

    constructor(ort, session, facts) {
      this.#ort = ort;
      this.#session = session;
      this.#dtypes = Object.fromEntries(facts.inputs.map((input) => [input.name, input.dtype]));
      this.facts = facts;
    }

    /** inputs: name → { shape, data: numbers, row by row }. Gives the outputs in the same form, one question at a time. */
    ask(inputs) {
      const feeds = Object.fromEntries(Object.entries(inputs).map(([name, { shape, data }]) =>
        [name, new this.#ort.Tensor(this.#dtypes[name], typed(this.#dtypes[name], data), shape)]));
      const run = async () => Object.fromEntries(Object.entries(await this.#session.run(feeds)).map(([name, tensor]) =>
        [name, { shape: [...tensor.dims], data: Array.from(tensor.data, Number) }]));
      this.#last = this.#last.then(run, run);
      return this.#last;
    }
  }

  /** A Session. ort: onnxruntime-web's module; wasm and model: bytes; facts: model.json. */
  async function open(ort, wasm, model, facts) {
    ort.env.wasm.numThreads = 1;
    ort.env.wasm.wasmBinary = wasm;
    return new Session(ort, await ort.InferenceSession.create(model), facts);
  }

  function worst(wanted, given, from, size) {
    let largest = 0;
    for (let i = from; i < from + size; i += 1) {
      const error = Math.abs(given[i] - wanted[i]);
      largest = error > largest || Number.isNaN(error) ? error : largest;
      if (Number.isNaN(largest)) return NaN;
    }
    return largest;
  }

  /** Whether class `label` is right: the golden one, or one of two whose probabilities the band cannot tell apart. */
  function labelled(golden, sample, label) {
    if (label === golden.labels[sample]) return true;
    const { shape: [, classes], data } = golden.outputs.probabilities;
    const row = data.slice(sample * classes, (sample + 1) * classes).sort((a, b) => b - a);
    return row[0] - row[1] < 2 * golden.tolerance.probabilities;
  }

  /** How many golden samples the answers hold: { samples, inside, outputs: [{ name, error, tolerance }] }. */
  function compare(golden, answers) {
    const held = Array.from({ length: golden.samples }, () => true);
    const outputs = Object.entries(golden.outputs).map(([name, { data }]) => {
      const tolerance = golden.tolerance[name];
      const size = data.length / golden.samples;
      const given = answers[name]?.data ?? [];
      let error = 0;
      for (let sample = 0; sample < golden.samples; sample += 1) {
        const found = worst(data, given, sample * size, size);
        held[sample] &&= found <= tolerance;
        error = Number.isNaN(found) ? NaN : Math.max(error, found);
      }
      return { name, error, tolerance };
    });
    if (golden.labels) {
      golden.labels.forEach((_, sample) => {
        held[sample] &&= labelled(golden, sample, answers.label?.data[sample]);
      });
    }
    return { samples: golden.samples, inside: held.filter(Boolean).length, outputs };
  }

  /** "2.4e-7". */
  function short(number) {
    return Number.isNaN(number) ? "no number" : number === 0 ? "0" : number.toExponential(1);
  }

  /** Asks the golden samples. { passed, text: "32 of 32 inside the float32 band (largest error 2.4e-7 of 1.0e-5)" }. */
  async function check(session, golden) {
    const found = compare(golden, await session.ask(golden.inputs));
    const errors = found.outputs.map(({ name, error, tolerance }) =>
      `${found.outputs.length > 1 ? `${name}: ` : ""}largest error ${short(error)} of ${short(tolerance)}`);
    const text = `${found.inside} of ${found.samples} inside the float32 band (${errors.join("; ")})`;
    return { passed: found.inside === found.samples, text };
  }

  return { open, compare, check };
})();
