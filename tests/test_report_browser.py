"""The reports in a real browser: they load from the disk, and what can be done in them works."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from chromium import CORNER, LAPTOP, TONE, caption, choose, is_colour, names_in, pixels
from fake_aligned import BLUE, MARK, RED, RESIDUALS, change_details, write_aligned
from test_report import give_surfaces, surfaces_of

from dpedkit.align.decisions import Decision, read_decisions
from dpedkit.cli import execute
from dpedkit.core.manifest import read_jsonl, write_jsonl
from dpedkit.report import write_report
from dpedkit.surfaces import NOT_FOUND, NOWHERE, ON_EDGE

pytestmark = pytest.mark.slow

REASONS = {
    "street": "the photos have too little in common",
    "wall": "repeated texture: the photos match equally well when one is shifted by (40, 0) px",
}
VIEWS = ["side", "swipe", "flicker", "overlay", "difference", "checker", "matches", "residuals"]
# Columns of 20 px: two of the largest surface, two of another, then one of each other kind.
DEPTH = surfaces_of([[1, 1, 2, 2, ON_EDGE, NOT_FOUND, NOWHERE, NOWHERE]] * 6)


@pytest.fixture(scope="module")
def aligned(tmp_path_factory):
    folder = write_aligned(tmp_path_factory.mktemp("fake"), 40, REASONS)
    write_report(folder)
    return folder


@pytest.fixture
def layered(tmp_path):
    """Pairs whose records say where their maps hold, but for that of 0003."""
    folder = write_aligned(tmp_path, 4, {"rejected": "depth that cannot be followed"})
    give_surfaces(folder, DEPTH, model="surfaces", holds=0.5, in_place=0.75)
    records = read_jsonl(folder / "pairs.jsonl")
    records[1]["evidence"] |= {"model": "field", "holds": 0.9, "in_place": 0.6}
    records[2]["evidence"] |= {"model": "radial", "holds": 0.7, "in_place": 0.95}
    records[3]["evidence"]["model"] = "radial"
    change_details(folder, records[3], map={})
    for key in ("holds", "in_place"):
        del records[3]["evidence"][key]
    write_jsonl(folder / "pairs.jsonl", records)
    write_report(folder)
    return folder


def white_spot(shown):
    """The middle of the white pixel, `(x, y)`; it fills at least a few pixels of the screen."""
    y, x = np.nonzero((shown > 240).all(axis=2))
    assert len(x) >= 4
    return x.mean(), y.mean()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(
    ("name", "width"),
    [
        *((name, width) for name in ("pairs.html", "aligned", "shards") for width in (1400, 420)),
        ("runs/001", LAPTOP["width"]),
    ],
)
def test_the_page_loads_in_both_themes(trained, open_page, name, width, scheme):
    page = open_page(trained / name, scheme, {"width": width, "height": 900})
    back = page.evaluate("getComputedStyle(document.body).backgroundColor")
    brightness = sum(map(int, back[4:-1].split(","))) / 3
    assert brightness > 230 if scheme == "light" else brightness < 40
    assert page.locator("h1").count() == 1
    # Nothing is wider than the screen.
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    broken = "[...document.images].filter((i) => i.src && i.complete && !i.naturalWidth).length"
    assert page.evaluate(broken) == 0


def test_rejected_pairs_come_first_with_their_reason(aligned, open_page):
    page = open_page(aligned)
    assert names_in(page)[:3] == ["street", "wall", "0000"]
    assert caption(page) == f"street: rejected, {REASONS['street']}"
    page.keyboard.press("ArrowDown")
    assert caption(page) == f"wall: rejected, {REASONS['wall']}"
    assert page.locator("#rows tr:has-text('repeated texture')").is_visible()


def test_the_head_of_a_column_sorts(aligned, open_page):
    page = open_page(aligned)
    page.click("th[data-key=median]")
    assert names_in(page)[:2] == ["0000", "0001"]
    page.click("th[data-key=median]")
    assert names_in(page)[:2] == ["0039", "0038"]
    page.click("th[data-key=ncc]")
    assert names_in(page)[:2] == ["0039", "0038"]
    page.click("th[data-key=inliers]")
    inliers = page.evaluate("shown.map((pair) => pair.inliers)")
    assert inliers == sorted(inliers)


def test_flicker_shows_one_and_then_the_other(aligned, open_page):
    page = open_page(aligned)
    choose(page, "0003")
    page.click("[data-view=flicker]")
    page.wait_for_selector(".stage.second", timeout=2000)
    page.wait_for_selector(".stage:not(.second)", timeout=2000)
    page.keyboard.press(" ")
    for _ in range(3):  # by hand it stays as it is
        page.keyboard.press(" ")
        second = "second" in page.locator("#stage").get_attribute("class")
        shown = pixels(page)
        middle = shown[shown.shape[0] // 2, shown.shape[1] // 2]
        assert is_colour(middle, BLUE if second else RED)
        page.wait_for_timeout(600)
        assert ("second" in page.locator("#stage").get_attribute("class")) == second
        assert page.locator("#side").text_content() == ("DSLR" if second else "phone")


def test_the_checkerboard_shows_both_photos(aligned, open_page):
    page = open_page(aligned)
    choose(page, "0003")
    page.click("[data-view=checker]")
    shown = pixels(page)
    row = shown[shown.shape[0] // 2]
    share = [np.mean([is_colour(pixel, colour) for pixel in row]) for colour in (RED, BLUE)]
    assert all(0.35 < part < 0.65 for part in share)


def test_zoom_and_place_are_locked_to_the_pixel(aligned, open_page):
    page = open_page(aligned)
    page.add_style_tag(content=".tag { display: none; }")  # their letters are white
    choose(page, "0003")
    box = page.locator("#stage").bounding_box()
    page.mouse.move(box["x"] + 0.3 * box["width"], box["y"] + 0.37 * box["height"])
    for _ in range(4):
        page.mouse.wheel(0, -200)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.22 * box["width"], box["y"] + 0.5 * box["height"], steps=4)
    page.mouse.up()
    shown, middle = pixels(page), round(box["width"]) // 2 - CORNER
    (x, y), (u, v) = white_spot(shown[:, :middle]), white_spot(shown[:, middle:])
    assert (x + CORNER, y) == pytest.approx((u + 1, v), abs=1)  # 1 px: the border of the stage
    assert page.evaluate("phone.style.transform === dslr.style.transform")
    assert page.evaluate("zoom") == pytest.approx(np.exp(800 / 400), rel=1e-6)
    # One above the other, the difference of the two white pixels is black.
    page.click("[data-view=overlay]")
    page.evaluate("zoomBy(20)")
    x, y = page.evaluate(
        f"(() => {{ const m = new DOMMatrix(phone.style.transform);"
        f" return [m.a * ({MARK[0]} + .5) + m.e, m.d * ({MARK[1]} + .5) + m.f]; }})()"
    )
    page.evaluate(
        f"panX += stage.clientWidth / 2 - {x}; panY += stage.clientHeight / 2 - {y}; place()"
    )
    shown = pixels(page)
    across = shown[shown.shape[0] // 2]
    white = (across > 250).all(axis=1)
    scale = page.evaluate("fit * zoom")
    assert white.sum() == pytest.approx(scale, abs=2)  # sharp edges: not one grey pixel between
    assert sum(not is_colour(p, (np.array(RED) + BLUE) / 2) for p in across) <= white.sum() + 2


def test_keys_choose_pairs_and_views(aligned, open_page):
    page = open_page(aligned)
    page.keyboard.press("End")
    assert caption(page).startswith("0039: ")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowLeft")
    assert caption(page).startswith("0037: ")
    for number, view in enumerate(VIEWS, start=1):
        page.keyboard.press(str(number))
        assert page.locator("#views .on").get_attribute("data-view") == view
    page.keyboard.press("9")  # these records do not say where the maps hold
    assert page.locator("#views .on").get_attribute("data-view") == VIEWS[-1]
    assert page.locator("[data-view=holds]").is_disabled()
    page.keyboard.press("Home")
    assert page.locator("#views .on").get_attribute("data-view") == "side"
    assert page.locator("[data-view=swipe]").is_disabled()  # nothing is aligned there
    page.fill("#search", "r")  # a letter in a field is a letter
    assert page.locator("#download").text_content() == "download decisions (0)"


def test_matches_and_residuals_are_drawn_to_scale(aligned, open_page):
    page = open_page(aligned)
    choose(page, "0003")
    page.click("[data-view=matches]")
    lines = (
        "[...drawing.querySelectorAll('line')]"
        ".map((line) => ['x1', 'y1', 'x2', 'y2'].map((name) => +line.getAttribute(name)))"
    )
    drawn = page.evaluate(lines)
    # The DSLR photo has twice the phone's pixels, and stands beside it at the same height.
    assert sorted({tuple(line) for line in drawn}) == [
        (10, 20, 170, 20), (50, 60, 215, 62), (100, 90, 260, 90)
    ]  # fmt: skip
    page.click("[data-view=residuals]")
    *arrows, legend = page.evaluate(lines)
    scale = {
        round((x2 - x1) / dx, 3)
        for x1, y1, x2, y2 in arrows
        for px, py, dx, dy in RESIDUALS
        if (x1, y1) == (px, py) and dx
    }
    assert len(scale) == 1
    assert {(x1, y1) for x1, y1, *_ in arrows} == {(x, y) for x, y, *_ in RESIDUALS}
    words = page.locator("#drawing text").text_content()
    assert legend[2] - legend[0] == pytest.approx(float(words.split()[0]) * scale.pop(), rel=1e-3)


LEGEND = {
    "the map holds": "50%",
    "tinted": "surfaces other than the largest",
    "edges between near and far": "13%",
    "detail not found": "13%",
    "too little detail": "25%",
}


def legend(page):
    """Words, and the colour beside them where it is one."""
    entries = page.locator("#legend span")
    words = dict(text.split(": ") for text in entries.all_text_contents())
    colours = page.locator("#legend i").evaluate_all(
        "all => all.map((chip) => getComputedStyle(chip).backgroundColor)"
    )
    return words, [
        tuple(map(int, colour[4:-1].split(",")[:3])) for colour in colours if "rgb(" in colour
    ]


def columns_shown(page, count=8):
    """Colours in the middle of each column of cells, where the photo of 4:3 fills the height."""
    shown = pixels(page)
    height, width = (side + 2 * CORNER - 2 for side in shown.shape[:2])  # without the border
    scale = min(height / 120, width / 160)
    left = (width - 160 * scale) / 2 - CORNER + 1
    places = [round(left + (column + 0.5) * 20 * scale) for column in range(count)]
    return shown[round(0.6 * len(shown)), places]


def dimmed(photo, cover):
    """A photo's colour where the map does not hold: 40% of it, then 45% of the cover on top."""
    return 0.55 * 0.4 * np.array(photo) + 0.45 * np.array(cover)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_where_the_map_holds_is_shown_in_the_colours_of_the_legend(layered, open_page, scheme):
    page = open_page(layered, scheme)
    choose(page, "0000")
    assert page.locator("#legend").is_hidden()
    page.keyboard.press("9")
    assert page.locator("#views .on").text_content() == "where it holds"
    words, (edge, missing, unknown) = legend(page)
    assert words == LEGEND
    assert page.locator("#legend").is_visible()
    shown = columns_shown(page)
    assert is_colour(shown[0], RED) and is_colour(shown[1], RED), "as the phone took it"
    assert 10 < np.abs(shown[2] - RED).max() < 60, "a faint tint"
    assert is_colour(shown[2], shown[3])
    for column, cover in ((4, edge), (5, missing), (6, unknown), (7, unknown)):
        assert is_colour(shown[column], dimmed(RED, cover))
    assert len({tuple(colour) for colour in (edge, missing, unknown)}) == 3
    # The border between the two surfaces, and no other line.
    assert page.locator("#drawing path[stroke]").get_attribute("d") == "".join(
        f"M2 {row}v1" for row in range(6)
    )
    page.keyboard.press("1")
    assert page.locator("#legend").is_hidden()


