/* ---- the list of pairs: filtered, sorted, and drawn only where it is seen ---- */
const ROW = 40;  // px, as in the style
const byId = (id) => document.getElementById(id);
const list = byId("list"), rows = byId("rows");
const HEADS = [...document.querySelectorAll("th[data-key]")];
let shown = [], chosen = null, order = { key: "", down: false };

// Thousands of photos lie in a few folders, so the page names each folder once.
for (const pair of REPORT.pairs) {
  pair.originals = pair.originals.map(([folder, name]) => REPORT.folders[folder] + name);
}

const KINDS = {
  "": () => true,
  rejected: (pair) => !isIn(pair),
  warned: (pair) => pair.accepted && pair.warnings.length > 0,
  accepted: isIn,
  marked: isMarked,
};

function reasonOf(pair) {
  if (isMarked(pair)) {
    const words = accepts(pair) ? "accepted by hand" : "rejected by hand";
    return noteOf(pair) ? `${words}: ${noteOf(pair)}` : words;
  }
  if (pair.byHand) return "rejection withdrawn";
  if (pair.acceptedByHand) return "acceptance withdrawn";
  return pair.accepted ? pair.warnings.join("; ") || "accepted" : pair.reason;
}

function filter() {
  const { tests, complaint } = testsOf(byId("search").value);
  byId("complaint").textContent = complaint;
  tests.push(KINDS[byId("verdict").value]);
  shown = REPORT.pairs.filter((pair) => tests.every((test) => test(pair)));
  if (order.key) {
    const worst = order.down ? -Infinity : Infinity, sign = order.down ? -1 : 1;
    const value = (pair) => (order.key === "reason" ? reasonOf(pair) : pair[order.key] ?? worst);
    shown.sort((a, b) => (value(a) < value(b) ? -sign : value(a) > value(b) ? sign : 0));
  }
  byId("count").textContent = `${shown.length} of ${REPORT.pairs.length} pair${REPORT.pairs.length === 1 ? "" : "s"}`;
}

function update() {
  filter();
  if (chosen && shown.includes(chosen)) paint(); else choose(shown[0]);
}

function sortBy(head) {
  const key = head.dataset.key;
  order = { key, down: order.key === key && !order.down };
  for (const other of HEADS) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", order.down ? "descending" : "ascending");
  list.scrollTop = 0;
  update();
}

/** Make the rows that are in sight, and some above and below. */
function paint() {
  const first = Math.max(0, Math.floor(list.scrollTop / ROW) - 8);
  const last = Math.min(shown.length, first + Math.ceil(list.clientHeight / ROW) + 16);
  if (!shown.length) return rows.replaceChildren(nothing());
  rows.replaceChildren(
    gap(first), ...shown.slice(first, last).map(rowOf), gap(shown.length - last),
  );
}

/** What the list says where it would be empty. */
function nothing() {
  const line = document.createElement("tr");
  line.className = "nothing";
  line.innerHTML = '<td colspan="8">No pair matches.</td>';
  return line;
}

function gap(count) {
  const line = document.createElement("tr");
  line.className = "gap";
  line.innerHTML = `<td colspan="8" style="height:${count * ROW}px"></td>`;
  return line;
}

function rowOf(pair) {
  const line = document.createElement("tr");
  const cell = (content, kind) => {
    const made = document.createElement("td");
    made.append(content);
    if (kind) made.className = kind;
    line.append(made);
    return made;
  };
  const number = (value, digits) => (value == null ? "" : value.toFixed(digits));
  cell(thumbnailOf(pair));
  cell(pair.name).title = pair.name;
  const measured = pair.median != null;
  if (measured) {
    cell(number(pair.median, 2)); cell(number(pair.p95, 2)); cell(number(pair.ncc, 3));
    cell(number(pair.holds, 2)); cell(number(pair.inliers, 0));
  }
  const good = isIn(pair);
  const words = reasonOf(pair);
  const verdict = cell(words, good ? (pair.warnings.length || isMarked(pair) ? "warn" : "good") : "bad");
  verdict.title = words;
  if (!measured) verdict.colSpan = 6;
  line.classList.toggle("chosen", pair === chosen);
  line.classList.toggle("marked", isMarked(pair) && !accepts(pair));
  line.onclick = () => choose(pair);
  return line;
}

function thumbnailOf(pair) {
  const address = thumbnailAddress(pair);
  if (!address) return "";
  const image = document.createElement("img");
  image.src = address;
  image.alt = "";
  return image;
}

function thumbnailAddress(pair) {
  if (pair.thumbnail === true) return `thumbnails/${encodeURIComponent(pair.name)}.jpg`;
  return pair.thumbnail;
}

function bringIntoSight(pair) {
  const top = shown.indexOf(pair) * ROW, room = list.clientHeight - ROW;
  if (top < list.scrollTop) list.scrollTop = top;
  else if (top > list.scrollTop + room - ROW) list.scrollTop = top - room + ROW;
}
