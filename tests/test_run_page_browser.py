"""The pages of runs and of their comparison in a real browser, wide and narrow, light and dark."""

import json
import shutil

import numpy as np
import pytest

from dpedkit.cli import execute
from dpedkit.core.manifest import read_jsonl

pytestmark = pytest.mark.slow

SIZES = [(1400, 900), (420, 900)]
PAGES = ["runs/001", "runs"]


@pytest.fixture(scope="module")
def judged(trained):
    """A run measured on patches and on whole photos, and its comparison with another."""
    run = trained / "runs" / "001"
    whole = ["--photos", str(trained / "aligned"), "--scenes", "all", "--no-perceptual"]
    assert execute(["evaluate", str(run), *whole, "-q"]) == 0
    other = shutil.copytree(run, trained / "runs" / "002")
    text = (other / "config.toml").read_text()
    (other / "config.toml").write_text(text.replace("batch = 4", "batch = 5"))
    assert execute(["report", str(other), "-q"]) == 0
    assert execute(["report", str(trained / "runs"), "-q"]) == 0
    return trained


def resized(page, size):
    page.set_viewport_size({"width": size[0], "height": size[1]})


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", PAGES)
def test_the_page_fits_and_has_the_colours_of_its_theme(judged, open_page, name, size, scheme):
    page = open_page(judged / name, scheme)
    resized(page, size)
    assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
    back, text = (
        sum(map(int, page.evaluate(f"getComputedStyle(document.body).{key}")[4:-1].split(","))) / 3
        for key in ("backgroundColor", "color")
    )
    assert (back > 230 and text < 60) if scheme == "light" else (back < 40 and text > 200)
    # Dialogs have colours of their own by default.
    page.locator(".zoomable .row").first.click()
    dialog = page.evaluate("getComputedStyle(document.querySelector('dialog')).backgroundColor")
    assert dialog == page.evaluate("getComputedStyle(document.body).backgroundColor")


@pytest.mark.parametrize("size", SIZES)
def test_a_patch_is_shown_large_in_all_steps(judged, open_page, size):
    page = open_page(judged / "runs" / "001")
    resized(page, size)
    steps = [row["step"] for row in read_jsonl(judged / "runs" / "001" / "log.jsonl")]
    rows = page.locator("h2:has-text('over time') ~ .zoomable .row")
    assert rows.count() == 6
    small = rows.nth(1).locator("img").first.bounding_box()["width"]
    rows.nth(1).click()
    dialog = page.locator("dialog.zoom")
    assert dialog.locator("header b").text_content() == "patch 2 of 6"
    names = dialog.locator("figcaption").all_text_contents()
    assert names == ["phone", *(f"step {step}" for step in steps), "DSLR"]
    boxes = [image.bounding_box() for image in dialog.locator("img").all()]
    assert all(box["width"] >= min(380, size[0] - 80) > small for box in boxes)
    assert all(box["x"] >= 0 and box["x"] + box["width"] <= size[0] for box in boxes)
    sources = [one.get_attribute("src") for one in rows.nth(1).locator("img").all()]
    assert [one.get_attribute("src") for one in dialog.locator("img").all()] == sources
    page.keyboard.press("ArrowRight")
    assert dialog.locator("header b").text_content() == "patch 3 of 6"
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    assert dialog.locator("header b").text_content() == "patch 1 of 6"
    page.keyboard.press("Escape")
    assert not dialog.is_visible()
    rows.nth(2).focus()
    page.keyboard.press("Enter")  # what the mouse can do, the keyboard can
    assert dialog.locator("header b").text_content() == "patch 3 of 6"
    dialog.locator("[data-close]").click()
    assert not dialog.is_visible()


def test_whole_photos_are_shown_from_both_ends(judged, open_page):
    page = open_page(judged / "runs" / "001")
    (file,) = (judged / "runs" / "001" / "evaluations").glob("photos-*.json")
    found = json.loads(file.read_text())
    psnr = {one["scene"]: one["scores"]["network"]["psnr"] for one in found["by_scene"]["scenes"]}
    section = page.locator(".zoomable.photos")
    worst = section.first.locator(".about").all_text_contents()
    assert worst[0].startswith(f"{min(psnr, key=psnr.get)}: {min(psnr.values()):.2f} dB")
    best = section.nth(1).locator(".about").first.text_content()
    assert best.startswith(f"{max(psnr, key=psnr.get)}: ")
    section.first.locator(".row").first.click()
    names = page.locator("dialog figcaption").all_text_contents()
    assert names == [
        "untouched phone", "colour polynomial", "network", "DSLR itself", "counted pixels"
    ]  # fmt: skip


def test_the_best_of_each_column_is_bold_and_not_the_oracle(judged, open_page):
    page = open_page(judged / "runs" / "001")
    table = page.locator("h2:has-text('beat the baselines') ~ .wide table").first
    names = table.locator("tbody td:first-child").all_text_contents()
    cells = [row.locator("td").nth(1) for row in table.locator("tbody tr").all()]
    values = dict(zip(names, [float(cell.text_content()) for cell in cells], strict=True))
    bold = [
        name
        for name, cell in zip(names, cells, strict=True)
        if float(cell.locator("b").count())
        and cell.locator("b").evaluate("(e) => +getComputedStyle(e).fontWeight") >= 600
    ]
    rivals = {name: value for name, value in values.items() if name != "oracle polynomial"}
    assert bold == [max(rivals, key=rivals.get)]
    limitations = page.locator("table:has(th:text-is('limitations'))").first
    assert "DSLR itself" in limitations.inner_text()


def test_the_curves_show_the_baselines_and_name_the_split(judged, open_page):
    page = open_page(judged / "runs" / "001")
    psnr = page.locator("figure.chart", has_text="PSNR on validation patches (val split)")
    keys = psnr.locator(".key").all_text_contents()
    assert keys == ["PSNR", "mean over scenes", "untouched phone", "colour polynomial"]
    flat = psnr.locator("polyline").evaluate_all(
        "lines => lines.map((l) => new Set(l.getAttribute('points').split(' ')"
        ".map((p) => p.split(',')[1])).size)"
    )
    assert flat[2:] == [1, 1]
    generator = page.locator("figure.chart", has_text="Generator").locator(".key")
    assert generator.all_text_contents() == ["train", "val"]


def test_the_pages_lead_to_each_other(judged, open_page):
    page = open_page(judged / "runs" / "001")
    page.click("nav#pages a:has-text('patches')")
    assert "shards" in page.url
    page.click("nav#pages a:has-text('aligned pairs')")
    assert "aligned" in page.url
    page.click("nav#pages a:has-text('run: 001')")
    assert page.locator("h1").text_content().startswith("Run 001")


def test_a_comparison_shows_the_runs_side_by_side(judged, open_page):
    page = open_page(judged / "runs")
    assert page.locator("th:text-is('batch')").count() == 1
    row = page.locator(".zoomable .row").first
    names = row.locator("figcaption").all_text_contents()
    assert names == ["phone", "001", "002", "DSLR"]
    widths = [image.bounding_box()["width"] for image in row.locator("img").all()]
    assert np.allclose(widths, 150)
    page.click("li a:has-text('002')")
    assert page.locator("h1").text_content().startswith("Run 002")
