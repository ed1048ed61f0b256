/* The golden pairs, in Node: `node test.mjs` ends with 0 where every answer is inside the float32 band, else with 1. */
import { readFile } from "node:fs/promises";
import vm from "node:vm";

const bytes = (name) => readFile(new URL(name, import.meta.url));
const json = async (name) => JSON.parse(await bytes(name));

try {
  vm.runInThisContext(String(await bytes("model.js")), "model.js");
  const Model = vm.runInThisContext("Model");
  const facts = await json("model.json");
  const ort = await import(new URL(facts.runtime.module, import.meta.url));
  const model = new Uint8Array(await bytes("app.onnx"));
  const session = await Model.open(ort, await bytes(facts.runtime.wasm), model, facts);
  const { passed, text } = await Model.check(session, await json("golden.json"));
  console.log(`${passed ? "ok" : "FAILED"}: ${text}`);
  process.exitCode = passed ? 0 : 1;
} catch (error) {
  console.error(`error: ${String(error.message || error).split("\n")[0]}`);
  process.exitCode = 1;
}