def test_cells_that_reach_beyond_the_crop_are_cut_off(layered, open_page):
    records = read_jsonl(layered / "pairs.jsonl")
    records[0]["crop"] = [30, 15, 120, 90]
    write_jsonl(layered / "pairs.jsonl", records)
    write_report(layered)
    page = open_page(layered)
    page.add_style_tag(content=".tag { display: none; }")
    choose(page, "0000")
    page.click("[data-view=holds]")
    shown = pixels(page)
    beside = page.evaluate("getComputedStyle(stage).backgroundColor")
    is_photo = ~(np.abs(shown - [int(part) for part in beside[4:-1].split(",")]) <= TONE).all(
        axis=2
    )
    high, wide = np.ptp(np.nonzero(is_photo), axis=1) + 1
    assert wide == pytest.approx(min(shown.shape[1], 4 / 3 * (shown.shape[0] + 2 * CORNER)), abs=3)
    assert high >= shown.shape[0] - 2


def test_the_model_is_said_in_words_and_what_holds_filters_and_sorts(layered, open_page):
    page = open_page(layered)
    for name, model, held in (
        ("0000", "2 surfaces at different depths", "hold in 50% of the crop; 75% of the detail"),
        ("0001", "one surface that bends", "hold in 90% of the crop; 60% of the detail"),
        ("0002", "one rigid surface", "hold in 70% of the crop; 95% of the detail"),
    ):
        choose(page, name)
        words = page.locator("#caption").text_content()
        assert model in words and held in words
    choose(page, "0003")
    assert page.locator("#caption").text_content().endswith("of the crop.")
    assert page.locator("[data-view=holds]").is_disabled()
    for words, expected in (
        ("holds<0.6 accepted", ["0000"]),
        ("in_place>0.7 holds>0.6", ["0002"]),
        ("in_place<0.7", ["0001"]),
    ):
        page.fill("#search", words)
        assert names_in(page) == expected
    page.fill("#search", "")
    page.select_option("#verdict", "accepted")
    page.click("th[data-key=holds]")
    assert names_in(page) == ["0000", "0002", "0001", "0003"]


