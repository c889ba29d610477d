"""What the reports are made of: axes, charts, where patches lie, what a page carries."""

import base64
import json
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from html import unescape
from html.parser import HTMLParser
from urllib.parse import unquote

import numpy as np
import pytest
from fake_aligned import HEIGHT, MATCHES, RESIDUALS, WIDTH, change_details, write_aligned
from fake_shards import make_patches, write_shards
from hypothesis import given
from hypothesis import strategies as st

from dpedkit.core.atomic import write_json
from dpedkit.core.errors import DpedkitError
from dpedkit.core.manifest import read_json, read_jsonl, write_jsonl
from dpedkit.images import write_photo
from dpedkit.models.files import model_hash
from dpedkit.report import write_report
from dpedkit.report.aligned import PAIRS_FILE
from dpedkit.report.axes import Axis, Frame, rounded_out
from dpedkit.report.cells import FIRST_TINT, TINTS, cells_of
from dpedkit.report.charts import bars, curves, heat_map, histogram, median_by_place
from dpedkit.report.evaluations import evaluations
from dpedkit.report.losses import keep_losses, pair_losses
from dpedkit.report.page import table, write_page
from dpedkit.report.samples import over_time
from dpedkit.report.windows import dropped_windows, kept_shares
from dpedkit.shards import open_split
from dpedkit.surfaces import HOLDS, NOT_FOUND, NOWHERE, ON_EDGE, Surfaces

VALUES = st.floats(-1e6, 1e6).map(lambda value: round(value, 6))


@given(VALUES, st.floats(1e-3, 1e6))
def test_an_axis_ends_at_ticks_around_its_values(low, span):
    span = max(span, 1e-3 * abs(low))  # a smaller one cannot be told in a tick's digits
    axis = rounded_out(low, low + span, "px")
    assert axis.low <= low + 1e-9 * abs(low) + 1e-9 * span
    assert axis.high >= low + span - 1e-9 * abs(low) - 1e-9 * span
    ticks = axis.ticks(6)
    assert 2 <= len(ticks) <= 8
    steps = np.diff(ticks)
    assert steps.max() == pytest.approx(steps.min(), rel=1e-3)
    digits = f"{steps[0]:.3e}".split("e")[0]
    assert float(digits) in (1.0, 2.0, 2.5, 5.0, 10.0)


def test_ticks_are_round_numbers_within_the_axis():
    assert Axis(0.3, 1.0, "").ticks(6) == [0.4, 0.6, 0.8, 1.0]
    assert Axis(0, 800, "").ticks(6) == [0, 200, 400, 600, 800]
    assert Axis(5, 5, "").ticks(6) == [5]


@pytest.mark.parametrize("most", [1, 2, 3, 12, 247, 18_000])
def test_counts_have_whole_numbers_for_ticks(most):
    axis = rounded_out(0.0, float(most), "pairs", counted=True)
    assert axis.high >= most
    assert len(axis.ticks(5)) >= 2
    assert all(tick.is_integer() for tick in map(float, axis.ticks(5)))


@pytest.mark.parametrize("high", [1.0, 0.9675, 1_250_000.0])
def test_the_widest_tick_does_not_reach_the_label_of_the_axis(high):
    frame = Frame(Axis(0, 1, "step"), Axis(high * 0.99, high, "MS-SSIM"))
    svg = svg_of(frame.drawn("", ""))
    ticks = [text for text in svg.iter("text") if text.get("text-anchor") == "end"]
    label = next(text for text in svg.iter("text") if text.get("transform"))
    right_of_label = float(re.match(r"translate\((\d+)", label.get("transform"))[1]) + 4
    # DejaVu Sans, the widest of the usual fonts, has digits of 7.6 px at the page's 12 px.
    left = min(float(text.get("x")) - 7.6 * len(text.text) for text in ticks)
    assert left > right_of_label


def svg_of(chart):
    return ET.fromstring(re.search(r"<svg.*</svg>", chart, re.DOTALL)[0])


def test_a_histogram_has_bars_as_high_as_its_counts_and_its_mark_in_place():
    counts, edges = [0, 4, 8, 2], [0.0, 0.25, 0.5, 0.75, 1.0]
    svg = svg_of(histogram(counts, edges, "NCC", "NCC", "windows", (0.5, "limit")))
    rects = svg.findall("rect")
    heights = np.array([float(rect.get("height")) for rect in rects])
    assert np.allclose(heights / heights.max(), np.array(counts) / 8, atol=2e-3)
    assert ["--dim" in rect.get("fill") for rect in rects] == [True, True, False, False]
    assert [rect.find("title").text for rect in rects][2] == "0.5 to 0.75: 8 windows"
    (mark,) = (path for path in svg.findall("path") if path.get("class") == "mark")
    assert float(mark.get("d")[1:].split()[0]) == pytest.approx(float(rects[2].get("x")), abs=1)


