"use strict";
// Sorting is a help, not a need: without JavaScript the tables stand as they were written.
function sortValue(row, column) {
  const text = row.children[column].textContent.trim().replace(/\u2212/g, "-").replace(/,/g, "");
  const number = parseFloat(text);
  return Number.isNaN(number) ? text : number;
}
function compare(a, b, sign) {
  if (typeof a === typeof b) { return a < b ? -sign : a > b ? sign : 0; }
  return typeof a === "number" ? -1 : 1; // what is missing stays at the end
}
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const rows = [...table.tBodies[0].rows];
      rows.sort((x, y) => compare(sortValue(x, column), sortValue(y, column), down ? -1 : 1));
      table.tBodies[0].append(...rows);
    });
  });
}

// A link into a closed part opens it, and paper shows everything.
function openTarget() {
  const target = location.hash.length > 1 && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  const closed = target && target.closest("details:not([open])");
  if (closed) { closed.open = true; target.scrollIntoView(); }
}
window.addEventListener("hashchange", openTarget);
window.addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((part) => { part.open = true; }));
openTarget();
