/* ---- the filter: words, and conditions on the columns such as "ncc<0.9 verified >= 600" ---- */
const MEASURES = [
  "median", "p95", "ncc", "holds", "in_place", "inliers", "verified", "coverage",
];
// What follows the sign is no value if it is the name of the next condition.
const CONDITION = /([^\s<>=≤≥]+)\s*(<=|>=|[<>=≤≥])\s*((?:[^\s<>=≤≥]+(?!\S|\s*[<>=≤≥]))?)/g;
const COMPARE = {
  "<": (a, b) => a < b, ">": (a, b) => a > b, "=": (a, b) => a === b,
  "<=": (a, b) => a <= b, ">=": (a, b) => a >= b,
  "≤": (a, b) => a <= b, "≥": (a, b) => a >= b,
};
const titles = new Map([...document.querySelectorAll("th[data-key]")]
  .map((head) => [head.textContent.toLowerCase(), head.dataset.key]));

/** The tests that a line like "tram NCC < 0.8" asks for, every one of which must hold, and what
    is wrong with the others, in words. */
function testsOf(line) {
  const tests = [], complaints = [];
  const words = line.toLowerCase().replace(CONDITION, (_, name, sign, text) => {
    const { test, complaint } = conditionOf(name, sign, text);
    if (test) tests.push(test); else complaints.push(complaint);
    return " ";
  });
  for (const word of words.split(/\s+/).filter(Boolean)) {
    tests.push((pair) => `${pair.name} ${reasonOf(pair)}`.toLowerCase().includes(word));
  }
  return { tests, complaint: complaints.join(" ") };
}

/** What a column is called in the records, by that name or by its title; "median" and "med." both do. */
function columnOf(name) {
  const key = titles.get(name) ?? titles.get(`${name}.`) ?? name;
  return MEASURES.includes(key) || key === "name" || key === "reason" ? key : null;
}

function conditionOf(name, sign, text) {
  const key = columnOf(name);
  if (key === null) {
    return { complaint: `There is no column "${name}"; there are ${columnNames()}.` };
  }
  if (!MEASURES.includes(key)) {
    if (sign !== "=") return { complaint: `"${name}" holds words: use ${name}=WORD.` };
    const value = key === "name" ? (pair) => pair.name : reasonOf;
    return { test: (pair) => value(pair).toLowerCase().includes(text) };
  }
  const number = Number(text.replace(",", ".").replace(/%$/, "")) / (text.endsWith("%") ? 100 : 1);
  if (!/\d/.test(text) || Number.isNaN(number)) {
    return { complaint: `"${name}${sign}" needs a number.` };
  }
  return { test: (pair) => pair[key] != null && COMPARE[sign](pair[key], number) };
}

function columnNames() {
  const shownAs = new Map([...titles].map(([title, key]) => [key, title]));
  const called = ["name", "reason", ...MEASURES].map((key) =>
    shownAs.has(key) && shownAs.get(key) !== key ? `${shownAs.get(key)} (${key})` : key);
  return `${called.slice(0, -1).join(", ")} and ${called.at(-1)}`;
}
