"use strict";
// Pages are complete as they are; this lets a reader sort, filter and group tables, read figures off charts with
// a slider, and opens what is folded for printing.

const order = new Intl.Collator("en", { numeric: true }).compare;

function sortKey(row, column, numeric) {
  const cell = row.cells[column];
  if (!numeric) return cell.textContent.trim();
  return "key" in cell.dataset ? Number(cell.dataset.key) : null;
}

function sortBy(heading) {
  const table = heading.closest("table");
  const numeric = heading.dataset.sort === "number";
  const was = heading.getAttribute("aria-sort");
  const first = numeric && heading.textContent.trim() !== "#" ? "descending" : "ascending";
  const other = first === "descending" ? "ascending" : "descending";
  const direction = was === first ? other : first;
  for (const each of table.tHead.rows[0].cells) each.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", direction);
  const sign = direction === "ascending" ? 1 : -1;
  const keyed = Array.from(layersOf(table), (row) => [sortKey(row, heading.cellIndex, numeric), row]);
  keyed.sort(([a], [b]) => {
    if (a === null || b === null) return (a === null) - (b === null); // what has no figure stays below
    return sign * (numeric ? a - b : order(a, b));
  });
  table.tBodies[0].append(...keyed.map(([, row]) => row));
  table.dispatchEvent(new Event("sorted"));
}

const MANY = 12; // rows from which on a table can be filtered
const CROWDED = 60; // and from which on it begins in groups

const layersOf = (table) => table.tBodies[0].querySelectorAll("tr:not(.group)");

function made(tag, fields = {}, ...children) {
  const element = Object.assign(document.createElement(tag), fields);
  element.append(...children);
  return element;
}

// The module of each name: as many of its parts as give the most modules that still are few beside the rows.
function modulesOf(names) {
  const begun = (name, parts) => name.split(/[./]/).slice(0, -1).slice(0, parts).join(".");
  const few = (parts) => {
    const count = new Set(names.map((name) => begun(name, parts))).size;
    return count > 1 && count <= Math.min(40, Math.max(2, names.length / 3));
  };
  const parts = [4, 3, 2, 1].find(few);
  return parts === undefined ? null : (name) => begun(name, parts);
}

function tools(table) {
  const body = table.tBodies[0];
  const { kind = "layer", holder = "module" } = table.dataset; // what there is a row of, and what these are in
  const nameOf = new Map(Array.from(layersOf(table), (row) => [row, row.querySelector(".name").textContent]));
  if (nameOf.size < MANY) return;
  const moduleOf = modulesOf([...nameOf.values()]);
  const words = made("input", { type: "search", autocomplete: "off", spellcheck: false });
  const grouped = made("input", { type: "checkbox", checked: moduleOf !== null && nameOf.size > CROWDED });
  const folded = new Set();
  const fold = made("button", { type: "button" });
  const count = made("output");

  function heading(module, rows) {
    const button = made("button", { type: "button" }, module || `(no ${holder})`);
    button.setAttribute("aria-expanded", String(!folded.has(module)));
    button.addEventListener("click", () => {
      folded.delete(module) || folded.add(module);
      arrange();
      body.querySelector(`tr.group[data-number="${row.dataset.number}"] button`).focus();
    });
    const said = rows.length === 1 ? `1 ${kind}` : `${rows.length} ${kind}s`;
    const cell = made("th", { colSpan: table.tHead.rows[0].cells.length, scope: "rowgroup" }, button, ` ${said}`);
    cell.setAttribute("role", "rowheader");
    const row = made("tr", { className: "group" }, cell);
    row.setAttribute("role", "row");
    return row;
  }

  function arrange() {
    const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
    const modules = new Map();
    let shown = 0;
    for (const row of layersOf(table)) {
      const text = (table.dataset.kind ? row : row.cells[1]).textContent.toLowerCase(); // of files also the status
      const found = wanted.every((word) => text.includes(word));
      const module = grouped.checked ? moduleOf(nameOf.get(row)) : "";
      modules.set(module, [...(modules.get(module) ?? []), row]);
      row.hidden = !found || (grouped.checked && !wanted.length && folded.has(module));
      shown += found;
    }
    for (const old of body.querySelectorAll("tr.group")) old.remove();
    let number = 0;
    for (const [module, rows] of modules) {
      if (grouped.checked) {
        const row = heading(module, rows);
        row.dataset.number = String(number++);
        row.hidden = wanted.length > 0 && rows.every((each) => each.hidden);
        body.append(row);
      }
      body.append(...rows);
    }
    fold.hidden = !grouped.checked;
    fold.textContent = folded.size ? "Open all" : "Close all";
    count.textContent = `${shown} of ${nameOf.size} ${kind}s`;
  }

  fold.addEventListener("click", () => {
    const all = new Set([...nameOf.values()].map(moduleOf));
    const open = folded.size > 0;
    folded.clear();
    if (!open) for (const module of all) folded.add(module);
    arrange();
  });
  for (const input of [words, grouped]) input.addEventListener("input", arrange);
  table.addEventListener("sorted", arrange);
  const bar = made("div", { className: "tools" }, made("label", {}, "Filter ", words));
  if (moduleOf !== null) bar.append(made("label", {}, grouped, ` group by ${holder}`), fold);
  bar.append(count);
  table.closest(".scroll").before(bar);
  arrange();
}

// Whatever a reader points at, or moves the slider to, is said in full below the chart.
function slider(figure) {
  const stops = Array.from(figure.querySelectorAll("g.stop"));
  const said = made("output");
  const input = made("input", { type: "range", min: 1, max: stops.length, value: 1 });
  function show(index) {
    for (const stop of stops) stop.classList.toggle("shown", stop === stops[index]);
    input.value = String(index + 1);
    said.textContent = stops[index].querySelector("title").textContent;
    input.setAttribute("aria-valuetext", said.textContent);
  }
  input.addEventListener("input", () => show(Number(input.value) - 1));
  input.addEventListener("focus", () => show(Number(input.value) - 1));
  stops.forEach((stop, index) => stop.addEventListener("pointerenter", () => show(index)));
  input.setAttribute("aria-valuetext", stops[0].querySelector("title").textContent);
  const bar = made("p", { className: "reader" }, made("label", {}, `Figures of one ${figure.dataset.stop ?? "layer"} `, input), said);
  figure.querySelector("figcaption").before(bar);
}

for (const heading of document.querySelectorAll("table.sortable th[data-sort]")) {
  const button = document.createElement("button");
  button.type = "button";
  button.append(...heading.childNodes);
  button.addEventListener("click", () => sortBy(heading));
  heading.append(button);
}

for (const table of document.querySelectorAll("table.layers")) tools(table);
for (const figure of document.querySelectorAll("figure.stops")) slider(figure);

addEventListener("beforeprint", () => {
  for (const folded of document.querySelectorAll("details:not([open])")) folded.open = true;
});
