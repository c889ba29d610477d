"""Folders of many pairs: what is read, written and held in memory when nothing is new."""

import json
import os
import sys
import time
import tracemalloc
from dataclasses import replace
from pathlib import Path

import pytest
from fake_aligned import change_details, write_aligned
from test_align_folders import contents, decide, raw, run, scene_photos  # noqa: F401

from dpedkit.align.ledger import JOURNAL, PAIRS, Ledger
from dpedkit.aligned import AlignedPhotos, content_hash, read_aligned
from dpedkit.core.details import DETAILS, PairDetails, details_file
from dpedkit.core.errors import DpedkitError
from dpedkit.core.manifest import each_line, json_line, line_at, read_jsonl, write_jsonl
from dpedkit.core.records import PairRecord, SourcePhoto, WrittenFile
from dpedkit.report import current_report, page, write_report

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
import scale


def record(number, **changes):
    source = SourcePhoto(f"/raw/{number:06d}.jpg", 10, 20, 30, 40, "a camera")
    files = {DETAILS: WrittenFile(3, f"{number:064d}")}
    whole = PairRecord(number, f"{number:06d}", "accepted", "", source, source, files=files)
    return replace(whole, evidence={"residual_median": number / 8, "ncc": 0.5}, **changes)


def states(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


# ------------------------------------------------------------------------------------ the ledger


def test_the_newest_record_of_a_pair_is_found_wherever_it_is(tmp_path):
    write_jsonl(tmp_path / PAIRS, [record(number).to_dict() for number in range(4)])
    changed = record(2, status="rejected", reason="blurred")
    with Ledger(tmp_path) as ledger:
        assert [*ledger.read()] == [record(number) for number in range(4)]
        assert ledger.is_settled([f"{number:06d}" for number in range(4)])
        ledger.append(record(2, reason="first"))
        ledger.append(changed)
    with (tmp_path / JOURNAL).open("ab") as journal:
        journal.write(b'{"name": "000003", "stat')  # by a killed run
    with Ledger(tmp_path) as ledger:
        assert [*ledger.read()] == [changed, record(0), record(1), record(3)]
        assert ledger.get("000002") == changed
        assert ledger.get("000001") == record(1)
        assert ledger.get("none") is None
        assert (ledger["000002"].reason, ledger["000003"].residual) == ("blurred", 3 / 8)
        assert not ledger.is_settled([f"{number:06d}" for number in range(4)])
        names = ["000003", "000002"]  # others are gone
        assert [*ledger.records(names)] == [replace(record(3), index=0), replace(changed, index=1)]
        ledger.settle(names)
        ledger.drop_journal()
    written = [replace(record(3), index=0), replace(changed, index=1)]
    assert (tmp_path / PAIRS).read_bytes() == b"".join(json_line(r.to_dict()) for r in written)
    assert [path.name for path in tmp_path.iterdir()] == [PAIRS]


def test_a_record_that_is_there_twice_is_written_once(tmp_path):
    write_jsonl(tmp_path / PAIRS, [record(0).to_dict()] * 2)
    with Ledger(tmp_path) as ledger:
        assert len([*ledger.read()]) == 2
        assert not ledger.is_settled(["000000"])


def test_a_record_takes_little_memory(tmp_path):
    much = {f"measure {key}": key / 7 for key in range(60)} | {"residual_median": 0.5}
    counts, held = 3000, []
    with Ledger(tmp_path) as ledger:
        ledger.append(record(0))
        tracemalloc.start()
        for number in range(1, counts):
            ledger.append(replace(record(number), evidence=much))
        held.append(tracemalloc.get_traced_memory()[0])
        tracemalloc.stop()
    with Ledger(tmp_path) as ledger:
        tracemalloc.start()
        assert sum(1 for _ in ledger.read()) == counts
        held.append(tracemalloc.get_traced_memory()[0])
        tracemalloc.stop()
    assert max(held) / counts < 600


@pytest.mark.parametrize(
    "damage",
    [
        {"phone": {"file": 7, "size": 1, "mtime_ns": 1}},
        {"evidence": {"residual_median": "small"}},
        {"evidence": []},
        {"name": None},
        {"index": "first"},
        {"files": {"phone": {"size": 1}}},
        {"files": [3]},
    ],
)
def test_an_edited_record_is_told_in_a_sentence(tmp_path, damage):
    write_jsonl(tmp_path / PAIRS, [record(0).to_dict() | damage])
    with Ledger(tmp_path) as ledger, pytest.raises(DpedkitError, match="is damaged or of another"):
        [*ledger.read()]


def test_lines_are_found_again_by_where_they_begin(tmp_path):
    path = tmp_path / "lines.jsonl"
    records = [{"name": "ä", "by": "hand"}, {"name": "b"}, {"name": "c", "by": "hand"}]
    lines = (json.dumps(values, ensure_ascii=False) + "\n" for values in records)
    path.write_text("".join(lines), encoding="utf-8")
    with path.open("rb") as file:
        for start, found in each_line(path):
            assert json.loads(line_at(file, start)) == found
    assert [found for _, found in each_line(path, b'"hand"')] == records[::2]


# ------------------------------------------------------------------------------ resuming `align`


def test_a_finished_folder_is_neither_written_nor_read_through(raw, monkeypatch):  # noqa: F811
    config = decide(raw, "1,rejected,a tram")
    run(raw, config)
    os.utime(raw / "aligned" / PAIRS)  # whatever the clock of the disk can tell
    before = states(raw / "aligned")
    read = []
    monkeypatch.setattr(WrittenFile, "of", lambda path: read.append(path))
    assert run(raw, config).reused == 2
    assert states(raw / "aligned") == before
    assert read == []


def test_a_file_that_was_touched_is_looked_at_once(raw, monkeypatch):  # noqa: F811
    run(raw)
    image = raw / "aligned" / "dslr" / "1.png"
    later = (raw / "aligned" / PAIRS).stat().st_mtime_ns + 10**7
    os.utime(image, ns=(later, later))
    time.sleep(0.02)  # until that is past
    before, read, look = contents(raw / "aligned"), [], WrittenFile.of

    def looked(path):
        read.append(path)
        return look(path)

    monkeypatch.setattr(WrittenFile, "of", looked)
    for _ in range(2):
        assert run(raw).reused == 3
    assert read == [image]
    assert contents(raw / "aligned") == before


@pytest.mark.parametrize("damage", ["missing", "cut short", "changed"])
def test_damaged_details_are_made_again(raw, damage):  # noqa: F811
    run(raw)
    before = contents(raw / "aligned")
    file = details_file(raw / "aligned", "1")
    content = file.read_bytes()
    file.unlink()
    if damage == "cut short":
        file.write_bytes(content[:900])
    elif damage == "changed":
        file.write_bytes(content.replace(b"1", b"2", 1))
    assert run(raw).reused == 2
    assert contents(raw / "aligned") == before


def test_details_of_pairs_that_are_gone_go_and_those_of_rejected_ones_stay(raw):  # noqa: F811
    run(raw, decide(raw, "1,rejected"))
    run(raw, decide(raw))
    run(raw, decide(raw, "1,rejected"))
    (raw / "phone" / "2.png").unlink()
    run(raw)
    assert sorted(p.stem for p in (raw / "aligned" / DETAILS).iterdir()) == ["0", "1"]
    rejected = PairRecord.from_dict(read_jsonl(raw / "aligned" / PAIRS)[1], raw)
    assert PairDetails.of(raw / "aligned", rejected).map


# ------------------------------------------------------------------------------- the other readers


def records_of(folder):
    return [PairRecord.from_dict(values, folder) for values in read_jsonl(folder / PAIRS)]


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (Path.unlink, r"0001\.json is missing; run"),
        (lambda path: path.write_text("{}"), r"0001\.json has changed; delete it"),
    ],
)
def test_damaged_details_are_refused_by_what_reads_them(tmp_path, damage, words):
    folder = write_aligned(tmp_path, 2, {})
    damage(details_file(folder, "0001"))
    records, description = read_aligned(folder)
    photos = AlignedPhotos.of(folder, description)
    assert photos.known(records[0]) is None
    with pytest.raises(DpedkitError, match=words):
        photos.known(records[1])
    with pytest.raises(DpedkitError, match=words):
        write_report(folder)


