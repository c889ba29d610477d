"use strict";
const byId = (id) => document.getElementById(id);
const stage = byId("stage"), phone = byId("phone"), dslr = byId("dslr"), drawing = byId("drawing");
const MAX_ROWS = 5000, ARROW_SCALE = 40;
let shown = [], chosen = null, view = "side", order = { key: "", down: false };
let zoom = 1, fit = 1, panX = 0, panY = 0, drag = null;

/* ---- the list ---- */
function matchesFilter(pair) {
  const words = byId("search").value.toLowerCase(), verdict = byId("verdict").value;
  const kind = !pair.accepted ? "rejected" : pair.warnings.length ? "warned" : "accepted";
  if (verdict && verdict !== kind && !(verdict === "accepted" && pair.accepted)) return false;
  return !words || (pair.name + " " + pair.reason + pair.warnings.join(" ")).toLowerCase().includes(words);
}

function list() {
  shown = REPORT.pairs.filter(matchesFilter);
  if (order.key) {
    const value = (pair) => pair[order.key] ?? (order.down ? -Infinity : Infinity);
    const sign = order.down ? -1 : 1;
    shown.sort((a, b) => (value(a) < value(b) ? -sign : value(a) > value(b) ? sign : 0));
  }
  byId("count").textContent = `${shown.length} of ${REPORT.pairs.length} pairs`;
  byId("rows").replaceChildren(...shown.slice(0, MAX_ROWS).map(row));
  if (!shown.includes(chosen)) choose(shown[0]); else mark();
}

function row(pair) {
  const line = document.createElement("tr");
  const cell = (text, kind) => {
    const made = document.createElement("td");
    made.textContent = text;
    if (kind) made.className = kind;
    line.append(made);
    return made;
  };
  const number = (value, digits) => (value == null ? "" : value.toFixed(digits));
  cell(pair.name);
  cell(number(pair.median, 2)); cell(number(pair.p95, 2)); cell(number(pair.ncc, 3));
  cell(pair.verified ?? ""); cell(pair.inliers ?? "");
  const words = pair.accepted ? pair.warnings.join("; ") || "accepted" : pair.reason;
  cell(words, "words " + (pair.accepted ? (pair.warnings.length ? "" : "good") : "bad"));
  line.onclick = () => choose(pair);
  line.pair = pair;
  return line;
}

function mark() {
  for (const line of byId("rows").children) {
    line.classList.toggle("chosen", line.pair === chosen);
    if (line.pair === chosen) line.scrollIntoView({ block: "nearest" });
  }
}

/* ---- the viewer ---- */
function choose(pair) {
  if (!pair) return;
  chosen = pair;
  const sources = pair.accepted ? pair.images : pair.originals;
  phone.src = sources[0]; dslr.src = sources[1];
  if (!pair.accepted && !["side", "matches"].includes(view)) view = "side";
  byId("caption").replaceChildren(caption(pair));
  mark();
  setView(view);
}

function caption(pair) {
  const box = document.createElement("div");
  const verdict = document.createElement("b");
  verdict.className = pair.accepted ? "good" : "bad";
  verdict.textContent = pair.name + (pair.accepted ? ": accepted" : ": rejected, " + pair.reason);
  const facts = document.createElement("div");
  facts.className = "soft";
  const [x, y, width, height] = pair.crop;
  facts.textContent = pair.accepted
    ? `${width} x ${height} px at (${x}, ${y}) of the phone photo; ${pair.model}; ` +
      `${pair.verified} verified points cover ${Math.round(100 * pair.coverage)}% of the crop. ` +
      pair.warnings.join("; ")
    : "The photos as they were taken.";
  box.append(verdict, facts);
  return box;
}

function setView(name) {
  view = name;
  stage.className = "stage " + name;
  for (const button of byId("views").children) {
    button.classList.toggle("on", button.dataset.view === name);
    button.disabled = chosen && !chosen.accepted && !["side", "matches"].includes(button.dataset.view);
  }
  if (name === "matches") drawMatches(); else if (name === "residuals") drawResiduals();
  reset();
}

function reset() { zoom = 1; panX = panY = 0; place(); }

function place() {
  // Both images are fitted to the same size, then share zoom and pan, so pixels stay on pixels.
  for (const image of [phone, dslr]) {
    if (!image.naturalWidth) continue;
    const pane = image.parentElement;
    fit = Math.min(pane.clientWidth / image.naturalWidth, pane.clientHeight / image.naturalHeight);
    const scale = fit * zoom;
    const left = (pane.clientWidth - image.naturalWidth * scale) / 2 + panX;
    const top = (pane.clientHeight - image.naturalHeight * scale) / 2 + panY;
    image.style.transform = `translate(${left}px, ${top}px) scale(${scale})`;
    pane.classList.toggle("crisp", scale > 2);
  }
}
phone.onload = dslr.onload = place;