def test_where_the_map_holds_is_shown_on_what_photos_there_are(layered, open_page):
    page = open_page(layered)
    choose(page, "rejected")
    page.keyboard.press("9")
    assert is_colour(columns_shown(page)[0], RED), "the original, whole"
    records = read_jsonl(layered / "pairs.jsonl")
    for record in records:
        for side in ("phone", "dslr"):
            record[side]["file"] = record[side]["file"].replace(".png", ".dng")
    write_jsonl(layered / "pairs.jsonl", records)
    write_report(layered)
    page = open_page(layered)
    choose(page, "rejected")
    page.keyboard.press("9")
    shown = columns_shown(page)
    assert np.abs(shown[0] - RED).max() < 16, "the left one of the thumbnail's photos"
    assert np.abs(shown[5] - dimmed(RED, legend(page)[1][1])).max() < 6
    page.keyboard.press("1")
    assert "thumbnail" in page.locator("#stage").get_attribute("class")
    shutil.rmtree(layered / "report" / "thumbnails")
    write_report(layered)
    page = open_page(layered)
    page.fill("#search", "rejected")
    page.locator("#search").blur()
    page.keyboard.press("9")
    shown = columns_shown(page)
    assert np.ptp(shown[0]) <= TONE, "a plain grey"
    assert np.abs(shown[5] - shown[0]).max() > 50
    page.fill("#search", "no such thing")
    assert page.locator("#legend").is_hidden()


