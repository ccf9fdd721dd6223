"use strict";
(() => {
  const map = document.getElementById("map"), drawing = map.firstElementChild;
  const full = drawing.width.baseVal.value;
  let zoom = 1;
  // The place in the middle of the view stays there.
  const scale = (to) => {
    const box = map.getBoundingClientRect(), x = map.scrollLeft + box.width / 2, y = map.scrollTop + box.height / 2;
    const before = zoom;
    zoom = Math.min(4, Math.max(0.1, to));
    drawing.style.width = `${full * zoom}px`;
    drawing.style.height = "auto";
    map.scrollLeft = x * zoom / before - box.width / 2;
    map.scrollTop = y * zoom / before - box.height / 2;
  };
  const fitting = () => (map.clientWidth - 16) / full;
  const kinds = { out: () => zoom / 1.3, in: () => zoom * 1.3, fit: fitting, one: () => 1 };
  for (const button of document.querySelectorAll("[data-zoom]")) {
    button.parentNode.hidden = false;
    button.addEventListener("click", () => scale(kinds[button.dataset.zoom]()));
  }
  map.addEventListener("wheel", (event) => {
    if (!event.ctrlKey) return;
    event.preventDefault();
    scale(zoom * Math.exp(-event.deltaY / 300));
  }, { passive: false });
  let asIs = true;
  const begin = () => {
    if (!asIs) return;
    scale(Math.min(1, Math.max(0.6, fitting())));
    map.scrollLeft = (map.scrollWidth - map.clientWidth) / 2;
    map.scrollTop = 0;
  };
  begin();
  addEventListener("resize", begin);
  for (const kind of ["wheel", "pointerdown"]) addEventListener(kind, () => { asIs = false; }, { passive: true });

  const show = (box) => {
    const a = box.getBoundingClientRect(), b = map.getBoundingClientRect();
    map.scrollBy(a.left + a.width / 2 - b.left - b.width / 2, a.top + a.height / 2 - b.top - b.height / 2);
  };
  const open = () => {
    const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!target || target.tagName !== "DETAILS") return;
    for (const old of document.querySelectorAll(".current")) old.classList.remove("current");
    for (const kind of ["box", "row"]) document.getElementById(target.id.replace("layer", kind))?.classList.add("current");
    target.open = true; target.scrollIntoView(); target.firstChild.focus();
  };
  addEventListener("hashchange", open);
  open();

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
  find.parentNode.hidden = false;
  find.addEventListener("input", () => {
    const wanted = find.value.trim().toLowerCase();
    let first = null;
    for (const row of body.rows) {
      const name = row.cells[1], kind = name.querySelector("small");
      const fits = `${name.dataset.v}\n${kind.textContent}`.toLowerCase().includes(wanted);
      row.hidden = !fits;
      const box = document.getElementById(row.id.replace("row", "box"));
      box.classList.toggle("found", fits && wanted !== "");
      if (fits && !first) first = box;
    }
    map.classList.toggle("searching", wanted !== "");
    if (wanted && first) show(first);
  });

  for (const button of document.querySelectorAll(".command .copy")) {
    button.hidden = false;
    button.addEventListener("click", async () => {
      const code = button.previousElementSibling;
      try { await navigator.clipboard.writeText(code.textContent); button.textContent = "Copied"; } catch {
        getSelection().selectAllChildren(code);
      }
    });
  }
})();