def test_curves_go_through_their_points_and_leave_out_what_is_not_finite():
    points = [(0, 1.0), (100, 3.0), (200, float("nan")), (300, 2.0)]
    svg = svg_of(curves({"a": points, "none": []}, "loss", "step", "loss"))
    (line,) = svg.findall("polyline")
    x, y = np.array([pair.split(",") for pair in line.get("points").split()], float).T
    assert len(x) == 3
    assert np.allclose((x - x[0]) / (x[-1] - x[0]), [0, 1 / 3, 1], atol=1e-3)
    assert (y[0] - y[1]) == pytest.approx(2 * (y[0] - y[2]), abs=0.2)
    assert curves({"none": []}, "loss", "step", "loss") == ""


def test_more_curves_than_colours_can_be_told_by_their_dashes():
    series = {str(number): [(0, 1.0), (1, 2.0 + number)] for number in range(8)}
    text = curves(series, "losses", "shift", "share", from_zero=True)
    lines = svg_of(text).findall("polyline")
    looks = {(line.get("stroke"), line.get("stroke-dasharray")) for line in lines}
    assert len(looks) == 8
    keys = re.findall(r'<i style="([^"]*)"', text)
    assert len(set(keys)) == 8
    first = [float(line.get("points").split()[0].split(",")[1]) for line in lines]
    base = max(float(line.get("y1")) for line in svg_of(text).findall("line"))
    assert first[0] < base - 10  # the value 1 stands above the axis, which begins at 0


def test_bars_tell_number_and_share():
    text = bars({"kept": 75, "low NCC": 25}, "fate", "windows", first_good=True)
    assert "75 (75.0%)" in text and "25 (25.0%)" in text
    kept, low = (float(rect.get("width")) for rect in svg_of(text).findall("rect"))
    assert kept == pytest.approx(3 * low, rel=1e-3)


def test_pages_link_to_what_they_are_made_from_and_back(tmp_path):
    aligned = write_aligned(tmp_path / "50% off", 1, {})
    shards = write_shards(tmp_path / "shards", {"train": make_patches(2, 20, 0)})
    index = read_json(shards / "index.json") | {"aligned": "../50% off/aligned"}
    write_json(shards / "index.json", index)
    run = tmp_path / "runs" / "a<b"
    run.mkdir(parents=True)
    (run / "config.toml").write_text(f'[data]\nshards = "{shards}"\n')

    def links(folder):
        text = (folder / "report" / "index.html").read_text()
        nav = re.search(r'<nav class="links" id="pages">(.*?)</nav>', text)[1]
        found = re.findall(r'<a href="([^"]*)">([^<]*)</a>', nav)
        for address, _ in found:
            assert (folder / "report" / unquote(unescape(address))).is_file(), address
        return [unescape(words) for _, words in found]

    for folder in (aligned, shards, run):
        write_page(folder, "t", "b")
    assert links(run) == ["patches: shards", "aligned pairs: aligned"]
    assert links(shards) == ["aligned pairs: aligned", "run: a<b"]
    assert links(aligned) == ["patches: shards", "run: a<b"]
    for folder in (run, shards, aligned):
        write_page(folder, "t", "b")  # again, in any order
    assert sorted(links(shards)) == ["aligned pairs: aligned", "run: a<b"]
    assert sorted(links(aligned)) == ["patches: shards", "run: a<b"]
    shutil.rmtree(run)
    write_page(shards, "t", "b")
    assert links(shards) == ["aligned pairs: aligned"]


def test_a_page_that_cannot_be_changed_is_left_as_it_is(tmp_path, monkeypatch):
    shards = write_shards(tmp_path / "shards", {"train": make_patches(2, 20, 0)})
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.toml").write_text(f'[data]\nshards = "{shards}"\n')
    page = write_page(shards, "t", "b")
    before = page.read_text()

    def refuse(path, text):
        raise DpedkitError("read-only")

    monkeypatch.setattr("dpedkit.report.links.write_text", refuse)
    write_page(run, "t", "b")
    assert page.read_text() == before