def test_decisions_are_downloaded_as_align_reads_them(aligned, open_page, tmp_path):
    page = open_page(aligned)
    page.keyboard.press("r")  # a pair without a map can be neither rejected nor accepted
    for name, note in (("0007", 'a tram, "fast"'), ("0011", "")):
        choose(page, name)
        page.keyboard.press("r")
        page.fill("#note", note)
        page.locator("#note").press("Enter")
    choose(page, "0002")
    page.keyboard.press("r")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("r")
    # Otherwise, photos that are being read ahead would fail as the page goes.
    page.wait_for_function("[phone, dslr, ...ahead].every((image) => image.complete)")
    page.reload()  # the marks outlast the page
    assert page.locator("#download").text_content() == "download decisions (2)"
    page.select_option("#verdict", "marked")
    assert names_in(page) == ["0007", "0011"]
    page.locator("#verdict").blur()
    with page.expect_download() as download:
        page.keyboard.press("d")
    file = tmp_path / download.value.suggested_filename
    download.value.save_as(file)
    names = [f"{number:04d}" for number in range(40)]
    assert read_decisions(file, names) == {
        "0007": Decision(False, 'a tram, "fast"'), "0011": Decision(False, ""),
    }  # fmt: skip
    assert f"--decisions {file.name}" in page.locator("#hint").text_content()


