"use strict";
// Tables are complete as they are; this only lets a reader sort them, and opens what is folded for printing.

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
  const keyed = Array.from(table.tBodies[0].rows, (row) => [sortKey(row, heading.cellIndex, numeric), row]);
  keyed.sort(([a], [b]) => {
    if (a === null || b === null) return (a === null) - (b === null); // what has no figure stays below
    return sign * (numeric ? a - b : order(a, b));
  });
  table.tBodies[0].append(...keyed.map(([, row]) => row));
}

for (const heading of document.querySelectorAll("table.sortable th[data-sort]")) {
  const button = document.createElement("button");
  button.type = "button";
  button.append(...heading.childNodes);
  button.addEventListener("click", () => sortBy(heading));
  heading.append(button);
}

addEventListener("beforeprint", () => {
  for (const folded of document.querySelectorAll("details:not([open])")) folded.open = true;
});
