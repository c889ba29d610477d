"""Chromium for the tests of reports, and what they look at in the viewer of aligned pairs."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import numpy as np
from PIL import Image

CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "chrome")
LAPTOP = {"width": 1366, "height": 768}
CORNER = 8  # px
TONE = 3  # levels by which a browser may round a colour


def find_chromium(playwright):
    found = [path for name in CHROMIUM if (path := shutil.which(name))]
    own = playwright.chromium.executable_path  # of `playwright install chromium`
    return next(iter([*found, *([own] if Path(own).exists() else [])]), None)


def names_in(page):
    return page.locator("#rows tr:not(.gap) td:nth-child(2)").all_text_contents()


def caption(page):
    return page.locator("#caption b").text_content()


def choose(page, name):
    page.fill("#search", name)
    page.click("#rows tr:not(.gap)")
    page.fill("#search", "")
    page.locator("#search").blur()
    page.wait_for_function("phone.complete && dslr.complete && phone.naturalWidth > 0")


def pixels(page):
    """What the stage shows, (H, W, 3), without its round corners."""
    shot = page.locator("#stage").screenshot()
    shown = np.asarray(Image.open(io.BytesIO(shot)).convert("RGB")).astype(int)
    return shown[CORNER:-CORNER, CORNER:-CORNER]


def is_colour(found, expected):
    return np.abs(np.asarray(found) - np.asarray(expected)).max() <= TONE
