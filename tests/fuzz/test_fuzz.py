"""A few hundred mutants of every kind; `python -m tests.fuzz` does thousands and prints counts."""

import pytest

from tests.fuzz.__main__ import run
from tests.fuzz.targets import TARGETS


@pytest.mark.slow
@pytest.mark.parametrize("kind", TARGETS)
def test_mutants_end_in_a_sentence(kind, tmp_path):
    counts, wrong = run(kind, 300, 0, tmp_path / "mutants")
    assert counts.total() == 300
    assert wrong == []
