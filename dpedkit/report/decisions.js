/* ---- decisions: pairs that a person rejects, or accepts against the evidence; kept in the
   browser until they are downloaded ---- */
const STORE = `dpedkit decisions ${REPORT.digest}`;
const marks = new Map(stored() ??
  REPORT.pairs.filter((pair) => pair.byHand || pair.acceptedByHand).map((pair) => [pair.name, pair.note]));

function stored() {
  try {
    return JSON.parse(localStorage.getItem(STORE));
  } catch {
    return null;  // a browser may forbid pages on the disk to store anything
  }
}

function store() {
  try {
    localStorage.setItem(STORE, JSON.stringify([...marks]));
  } catch { /* then the marks last as long as the page is open */ }
}

function isMarked(pair) { return marks.has(pair.name); }
function noteOf(pair) { return marks.get(pair.name); }
/** A decision goes against the evidence: what that rejected can be accepted, if it has a map. */
function accepts(pair) { return pair.acceptedByHand || !(pair.accepted || pair.byHand); }
function canMark(pair) { return pair !== null && (!accepts(pair) || pair.hasMap); }
/** Whether the pair is accepted, as decided. */
function isIn(pair) { return accepts(pair) ? isMarked(pair) : pair.accepted && !isMarked(pair); }

const undoable = [];  // [pair, its note before or undefined], of each decision in turn
let justDecided = null;  // the page moved on from it, and its reason can still be written

/** Decide against the evidence and go on to the next pair, or withdraw the decision and stay. */
function toggleMark() {
  if (!canMark(chosen)) return;
  const pair = chosen, at = shown.indexOf(pair);
  const [before, after] = [shown[at - 1], shown[at + 1]];
  undoable.push([pair, noteOf(pair)]);
  if (marks.delete(pair.name)) return follow(pair, after, before);
  marks.set(pair.name, "");
  follow(after, pair, before);
  justDecided = pair;
  showMark();
}

/** Take back the last decision, and show its pair. */
function undo() {
  const [pair, note] = undoable.pop() ?? [];
  if (!pair) return;
  if (note === undefined) marks.delete(pair.name); else marks.set(pair.name, note);
  follow(pair);
}

/** After a decision: show the heading, the list, and the first of these pairs that is in it. */
function follow(...pairs) {
  store();
  showHeading();
  filter();
  choose(pairs.find((pair) => pair && shown.includes(pair)) ?? shown[0]);
}

function showHeading() {
  const all = REPORT.pairs, accepted = all.filter(isIn).length;
  byId("heading").textContent =
    `Aligned pairs: ${accepted} accepted, ${all.length - accepted} rejected`;
  const isNew = (pair) => isMarked(pair) !== (pair.byHand || pair.acceptedByHand);
  byId("pending").hidden = !all.some(isNew);
}

/** The pair whose reason can be written: the chosen one, or else the one just decided. */
function noted() {
  const pair = chosen !== null && isMarked(chosen) ? chosen : justDecided;
  return pair !== null && isMarked(pair) ? pair : null;
}

function showMark() {
  const button = byId("reject"), note = byId("note"), pair = noted();
  const on = chosen !== null && isMarked(chosen);
  button.disabled = !canMark(chosen);
  button.textContent = canMark(chosen) && accepts(chosen) ? "accept" : "reject";
  button.classList.toggle("on", on);
  note.hidden = pair === null;
  note.value = pair === null ? "" : noteOf(pair);
  note.placeholder = pair === null ? "" : `why ${pair.name}? (optional)`;
  byId("download").textContent = `download decisions (${marks.size})`;
}

function asCsv() {
  const cell = (text) => (/[",;\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  const kept = REPORT.pairs.filter(isMarked).sort((a, b) => (a.name < b.name ? -1 : 1));
  const lines = kept.map((pair) =>
    [pair.name, accepts(pair) ? "accepted" : "rejected", noteOf(pair)].map(cell).join(","));
  return ["name,decision,note", ...lines, ""].join("\n");
}

function download() {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([asCsv()], { type: "text/csv" }));
  link.download = "decisions.csv";
  link.click();
  URL.revokeObjectURL(link.href);
  byId("hint").hidden = false;
}
