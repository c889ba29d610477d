/* ---- where the map holds: the phone photo, covered where the map is not known to hold ---- */
const HELD = 1, FIRST_TINT = 4;  // kinds of cells, as cells.py packs them
const COVERS = { 0: "#8c8c8c", 2: "#f09000", 3: "#c920b5" };
const TINTS = ["#2f9bff", "#4fd82f", "#ffe52e", "#8c5cff", "#10e0d0"];
const LEGEND = [
  [HELD, "the map holds"], [2, "edges between near and far"], [3, "detail not found"],
  [0, "too little detail"],
];

/** Rows of cells, each the number of its kind. */
function rowsOfCells({ runs, columns }) {
  const kinds = [...atob(runs)].flatMap((letter) => {
    const byte = letter.charCodeAt(0);
    return Array((byte & 15) + 1).fill(byte >> 4);
  });
  return Array.from({ length: kinds.length / columns }, (_, row) =>
    kinds.slice(row * columns, (row + 1) * columns));
}

/** A path that fills all cells of a kind, in cells. */
function areaOf(cells, kind) {
  const squares = cells.map((row, y) =>
    row.map((found, x) => (found === kind ? `M${x} ${y}h1v1h-1z` : "")).join(""));
  return squares.join("");
}

/** A path along all borders between two surfaces, in cells. */
function bordersOf(cells) {
  const apart = (one, other) => one !== other && !(one in COVERS) && !(other in COVERS);
  let path = "";
  cells.forEach((row, y) => row.forEach((kind, x) => {
    if (x && apart(row[x - 1], kind)) path += `M${x} ${y}v1`;
    if (y && apart(cells[y - 1][x], kind)) path += `M${x} ${y}h1`;
  }));
  return path;
}

function drawHolds() {
  drawing.replaceChildren();
  const { cells, sizes: [[full, tall]] } = chosen;
  const [x, y, width, height] = chosen.crop[2] ? chosen.crop : [0, 0, full, tall];
  const box = { x, y, width, height, viewBox: `${x} ${y} ${width} ${height}` };
  drawing.setAttribute("viewBox", box.viewBox);
  const frame = add("svg", box);  // cells that reach beyond the crop are cut off
  const put = (name, attributes) => frame.append(add(name, attributes));
  put("rect", { x, y, width, height, fill: "#777" });  // seen where there is no picture
  const [aligned, original] = [sourcesOf(chosen)[0], chosen.originals[0]];
  if (isAligned(chosen)) put("image", { href: aligned, x, y, width, height });
  else if (SHOWABLE.test(original)) put("image", { href: original, width: full, height: tall });
  else if (thumbnailAddress(chosen)) {
    // The left one of its two photos fills the place of the phone photo; the other is cut off.
    put("image", { href: thumbnailAddress(chosen), width: full, height: tall,
      preserveAspectRatio: "xMinYMid slice" });
  }
  const rows = rowsOfCells(cells), transform = `translate(${cells.at}) scale(${cells.side})`;
  for (const kind of new Set(rows.flat())) {
    const area = { d: areaOf(rows, kind), transform };
    if (kind in COVERS) {
      put("path", { ...area, "fill-opacity": 0.6 });
      put("path", { ...area, fill: COVERS[kind], "fill-opacity": 0.45 });
    } else if (kind !== HELD) {
      put("path", { ...area, fill: TINTS[kind - FIRST_TINT], "fill-opacity": 0.15 });
    }
  }
  put("path", { d: bordersOf(rows), transform, fill: "none", stroke: "#fff", "stroke-opacity": 0.6 });
}

/** What the colours of the view mean, and how much of the crop has each. */
function holdsLegend() {
  const entry = (background, words) => {
    const made = document.createElement("span"), chip = document.createElement("i");
    chip.style.background = background;
    made.append(chip, words);
    return made;
  };
  const { shares, surfaces } = chosen.cells;
  const entries = LEGEND.map(([kind, words]) =>
    entry(COVERS[kind] ?? "none", `${words}: ${percent(shares[kind])}`));
  if (surfaces > 1) {
    const part = 100 / TINTS.length;
    const stripes = TINTS.map((tint, n) => `${tint} ${n * part}% ${(n + 1) * part}%`);
    const striped = `linear-gradient(90deg, ${stripes.join(", ")})`;
    entries.splice(1, 0, entry(striped, "tinted: surfaces other than the largest"));
  }
  return entries;
}