def test_decisions_work_from_the_page_to_the_folder_and_back(trained, open_page, tmp_path):
    shutil.copytree(trained / "raw", tmp_path / "raw")
    align = ["align", *(str(tmp_path / "raw" / side) for side in ("iphone", "canon"))]
    align += ["-o", str(tmp_path / "aligned"), "-q"]
    assert execute(align) == 0
    before = (tmp_path / "aligned" / "dslr" / "0002.png").read_bytes()
    file = tmp_path / "decisions.csv"
    for press, there in (("r", False), ("r", True)):
        page = open_page(tmp_path / "aligned")
        choose(page, "0002")
        page.keyboard.press(press)
        with page.expect_download() as download:
            page.click("#download")
        download.value.save_as(file)
        assert execute([*align, "--decisions", str(file)]) == 0
        assert (tmp_path / "aligned" / "dslr" / "0002.png").exists() == there
    assert (tmp_path / "aligned" / "dslr" / "0002.png").read_bytes() == before


def test_a_rejected_pair_with_a_map_is_accepted_from_the_page(trained, open_page, tmp_path):
    shutil.copytree(trained / "raw", tmp_path / "raw")
    align = ["align", *(str(tmp_path / "raw" / side) for side in ("iphone", "canon"))]
    align += ["-o", str(tmp_path / "aligned"), "-q", "--min-verified", "100000"]
    assert execute(align) == 3
    image, file = tmp_path / "aligned" / "dslr" / "0002.png", tmp_path / "decisions.csv"
    for words, exit_code, there in (
        ("accepted by hand", 0, True),
        ("acceptance withdrawn", 3, False),
    ):
        page = open_page(tmp_path / "aligned")
        choose(page, "0002")
        assert page.locator("#reject").text_content() == "accept"
        page.keyboard.press("r")
        assert page.locator(f"#rows tr:has-text('0002') td:has-text('{words}')").is_visible()
        with page.expect_download() as download:
            page.click("#download")
        download.value.save_as(file)
        assert execute([*align, "--max-rejected", "1", "--decisions", str(file)]) == exit_code
        assert image.exists() == there


