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

function toggleMark() {
  if (!canMark(chosen)) return;
  if (!marks.delete(chosen.name)) marks.set(chosen.name, "");
  marked();
}

function marked() {
  store();
  paint();
  showCaption();
  showMark();
}

function showMark() {
  const button = byId("reject"), note = byId("note");
  const on = chosen !== null && isMarked(chosen);
  button.disabled = !canMark(chosen);
  button.textContent = canMark(chosen) && accepts(chosen) ? "accept" : "reject";
  button.classList.toggle("on", on);
  note.hidden = !on;
  note.value = on ? noteOf(chosen) : "";
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
