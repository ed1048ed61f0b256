/* A field a feature, and the answer. */
/* global Answer, Files, Latest, element, number */
/* exported View */
"use strict";

const View = (() => {
  const part = (id) => document.getElementById(id);
  let fields = [];

  function build({ name, shape, low, high }) {
    const start = low <= 0 && high >= 0 ? 0 : (low ?? high ?? 0);
    fields = Array.from({ length: shape[1] }, () => element("input", { type: "number", step: "any", inputmode: "decimal", value: start }));
    part("fields").replaceChildren(...fields.map((field, index) => element("label", {}, `${name}[${index}]`, field)));
  }

  /** What stands in the way of an answer or of trusting it; `fatal` where there is none. */
  function complaint({ name, low, high }) {
    const values = fields.map((field) => (field.value.trim() === "" ? NaN : Number(field.value)));
    const wrong = values.findIndex((value) => !Number.isFinite(Math.fround(value)));
    fields.forEach((field, index) => field.setAttribute("aria-invalid", String(index === wrong)));
    if (wrong >= 0) return { values, fatal: true, text: `${name}[${wrong}]: type a number that float32 holds.` };
    const far = values.findIndex((value) => value < (low ?? -Infinity) || value > (high ?? Infinity));
    const text = far < 0 ? "" : `${name}[${far}] is outside ${number(low ?? -Infinity)} … ${number(high ?? Infinity)}: a guess.`;
    return { values, text };
  }

  async function examples(input, set) {
    const { samples, inputs } = await Files.json("golden.json");
    let next = 0;
    part("example").addEventListener("click", () => {
      const width = fields.length;
      set(inputs[input.name].data.slice(next * width, (next + 1) * width));
      next = (next + 1) % samples;
    });
  }

  async function start(session, trouble) {
    const [input] = session.facts.inputs;
    build(input);
    Answer.start(session.facts);
    const latest = new Latest(async (values, newest) => {
      if (!values) {
        Answer.empty("");
        return;
      }
      const answer = await session.ask({ [input.name]: { shape: [1, values.length], data: values } });
      if (newest()) Answer.show(answer);
    }, trouble);
    const typed = () => {
      const { values, fatal, text } = complaint(input);
      part("note").textContent = text;
      latest.give(fatal ? null : values);
    };
    part("fields").addEventListener("input", typed);
    typed();
    try {
      await examples(input, (values) => {
        fields.forEach((field, index) => { field.value = Number(values[index].toPrecision(9)); });
        typed();
      });
    } catch (error) {
      trouble(error);
    }
  }

  return { start };
})();
