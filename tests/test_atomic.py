import errno

import pytest

from dpedkit.atomic import complete_or_absent, make_folder, write_json, write_text
from dpedkit.errors import DpedkitError


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with pytest.raises(RuntimeError), complete_or_absent(path) as part:
        part.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_nothing_under_the_final_name_while_writing(tmp_path):
    path = tmp_path / "a.txt"
    with complete_or_absent(path) as part:
        part.write_text("x")
        assert not path.exists()
    assert path.read_text() == "x"


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "full"), OSError("h5: No space left on device")]
)
def test_a_full_disk_is_a_sentence_and_keeps_what_was_there(tmp_path, error):
    path = tmp_path / "a.json"
    write_json(path, {"a": 1})
    with (
        pytest.raises(DpedkitError, match=r"disk is full.*a\.json"),
        complete_or_absent(path) as part,
    ):
        part.write_text("{")
        raise error
    assert path.read_text() == '{\n  "a": 1\n}\n'


def test_a_file_in_the_way_of_a_folder(tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(DpedkitError, match="is a file"):
        make_folder(tmp_path / "out")
