"use strict";
// Sliders, sortable tables, pictures of the cells of the confusion matrix, where Tab stops. Without
// this file the page shows the state that each starts with.

for (const slider of document.querySelectorAll(".slider")) {
  const input = slider.querySelector("input"), output = slider.querySelector("output");
  const frames = [...slider.querySelectorAll(".frame")];
  const show = () => {
    frames.forEach((frame, place) => { frame.hidden = place !== Number(input.value); });
    const label = frames[Number(input.value)].dataset.label;
    output.textContent = label;
    input.setAttribute("aria-valuetext", label);
  };
  input.value = slider.dataset.start; // a browser may keep another from the last visit
  input.addEventListener("input", show);
  slider.querySelector(".control").hidden = false;
  show();
}

for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const up = head.getAttribute("aria-sort") !== "ascending";
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const key = (row) => {
        const cell = row.cells[column];
        return "order" in cell.dataset ? Number(cell.dataset.order) : cell.textContent;
      };
      const compare = (a, b) => {
        const x = key(a), y = key(b);
        if (typeof x !== typeof y) return typeof x === "number" ? -1 : 1; // numbers before words
        const order = typeof x === "number" ? x - y : x.localeCompare(y);
        return up ? order : -order;
      };
      body.append(...[...body.rows].sort(compare));
    });
  });
}

for (const matrix of document.querySelectorAll(".matrix")) {
  const cells = JSON.parse(matrix.querySelector(".cells").textContent);
  const svg = matrix.querySelector("svg"), ring = matrix.querySelector(".ring");
  const scroller = svg.parentElement;
  const told = matrix.querySelector(".examples p"), cards = matrix.querySelector(".examples .cards");
  const left = Number(matrix.dataset.left), unit = Number(matrix.dataset.unit);
  let now = Number(matrix.dataset.first);
  const show = (place) => {
    now = place;
    const cell = cells[place];
    ring.setAttribute("x", left + cell.said * unit - 1.5);
    ring.setAttribute("y", left + cell.true * unit - 1.5);
    told.textContent = cell.told;
    cards.replaceChildren(...cell.cards.map((one) => {
      const card = document.createElement("div"), img = document.createElement("img");
      const note = document.createElement("span");
      card.className = "card";
      Object.assign(img, { src: one.src, alt: one.alt, width: one.width, height: one.height });
      note.textContent = one.note;
      card.append(img, note);
      return card;
    }));
  };
  const bringIntoView = () => {
    const box = scroller.getBoundingClientRect(), at = ring.getBoundingClientRect();
    if (at.left < box.left || at.right > box.right) {
      scroller.scrollLeft += (at.left + at.right - box.left - box.right) / 2;
    }
  };
  bringIntoView();
  const nearest = (row) => { // of a row's cells to the column of this one
    let best = -1;
    cells.forEach((cell, place) => {
      const away = (one) => Math.abs(one.said - cells[now].said);
      if (cell.true === row && (best < 0 || away(cell) < away(cells[best]))) best = place;
    });
    return best;
  };
  const point = (event) => {
    const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
    const column = (at.x - left) / unit - 0.5, row = (at.y - left) / unit - 0.5;
    let best = -1, least = 2.5; // a finger is wider than a cell
    cells.forEach((cell, place) => {
      const away = Math.hypot(cell.said - column, cell.true - row);
      if (away < least) { least = away; best = place; }
    });
    if (best >= 0 && best !== now) show(best);
  };
  svg.addEventListener("pointermove", point);
  svg.addEventListener("pointerdown", point);
  svg.addEventListener("focus", () => show(now));
  svg.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey) return; // the browser's own
    const row = cells[now].true;
    const next = cells.find((cell) => cell.true > row);
    const before = cells.findLast((cell) => cell.true < row);
    const to = {
      ArrowRight: now + 1, ArrowLeft: now - 1,
      ArrowDown: next ? nearest(next.true) : -1, ArrowUp: before ? nearest(before.true) : -1,
      Home: 0, End: cells.length - 1,
    }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    if (to < 0 || to >= cells.length) return;
    show(to);
    bringIntoView();
  });
}

// Tab stops at what can be scrolled, and only while it can be.
const scrollers = document.querySelectorAll(".scroll[role], pre, .formula");
const reach = () => {
  for (const one of scrollers) {
    if (one.scrollWidth > one.clientWidth) one.tabIndex = 0;
    else one.removeAttribute("tabindex");
  }
};
window.addEventListener("resize", reach);
reach();
