"use strict";
(() => {
  const open = () => {
    const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (target && target.tagName === "DETAILS") { target.open = true; target.scrollIntoView(); target.firstChild.focus(); }
  };
  addEventListener("hashchange", open);
  open();

  for (const map of document.querySelectorAll(".map")) map.scrollLeft = (map.scrollWidth - map.clientWidth) / 2;

  const table = document.getElementById("layers-table"), body = table.tBodies[0];
  const value = (row, at) => {
    const cell = row.cells[at], text = cell.dataset.v ?? cell.textContent;
    const number = text === "" ? NaN : Number(text);
    return Number.isNaN(number) && text !== "" ? text.toLowerCase() : number;
  };
  // Empty cells stay at the end, whichever way a column is sorted.
  const compare = (a, b, sign) => {
    const none = (x) => Number.isNaN(x);
    if (none(a) || none(b)) return none(a) - none(b);
    return sign * (a < b ? -1 : a > b ? 1 : 0);
  };
  [...table.tHead.rows[0].cells].forEach((head, at) => {
    head.firstChild.addEventListener("click", () => {
      const sign = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
      for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
      const rows = [...body.rows].map((row) => [value(row, at), row]);
      rows.sort((a, b) => compare(a[0], b[0], sign));
      body.append(...rows.map((pair) => pair[1]));
    });
  });

  const find = document.getElementById("find");
  find.hidden = false;
  find.addEventListener("input", () => {
    const wanted = find.value.trim().toLowerCase();
    for (const row of body.rows) row.hidden = !row.textContent.toLowerCase().includes(wanted);
  });

  for (const button of document.querySelectorAll(".copy")) {
    button.hidden = false;
    button.addEventListener("click", async () => {
      const code = button.previousElementSibling;
      try { await navigator.clipboard.writeText(code.textContent); button.textContent = "Copied"; } catch {
        getSelection().selectAllChildren(code);
      }
    });
  }
})();
