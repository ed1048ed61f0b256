/* The curve of a model of one number, and its value at one place. */
/* global Latest, element, number */
/* exported View, Axis */
"use strict";

const Axis = (() => {
  /** Round numbers inside [low, high], about `count` of them: steps of 1, 2 or 5 times a power of ten. */
  function ticks(low, high, count) {
    const rough = (high - low) / count;
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= rough * (1 - 1e-9));
    const first = Math.ceil(low / step - 1e-9);
    const last = Math.floor(high / step + 1e-9);
    return Array.from({ length: last - first + 1 }, (_, index) => Number(((first + index) * step).toPrecision(12)));
  }

  /** At least three such numbers, where fewer than `count` would leave only one or two. */
  function enough(low, high, count) {
    const found = ticks(low, high, count);
    return found.length > 2 ? found : enough(low, high, count + 1);
  }

  return { ticks, enough };
})();

const View = (() => {
  const part = (id) => document.getElementById(id);
  const POINTS = 401;
  const MARGIN = { left: 52, right: 14, top: 12, bottom: 40 };
  let facts = null;
  let low = 0;
  let high = 1;
  let xs = [];
  let ys = [];
  let scale = null;

  function scales(width, height) {
    const finite = ys.filter(Number.isFinite);
    let [least, most] = [Math.min(...finite), Math.max(...finite)];
    if (!finite.length) [least, most] = [-1, 1];
    const room = (most - least) * 0.06 || Math.abs(most) * 0.1 || 1;
    [least, most] = [least - room, most + room];
    const along = (value, from, to, start, end) => start + ((value - from) / (to - from)) * (end - start);
    return {
      width, height, least, most,
      x: (value) => along(value, low, high, MARGIN.left, width - MARGIN.right),
      y: (value) => along(value, least, most, height - MARGIN.bottom, MARGIN.top),
      value: (pixel) => Math.min(Math.max(along(pixel, MARGIN.left, width - MARGIN.right, low, high), low), high),
    };
  }

  function path() {
    let open = false;
    return xs.map((x, index) => {
      const y = ys[index];
      const command = Number.isFinite(y) ? `${open ? "L" : "M"}${scale.x(x).toFixed(2)} ${scale.y(y).toFixed(2)}` : "";
      open = Number.isFinite(y);
      return command;
    }).join("");
  }

  function gridlines() {
    const { width, height } = scale;
    const lines = [];
    for (const x of Axis.enough(low, high, Math.max(2, Math.floor(width / 110)))) {
      const at = scale.x(x);
      lines.push(element("svg:line", { class: "grid", x1: at, x2: at, y1: MARGIN.top, y2: height - MARGIN.bottom }));
      lines.push(element("svg:text", { x: at, y: height - MARGIN.bottom + 18, "text-anchor": "middle" }, number(x)));
    }
    for (const y of Axis.ticks(scale.least, scale.most, 5)) {
      const at = scale.y(y);
      lines.push(element("svg:line", { class: "grid", x1: MARGIN.left, x2: width - MARGIN.right, y1: at, y2: at }));
      lines.push(element("svg:text", { x: MARGIN.left - 8, y: at + 4, "text-anchor": "end" }, number(y)));
    }
    const name = element("svg:text", { class: "axis", x: width - MARGIN.right, y: height - 4, "text-anchor": "end" }, facts.inputs[0].name);
    return [...lines, name];
  }

  function draw() {
    const width = Math.max(part("plot").clientWidth, 200);
    scale = scales(width, Math.round(Math.min(420, Math.max(220, width * 0.55))));
    const picture = element("svg:svg", {
      width, height: scale.height, viewBox: `0 0 ${width} ${scale.height}`, role: "img",
      "aria-label": `The model's value for ${facts.inputs[0].name} from ${number(low)} to ${number(high)}`,
    });
    picture.append(...gridlines(), element("svg:path", { class: "curve", d: path() }),
      element("svg:line", { class: "here", id: "here", y1: MARGIN.top, y2: scale.height - MARGIN.bottom }),
      element("svg:circle", { class: "dot", id: "dot", r: 5.5 }));
    part("plot").replaceChildren(picture);
  }

  function mark(x, y) {
    const inside = x >= low && x <= high && Number.isFinite(y);
    part("slide").classList.toggle("beyond", !inside);
    part("slide").setAttribute("aria-valuetext", inside ? number(x) : "not on the slider");
    for (const id of ["here", "dot"]) part(id).style.visibility = inside ? "visible" : "hidden";
    if (!inside) return;
    const at = scale.x(x);
    part("here").setAttribute("x1", at);
    part("here").setAttribute("x2", at);
    part("dot").setAttribute("cx", at);
    part("dot").setAttribute("cy", scale.y(y));
  }

  /** What stands in the way of an answer or of trusting it; `fatal` where there is none. */
  function complaint(text) {
    const x = Number(text);
    if (text.trim() === "" || Number.isNaN(x)) return { fatal: true, text: "Type a number." };
    if (!Number.isFinite(Math.fround(x))) return { fatal: true, text: "Too large: the model computes in float32." };
    if (x >= low && x <= high) return { text: "" };
    const place = `${number(x)} is outside ${number(low)} … ${number(high)}, where the model was fitted`;
    return { text: `${place}: a guess, which slider and curve do not show.` };
  }

  async function ask(session, values) {
    const input = { [facts.inputs[0].name]: { shape: [values.length, 1], data: values } };
    return (await session.ask(input))[facts.outputs[0].name].data;
  }

  function onPlot(set) {
    const plot = part("plot");
    const from = (event) => set(scale.value(event.clientX - plot.getBoundingClientRect().left));
    plot.addEventListener("pointerdown", (event) => {
      plot.setPointerCapture(event.pointerId);
      from(event);
    });
    plot.addEventListener("pointermove", (event) => { if (plot.hasPointerCapture(event.pointerId)) from(event); });
  }

  function prepare(session) {
    facts = session.facts;
    [low, high] = [facts.inputs[0].low, facts.inputs[0].high];
    part("variable").textContent = facts.inputs[0].name;
    Object.assign(part("slide"), { min: low, max: high, step: (high - low) / 1000 });
    part("slide").value = (low + high) / 2;
    part("number").value = Number(((low + high) / 2).toPrecision(4));
    xs = Array.from({ length: POINTS }, (_, index) => low + ((high - low) * index) / (POINTS - 1));
  }

  async function start(session, trouble) {
    prepare(session);
    let shown = [NaN, NaN];
    const latest = new Latest(async (text, newest) => {
      const { fatal, text: note } = complaint(text);
      const x = Number(text);
      const [y] = fatal ? [NaN] : await ask(session, [x]);
      if (!newest()) return;
      part("note").textContent = note;
      part("said").textContent = fatal ? "–" : `${number(x)} → ${number(y)}`;
      shown = [x, y];
      mark(...shown);
    }, trouble);
    const set = (x) => {
      part("number").value = Number(x.toPrecision(4));
      part("slide").value = x;
      latest.give(part("number").value);
    };
    try {
      ys = await ask(session, xs);
    } catch (error) {
      trouble(error);
      return;
    }
    new ResizeObserver(() => { draw(); mark(...shown); }).observe(part("plot"));
    draw();
    onPlot(set);
    part("slide").addEventListener("input", () => set(Number(part("slide").value)));
    part("number").addEventListener("input", () => {
      part("slide").value = part("number").value;
      latest.give(part("number").value);
    });
    latest.give(part("number").value);
  }

  return { start };
})();
