"""The viewer of aligned pairs in a real browser: filter, comparison of images, decisions."""

import base64
from pathlib import Path
from urllib.parse import urlparse
from urllib.request import url2pathname

import numpy as np
import pytest
from chromium import CORNER, caption, choose, is_colour, names_in, pixels
from fake_aligned import BLUE, RED, RESIDUALS, change_details, write_aligned

from dpedkit.core.manifest import read_jsonl, write_jsonl
from dpedkit.report import write_report

pytestmark = pytest.mark.slow

REASONS = {"street": "too little in common", "wall": "repeated texture"}
DESK, PHONE = {"width": 1400, "height": 900}, {"width": 420, "height": 900}
TONED = (190, 55, 32)  # what the tones of the phone make of BLUE in pair 0003


def constant(level):
    return [level] * 17


@pytest.fixture(scope="module")
def aligned(tmp_path_factory):
    """40 accepted pairs, of which 0003 has the phone's tones, and two rejected ones."""
    folder = write_aligned(tmp_path_factory.mktemp("fake"), 40, REASONS)
    records = read_jsonl(folder / "pairs.jsonl")
    change_details(folder, records[3], tones=[constant(level) for level in TONED])
    records[3]["phone"] |= {
        "camera": "Apple iPhone X",
        "lens": "back camera",
        "exposure": "4 mm, f/1.8, 1/60 s, ISO 32",
    }
    records[3]["dslr"] |= {"camera": "NIKON D5500"}
    write_jsonl(folder / "pairs.jsonl", records)
    write_report(folder)
    return folder


@pytest.fixture
def page(aligned, open_page):
    return open_page(aligned, screen=DESK)


@pytest.fixture
def pair_3(page):
    choose(page, "0003")
    return page


def middle(page):
    shown = pixels(page)
    return shown[shown.shape[0] // 2, shown.shape[1] // 2]


def set_slider(page, name, value):
    page.locator(name).fill(str(value))


@pytest.mark.parametrize("screen", [DESK, PHONE], ids=["desk", "phone"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_view_is_wider_than_the_screen(aligned, open_page, screen, scheme):
    page = open_page(aligned, scheme, screen)
    wide = "document.documentElement.scrollWidth"
    choose(page, "0003")
    for view in page.locator("#views button:enabled").all():
        view.click()
        assert page.evaluate(wide) <= screen["width"]
    page.keyboard.press("r")
    page.fill("#search", "no_such_column>1 ncc<0")
    assert page.locator("#complaint").is_visible()
    assert page.evaluate(wide) <= screen["width"]


# ------------------------------------------------------------------------------------ the list


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("wall", ["wall"]),
        ("repeated texture", ["wall"]),
        ("median>0.48", ["0038", "0039"]),
        ("ncc<0.79 p95<1.48", ["0038"]),
        ("no such thing", []),
        ("verified>=780", ["0038", "0039"]),
        ("verified > 780", ["0039"]),
        ("verified<=400", ["0000"]),
        ("verified=410", ["0001"]),
        ("NCC < 79% p95 < 1,48", ["0038"]),
        ("med. > 0.48 inliers>0", ["0038", "0039"]),
        ("med>0.48", ["0038", "0039"]),
        ("verdict=texture", ["wall"]),
        ("pair = 0012", ["0012"]),
    ],
)
def test_the_filter_shows_what_was_asked_for(page, words, expected):
    page.fill("#search", words)
    assert names_in(page) == expected
    assert page.locator("#count").text_content() == f"{len(expected)} of 42 pairs"
    assert page.locator("#complaint").is_hidden()
    page.fill("#search", "")
    page.select_option("#verdict", "rejected")
    assert names_in(page) == ["street", "wall"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("sharpness>3", 'There is no column "sharpness"; there are pair (name), verdict'),
        ("ncc<", '"ncc<" needs a number.'),
        ("p95 >= many", '"p95>=" needs a number.'),
        ("verdict<3", '"verdict" holds words: use verdict=WORD.'),
    ],
)
def test_a_condition_that_cannot_be_met_is_named_and_the_others_hold(page, words, said):
    page.fill("#search", f"{words} median>0.48")
    assert said in page.locator("#complaint").text_content()
    assert names_in(page) == ["0038", "0039"]
    page.fill("#search", "median>0.48")
    assert page.locator("#complaint").is_hidden()


def test_every_measure_is_named_where_a_column_is_unknown(page):
    page.fill("#search", "x>1")
    said = page.locator("#complaint").text_content()
    for name in page.evaluate("MEASURES"):
        assert name in said


