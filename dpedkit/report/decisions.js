/* ---- decisions: pairs that a person rejects, kept in the browser until they are downloaded ---- */
const STORE = `dpedkit decisions ${REPORT.digest}`;
const marks = new Map(stored() ??
  REPORT.pairs.filter((pair) => pair.byHand).map((pair) => [pair.name, pair.note]));

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
/** What was rejected by its evidence needs no decision. */
function canMark(pair) { return pair !== null && (pair.accepted || pair.byHand); }

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
  button.classList.toggle("on", on);
  note.hidden = !on;
  note.value = on ? noteOf(chosen) : "";
  byId("download").textContent = `download decisions (${marks.size})`;
}

function asCsv() {
  const cell = (text) => (/[",;\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  const lines = [...marks].sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, note]) => [name, "rejected", note].map(cell).join(","));
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
