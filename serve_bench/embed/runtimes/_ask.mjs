/**
 * Runs in a process of its own: `node _ask.mjs FOLDER`. FOLDER holds request.json { runtime, packages, model, pieces };
 * answer.json { version, first_answer_s, outputs } or { error } is written beside it.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const place = process.argv[2];
const ARRAYS = {
  uint8: Uint8Array,
  int8: Int8Array,
  uint16: Uint16Array,
  int16: Int16Array,
  int32: Int32Array,
  int64: BigInt64Array,
  float32: Float32Array,
  float64: Float64Array,
};
const PROVIDER = { 'onnxruntime-node': 'cpu', 'onnxruntime-web': 'wasm' };

async function answered({ runtime, packages, model, pieces }) {
  const require = createRequire(join(packages, 'package.json'));
  const started = performance.now();
  const found = await import(pathToFileURL(require.resolve(runtime)));
  const ort = found.InferenceSession ? found : found.default;
  if (runtime === 'onnxruntime-web') ort.env.wasm.numThreads = 1;
  const options = { executionProviders: [PROVIDER[runtime]], intraOpNumThreads: 1, logSeverityLevel: 3 };
  const session = await ort.InferenceSession.create(readFileSync(model), options);
  const outputs = [];
  let first;
  for (const piece of pieces) {
    const feeds = {};
    for (const [name, { dtype, shape, data }] of Object.entries(piece)) {
      feeds[name] = new ort.Tensor(dtype, ARRAYS[dtype].from(dtype === 'int64' ? data.map(BigInt) : data), shape);
    }
    const said = await session.run(feeds);
    first ??= (performance.now() - started) / 1000;
    const plain = ([name, { dims, data }]) => [name, { shape: [...dims], data: Array.from(data, Number) }];
    outputs.push(Object.fromEntries(Object.entries(said).map(plain)));
  }
  const { version } = JSON.parse(readFileSync(join(packages, 'node_modules', runtime, 'package.json'), 'utf8'));
  return { version, first_answer_s: first, outputs };
}

let said;
try {
  said = await answered(JSON.parse(readFileSync(join(place, 'request.json'), 'utf8')));
} catch (error) {
  said = { error: String(error.message ?? error).trim().split('\n')[0].slice(0, 300) };
}
writeFileSync(join(place, 'answer.json'), JSON.stringify(said));
process.exit(0);