def test_an_empty_list_says_so_and_can_be_left(page):
    page.fill("#search", "no such thing")
    page.locator("#search").blur()
    assert page.locator("#rows").inner_text().strip() == "No pair matches."
    assert page.locator("#empty").is_visible()
    assert page.locator("img:visible").count() == 0
    for key in ("ArrowDown", "End", "r", "u", "5", "9", " ", "p", "+"):
        page.keyboard.press(key)
    assert page.locator("#empty").is_visible()
    page.click("#clear")
    assert page.locator("#count").text_content() == "42 of 42 pairs"
    assert page.locator("#empty").is_hidden()
    assert caption(page).startswith("street: ")


@pytest.mark.parametrize("screen", [DESK, PHONE], ids=["desk", "phone"])
def test_titles_are_whole_when_they_sort(aligned, open_page, screen):
    page = open_page(aligned, screen=screen)
    cut = "head => head.scrollWidth > head.clientWidth"
    for head in page.locator("th[data-key]").all():
        for order in ("ascending", "descending"):
            head.click()
            assert head.get_attribute("aria-sort") == order
            assert not head.evaluate(cut), head.text_content()
    page.locator("th[data-key=median]").focus()
    page.keyboard.press("Enter")
    assert page.locator("th[aria-sort]").text_content() == "med."


# ------------------------------------------------------------------------------ the two images


def cut_shown(page):
    """Where, in px of the stage, the phone's red becomes the DSLR's blue."""
    row = pixels(page)[200]
    red = np.flatnonzero([is_colour(pixel, RED) for pixel in row])
    blue = np.flatnonzero([is_colour(pixel, BLUE) for pixel in row])
    assert len(red) and len(blue) and red.max() < blue.min()
    return (red.max() + blue.min()) / 2 + CORNER


def test_the_divider_is_dragged_and_the_photos_stay(pair_3):
    page = pair_3
    page.click("[data-view=swipe]")
    box = page.locator("#stage").bounding_box()
    before, y = page.evaluate("phone.style.transform"), box["y"] + 150
    start = 0.5
    for share in (0.3, 0.7):
        page.mouse.move(box["x"] + start * box["width"] + 6, y)
        page.mouse.down()
        page.mouse.move(box["x"] + share * box["width"], y, steps=4)
        page.mouse.up()
        page.mouse.move(box["x"] + 0.9 * box["width"], y)  # without the button nothing follows
        assert cut_shown(page) == pytest.approx(share * box["width"], abs=4)
        start = share
    assert page.evaluate("phone.style.transform") == before
    page.mouse.move(box["x"] + 0.2 * box["width"], y)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.25 * box["width"], y, steps=4)
    page.mouse.up()
    assert page.evaluate("phone.style.transform") != before  # beside it, they are dragged
    page.mouse.dblclick(box["x"] + 0.2 * box["width"], y)
    page.locator("#divider").focus()
    for _ in range(5):
        page.keyboard.press("ArrowLeft")
    assert cut_shown(page) == pytest.approx(0.6 * box["width"], abs=4)
    assert caption(page).startswith("0003: ")


@pytest.mark.parametrize("share", [0, 25, 80, 100])
def test_the_overlay_has_the_opacity_that_is_set(pair_3, share):
    pair_3.click("[data-view=overlay]")
    assert is_colour(middle(pair_3), (np.array(RED) + BLUE) / 2)
    set_slider(pair_3, "#opacity", share)
    mixed = np.array(RED) + (np.array(BLUE) - RED) * share / 100
    assert is_colour(middle(pair_3), mixed)
    assert pair_3.locator("#opacity-value").text_content() == f"{share}%"
    pair_3.click("[data-view=side]")
    assert pair_3.locator("#overlaid").is_hidden()


def test_the_difference_is_that_after_matching_the_tones(pair_3):
    page = pair_3
    page.click("[data-view=difference]")
    matched = np.abs(np.subtract(RED, TONED))
    for step, gain in ((0, 1), (2, 4), (3, 8)):
        set_slider(page, "#gain", step)
        assert np.abs(middle(page) - np.minimum(matched * gain, 255)).max() <= 2 * gain
        assert page.locator("#gain-value").text_content() == f"\u00d7{gain}"
        assert page.locator("#white").text_content() == f"{255 // gain} of 255 levels"
    set_slider(page, "#gain", 0)
    page.uncheck("#match")
    assert is_colour(middle(page), np.abs(np.subtract(RED, BLUE)))
    page.check("#match")
    assert page.locator("#unmatched").is_hidden()