def test_what_stands_in_tables_and_charts_is_escaped():
    evil = "<script>alert(1)</script>"
    for text in (
        table((evil,), [(evil,)]),
        bars({evil: 1}, evil, evil),
        heat_map(np.ones((1, 1)), 1.0, evil, evil),
        curves({evil: [(0, 1)], "b": [(0, 1)]}, evil, evil, evil),
    ):
        assert "<script" not in text and "&lt;script" in text


class Scripts(HTMLParser):
    """The texts of a page's scripts, as a browser finds them."""

    def __init__(self):
        super().__init__()
        self.texts, self.inside = [], False

    def handle_starttag(self, tag, attrs):
        self.inside = tag == "script"
        if self.inside:
            self.texts.append("")

    def handle_endtag(self, tag):
        self.inside = self.inside and tag != "script"

    def handle_data(self, data):
        if self.inside:
            self.texts[-1] += data


def data_of(page):
    parser = Scripts()
    parser.feed(page.read_text())
    return json.loads(parser.texts[0])


def test_data_cannot_leave_its_script_element(tmp_path):
    data = {"name": "</script><!-- <script>\u2028 & 'x'"}
    assert data_of(write_page(tmp_path, "t", "b", data=data, scripts=["drawing.js"])) == data


def test_a_pair_carries_its_matches_and_residuals_exactly(tmp_path):
    folder = write_aligned(tmp_path, 2, {"bad": "blank"})
    pair = data_of(write_report(folder).path)["pairs"][1]

    def unpacked(text):
        return np.frombuffer(base64.b64decode(text), "<i2").reshape(-1, 4)

    assert {tuple(row) for row in unpacked(pair["matches"]).tolist()} == set(map(tuple, MATCHES))
    residuals = unpacked(pair["residuals"]) / [1, 1, 1000, 1000]
    assert {tuple(row) for row in residuals.tolist()} == set(map(tuple, RESIDUALS))


def test_the_page_stays_small_and_links_what_it_cannot_carry(tmp_path, monkeypatch):
    monkeypatch.setattr("dpedkit.report.viewerdata._THUMBNAIL_BYTES", 20_000)
    monkeypatch.setattr("dpedkit.report.viewerdata._DRAWN_BYTES", 8 * 60 * 100)
    monkeypatch.setattr("dpedkit.report.viewerdata._CELLS_BYTES", 60 * 100)
    folder = write_aligned(tmp_path, 60, {})
    give_surfaces(folder, surfaces_of(np.random.default_rng(0).integers(0, 9, (24, 32)), 5.0))
    pairs = data_of(write_report(folder).path)["pairs"]
    thumbnails = [pair["thumbnail"] for pair in pairs]
    carried = [item for item in thumbnails if isinstance(item, str)]
    assert 0 < len(carried) < 60 and thumbnails[len(carried) :] == [True] * (60 - len(carried))
    drawn = sum(len(base64.b64decode(p[key])) for p in pairs for key in ("matches", "residuals"))
    assert 0 < drawn <= 8 * 60 * 100
    assert 0 < sum(len(base64.b64decode(pair["cells"]["runs"])) for pair in pairs) <= 60 * 100
    shutil.rmtree(folder / "report" / "thumbnails")
    assert not any(pair["thumbnail"] for pair in data_of(write_report(folder).path)["pairs"])


def surfaces_of(labels, cell=20.0):
    labels = np.array(labels, np.uint8)
    return Surfaces.of(cell, labels, np.zeros((*labels.shape, 2)))


def give_surfaces(folder, surfaces, **evidence):
    """Write surfaces, and what else is measured with them, into all records of a folder."""
    records = read_jsonl(folder / PAIRS_FILE)
    for record in records:
        change_details(folder, record, map={"surfaces": surfaces.to_dict()})
        record["evidence"] |= evidence
    write_jsonl(folder / PAIRS_FILE, records)


def cells_for(surfaces, rectangle, limit):
    return cells_of(surfaces.cell, surfaces.labels, rectangle, limit)


def kinds_of(cells):
    """The rows of cells that a page carries, as holds.js reads them."""
    runs = np.frombuffer(base64.b64decode(cells["runs"]), np.uint8)
    return np.repeat(runs >> 4, (runs & 15) + 1).reshape(-1, cells["columns"])


LABELS = st.sampled_from([NOWHERE, NOT_FOUND, ON_EDGE, 1, 2, 3, 40, 253])
ROWS = st.integers(1, 12).flatmap(
    lambda columns: st.lists(
        st.lists(LABELS, min_size=columns, max_size=columns), min_size=1, max_size=9
    )
)


