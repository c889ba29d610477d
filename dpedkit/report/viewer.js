/* ---- the viewer: two images of one size under one zoom and one place ---- */
const stage = byId("stage"), phone = byId("phone"), dslr = byId("dslr"), views = byId("views");
const SHOWABLE = /\.(jpe?g|png|webp|avif|gif|bmp)$/i;  // what browsers can decode
const DRAW = { matches: drawMatches, residuals: drawResiduals, holds: drawHolds };
const NEIGHBOURS = [1, 2, -1];
let view = "side", zoom = 1, fit = 1, panX = 0, panY = 0, drag = null, ahead = [];

/** Addresses of what the pair is shown by: aligned images, else the originals. */
function sourcesOf(pair) {
  if (isAligned(pair)) {
    const name = encodeURIComponent(pair.name);
    return ["phone", "dslr"].map((side) => `../${side}/${name}.${REPORT.suffix}`);
  }
  return pair.originals;
}

const isAligned = (pair) => pair.accepted && SHOWABLE.test("." + REPORT.suffix);
const canShow = (pair) => isAligned(pair) || pair.originals.every((file) => SHOWABLE.test(file));

function allows(pair, name) {
  if (name === "holds") return pair.cells !== null;
  if (name === "residuals") return canShow(pair) && pair.residuals !== "";
  if (name === "matches") {
    return pair.matches !== "" && pair.originals.every((file) => SHOWABLE.test(file));
  }
  return isAligned(pair) || name === "side";
}

function choose(pair) {
  chosen = pair ?? null;
  justDecided = null;
  byId("empty").hidden = chosen !== null;
  if (chosen) showPhotos();
  else for (const image of [phone, dslr]) image.removeAttribute("src");
  paint();
  showCaption();
  showMark();
  setView(chosen && !allows(chosen, view) ? "side" : view);
}

function showPhotos() {
  const sources = sourcesOf(chosen);
  for (const [image, source] of [[phone, sources[0]], [dslr, sources[1]]]) {
    const wanted = canShow(chosen) ? source : thumbnailAddress(chosen);
    if (wanted) image.src = wanted; else image.removeAttribute("src");
  }
  ahead = NEIGHBOURS.map((step) => shown[shown.indexOf(chosen) + step]).filter(Boolean)
    .filter(canShow).flatMap(sourcesOf).map(loaded);
  bringIntoSight(chosen);
}

/** An image that is read and decoded before it is asked for: at 12 MP that takes half a second. */
function loaded(address) {
  const image = new Image();
  image.src = address;
  image.decode().catch(() => {});  // what cannot be shown is told when it is chosen
  return image;
}

/** How the map follows the scene, in words. */
function modelOf({ model, cells }) {
  const count = cells?.surfaces;
  if (model === "surfaces" && count > 1) return `${count} surfaces at different depths`;
  return model === "field" ? "one surface that bends" : "one rigid surface";
}

/** A residual; a pair accepted by hand may have none. */
const pixels = (value) => (value == null ? "unknown" : `${value.toFixed(2)} px`);
const percent = (share) => `${Math.round(100 * share)}%`;

function showCaption() {
  const box = byId("caption"), pair = chosen;
  showTaken();
  if (!pair) return box.replaceChildren();
  const verdict = document.createElement("b"), facts = document.createElement("div");
  const doubtful = pair.accepted && pair.warnings.length;
  verdict.className = !isIn(pair) ? "bad" : doubtful ? "warn" : "good";
  let words = reasonOf(pair);
  if (pair.acceptedByHand && isMarked(pair)) words = pair.warnings.join("; ");
  verdict.textContent =
    `${pair.name}: ` + (pair.accepted || isMarked(pair) || pair.byHand ? words : `rejected, ${words}`);
  facts.className = "soft";
  const [x, y, width, height] = pair.crop;
  facts.textContent = pair.accepted
    ? `${width} x ${height} px at (${x}, ${y}) in the phone photo; ${modelOf(pair)}; residual ` +
      `${pixels(pair.median)} (median), ${pixels(pair.p95)} (p95); ${pair.verified} ` +
      `verified points cover ${percent(pair.coverage)} of the crop.` + heldOf(pair)
    : canShow(pair) ? "The photos as they were taken."
    : "A browser cannot show these photos; this is their thumbnail.";
  box.replaceChildren(verdict, facts);
}

