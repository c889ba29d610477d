"""Names, numbers and errors as sentences have them."""

import pytest

from dpedkit.core.wording import first_line


@pytest.mark.parametrize(
    ("message", "told"),
    [("no route to host\nmore", "no route to host"), ("\n  late\n", "late"), ("", "OSError")],
)
def test_an_error_is_told_in_one_line(message, told):
    assert first_line(OSError(message)) == told
