"""The page of failures says what `align` and `patches` say today."""

from pathlib import Path

import pytest
from failure_gallery import FAILURES, gallery

DOCS = Path(__file__).parents[1] / "docs"


@pytest.mark.slow
def test_the_page_of_failures_is_up_to_date(tmp_path):
    page = (DOCS / "failures.md").read_text(encoding="utf-8")
    assert gallery(tmp_path / "failures") == page
    names = [path.name for path in sorted((DOCS / "failures").iterdir())]
    assert names == sorted(f"{failure.name}.jpg" for failure in FAILURES)