const SVG = "http://www.w3.org/2000/svg";
function add(name, attributes) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  drawing.append(made);
}

function drawMatches() {
  drawing.replaceChildren();
  const [a, b] = chosen.sizes;
  if (!a[0] || !b[0]) return;
  const factor = a[1] / b[1];
  drawing.setAttribute("viewBox", `0 0 ${a[0] + b[0] * factor} ${a[1]}`);
  add("image", { href: chosen.originals[0], width: a[0], height: a[1] });
  add("image", { href: chosen.originals[1], x: a[0], width: b[0] * factor, height: a[1] });
  chosen.matches.forEach(([x, y, u, v], index) => {
    add("line", { x1: x, y1: y, x2: a[0] + u * factor, y2: v * factor,
      stroke: `hsl(${(index * 47) % 360} 90% 60%)`, "stroke-width": a[0] / 700 });
  });
}

function drawResiduals() {
  drawing.replaceChildren();
  const [x, y, width, height] = chosen.crop;
  drawing.setAttribute("viewBox", `${x} ${y} ${width} ${height}`);
  add("image", { href: chosen.images[0], x, y, width, height, opacity: 0.55 });
  const thick = width / 500;
  for (const [px, py, dx, dy] of chosen.residuals) {
    add("line", { x1: px, y1: py, x2: px + dx * ARROW_SCALE, y2: py + dy * ARROW_SCALE,
      stroke: "#ffd24a", "stroke-width": thick });
    add("circle", { cx: px, cy: py, r: thick, fill: "#ff5c3a" });
  }
  const note = `arrows are ${ARROW_SCALE} times as long as the residuals`;
  add("text", { x: x + width * 0.01, y: y + height * 0.98, fill: "#fff", "font-size": width / 45 });
  drawing.lastChild.textContent = note;
}

/* ---- hands ---- */
byId("views").onclick = (event) => event.target.dataset.view && setView(event.target.dataset.view);
byId("search").oninput = list; byId("verdict").onchange = list;
for (const head of document.querySelectorAll("th[data-key]")) {
  head.onclick = () => {
    order = { key: head.dataset.key, down: order.key === head.dataset.key && !order.down };
    document.querySelectorAll("th[data-key]").forEach((other) => delete other.dataset.order);
    head.dataset.order = order.down ? "down" : "up";
    list();
  };
}
stage.onwheel = (event) => {
  event.preventDefault();
  const box = stage.getBoundingClientRect(), paneWidth = phone.parentElement.clientWidth;
  const x = ((event.clientX - box.left) % paneWidth) - paneWidth / 2;
  const y = event.clientY - box.top - box.height / 2;
  const before = zoom;
  zoom = Math.min(Math.max(zoom * Math.exp(-event.deltaY / 400), 1), 64 / fit);
  panX = x - ((x - panX) * zoom) / before;
  panY = y - ((y - panY) * zoom) / before;
  place();
};
stage.onpointerdown = (event) => { drag = [event.clientX - panX, event.clientY - panY]; stage.setPointerCapture(event.pointerId); };
stage.onpointermove = (event) => {
  if (view === "swipe") {
    const box = stage.getBoundingClientRect();
    stage.style.setProperty("--cut", (100 * (event.clientX - box.left)) / box.width + "%");
  }
  if (!drag) return;
  panX = event.clientX - drag[0]; panY = event.clientY - drag[1];
  place();
};
stage.onpointerup = () => { drag = null; };
stage.ondblclick = reset;
stage.style.setProperty("--cut", "50%");
setInterval(() => view === "flicker" && stage.classList.toggle("second"), 500);
window.onresize = place;
document.onkeydown = (event) => {
  if (event.target.matches("input, select")) return;
  const step = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 }[event.key];
  const buttons = [...byId("views").children];
  if (step) choose(shown[shown.indexOf(chosen) + step]);
  else if (event.key === " ") {
    if (view === "flicker") stage.classList.toggle("second"); else if (chosen.accepted) setView("flicker");
  } else if (buttons[event.key - 1] && !buttons[event.key - 1].disabled) setView(buttons[event.key - 1].dataset.view);
  else return;
  event.preventDefault();
};
list();
