"""The comparison with other libraries measures right, and says what is not installed."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dpedkit.geometry import PairMap, apply_homography
from dpedkit.simulate.truth import Truth

ROOT = Path(__file__).parents[1]
BENCHMARKS = ROOT / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

from baselines import other_homographies  # noqa: E402
from comparison import align, machine, page, peers, tables, turns  # noqa: E402

HOMOGRAPHY = np.array([[1.1, 0.02, 30.0], [-0.03, 1.08, 20.0], [1e-5, -2e-5, 1.0]])
COLUMNS = (tables.Column("seconds", tables.LESS), tables.Column("rate", tables.MORE, ",.0f"))


def table_of(*rows, ours="ours"):
    return tables.Table("Job", COLUMNS, rows, ours)


def test_where_another_row_is_better_the_table_says_so_and_why():
    ours = tables.Row("ours", (2.0, 100.0))
    faster = tables.Row("other", (1.5, 90.0), {"seconds": "It does less."})
    unknown = tables.Row("third", (2.5, 120.0))
    table = table_of(ours, faster, unknown)
    assert "| other | **1.50** | 90 |" in table.markdown()
    assert "| third | 2.50 | **120** |" in table.markdown()
    assert "Better than ours in seconds: other. It does less." in table.text()
    assert f"Better than ours in rate: third. {tables.UNKNOWN}" in table.text()


def test_rows_with_the_same_reason_share_a_sentence():
    why = {"seconds": "They do less.", "rate": "They do less."}
    rows = [tables.Row(name, (1.0, 200.0), why) for name in ("a", "b")]
    remarks = table_of(tables.Row("ours", (2.0, 100.0)), *rows).remarks()
    assert remarks == ["Better than ours in seconds and rate: a and b. They do less."]


def test_differences_within_the_margin_and_floors_are_not_better():
    ours = tables.Row("ours", (2.0, 100.0))
    close = tables.Row("close", (1.95, 104.0))
    floor = tables.Row("floor", (0.1, None), is_floor=True)
    assert table_of(ours, close, floor).better_than_ours() == []


def test_what_is_absent_has_a_row_with_its_reason():
    table = table_of(tables.Row("ours", (2.0, 100.0)), tables.Row("gone", absent="no wheel."))
    assert "| gone | - | - |" in table.markdown()
    assert "- gone: not measured; no wheel." in table.markdown()


def test_ratios_are_taken_within_each_turn():
    def costs(*seconds):
        return [turns.Cost(0, one) for one in seconds]

    assert turns.median_ratio(costs(2, 40, 6), costs(1, 10, 3)) == 2


def test_ways_take_turns():
    order = []
    ways = {name: lambda name=name: order.append(name) for name in ("a", "b")}
    assert {name: len(costs) for name, costs in turns.by_turns(ways, 2).items()} == {"a": 2, "b": 2}
    assert order == ["a", "b", "a", "b"]


def test_a_busy_machine_is_warned_of():
    facts = [("processor", "some")]
    measured = [page.Measured("Stage", "Note.", [table_of()], machine.Others(1.5))]
    busy, quiet = (page.page(facts, 2, load, measured) for load in (1.2, 0.01))
    assert "others took 1.2 of its 2 cores" in busy
    assert "busy" not in quiet.split("## Machine")[1]
    assert "took 1.5 cores meanwhile" in quiet


def test_others_took_what_the_system_counts_beyond_the_own_work(monkeypatch):
    system, own, clock = iter([10.0, 14.0]), iter([0.0, 1.0]), iter([0.0, 2.0])
    monkeypatch.setattr(machine, "_busy_seconds", lambda: next(system))
    monkeypatch.setattr(machine, "processor_seconds", lambda: next(own))
    monkeypatch.setattr(machine.time, "monotonic", lambda: next(clock))
    with machine.watching_others() as others:
        pass
    assert others.cores == 1.5
    assert others.busy


def test_two_processes_are_compared_with_one():
    scaling = machine.Scaling()
    scaling.probe(0.05)
    assert {kind: len(found) for kind, found in scaling.measured.items()} == {
        "arithmetic": 1,
        "copying": 1,
    }
    assert all(found[0] > 0 for found in scaling.measured.values())


def test_a_module_that_is_missing_is_absent_with_a_reason():
    with pytest.raises(peers.AbsentError, match="no_such_peer is not installed"):
        peers.load("no_such_peer.feature")


def test_what_pip_said_is_the_reason(tmp_path, monkeypatch):
    (tmp_path / "peers.json").write_text('{"no_such_peer": "pip could not install it: no wheel"}')
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    with pytest.raises(peers.AbsentError, match="no wheel"):
        peers.load("no_such_peer")


def test_peers_that_cannot_be_installed_do_not_stop_the_others(tmp_path, monkeypatch):
    monkeypatch.setattr(peers, "wanted", lambda: ["no-such-peer>=1", "no-such-peer-2"])
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    venv = tmp_path / "venv"
    peers.install(venv)
    code = (
        "import json, sys, pathlib, torch, dpedkit; "
        "print(sorted(json.loads((pathlib.Path(sys.prefix) / 'peers.json').read_text())))"
    )
    command = [venv / "bin" / "python", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['no-such-peer', 'no-such-peer-2']"


def test_every_peer_is_pinned():
    pinned = {line.split("==")[0] for line in (ROOT / "constraints.txt").read_text().splitlines()}
    assert set(peers.names()) <= pinned


def test_dlt_finds_the_homography_of_exact_matches_and_is_misled_by_wrong_ones():
    rng = np.random.default_rng(0)
    source = rng.uniform(0, 1000, (200, 2))
    target = apply_homography(HOMOGRAPHY, source)
    assert np.allclose(other_homographies.by_dlt(source, target), HOMOGRAPHY, atol=1e-8)
    target[:10] += 200
    found = apply_homography(other_homographies.by_dlt(source, target), source[10:])
    assert np.median(np.linalg.norm(found - target[10:], axis=1)) > 1


def test_the_error_is_in_pixels_of_the_phone_photo_where_both_photos_show_the_place():
    truth_map = PairMap(np.diag([2.0, 2.0, 1.0]), (400, 300), (700, 600))
    truth = Truth((truth_map,), np.zeros((300, 400), np.uint8))
    shifted = PairMap(np.array([[2.0, 0, 6.0], [0, 2.0, 8.0], [0, 0, 1]]), (400, 300), (700, 600))
    median, p95, places = align.error_of(shifted, truth)
    assert median == pytest.approx(5)  # 10 px of the DSLR photo, of which two are one of the phone
    assert p95 == pytest.approx(5)
    assert places == 1


@pytest.fixture
def no_peers(monkeypatch):
    def load(name):
        raise peers.AbsentError(f"{name} is not here.")

    monkeypatch.setattr(peers, "load", load)


def test_alignment_is_compared_without_any_peer(tmp_path, no_peers):
    align.simulate(tmp_path / "raw", 0.2, 0.0, 1)
    table = align.compare_pairs(tmp_path / "raw", "small", with_slow=True)
    rows = {row.name: row for row in table.rows}
    values = {
        name: dict(zip((column.name for column in table.columns), row.values, strict=True))
        for name, row in rows.items()
        if row.values
    }
    assert values[align.OURS]["error, px: median"] < 0.2
    assert values[align.TEXTBOOK]["error, px: median"] < 2
    assert values[align.FLOOR]["processor seconds"] < values[align.OURS]["processor seconds"]
    for name in (align.POSELIB, align.SKIMAGE, align.KORNIA):
        assert "is not here" in rows[name].absent


def test_a_peer_that_fails_has_a_row_with_what_it_said(tmp_path, no_peers, monkeypatch):
    def fail(*_):
        raise RuntimeError("broken\nin detail")

    monkeypatch.setattr(other_homographies, "by_ecc", fail)
    align.simulate(tmp_path / "raw", 0.2, 0.0, 1)
    table = align.compare_pairs(tmp_path / "raw", "small", with_slow=False)
    (row,) = [row for row in table.rows if row.name == align.ECC]
    assert row.absent == "it failed: RuntimeError: broken"


@pytest.mark.slow
def test_everything_is_measured_in_small(tmp_path):
    command = [sys.executable, "compare.py", "--quick", "--output", tmp_path / "page.md"]
    done = subprocess.run(command, cwd=BENCHMARKS, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    written = (tmp_path / "page.md").read_text()
    for title in ("Alignment", "Patches", "Loading", "Metrics", "Training step", "Enhancement"):
        assert f"## {title}\n" in written
    assert "This was a quick run" in written
