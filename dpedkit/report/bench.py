"""The HTML of the viewer of aligned pairs, which the scripts beside it bring to life."""

from __future__ import annotations

_VIEWS = {
    "side": "side by side",
    "swipe": "swipe",
    "flicker": "flicker",
    "overlay": "overlay",
    "difference": "difference",
    "checker": "checkerboard",
    "matches": "matches",
    "residuals": "residuals",
    "holds": "where it holds",
}
_KEYS = {
    "arrows": "another pair",
    "1-9": "view",
    "space": "flicker",
    "r": "reject or accept, and go on",
    "u": "undo",
    "n": "note",
    "d": "download",
    "wheel + -": "zoom",
    "p": "1:1",
    "f": "fit",
}
_COLUMNS = {
    "name": ("pair", ""),
    "median": ("med.", "median residual, phone px"),
    "p95": ("p95", "95th percentile of the residuals, phone px"),
    "ncc": ("NCC", "median correlation of the blocks after alignment"),
    "holds": ("holds", "share of the crop where the map is known to hold"),
    "inliers": ("inliers", "keypoint matches that are inliers of the homography"),
    "reason": ("verdict", ""),
}


def _heads() -> str:
    return "".join(
        f'<th data-key="{key}" title="{meaning}" tabindex="0">{words}</th>'
        for key, (words, meaning) in _COLUMNS.items()
    )


def _buttons() -> str:
    return "".join(f'<button data-view="{view}">{words}</button>' for view, words in _VIEWS.items())


def _keys() -> str:
    return " ".join(f"<kbd>{key}</kbd> {words}&nbsp;" for key, words in _KEYS.items())


BENCH = f"""
<div class="tools">
  <input id="search" type="search" placeholder="name, reason, p95 &gt; 1, holds&lt;0.5 ..."
    aria-label="filter"
    title="words, and limits such as median&gt;0.3 NCC &lt; 0.8 verified&gt;=600">
  <select id="verdict" aria-label="filter by verdict">
    <option value="">all pairs</option><option value="rejected">rejected</option>
    <option value="warned">with a warning</option><option value="accepted">accepted</option>
    <option value="marked">decided by hand</option>
  </select>
  <span id="count" class="soft"></span><span class="space"></span>
  <input id="note" placeholder="why (optional)" aria-label="why you decided so" hidden>
  <button id="reject" class="reject">reject</button>
  <button id="download">download decisions (0)</button>
</div>
<p class="bad" id="complaint" role="status"></p>
<div class="bench">
  <div class="list" id="list"><table><thead><tr><th></th>{_heads()}</tr></thead>
    <tbody id="rows"></tbody></table></div>
  <div class="show">
    <div class="tools" id="views">{_buttons()}</div>
    <div class="stage" id="stage">
      <div class="panes" id="panes">
        <div class="pane phone"><img id="phone" alt="phone photo" draggable="false"></div>
        <div class="pane dslr"><img id="dslr" alt="DSLR photo" draggable="false"></div>
      </div>
      <div class="divider" id="divider" role="slider" tabindex="0" aria-label="divider"
        aria-valuemin="0" aria-valuemax="100"></div>
      <svg class="drawing" id="drawing"></svg>
      <div class="empty" id="empty" hidden>No pair matches the filter.
        <button id="clear">show all pairs</button></div>
      <span class="tag" id="side"></span><span class="tag" id="zoom"></span>
    </div>
    <div class="legend" id="legend" hidden></div>
    <div class="legend" id="overlaid" hidden><label>phone
      <input id="opacity" type="range" min="0" max="100" value="50"
        aria-label="opacity of the DSLR photo"> DSLR</label>
      <output id="opacity-value" for="opacity"></output></div>
    <div class="legend" id="differing" hidden>
      <label>gain <input id="gain" type="range" min="0" max="5" value="2"></label>
      <output id="gain-value" for="gain"></output>
      <label><input id="match" type="checkbox" checked> match the tones</label>
      <span id="unmatched" class="soft">(unknown: aligned by an earlier version)</span>
      <span>equal <i class="scale"></i> apart by <b id="white"></b> or more</span></div>
    <div class="taken" id="taken"></div>
    <div class="caption" id="caption"></div>
  </div>
</div>
<svg width="0" height="0" class="filters" aria-hidden="true">
  <filter id="tones" x="0" y="0" width="1" height="1" color-interpolation-filters="sRGB">
    <feComponentTransfer><feFuncR id="toneR" type="table"/><feFuncG id="toneG" type="table"/>
      <feFuncB id="toneB" type="table"/></feComponentTransfer></filter></svg>
<p class="soft">{_keys()}</p>
"""
