from dataclasses import dataclass

import pytest

from dpedkit._version import __version__
from dpedkit.core import lock, workfolder
from dpedkit.core.config import Config, option
from dpedkit.core.errors import DpedkitError, OutputExistsError
from dpedkit.core.workfolder import prepare


@dataclass(frozen=True)
class Settings(Config):
    size: int = option(1, "Size.")
    jobs: int = option(1, "Workers.", affects_output=False)


@lock.until_end()
def begin(path, *, config=Settings(), inputs=None, overwrite=False, kind="things"):
    return prepare(
        path,
        kind=kind,
        description_name="about.json",
        format_version=1,
        config=config,
        inputs=inputs or {"photos": "a"},
        overwrite=overwrite,
    )


def test_new_then_resumed_then_complete(tmp_path):
    out = tmp_path / "deep" / "out"
    assert not begin(out).resumed
    again = begin(out, config=Settings(jobs=8))
    assert again.resumed
    assert not again.complete
    again.finish(count=3)
    assert begin(out).complete


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"config": Settings(size=2)}, "size: was 1, now 2"),
        ({"inputs": {"photos": "b"}}, "photos: was a, now b"),
    ],
)
def test_other_settings_are_refused_until_overwrite(tmp_path, change, words):
    out = tmp_path / "out"
    begin(out)
    (out / "result.bin").write_text("old")
    (out / "deep").mkdir()
    with pytest.raises(DpedkitError, match="--overwrite") as caught:
        begin(out, **change)
    assert words in str(caught.value)
    assert (out / "result.bin").exists()
    assert not begin(out, overwrite=True, **change).resumed
    assert sorted(p.name for p in out.iterdir()) == ["about.json"]


def test_folders_of_others_are_never_touched(tmp_path):
    (tmp_path / "holiday.jpg").write_text("precious")
    for overwrite in (False, True):
        with pytest.raises(DpedkitError, match="not made by this command"):
            begin(tmp_path, overwrite=overwrite)
    out = tmp_path / "out"
    begin(out, kind="other")
    with pytest.raises(DpedkitError, match="holds 'other' data"):
        begin(out, overwrite=True)
    assert (tmp_path / "holiday.jpg").read_text() == "precious"


def test_unfinished_files_of_a_killed_run_are_removed_on_resuming(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "about.json.4711.part").touch()
    begin(out)
    assert [path.name for path in out.iterdir()] == ["about.json"]
    (out / "phone").mkdir()
    (out / "phone" / "0001.png.4711.part").touch()
    (out / "phone" / "0001.png").touch()
    assert begin(out).resumed
    assert [path.name for path in (out / "phone").iterdir()] == ["0001.png"]


def test_what_a_worker_of_a_killed_run_left_later_is_removed_at_the_end(tmp_path):
    folder = begin(tmp_path / "aligned")
    unfinished = tmp_path / "aligned" / "thumbnails" / "2.jpg.18277847147.part"
    unfinished.parent.mkdir()
    unfinished.write_bytes(b"half a")
    folder.finish()
    assert not unfinished.exists()


def test_another_version_does_not_finish_what_this_one_began(tmp_path, monkeypatch):
    out = tmp_path / "out"
    begin(out)
    (out / "result.bin").write_text("old")
    monkeypatch.setattr(workfolder, "__version__", "9.8.7")
    said = rf"started by dpedkit {__version__}, but this is dpedkit 9\.8\.7.*=={__version__}"
    with pytest.raises(OutputExistsError, match=said):
        begin(out)
    assert (out / "result.bin").exists()
    begin(out, overwrite=True).finish()
    assert not (out / "result.bin").exists()


def test_another_version_leaves_a_complete_folder_but_adds_nothing(tmp_path, monkeypatch):
    begin(tmp_path).finish()
    monkeypatch.setattr(workfolder, "__version__", "9.8.7")
    folder = begin(tmp_path)
    assert folder.complete
    folder.reopen(adding=False)
    folder.finish()
    with pytest.raises(OutputExistsError, match=r"9\.8\.7"):
        folder.reopen(adding=True)
    assert begin(tmp_path).complete
