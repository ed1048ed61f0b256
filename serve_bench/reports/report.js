"use strict";
// Headings sort their table, by click or Enter; without this script everything is readable as it stands.
(() => {
  const SIZES = { ns: 1, "µs": 1e3, ms: 1e6, s: 1e9, B: 1, kB: 1e3, MB: 1e6, GB: 1e9 };
  const text = (cell) => (cell ? (cell.firstChild ?? cell).textContent.trim() : "");
  const number = (cell) => {
    const found = /^([-+]?[\d.,]+(?:e[-+]?\d+)?)\s*([^\s\d]*)/.exec(text(cell));
    return found ? Number(found[1].replaceAll(",", "")) * (SIZES[found[2]] ?? 1) : NaN;
  };
  const sort = (table, heading) => {
    const column = heading.cellIndex, body = table.tBodies[0], rows = [...body.rows];
    const down = heading.getAttribute("aria-sort") === "ascending";
    const whole = rows.filter((row) => row.cells.length > column && !row.querySelector("td[colspan]"));
    const numeric = whole.filter((row) => !Number.isNaN(number(row.cells[column]))).length * 2 > whole.length;
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