/** The two originals: a link to each, and how it was taken. */
function showTaken() {
  const sides = !chosen ? [] : ["phone", "DSLR"].map((side, n) => {
    const made = document.createElement("div"), link = document.createElement("a");
    const name = document.createElement("b"), [gear, exposure] = chosen.taken[n];
    const [width, height] = chosen.sizes[n];
    name.textContent = side;
    link.href = chosen.originals[n];
    link.target = "_blank";
    link.textContent = decodeURIComponent(link.href.split("/").pop());
    link.title = `open the original: ${decodeURIComponent(link.href)}`;
    const size = width ? `${width} x ${height} px` : "";
    made.append(name, " ", link, " ", [REPORT.gear[gear], exposure, size].filter(Boolean).join(", "));
    return made;
  });
  byId("taken").replaceChildren(...sides);
}

/** How much is known to lie in place; records of earlier versions do not say. */
function heldOf({ holds, in_place: inPlace }) {
  return holds == null ? "" : ` The map is known to hold in ${percent(holds)} of the crop; ` +
    `${percent(inPlace)} of the detail is in place.`;
}

function setView(name) {
  view = name;
  const small = chosen && !canShow(chosen);
  stage.className = "stage " + (!chosen ? "" : small && !drawn() ? "thumbnail" : name);
  for (const button of views.children) {
    button.classList.toggle("on", button.dataset.view === name);
    button.disabled = !chosen || !allows(chosen, button.dataset.view);
  }
  if (!chosen) drawing.replaceChildren();
  else if (drawn()) DRAW[name]();
  showTones();
  showLegend();
  tell();
  reset();
}

/** Which photo is to be seen. */
function tell() {
  if (!chosen) return byId("side").replaceChildren();
  const second = stage.classList.contains("second");
  byId("side").textContent =
    view === "flicker" ? (second ? "DSLR" : "phone")
    : ["side", "swipe", "matches"].includes(view) ? "phone | DSLR" : "";
}

function flick() { stage.classList.toggle("second"); tell(); }

function reset() { zoom = 1; panX = panY = 0; place(); }

/** Both images are fitted to the same size, then share zoom and place: pixels stay on pixels. */
function place() {
  for (const image of [phone, dslr]) {
    const pane = image.parentElement;
    if (!image.naturalWidth || !pane.clientWidth) continue;
    fit = Math.min(pane.clientWidth / image.naturalWidth, pane.clientHeight / image.naturalHeight);
    const scale = fit * zoom;
    const left = (pane.clientWidth - image.naturalWidth * scale) / 2 + panX;
    const top = (pane.clientHeight - image.naturalHeight * scale) / 2 + panY;
    image.style.transform = `translate(${left}px, ${top}px) scale(${scale})`;
    pane.classList.toggle("crisp", scale >= 2);
  }
  drawing.style.transform = `translate(${panX}px, ${panY}px) scale(${zoom})`;
  drawing.style.setProperty("--zoom", zoom);
  clip();
  byId("zoom").textContent = !chosen ? "" : drawn() ? `${Math.round(100 * zoom)}%`
    : `${Math.round(100 * fit * zoom * devicePixelRatio)}%`;
}

/** Leave out the rim of the photos in their difference: there both are partly transparent, which
    differs from itself. */
function clip() {
  const box = phone.getBoundingClientRect(), around = stage.getBoundingClientRect();
  const inset = [box.top - around.top, around.right - box.right, around.bottom - box.bottom,
    box.left - around.left].map((side) => `${Math.max(0, Math.ceil(side + 0.01))}px`);
  byId("panes").style.clipPath = view === "difference" ? `inset(${inset.join(" ")})` : "";
}

const drawn = () => view in DRAW;

/** Zoom by a factor about a point given from the middle of a pane, in px. */
function zoomBy(factor, x = 0, y = 0) {
  const before = zoom;
  zoom = Math.min(Math.max(zoom * factor, 1), drawn() ? 64 : Math.max(64 / fit, 1));
  panX = zoom === 1 ? 0 : x - ((x - panX) * zoom) / before;
  panY = zoom === 1 ? 0 : y - ((y - panY) * zoom) / before;
  place();
}

function fromMiddle(event) {
  const box = stage.getBoundingClientRect();
  const width = view === "side" ? box.width / 2 : box.width;
  return [((event.clientX - box.left) % width) - width / 2, event.clientY - box.top - box.height / 2];
}
