// The report of `fakemon timeline`: where somebody points at a plot, all plots say what they have there.
"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const tip = document.getElementById("tip");
const cursors = document.querySelectorAll(".cursor");

// The last column that begins at or before x.
function columnAt(x) {
  let low = 0, high = data.x.length - 1;
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    if (data.x[middle] <= x) low = middle; else high = middle - 1;
  }
  return low;
}

function show(event, figure) {
  const box = figure.querySelector("svg").getBoundingClientRect();
  const x = (event.clientX - box.left) / box.width * data.width;
  if (x < data.left) return hide();
  const column = columnAt(x);
  const lines = data.panels[figure.dataset.panel].map((series) => series.name + "  " + series.values[column]);
  tip.textContent = [data.times[column], ...lines].join("\n");
  tip.hidden = false;
  const beside = event.clientX + tip.offsetWidth + 24 < innerWidth ? 14 : -14 - tip.offsetWidth;
  tip.style.left = event.clientX + beside + "px";
  tip.style.top = Math.min(event.clientY + 14, innerHeight - tip.offsetHeight - 4) + "px";
  for (const cursor of cursors) {
    cursor.setAttribute("transform", "translate(" + x + ")");
    cursor.style.visibility = "visible";
  }
}

function hide() {
  tip.hidden = true;
  for (const cursor of cursors) cursor.style.visibility = "hidden";
}

for (const figure of document.querySelectorAll(".plot")) {
  figure.addEventListener("pointermove", (event) => show(event, figure));
  figure.addEventListener("pointerleave", hide);
}