@given(ROWS, st.integers(16, 100), st.tuples(*[st.integers(0, 90)] * 2, *[st.integers(1, 90)] * 2))
def test_the_cells_of_a_page_tell_what_is_known_of_each_pixel(labels, quarters, rectangle):
    surfaces = surfaces_of(labels, quarters / 4)
    cells = cells_for(surfaces, rectangle, 10_000)
    kinds, (x, y, width, height) = kinds_of(cells), rectangle
    column, row = (
        np.floor((np.arange(start, start + length) + 0.5 - at) / cells["side"]).astype(int)
        for start, length, at in zip((x, y), (width, height), cells["at"], strict=True)
    )
    shown = kinds[np.ix_(row, column)]
    known = surfaces.known(rectangle)
    assert np.array_equal(np.where(shown >= FIRST_TINT, HOLDS, shown), known)
    assert kinds.max() < FIRST_TINT + TINTS
    shares = [(known == state).mean() for state in range(4)]
    assert cells["shares"] == pytest.approx(shares, abs=1e-4)
    assert cells["surfaces"] == len({label for row in labels for label in row} & {1, 2, 3, 40, 253})


def test_surfaces_near_each_other_have_different_tints():
    rng = np.random.default_rng(0)
    # Squares of 6 cells whose edges, 2 cells wide, belong to none.
    labels = np.kron(rng.permutation(np.arange(1, 26)).reshape(5, 5), np.ones((6, 6), int))
    inside = np.arange(30) % 6 > 1
    labels[~(inside[:, None] & inside)] = ON_EDGE
    surfaces = surfaces_of(labels, 1.0)
    kinds = kinds_of(cells_for(surfaces, (0, 0, 30, 30), 10_000))
    tints = kinds[3::6, 3::6]
    assert (tints == HOLDS).sum() == 1, "the largest has none"
    assert len(np.unique(tints)) > 2
    assert (np.diff(tints.astype(int), axis=0) != 0).all()
    assert (np.diff(tints.astype(int), axis=1) != 0).all()


def test_cells_that_do_not_fit_are_made_larger_and_tell_what_most_of_them_do():
    rng = np.random.default_rng(0)
    large = rng.choice([NOWHERE, ON_EDGE, NOT_FOUND, 1], (10, 10))
    labels = np.kron(large, np.ones((3, 3), int))
    labels[1::3, ::3] = rng.choice([NOWHERE, ON_EDGE, NOT_FOUND, 1], (10, 10))
    runs = 1 + np.count_nonzero(np.diff(large.ravel()))
    cells = cells_for(surfaces_of(labels, 7.0), (0, 0, 209, 210), runs)
    assert (cells["side"], cells["columns"]) == (21, 10)
    kinds = kinds_of(cells)
    kind_of = {NOWHERE: 0, 1: 1, ON_EDGE: 2, NOT_FOUND: 3}
    assert np.array_equal(kinds, np.vectorize(kind_of.get)(large))
    # What holds is counted together, whichever surface it shows.
    mixed = surfaces_of([[ON_EDGE, 2, ON_EDGE], [2, 3, ON_EDGE], [3, NOWHERE, NOWHERE]])
    assert kinds_of(cells_for(mixed, (0, 0, 60, 60), 1)).tolist() == [[FIRST_TINT]]
    # What does not hold is told where as much of it does.
    even = surfaces_of([[1, ON_EDGE], [ON_EDGE, 1]])
    assert kinds_of(cells_for(even, (0, 0, 40, 40), 1)).tolist() == [[kind_of[ON_EDGE]]]


@pytest.mark.parametrize("limit", [1, 3, 50, 300])
def test_cells_never_need_more_bytes_than_they_may(limit):
    noise = np.random.default_rng(0).choice([0, 1, 2, 3, 254, 255], (67, 89))
    cells = cells_for(surfaces_of(noise), (0, 0, 1780, 1340), limit)
    assert 0 < len(base64.b64decode(cells["runs"])) <= limit