def test_another_map_makes_other_patches(tmp_path):
    folder = write_aligned(tmp_path, 2, {})
    records, description = read_aligned(folder)
    before = content_hash(folder, records, description)
    lines = read_jsonl(folder / PAIRS)
    change_details(folder, lines[1], map={"radial": [1, 2, 3]})
    write_jsonl(folder / PAIRS, lines)
    assert content_hash(folder, read_aligned(folder)[0], description) != before


def test_a_folder_with_all_in_its_records_shows_the_same(tmp_path):
    folder = write_aligned(tmp_path, 2, {"bad": "blank"})
    expected = write_report(folder).path.read_text()
    lines = read_jsonl(folder / PAIRS)
    for line, pair in zip(lines, records_of(folder), strict=True):
        details = PairDetails.of(folder, pair)
        line |= {"map": details.map, "files": {}}
        samples = {"inlier_matches": details.inlier_matches, "residuals": details.residuals}
        line["evidence"] |= samples
        details_file(folder, pair.name).unlink(missing_ok=True)
    write_jsonl(folder / PAIRS, lines)
    assert write_report(folder).path.read_text() == expected


def test_a_report_is_written_again_only_when_something_is_new(tmp_path, monkeypatch):
    folder = write_aligned(tmp_path, 1, {})
    report = current_report(folder).path

    def is_written_again():
        report.write_text(report.read_text() + "<!-- old -->")
        assert current_report(folder).path == report
        return "<!-- old -->" not in report.read_text()

    assert not is_written_again()
    later = report.stat().st_mtime_ns + 10**9
    os.utime(folder / PAIRS, ns=(later, later))
    assert is_written_again()
    os.utime(folder / PAIRS, ns=(1, 1))
    with monkeypatch.context() as patch:
        patch.setattr(page, "_GENERATOR", '<meta name="generator" content="dpedkit 99">')
        assert is_written_again()
    report.unlink()
    assert current_report(folder).path.is_file()


def test_the_benchmark_makes_a_folder_that_resumes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = scale.make(tmp_path, 30)
    assert found.keys() == {"20th", "2000th", "kB"}
    before = states(tmp_path / "aligned")
    processor, peak = scale.costs_of(tmp_path, ("align", "raw/phone", "raw/dslr", "-o", "aligned"))
    assert processor > 0.05 and peak > 20
    after = states(tmp_path / "aligned")
    assert before.items() <= after.items()
    assert {path.name for path in after.keys() - before.keys()} == {"index.html"}
