/* Drawing with mouse, pen, finger or keys, and the answer while one draws. */
/* global Answer, Ink, Latest */
/* exported View */
"use strict";

const View = (() => {
  const part = (id) => document.getElementById(id);
  const STEP = 7; // units of the paper a key press moves
  const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  let strokes = [];
  let current = null;
  let pointer = null;
  let cursor = null;
  let wanted = null;
  let latest = null;
  let due = false;
  const pressed = new Set();

  function pen() {
    return Number(part("pen").value);
  }

  function place(event) {
    const box = part("paper").getBoundingClientRect();
    return [((event.clientX - box.left) / box.width) * Ink.SIDE, ((event.clientY - box.top) / box.height) * Ink.SIDE];
  }

  function begin(point) {
    current = { pen: pen(), points: [point] };
    strokes.push(current);
    changed();
  }

  function undo() {
    current = null;
    strokes.pop();
    changed();
  }

  function clear() {
    current = null;
    strokes = [];
    changed();
  }

  function changed() {
    if (due) return;
    due = true;
    requestAnimationFrame(() => {
      due = false;
      paint();
      part("undo").disabled = part("clear").disabled = strokes.length === 0;
      const image = Ink.image(strokes, wanted);
      see(image);
      latest.give(image);
    });
  }

  function colour(name) {
    return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  }

  function paint() {
    const paper = part("paper");
    const scale = (paper.clientWidth * (devicePixelRatio || 1)) / Ink.SIDE || 1;
    const side = Math.round(Ink.SIDE * scale);
    if (paper.width !== side) paper.width = paper.height = side;
    const pane = paper.getContext("2d");
    pane.setTransform(scale, 0, 0, scale, 0, 0);
    pane.clearRect(0, 0, Ink.SIDE, Ink.SIDE);
    pane.lineCap = pane.lineJoin = "round";
    pane.strokeStyle = colour("--ink");
    for (const { pen: width, points } of strokes) {
      pane.lineWidth = width;
      pane.beginPath();
      pane.moveTo(...points[0]);
      for (const point of points.length > 1 ? points.slice(1) : points) pane.lineTo(...point);
      pane.stroke();
    }
    if (cursor) ring(pane);
    part("hint").hidden = strokes.length > 0 || cursor !== null;
  }

  function ring(pane) {
    pane.beginPath();
    pane.arc(...cursor, pen() / 2 + 3, 0, 2 * Math.PI);
    pane.lineWidth = 2.5;
    pane.strokeStyle = colour("--accent");
    pane.setLineDash(current ? [] : [5, 4]);
    pane.stroke();
    pane.setLineDash([]);
  }

  /** The very image that the model is given, ink dark on light paper and light on dark. */
  function see(image) {
    const seen = part("seen");
    const { width, height, high } = wanted;
    const pane = seen.getContext("2d");
    pane.clearRect(0, 0, width, height);
    pane.fillStyle = colour("--ink");
    (image ?? []).forEach((value, at) => {
      pane.globalAlpha = value / high;
      if (value) pane.fillRect(at % width, Math.floor(at / width), 1, 1);
    });
    seen.setAttribute("aria-label", image ? `What the model sees: your drawing in ${width} by ${height} pixels`
      : "What the model sees: nothing yet");
  }

  function onPointers(paper) {
    paper.addEventListener("pointerdown", (event) => {
      if (!event.isPrimary || event.button !== 0) return;
      paper.setPointerCapture(event.pointerId);
      pointer = event.pointerId;
      cursor = null;
      begin(place(event));
    });
    paper.addEventListener("pointermove", (event) => {
      if (event.pointerId !== pointer || !current) return;
      const events = event.getCoalescedEvents?.() ?? [];
      current.points.push(...(events.length ? events : [event]).map(place));
      changed();
    });
    for (const kind of ["pointerup", "pointercancel", "lostpointercapture"]) {
      paper.addEventListener(kind, (event) => {
        if (event.pointerId !== pointer) return;
        pointer = current = null;
      });
    }
  }

  function move() {
    const [dx, dy] = [...pressed].map((key) => ARROWS[key]).reduce(([a, b], [x, y]) => [a + x, b + y], [0, 0]);
    const clamp = (v) => Math.min(Math.max(v, 0), Ink.SIDE);
    cursor = [clamp(cursor[0] + STEP * dx), clamp(cursor[1] + STEP * dy)];
    if (current) current.points.push(cursor);
    changed();
  }

  function onKeys(paper) {
    const keys = {
      " ": () => { if (current) current = null; else begin(cursor); changed(); },
      Backspace: undo,
      Escape: clear,
    };
    paper.addEventListener("keydown", (event) => {
      if (event.altKey || event.metaKey) return;
      const act = event.ctrlKey ? (event.key === "z" ? undo : null) : (keys[event.key] ?? (ARROWS[event.key] && move));
      if (!act) return;
      event.preventDefault();
      cursor ??= [Ink.SIDE / 2, Ink.SIDE / 2];
      if (ARROWS[event.key]) pressed.add(event.key);
      act();
    });
    paper.addEventListener("keyup", (event) => pressed.delete(event.key));
    paper.addEventListener("blur", () => {
      pressed.clear();
      if (pointer === null) current = null;
      cursor = null;
      paint();
    });
  }

  function start(session, trouble) {
    const { facts } = session;
    wanted = facts.image;
    const { width, height } = wanted;
    [part("seen").width, part("seen").height] = [width, height];
    part("size").textContent = `what the model sees: ${width}×${height}`;
    Answer.start(facts);
    latest = new Latest(async (image, newest) => {
      if (!image) {
        Answer.empty("");
        return;
      }
      const answer = await session.ask({ [facts.inputs[0].name]: { shape: [1, height, width], data: image } });
      if (newest()) Answer.show(answer);
    }, trouble);
    onPointers(part("paper"));
    onKeys(part("paper"));
    part("undo").addEventListener("click", undo);
    part("clear").addEventListener("click", clear);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", changed);
    new ResizeObserver(paint).observe(part("paper"));
    changed();
  }

  return { start };
})();