def test_a_page_carries_where_its_maps_hold_and_does_without(tmp_path):
    folder = write_aligned(tmp_path, 2, {"depth": "depth that cannot be followed"})
    page = write_report(folder).path
    old = data_of(page)["pairs"]
    assert [pair["cells"] for pair in old] == [None] * 3
    assert [pair["holds"] for pair in old] == [None] * 3
    assert "Where the map holds" not in page.read_text()
    surfaces = surfaces_of([[1] * 4 + [ON_EDGE] + [2] * 3] * 6)
    give_surfaces(folder, surfaces, model="surfaces", holds=0.875, in_place=0.9)
    page = write_report(folder).path
    rejected, *accepted = data_of(page)["pairs"]
    assert rejected["name"] == "depth" and rejected["crop"] == [0, 0, 0, 0]
    for pair in (rejected, *accepted):  # of a pair without a crop, the whole photo is shown
        assert pair["cells"] == cells_for(surfaces, (0, 0, WIDTH, HEIGHT), 10_000)
        assert (pair["holds"], pair["in_place"]) == (0.875, 0.9)
    assert "<figcaption>Where the map holds</figcaption>" in page.read_text()


def test_shares_of_kept_patches_are_those_of_the_cells_centres(tmp_path):
    size = 40
    phone, dslr, _ = make_patches(3, size, 0)
    folder = write_shards(tmp_path / "s", {"train": (phone, dslr, np.array([0, 0, 1]))})
    pairs = [{"crop": [5, 5, 160, 120], "tried": 9}, {"crop": [0, 0, 80, 60], "tried": 2}]
    reader = open_split(folder, "train")
    places = np.array([[0, 0], [121, 79], [40, 13]], np.int32)
    read = reader.column
    reader.column = lambda name: places if name == "xy" else read(name)
    shares, aspect = kept_shares([reader], pairs)
    rows, columns = shares.shape
    expected = np.zeros((rows, columns))
    for (x, y), pair in zip(places, (0, 0, 1), strict=True):
        width, height = pairs[pair]["crop"][2:]
        for row in range(rows):
            for column in range(columns):
                u, v = (column + 0.5) * width / columns, (row + 0.5) * height / rows
                expected[row, column] += x <= u < x + size and y <= v < y + size
    assert np.array_equal(shares, expected / 2)
    assert aspect == 0.75


def test_dropped_windows_show_the_pixels_that_were_dropped(tmp_path):
    folder = write_aligned(tmp_path, 3, {})
    rng = np.random.default_rng(0)
    images = {}
    for name in ("0000", "0001", "0002"):
        for side in ("phone", "dslr"):
            image = images[side, name] = rng.integers(0, 256, (120, 160, 3)).astype(np.uint8)
            write_photo(folder / side / f"{name}.png", image)
    (folder / "dslr" / "0002.png").unlink()
    sample = [{"reason": "low NCC", "xy": [7, 9], "ncc": 0.5}]
    pairs = [{"name": name, "dropped_sample": sample} for name in ("0000", "0001", "0002")]
    pairs[0]["dropped_sample"] = [{"reason": "flat", "xy": [30, 40], "ncc": None}]
    flat, low = dropped_windows(folder, pairs, 50, each=6)
    assert (flat.reason, flat.pair, flat.ncc) == ("flat", "0000", None)
    assert (low.reason, low.pair, low.ncc) == ("low NCC", "0001", 0.5)
    assert np.array_equal(flat.phone, images["phone", "0000"][40:90, 30:80])
    assert np.array_equal(low.dslr, images["dslr", "0001"][9:59, 7:57])
    assert dropped_windows(tmp_path / "gone", pairs, 50, each=6) == []


def test_samples_over_time_begin_with_the_phone_and_end_with_the_dslr(tmp_path):
    for step in range(0, 2000, 100):
        picture = np.zeros((100, 308, 3), np.uint8)
        write_photo(tmp_path / f"step-{step:06d}.png", picture)
    text = over_time(tmp_path)
    (row,) = re.findall(r"<button.*?</button>", text)
    figures = re.findall(r"<figure(.*?)>.*?<figcaption>(.*?)</figcaption>", row)
    heads = [name for hidden, name in figures if not hidden]
    assert heads[:2] == ["phone", "step 0"] and heads[-2:] == ["step 1,900", "DSLR"]
    assert len(heads) == 8
    steps = [f"step {step:,}" for step in range(0, 2000, 100)]
    assert [name for _, name in figures] == ["phone", *steps, "DSLR"]
    assert set(re.findall(r'width="(\d+)"', text)) == {"100"}


