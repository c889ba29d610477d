/* ---- hands: pointer and keys ---- */
byId("search").oninput = byId("verdict").onchange = () => { list.scrollTop = 0; update(); };
list.onscroll = paint;
for (const head of HEADS) head.onclick = () => sortBy(head);
views.onclick = (event) => event.target.dataset.view && setView(event.target.dataset.view);
byId("reject").onclick = toggleMark;
byId("download").onclick = download;
byId("note").oninput = (event) => {
  marks.set(noted().name, event.target.value.trim());
  store(); paint(); showCaption();
};
byId("empty").onpointerdown = (event) => event.stopPropagation();  // it is a button, not a photo
byId("clear").onclick = () => {
  byId("search").value = byId("verdict").value = "";
  update();
};

phone.onload = dslr.onload = (event) => {
  event.target.classList.remove("broken");
  place();
};
phone.onerror = dslr.onerror = (event) => {
  event.target.classList.add("broken");
  byId("side").textContent = `cannot be shown: ${decodeURI(event.target.src).split("/").pop()}`;
};
stage.onwheel = (event) => {
  event.preventDefault();
  zoomBy(Math.exp(-event.deltaY / 400), ...fromMiddle(event));
};
stage.onpointerdown = (event) => {
  drag = [event.clientX - panX, event.clientY - panY];
  stage.classList.add("held");
  stage.setPointerCapture(event.pointerId);
};
stage.onpointermove = (event) => {
  if (!drag) return;
  panX = event.clientX - drag[0]; panY = event.clientY - drag[1];
  place();
};
stage.onpointerup = stage.onpointercancel = () => { drag = null; stage.classList.remove("held"); };
stage.ondblclick = reset;
setInterval(() => view === "flicker" && !paused && flick(), 500);
window.onresize = () => { paint(); place(); };

// Keys go to the page again after a click: a button that keeps the focus would take the space bar,
// a slider the arrows.
document.onclick = (event) => {
  if (event.detail && event.target.matches("button, [type=range], [type=checkbox]")) {
    event.target.blur();
  }
};

let paused = false;  // the person flickers by hand
const KEYS = {
  ArrowDown: () => step(1), ArrowRight: () => step(1),
  ArrowUp: () => step(-1), ArrowLeft: () => step(-1),
  Home: () => choose(shown[0]), End: () => choose(shown.at(-1)),
  " ": flickByHand, r: toggleMark, u: undo, d: download, f: reset,
  n: () => byId("note").focus(),
  "+": () => zoomBy(1.5), "-": () => zoomBy(1 / 1.5),
  p: () => zoomBy(1 / (fit * zoom * devicePixelRatio)),
};

function step(by) {
  if (!chosen) return;
  const next = shown[shown.indexOf(chosen) + by];
  if (next) choose(next);
}

function flickByHand() {
  if (!chosen || !allows(chosen, "flicker")) return;
  if (view === "flicker") flick(); else setView("flicker");
  paused = true;
}

document.onkeydown = (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.matches("input, select")) {
    if (event.key === "Escape" || event.key === "Enter") event.target.blur();
    return;
  }
  if (event.target.matches("th") && [" ", "Enter"].includes(event.key)) {
    sortBy(event.target);
    event.preventDefault();
    return;
  }
  const button = views.children[event.key - 1], act = KEYS[event.key];
  if (button && !button.disabled) { paused = false; setView(button.dataset.view); }
  else if (act) act();
  else return;
  event.preventDefault();
};

showHeading();
update();
