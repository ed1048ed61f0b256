"use strict";
// Headings sort their table, by click or Enter; without this script everything is readable as it stands.
(() => {
  const PREFIXES = { n: 1e-9, "µ": 1e-6, m: 1e-3, "": 1, k: 1e3, M: 1e6, G: 1e9, T: 1e12 };
  // "48.1 µs", "p90 52.1 µs", "277, 286 µs", "1.3e-07", "1.20 GB, GPU 2.00 GB": the first figure and its unit
  const FIGURE = /^(?:p\d+ |R² )?([-+]?\d+(?:,\d{3})*(?:\.\d+)?(?:e[-+]?\d+)?)(?:, (?:[\d.,]+|–))*\s*([^\s\d,]*)/;
  const size = (unit) => {
    const found = /^([nµmkMGT]?)(?:s|B|FLOP)(?:\/s)?$/.exec(unit);
    return found ? PREFIXES[found[1]] : unit === "min" ? 60 : 1;
  };
  const text = (cell) => (cell ? (cell.firstChild ?? cell).textContent.trim() : "");
  const number = (cell) => {
    const found = FIGURE.exec(text(cell));
    return found ? Number(found[1].replaceAll(",", "")) * size(found[2]) : NaN;
  };
  const sort = (table, heading) => {
    const column = heading.cellIndex, body = table.tBodies[0], rows = [...body.rows];
    const down = heading.getAttribute("aria-sort") === "ascending";
    const whole = rows.filter((row) => row.cells.length > column && !row.querySelector("td[colspan]"));
    const filled = whole.map((row) => row.cells[column]).filter((cell) => !["", "–"].includes(text(cell)));
    const numeric = filled.filter((cell) => !Number.isNaN(number(cell))).length * 2 >= filled.length;
    const key = (row) => (numeric ? number(row.cells[column]) : text(row.cells[column]));
    whole.sort((a, b) => {
      const x = key(a), y = key(b);
      if (numeric && (Number.isNaN(x) || Number.isNaN(y))) return Number.isNaN(x) - Number.isNaN(y);
      const order = numeric ? x - y : x.localeCompare(y);
      return down ? -order : order;
    });
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", down ? "descending" : "ascending");
    body.append(...whole, ...rows.filter((row) => !whole.includes(row)));
  };
  for (const table of document.querySelectorAll("table")) {
    if (!table.tHead || table.tBodies[0].rows.length < 2) continue;
    for (const heading of table.tHead.rows[0].cells) {
      heading.tabIndex = 0;
      heading.classList.add("sorts");
      heading.addEventListener("click", () => sort(table, heading));
      heading.addEventListener("keydown", (event) => {
        if (event.key === "Enter" || event.key === " ") { event.preventDefault(); sort(table, heading); }
      });
    }
  }
})();