def test_five_thousand_pairs_are_listed_as_they_come_into_sight(open_page, tmp_path):
    folder = write_aligned(tmp_path, 4990, {f"bad {n}": "blank" for n in range(10)})
    # As fragmented as scenes with much depth are: a third of the cells begins another surface.
    rng = np.random.default_rng(0)
    cells = np.where(rng.random(67 * 89) < 0.3, rng.integers(0, 60, 67 * 89), -1)
    last = np.maximum.accumulate(np.where(cells < 0, 0, np.arange(67 * 89)))
    give_surfaces(folder, surfaces_of(cells.clip(0)[last].reshape(67, 89), 2.0), holds=0.5)
    write_report(folder)
    page = open_page(folder)
    size = (folder / "report" / "index.html").stat().st_size
    assert size < 12e6
    assert page.locator("#count").text_content() == "5000 of 5000 pairs"
    assert page.locator("#rows tr").count() < 60
    page.keyboard.press("End")
    assert caption(page).startswith("4989: ")
    assert names_in(page)[-1] == "4989"
    assert page.locator("#rows tr.chosen").is_visible()
    page.fill("#search", "median<0.1002")
    assert names_in(page) == ["0000", "0001"]


def test_without_aligned_images_the_originals_are_shown(open_page, tmp_path):
    folder = write_aligned(tmp_path, 2, {})
    description = folder / "dataset.json"
    description.write_text(description.read_text().replace('"images": true', '"images": false'))
    for side in ("phone", "dslr"):
        shutil.rmtree(folder / side)
    write_report(folder)
    page = open_page(folder)
    page.wait_for_function("dslr.naturalWidth === 320")
    assert page.locator("[data-view=swipe]").is_disabled()
    page.keyboard.press("7")
    assert page.locator("#drawing line").count() > 100
    page.keyboard.press("8")
    page.keyboard.press("r")
    assert page.locator("#rows tr:has-text('0000') td:has-text('rejected by hand')").is_visible()


def test_a_pair_rejected_by_hand_before_can_be_taken_back(open_page, tmp_path):
    folder = write_aligned(tmp_path, 2, {"tram": "rejected by hand: it drove by"})
    write_report(folder)
    page = open_page(folder)
    assert caption(page) == "tram: rejected by hand: it drove by"
    assert page.input_value("#note") == "it drove by"
    page.keyboard.press("r")
    assert caption(page) == "tram: rejection withdrawn"
    with page.expect_download() as download:
        page.click("#download")
    assert Path(download.value.path()).read_text() == "name,decision,note\n"


def test_the_originals_gone_are_named_instead_of_shown(browser, tmp_path):
    folder = write_aligned(tmp_path, 1, {"gone": "blank"})
    write_report(folder)
    (tmp_path / "raw" / "phone" / "gone.png").unlink()
    page = browser.new_page()
    page.goto((folder / "report" / "index.html").as_uri())
    page.wait_for_selector("#side:has-text('cannot be shown: gone.png')", timeout=2000)
    page.close()


def test_photos_that_no_browser_shows_are_replaced_by_their_thumbnail(open_page, tmp_path):
    folder = write_aligned(tmp_path, 1, {"raw": "blank"})
    lines = (folder / "pairs.jsonl").read_text().replace("/raw.png", "/raw.dng")
    (folder / "pairs.jsonl").write_text(lines)
    write_report(folder)
    page = open_page(folder)
    assert caption(page) == "raw: rejected, blank"
    page.wait_for_function("phone.naturalWidth === 320")
    assert "A browser cannot show these photos" in page.locator("#caption").text_content()


