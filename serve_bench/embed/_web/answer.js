/* The answer: a word, and a bar a class. */
/* exported Answer, Latest, element, number */
"use strict";

/** A new element: its attributes, and its children (text is text, never markup). */
function element(name, attributes = {}, ...children) {
  const made = name.startsWith("svg:")
    ? document.createElementNS("http://www.w3.org/2000/svg", name.slice(4))
    : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

/** "0.1228", "6.283e-7": four significant digits. */
function number(value) {
  if (!Number.isFinite(value)) return String(value);
  const size = Math.abs(value);
  const text = size !== 0 && (size < 1e-3 || size >= 1e6) ? value.toExponential(3) : String(Number(value.toPrecision(4)));
  return text.replace("-", "−");
}

const Answer = (() => {
  const SILENCE = 700; // ms without a change before a screen reader is told
  const part = (id) => document.getElementById(id);
  let labels = [];
  let sorted = false;
  let timer = 0;
  let rows = [];

  function percent(share) {
    if (share > 0 && share < 0.001) return "< 0.1\u00a0%";
    if (share < 1 && share > 0.999) return "> 99.9\u00a0%";
    return `${(100 * share).toFixed(1)}\u00a0%`;
  }

  /** One row a class of the model, in the order of their probabilities where `bySize`. */
  function start(facts, bySize = false) {
    labels = facts.labels;
    sorted = bySize;
    rows = labels.map((label) => {
      const fill = element("span", { class: "fill" });
      const share = element("span", { class: "share" });
      const row = element("li", {}, element("span", { class: "label" }, label), element("span", { class: "track" }, fill), share);
      return { row, fill, share };
    });
    part("bars").classList.toggle("words", labels.some((label) => label.length > 2));
    part("bars").replaceChildren(...rows.map((r) => r.row));
    empty("");
  }

  function tell(text) {
    clearTimeout(timer);
    timer = setTimeout(() => { part("live").textContent = text; }, SILENCE);
  }

  /** No answer, and why; the classes stand in the order of the labels again. */
  function empty(why) {
    part("said").replaceChildren(element("span", { class: "none" }, why || "–"));
    for (const { row, fill, share } of rows) {
      row.classList.remove("best");
      fill.style.width = "0";
      share.textContent = "";
    }
    if (sorted) part("bars").append(...rows.map(({ row }) => row));
    tell(why);
  }

  /** The outputs of one sample. */
  function show(outputs) {
    if (outputs.probabilities && labels.length) {
      classes(outputs.probabilities.data, outputs.label.data[0]);
    } else {
      const text = Object.values(outputs).flatMap((o) => o.data).map(number).join(", ");
      part("said").replaceChildren(element("strong", {}, text));
      tell(text);
    }
  }

  function classes(shares, best) {
    const text = percent(shares[best]);
    part("said").replaceChildren(element("strong", {}, labels[best]), " ", element("span", { class: "sure" }, text));
    rows.forEach(({ row, fill, share }, index) => {
      row.classList.toggle("best", index === best);
      fill.style.width = `${100 * shares[index]}%`;
      share.textContent = percent(shares[index]);
    });
    if (sorted) {
      const order = rows.map((_, index) => index).sort((a, b) => shares[b] - shares[a]);
      part("bars").append(...order.map((index) => rows[index].row));
    }
    tell(`${labels[best]}, ${text}`);
  }

  return { start, empty, show };
})();

/** Runs `work(input)` on the newest input only: while one runs, those between are left out. */
class Latest {
  #work;
  #failed;
  #waiting = null;
  #running = false;

  constructor(work, failed) {
    this.#work = work;
    this.#failed = failed;
  }

  async give(input) {
    this.#waiting = { input };
    if (this.#running) return;
    this.#busy(true);
    try {
      while (this.#waiting) {
        const next = this.#waiting;
        this.#waiting = null;
        await this.#work(next.input, () => this.#waiting === null);
      }
    } catch (error) {
      this.#failed(error);
    } finally {
      this.#busy(false);
    }
  }

  #busy(is) {
    this.#running = is;
    document.getElementById("view").setAttribute("aria-busy", String(is));
  }
}