def test_an_evaluation_of_an_earlier_network_is_said_to_be_one(tmp_path):
    scores = dict.fromkeys(("ms_ssim", "ssim", "ms_ssim_per_batch", "psnr_per_batch"), 0.5)
    scores |= {"psnr": None, "psnr_pooled": 20.126}
    model = tmp_path / "model.safetensors"
    model.write_bytes(b"weights")
    limits = {"colour_error": 1.25, "contrast_ratio": None, "noise_gain": None, "flat_share": 0}
    split = {"split": "test", "patches": 1234, "pairs": 5, "scores": {"network": scores}}
    split["limitations"] = {"network": limits}
    found = {"verdict": "It <did>.", "model_file": model.name, "model_hash": model_hash(model)}
    found["shards"] = "/my/shards"
    (tmp_path / "evaluations").mkdir()
    write_json(tmp_path / "evaluations" / "model-f00d-test.json", {**found, "splits": [split]})
    text = evaluations(tmp_path)
    assert "It &lt;did&gt;." in text and "earlier network" not in text
    assert "<h3>model.safetensors on /my/shards</h3>" in text
    cells = re.findall(r"<td>(.*?)</td>", text)
    scored = ["network", "inf", "0.5000", "0.50", "0.5000", "0.5000", "20.13"]
    assert cells == [*scored, "network", "1.25", "-", "-"]
    assert "test (1,234 patch pairs)" in text
    assert "There is no mean over scenes" in text
    # The same split measured again, with others, is shown with those alone.
    other = {**split, "split": "val", "patches": 7}
    both = {**found, "splits": [other, split]}
    write_json(tmp_path / "evaluations" / "model-f00d-val-test.json", both)
    assert evaluations(tmp_path).count("test (1,234") == 1
    assert evaluations(tmp_path).count("val (7") == 1
    write_json(tmp_path / "evaluations" / "model-beef-test.json", {**found, "splits": [split]})
    assert evaluations(tmp_path).count("test (1,234") == 2, "of other shards"
    model.write_bytes(b"better weights")
    assert "Measured on an earlier network" in evaluations(tmp_path)
    assert evaluations(tmp_path / "none") == ""


def test_names_with_signs_that_mean_something_in_addresses(tmp_path):
    folder = write_aligned(tmp_path, 1, {})
    records = read_jsonl(folder / "pairs.jsonl")
    records[0]["phone"]["file"] = "/photos/50% off #1?.png"
    write_jsonl(folder / "pairs.jsonl", records)
    data = data_of(write_report(folder).path)
    place, name = data["pairs"][0]["originals"][0]
    assert data["folders"][place] + name == "file:///photos/50%25%20off%20%231%3F.png"


def test_the_reports_of_photos_and_patches_do_not_load_torch(tmp_path):
    code = (
        "import sys; from pathlib import Path; from dpedkit.report import shards, write_report;"
        "page = write_report(Path(sys.argv[1])).path;"
        "sys.exit('torch' in sys.modules or not page.is_file())"
    )
    aligned = write_aligned(tmp_path, 1, {})
    assert subprocess.run([sys.executable, "-c", code, aligned], check=False).returncode == 0


def test_losses_are_told_with_one_number_of_digits(tmp_path):
    losses = {
        name: {"true": value, "shuffled": 2 * value, "preferred": 1.0} | dict.fromkeys(
            ("shifted", "itself"), [value] * 11
        )
        for name, value in (("MSE", 0.01), ("content", 12.5), ("VGG", 1500.0), ("TV", 0.123456))
    }  # fmt: skip
    keep_losses(tmp_path, {"pairs": 3, "size": 96, "weights": None, "losses": losses})
    told = re.findall(r"<td>([\d.]+)</td>", pair_losses(tmp_path))
    assert told[::2] == ["0.01000", "12.50", "1500", "0.1235"]
    assert told[1::2] == ["0.02000", "25.00", "3000", "0.2469"]


def test_medians_by_place_are_those_of_the_values_in_each_cell():
    rng = np.random.default_rng(0)
    places, values = rng.random((2000, 2)), rng.random(2000)
    places[:400] = places[0]  # one cell has most of them
    found = median_by_place(places, values)
    rows, columns = found.shape
    row, column = (places[:, 1] * rows).astype(int), (places[:, 0] * columns).astype(int)
    for y, x in np.ndindex(rows, columns):
        own = np.sort(values[(row == y) & (column == x)])
        if len(own) < 5:
            assert np.isnan(found[y, x])
        else:
            assert found[y, x] in own[(len(own) - 1) // 2 : len(own) // 2 + 1]
    few = median_by_place(places[:3], values[:3])
    assert np.isnan(few).all()
    assert "nan" not in heat_map(np.array([[0.25, np.nan]]), 1, "t", "px", told="{:.2f}")
