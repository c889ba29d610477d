/* ---- what views that compare two images ask and tell: divider, opacity, gain, legends ---- */
const divider = byId("divider"), opacity = byId("opacity"), gain = byId("gain");
const CONTROLS = { overlay: "overlaid", difference: "differing" };
const LEGENDS = { holds: holdsLegend, residuals: residualsLegend };
const BINS = 24;

/** Move the divider to so many percent of the stage. */
function cutAt(percentage) {
  const cut = Math.min(Math.max(percentage, 0), 100);
  stage.style.setProperty("--cut", `${cut}%`);
  divider.setAttribute("aria-valuenow", Math.round(cut));
}

divider.onpointerdown = (event) => {
  divider.setPointerCapture(event.pointerId);
  event.stopPropagation();  // the photos stay where they are
};
divider.onpointermove = (event) => {
  if (!divider.hasPointerCapture(event.pointerId)) return;
  const box = stage.getBoundingClientRect();
  cutAt((100 * (event.clientX - box.left - stage.clientLeft)) / stage.clientWidth);
};
divider.onkeydown = (event) => {
  const by = { ArrowLeft: -2, ArrowRight: 2 }[event.key];
  if (!by) return;
  cutAt(Number(divider.getAttribute("aria-valuenow")) + by);
  event.stopPropagation();  // they would go to another pair
  event.preventDefault();
};

opacity.oninput = () => {
  stage.style.setProperty("--opacity", `${opacity.value}%`);
  byId("opacity-value").textContent = `${opacity.value}%`;
};

const gainOf = () => 2 ** Number(gain.value);
gain.oninput = () => {
  stage.style.setProperty("--gain", gainOf());
  byId("gain-value").textContent = `\u00d7${gainOf()}`;
  byId("white").textContent = `${Math.floor(255 / gainOf())} of 255 levels`;
};
byId("match").onchange = () => showTones();

/** Let the DSLR photo have the phone's tones in the difference, if they are known and wanted. */
function showTones() {
  const known = Boolean(chosen?.tones), match = byId("match");
  match.disabled = !known;
  byId("unmatched").hidden = known || !chosen;
  stage.classList.toggle("matched", known && match.checked);
  if (!known) return;
  const levels = [...atob(chosen.tones)].map((letter) => (letter.charCodeAt(0) / 255).toFixed(4));
  ["R", "G", "B"].forEach((channel, n) => {
    const count = levels.length / 3;
    byId(`tone${channel}`)
      .setAttribute("tableValues", levels.slice(n * count, (n + 1) * count).join(" "));
  });
}

/** What the view means, and what of it can be set. */
function showLegend() {
  const box = byId("legend"), legend = chosen ? LEGENDS[view] : undefined;
  box.hidden = !legend;
  if (legend) box.replaceChildren(...legend());
  for (const [name, id] of Object.entries(CONTROLS)) byId(id).hidden = !chosen || view !== name;
}

/** How long the arrows are: a small histogram, and what it says in words. */
function residualsLegend() {
  const lengths = unpacked(chosen.residuals)
    .map(([, , dx, dy]) => Math.hypot(dx, dy) / DRAWN_SCALE).sort((a, b) => a - b);
  const within = (share) => lengths[Math.ceil(share * lengths.length) - 1];
  const longest = lengths.at(-1) || 1, counts = Array(BINS).fill(0);
  for (const length of lengths) counts[Math.min(Math.floor((length / longest) * BINS), BINS - 1)]++;
  const most = Math.max(...counts);
  const bars = counts.map((count, n) => `M${n * 5} 26v${(-24 * count) / most}h4V26z`).join("");
  const picture = document.createElement("span"), words = document.createElement("span");
  picture.innerHTML = `<small>0</small><svg class="lengths" viewBox="0 0 ${BINS * 5} 27" role="img"
    aria-label="histogram of the residuals"><path d="${bars}"/><line y1="26.5" y2="26.5" x2="${BINS * 5}"/>
    </svg><small>${longest.toFixed(2)} px</small>`;
  words.textContent = `${lengths.length} places shown: half within ${within(0.5).toFixed(2)} px, ` +
    `95% within ${within(0.95).toFixed(2)} px`;
  return [picture, words];
}

cutAt(50);
gain.oninput();
opacity.oninput();
