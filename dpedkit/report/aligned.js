/* ---- hands: pointer and keys ---- */
byId("search").oninput = byId("verdict").onchange = () => { list.scrollTop = 0; update(); };
list.onscroll = paint;
for (const head of document.querySelectorAll("th[data-key]")) {
  head.onclick = () => {
    order = { key: head.dataset.key, down: order.key === head.dataset.key && !order.down };
    document.querySelectorAll("th[data-key]").forEach((other) => delete other.dataset.order);
    head.dataset.order = order.down ? "down" : "up";
    list.scrollTop = 0;
    update();
  };
}
views.onclick = (event) => event.target.dataset.view && setView(event.target.dataset.view);
byId("reject").onclick = toggleMark;
byId("download").onclick = download;
byId("note").oninput = (event) => {
  marks.set(chosen.name, event.target.value.trim());
  store(); paint(); showCaption();
};

phone.onload = dslr.onload = place;
phone.onerror = dslr.onerror = (event) => {
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
  if (view === "swipe" && !event.shiftKey) {
    const box = stage.getBoundingClientRect();
    stage.style.setProperty("--cut", (100 * (event.clientX - box.left)) / box.width + "%");
  }
  if (!drag) return;
  panX = event.clientX - drag[0]; panY = event.clientY - drag[1];
  place();
};
stage.onpointerup = stage.onpointercancel = () => { drag = null; stage.classList.remove("held"); };
stage.ondblclick = reset;
stage.style.setProperty("--cut", "50%");
setInterval(() => view === "flicker" && !paused && flick(), 500);
window.onresize = () => { paint(); place(); };

// Keys go to the page again after a click: a button that keeps the focus would take the space bar.
document.onclick = (event) => {
  if (event.detail && event.target.matches("button")) event.target.blur();
};

let paused = false;  // the person flickers by hand
const KEYS = {
  ArrowDown: () => step(1), ArrowRight: () => step(1),
  ArrowUp: () => step(-1), ArrowLeft: () => step(-1),
  Home: () => choose(shown[0]), End: () => choose(shown.at(-1)),
  " ": flickByHand, r: toggleMark, d: download, f: reset,
  "+": () => zoomBy(1.5), "-": () => zoomBy(1 / 1.5),
  p: () => zoomBy(1 / (fit * zoom * devicePixelRatio)),
};

function step(by) {
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
  const button = views.children[event.key - 1], act = KEYS[event.key];
  if (button && !button.disabled) { paused = false; setView(button.dataset.view); }
  else if (act) act();
  else return;
  event.preventDefault();
};

update();
