/* ---- what is drawn over the photos: inlier matches, residuals as arrows ---- */
const SVG = "http://www.w3.org/2000/svg", drawing = byId("drawing");
const DRAWN_SCALE = 1000;  // residuals are packed in thousandths of a px

/** Rows of four numbers from the text they were packed into. */
function unpacked(text) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const numbers = new Int16Array(bytes.buffer), found = [];
  for (let n = 0; n < numbers.length; n += 4) found.push(numbers.subarray(n, n + 4));
  return found;
}

const position = (number) => number & 0xffff;

function add(name, attributes) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  drawing.append(made);
  return made;
}

function drawMatches() {
  drawing.replaceChildren();
  const [a, b] = chosen.sizes, factor = a[1] / b[1];
  drawing.setAttribute("viewBox", `0 0 ${a[0] + b[0] * factor} ${a[1]}`);
  add("image", { href: chosen.originals[0], width: a[0], height: a[1] });
  add("image", { href: chosen.originals[1], x: a[0], width: b[0] * factor, height: a[1] });
  unpacked(chosen.matches).forEach((row, index) => {
    const [x, y, u, v] = [...row].map(position);
    add("line", {
      x1: x, y1: y, x2: a[0] + u * factor, y2: v * factor,
      stroke: `hsl(${(index * 47) % 360} 90% 62%)`, "stroke-width": 1.2, "stroke-opacity": 0.8,
    });
  });
}

function drawResiduals() {
  drawing.replaceChildren();
  const aligned = isAligned(chosen), [x, y, width, height] = chosen.crop;
  drawing.setAttribute("viewBox", `${x} ${y} ${width} ${height}`);
  const [full, tall] = chosen.sizes[0];
  add("image", aligned
    ? { href: sourcesOf(chosen)[0], x, y, width, height, opacity: 0.45 }
    : { href: chosen.originals[0], width: full, height: tall, opacity: 0.45 });
  const arrows = unpacked(chosen.residuals).map((row) =>
    [position(row[0]), position(row[1]), row[2] / DRAWN_SCALE, row[3] / DRAWN_SCALE]);
  const lengths = arrows.map(([, , dx, dy]) => Math.hypot(dx, dy)).sort((a, b) => a - b);
  const typical = lengths[Math.floor(0.9 * lengths.length)] || 0.1;
  const unit = roundDown(typical), scale = (0.05 * width) / typical;
  for (const [px, py, dx, dy] of arrows) {
    const hue = 55 * (1 - Math.min(Math.hypot(dx, dy) / (1.5 * typical), 1));
    arrow(px, py, px + dx * scale, py + dy * scale, `hsl(${hue} 100% 60%)`, width / 160);
  }
  const left = x + 0.02 * width, base = y + 0.96 * height;
  arrow(left, base, left + unit * scale, base, "#fff", width / 160);
  add("text", { x: left, y: base - height / 60, fill: "#fff", "font-size": width / 42,
    "paint-order": "stroke", stroke: "#000", "stroke-width": width / 300 }).textContent = `${unit} px`;
}

/** 1, 2 or 5 times a power of ten. */
function roundDown(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  const digit = [5, 2, 1].find((candidate) => candidate * power <= value * 1.000001);
  return Number((digit * power).toPrecision(1));
}

function arrow(x1, y1, x2, y2, colour, head) {
  add("line", { x1, y1, x2, y2, stroke: colour, "stroke-width": 1.5 });
  const length = Math.hypot(x2 - x1, y2 - y1);
  if (length < 1e-6) return;
  const size = Math.min(head, length), ux = ((x2 - x1) / length) * size, uy = ((y2 - y1) / length) * size;
  add("polygon", { fill: colour, points: `${x2},${y2} ${x2 - ux - uy * 0.5},${y2 - uy + ux * 0.5} ` +
    `${x2 - ux + uy * 0.5},${y2 - uy - ux * 0.5}` });
}