def test_the_page_of_patches_shows_the_threshold_and_all_kinds_of_windows(trained, open_page):
    page = open_page(trained / "shards")
    index = json.loads((trained / "shards" / "index.json").read_text())
    ncc = page.locator("figure.chart", has_text="Correlation of all windows")
    assert ncc.locator(".mark-name").text_content() == "--min-corr 0.98"
    heights = ncc.locator("rect").evaluate_all("bars => bars.map((b) => b.getBBox().height)")
    shown = index["windows"]["ncc"]["counts"][-len(heights) :]
    assert np.allclose(heights, np.array(shown) * max(heights) / max(shown), atol=0.2)
    kept = page.locator("figure.chart", has_text="Correlation of the kept patch pairs")
    bars = kept.locator("rect").evaluate_all("bars => bars.map((b) => b.getBBox().height)")
    assert sum(height > 0 for height in bars) > 10, "they can be told apart"
    for measure in ("Brightness", "Saturation", "Sharpness"):
        legend = page.locator("figure.chart", has_text=measure).locator(".key")
        assert [words.split()[0] for words in legend.all_text_contents()] == ["phone", "DSLR"]
    shifts = page.locator("figure.chart", has_text="Shift of parts of the patches")
    assert shifts.locator(".mark-name").text_content() == "1 px"
    titles = page.locator("rect title").all_text_contents()
    assert any("of the photo pairs have a patch here" in title for title in titles)
    assert page.locator("h2:has-text('Kept, chosen at random') + .tiles img").count() == 24
    dropped = page.locator("h2:has-text('Dropped, chosen at random') + .tiles figcaption")
    words = dropped.all_text_contents()
    assert words
    assert {text.split(",")[0] for text in words} == set(index["windows"]["dropped"])
    for split in ("train", "val", "test"):
        row = page.locator(f"tr:has(td:text-is('{split}'))").first
        assert f"{index['splits'][split]['patches']:,}" in row.inner_text().split()


def test_the_page_of_a_run_has_the_papers_tables_and_the_baselines(trained, open_page):
    page = open_page(trained / "runs" / "001")
    log = [json.loads(line) for line in (trained / "runs/001/log.jsonl").read_text().splitlines()]
    tables = {
        head: page.locator(f"h2:has-text('{head}') + .wide tr").all_inner_texts()
        for head in ("Table I:", "Table II:")
    }
    assert tables["Table I:"][0].split("\t") == [
        "Step", "Disc. Accuracy (Train)", "Disc. Accuracy (Test)"
    ]  # fmt: skip
    assert tables["Table II:"][0].split("\t") == [
        "Step", "Gen. Loss (Train)", "Gen. Loss (Test)", "Metrics (PSNR, MS-SSIM)",
        "PSNR over scenes", "MS-SSIM over scenes",
    ]  # fmt: skip
    assert len(tables["Table II:"]) == 1 + len(log)
    for row, line in zip(log, tables["Table II:"][1:], strict=True):
        intervals = []
        for key, form in (("psnr", ".2f"), ("ms_ssim", ".4f")):
            ends = (f"{key}_over_scenes{end}" for end in ("", "_low", "_high"))
            mean, low, high = (format(row[name], form) for name in ends)
            intervals.append(f"{mean} [{low}, {high}]")
        losses = (row[f"generator_loss_{split}"] for split in ("train", "test"))
        assert line.split("\t") == [
            f"{row['step']}, iphone",
            *("-" if loss is None else f"{loss:.4g}" for loss in losses),
            f"{row['psnr']:.2f}, {row['ms_ssim']:.4f}",
            *intervals,
        ]
    points = page.locator("figure.chart", has_text="PSNR on validation").locator("circle")
    heights = np.array(points.evaluate_all("all => all.map((c) => +c.getAttribute('cy'))"))
    psnr = np.array([row[key] for key in ("psnr", "psnr_over_scenes") for row in log])
    assert np.corrcoef(-heights, psnr)[0, 1] > 0.999
    evaluation = page.locator("h2:has-text('beat the baselines') ~ .wide").first.inner_text()
    assert evaluation.startswith("test (")
    for method in ("network", "untouched phone", "colour polynomial"):
        assert f"\n{method}\t" in evaluation
    heads = page.locator("h2:has-text('over time') ~ .zoomable .row").first.locator("figcaption")
    names = heads.all_text_contents()
    assert (names[0], names[-1]) == ("phone", "DSLR")
    assert names[1] == f"step {log[0]['step']}"
