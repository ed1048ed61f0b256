/* A name, letter by letter, and whose language it is. */
/* global Answer, Latest, element */
/* exported View, Letters */
"use strict";

const Letters = (() => {
  /**
   * A text as indices in `symbols`: marks that the model does not know are dropped, as for training; `unknown` are the
   * other characters that it does not know, each once.
   */
  function read(text, symbols) {
    const known = [...symbols];
    let read = "";
    const unknown = new Set();
    for (const character of text.normalize("NFC").replace(/\s+/gu, " ")) {
      const plain = known.includes(character) ? character
        : character.replace(/[’‘`´]/u, "'").normalize("NFD").replace(/\p{Mark}/gu, "");
      if ([...plain].every((part) => known.includes(part))) read += plain;
      else if (character !== " ") unknown.add(character);
    }
    return { indices: [...read.trim()].map((part) => known.indexOf(part)), unknown: [...unknown] };
  }

  return { read };
})();

const View = (() => {
  const part = (id) => document.getElementById(id);
  const EXAMPLES = ["Rossi", "Nguyen", "Müller", "O'Neill", "Yamamoto", "Kowalski"];

  /** What cannot be read, in a sentence; empty where all can. */
  function complaint({ indices, unknown }, longest) {
    if (indices.length > longest) return `Too long: the model reads ${longest} letters at most, this has ${indices.length}.`;
    if (unknown.length) return `Left out, for the model does not know it: ${unknown.map((c) => `“${c}”`).join(", ")}`;
    return "";
  }

  function start(session, trouble) {
    const { facts } = session;
    const [letters, lengths] = facts.inputs;
    const longest = lengths.high ?? Infinity;
    Answer.start(facts, true);
    const latest = new Latest(async (indices, newest) => {
      if (!indices.length || indices.length > longest) {
        Answer.empty("");
        return;
      }
      const answer = await session.ask({
        [letters.name]: { shape: [1, indices.length], data: indices },
        [lengths.name]: { shape: [1], data: [indices.length] },
      });
      if (newest()) Answer.show(answer);
    }, trouble);
    const typed = () => {
      const found = Letters.read(part("typed").value, letters.symbols);
      part("note").textContent = complaint(found, longest);
      latest.give(found.indices);
    };
    part("typed").addEventListener("input", typed);
    part("examples").append(...EXAMPLES.map((name) => {
      const button = element("button", { type: "button", class: "small" }, name);
      button.addEventListener("click", () => {
        part("typed").value = name;
        typed();
      });
      return button;
    }));
    part("typed").focus({ preventScroll: true });
  }

  return { start };
})();
