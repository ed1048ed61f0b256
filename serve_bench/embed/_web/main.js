/* Loads the model, starts the view, runs the check. */
/* global Files, Model, View */
"use strict";

(() => {
  const part = (id) => document.getElementById(id);

  function trouble(error) {
    part("loading").hidden = true;
    part("trouble").hidden = false;
    part("trouble").textContent = error.message || String(error);
  }

  function about(facts) {
    for (const [term, text] of facts.about) {
      const name = document.createElement("dt");
      const value = document.createElement("dd");
      name.textContent = term;
      value.textContent = text;
      part("about").append(name, value);
    }
    part("promise").textContent = facts.promise;
  }

  async function opened(facts) {
    if (typeof WebAssembly !== "object") throw new Error("This browser runs no WebAssembly, which the model needs.");
    const [ort, wasm, bytes] = await Promise.all(
      [Files.load(facts.runtime.module), Files.bytes(facts.runtime.wasm), Files.bytes("app.onnx")]);
    try {
      return await Model.open(ort, wasm, bytes, facts);
    } catch (error) {
      throw new Error(`The model cannot be loaded: ${String(error.message || error).split("\n")[0]}`, { cause: error });
    }
  }

  async function checked(session) {
    part("check").disabled = true;
    part("verdict").className = "";
    part("verdict").textContent = "…";
    try {
      const { passed, text } = await Model.check(session, await Files.json("golden.json"));
      part("verdict").className = passed ? "good" : "bad";
      part("verdict").textContent = `${passed ? "✓" : "✗"} ${text}`;
    } catch (error) {
      trouble(error);
    } finally {
      part("check").disabled = false;
    }
  }

  async function start() {
    const facts = await Files.json("model.json");
    about(facts);
    const session = await opened(facts);
    View.start(session, trouble);
    part("loading").hidden = true;
    part("view").inert = false;
    part("check").disabled = false;
    part("check").addEventListener("click", () => checked(session));
    if (location.hash === "#check") await checked(session);
  }

  start().catch(trouble);
})();
