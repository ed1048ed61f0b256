/** Does app.onnx answer the golden samples as it must? `node --test test.mjs`. */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';

import { ARRAYS, InputError, Model } from './index.mjs';

const golden = JSON.parse(await readFile(new URL('golden.json', import.meta.url), 'utf8'));
const model = await Model.load();

/** Samples `from` to `to` of the golden inputs. */
function feeds(from, to) {
  const cut = ({ dtype, shape, data }) => {
    const size = shape.slice(1).reduce((a, b) => a * b, 1);
    const values = data.slice(from * size, to * size).map(dtype === 'int64' ? BigInt : Number);
    return { data: ARRAYS[dtype].from(values), shape: [to - from, ...shape.slice(1)] };
  };
  return Object.fromEntries(Object.entries(golden.inputs).map(([name, input]) => [name, cut(input)]));
}

async function answers(batch) {
  const found = {};
  for (let from = 0; from < golden.samples; from += batch) {
    const outputs = await model.run(feeds(from, Math.min(from + batch, golden.samples)));
    for (const [name, { data }] of Object.entries(outputs)) (found[name] ??= []).push(...Array.from(data, Number));
  }
  return found;
}

/** Whether float64's two largest probabilities are so close that either class may be answered. */
function close(sample) {
  const { shape, data } = golden.outputs.probabilities;
  const [most, next] = data.slice(sample * shape[1], (sample + 1) * shape[1]).sort((a, b) => b - a);
  return most - next < 2 * golden.tolerance.probabilities;
}

for (const [batch, words] of [[golden.samples, 'all at once'], [1, 'one by one']]) {
  test(`golden answers, ${words}`, async (t) => {
    const found = await answers(batch);
    for (const [name, { data }] of Object.entries(golden.outputs)) {
      assert.equal(found[name].length, data.length, `${name}: another number of values`);
      const error = data.reduce((most, v, i) => Math.max(most, Math.abs(found[name][i] - v)), 0);
      const allowed = golden.tolerance[name];
      assert.ok(error <= allowed, `${name}: largest error ${error}, allowed are ${allowed}`);
      t.diagnostic(`${name}: largest error ${error.toExponential(1)} of ${allowed.toExponential(1)} allowed`);
    }
    golden.labels?.forEach((label, i) => {
      assert.ok(found.label[i] === label || close(i), `label: sample ${i} is ${found.label[i]}, not ${label}`);
    });
  });
}

test('what the model cannot take is an InputError of one line', async () => {
  const wrong = model.takes === 'text' ? [[], '', '\u0000'] : [[], [[[NaN]]], 'x', new Float64Array(0), [[1], [2, 3, 4]]];
  for (const samples of wrong) {
    await assert.rejects(model.predict(samples), (error) => error instanceof InputError && !error.message.includes('\n'));
  }
});
