/* The app's own files: from a block of this page where it is a single file, else from beside it. */
/* exported Files */
"use strict";

const Files = (() => {
  const single = document.querySelector("script[data-file]") !== null;

  /** The bytes of a file, as a Uint8Array. */
  async function bytes(name) {
    if (single) return unpacked(document.querySelector(`script[data-file="${name}"]`).textContent);
    let answer;
    try {
      answer = await fetch(name);
    } catch {
      throw new Error(location.protocol === "file:"
        ? "A page opened from disk may not read the files beside it: serve this folder (see README.md)."
        : `${name} cannot be fetched: is the server still there?`);
    }
    if (!answer.ok) throw new Error(`${name} cannot be fetched: the server answers ${answer.status}.`);
    return new Uint8Array(await answer.arrayBuffer());
  }

  /** Blocks hold gzip in base64. */
  async function unpacked(text) {
    const packed = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  }

  async function json(name) {
    return JSON.parse(new TextDecoder().decode(await bytes(name)));
  }

  /** The JavaScript module in a file. */
  async function load(name) {
    if (!single) return import(new URL(name, document.baseURI).href);
    const url = URL.createObjectURL(new Blob([await bytes(name)], { type: "text/javascript" }));
    try {
      return await import(url);
    } finally {
      URL.revokeObjectURL(url);
    }
  }

  return { bytes, json, load };
})();