def test_tones_that_are_not_known_are_not_matched(page):
    choose(page, "0004")
    page.click("[data-view=difference]")
    assert page.locator("#unmatched").is_visible() and page.locator("#match").is_disabled()
    set_slider(page, "#gain", 0)
    assert is_colour(middle(page), np.abs(np.subtract(RED, BLUE)))


def test_the_rim_of_the_photos_does_not_differ_from_itself(aligned, open_page, tmp_path):
    folder = write_aligned(tmp_path, 1, {})
    (folder / "dslr" / "0000.png").unlink()
    (folder / "dslr" / "0000.png").hardlink_to(folder / "phone" / "0000.png")
    write_report(folder)
    page = open_page(folder, screen={"width": 1403, "height": 811})
    page.add_style_tag(content=".tag { display: none; }")
    page.wait_for_function("phone.complete && dslr.complete && phone.naturalWidth > 0")
    page.click("[data-view=difference]")
    set_slider(page, "#gain", 5)
    beside = [
        int(n) for n in page.evaluate("getComputedStyle(stage).backgroundColor")[4:-1].split(",")
    ]
    assert pixels(page).max() <= max(beside)


def test_residuals_are_told_as_a_histogram_and_in_words(pair_3):
    pair_3.click("[data-view=residuals]")
    lengths = np.hypot(*np.array(RESIDUALS)[:, 2:].T)
    said = pair_3.locator("#legend").inner_text()
    assert f"{lengths.max():.2f} px" in said
    assert f"half within {np.median(lengths):.2f} px, 95% within {lengths.max():.2f} px" in said
    assert pair_3.locator("#legend svg").is_visible()
    titles = pair_3.locator("figure.chart", has_text="Median residual over the phone photo")
    assert titles.locator("rect title").first.text_content().startswith("0.")


def test_the_originals_are_linked_and_it_is_told_how_they_were_taken(pair_3, aligned):
    links = pair_3.locator("#taken a").evaluate_all("all => all.map((a) => a.href)")
    files = [Path(url2pathname(urlparse(link).path)) for link in links]
    raw = aligned.parent / "raw"
    assert files == [raw / side / "0003.png" for side in ("phone", "dslr")]
    assert all(file.is_file() for file in files)
    one, other = pair_3.locator("#taken div").all_inner_texts()
    words = "Apple iPhone X, back camera, 4 mm, f/1.8, 1/60 s, ISO 32, 160 x 120 px"
    assert one == f"phone 0003.png {words}"
    assert other == "DSLR 0003.png NIKON D5500, 320 x 240 px"


# ----------------------------------------------------------------------------------- decisions


def heading(page):
    return page.locator("h1").text_content()


def test_after_a_decision_the_heading_and_the_next_pair_follow(pair_3):
    page = pair_3
    assert heading(page) == "Aligned pairs: 40 accepted, 2 rejected"
    assert page.locator("#pending").is_hidden()
    page.keyboard.press("r")
    assert heading(page) == "Aligned pairs: 39 accepted, 3 rejected"
    assert page.locator("#pending").is_visible()
    assert caption(page) == "0004: accepted"
    page.keyboard.press("n")
    page.keyboard.type("a tram")
    page.keyboard.press("Enter")
    assert (
        page.locator("#rows tr:has-text('0003')").inner_text().endswith("rejected by hand: a tram")
    )
    page.keyboard.press("ArrowDown")
    assert page.locator("#note").is_hidden()
    page.keyboard.press("ArrowUp")
    page.keyboard.press("r")
    page.keyboard.press("u")
    assert caption(page) == "0004: accepted"
    page.keyboard.press("u")
    assert caption(page) == "0003: accepted"
    assert heading(page) == "Aligned pairs: 40 accepted, 2 rejected"
    assert page.locator("#pending").is_hidden()


def test_a_decision_leaves_a_filtered_list_in_order(page):
    page.select_option("#verdict", "accepted")
    page.locator("#verdict").blur()
    page.keyboard.press("End")
    page.keyboard.press("r")  # the last one: there is no next
    assert caption(page) == "0038: accepted"
    page.keyboard.press("ArrowUp")
    page.keyboard.press("r")
    assert caption(page) == "0038: accepted"
    assert names_in(page)[-2:] == ["0036", "0038"]
    assert page.locator("#count").text_content() == "38 of 42 pairs"
    page.reload()
    assert heading(page) == "Aligned pairs: 38 accepted, 4 rejected"


def test_tones_are_carried_as_three_rows_of_bytes(page):
    packed = page.evaluate("REPORT.pairs.find((pair) => pair.name === '0003').tones")
    assert [*base64.b64decode(packed)] == [level for level in TONED for _ in range(17)]
