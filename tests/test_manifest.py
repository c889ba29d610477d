import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dpedkit.core.errors import DpedkitError
from dpedkit.core.manifest import Journal, read_json, read_jsonl, write_jsonl

RECORDS = [{"name": "ä", "n": 1}, {"name": "b", "n": 2.5}, {"name": "c\n", "n": None}]


def test_round_trip(tmp_path):
    path = tmp_path / "r.jsonl"
    write_jsonl(path, RECORDS)
    assert read_jsonl(path) == RECORDS


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cut=st.integers(min_value=0, max_value=200))
def test_a_journal_cut_anywhere_loses_only_the_cut_record(tmp_path, cut):
    path = tmp_path / "j.jsonl"
    write_jsonl(path, RECORDS)
    whole = path.read_bytes()
    path.write_bytes(whole[:cut])
    complete = whole[:cut].count(b"\n")
    assert read_jsonl(path) == RECORDS[:complete]
    with Journal(path) as journal:
        journal.append({"name": "new"})
    assert read_jsonl(path) == [*RECORDS[:complete], {"name": "new"}]


def test_damage_in_the_middle_is_told(tmp_path):
    path = tmp_path / "j.jsonl"
    path.write_text('{"a": 1}\n{"a": \n{"a": 3}\n')
    with pytest.raises(DpedkitError, match="line 2 is damaged"):
        read_jsonl(path)


def test_json_that_is_missing_or_damaged(tmp_path):
    with pytest.raises(DpedkitError, match="is missing"):
        read_json(tmp_path / "a.json")
    (tmp_path / "a.json").write_text("[1]")
    with pytest.raises(DpedkitError, match="damaged"):
        read_json(tmp_path / "a.json")


def test_numbers_that_json_does_not_have_are_refused(tmp_path):
    path = tmp_path / "j.jsonl"
    with Journal(path) as journal, pytest.raises(ValueError, match="JSON compliant"):
        journal.append({"psnr": float("inf")})
    assert path.read_text() == ""
    with pytest.raises(ValueError, match="JSON compliant"):
        write_jsonl(path, [{"psnr": float("nan")}])


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_told_once_and_in_words(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)  # the device has no such thing
    with pytest.raises(DpedkitError, match="disk is full"), Journal(tmp_path / "j") as journal:
        journal.close()
        journal._file = open("/dev/full", "ab")  # noqa: SIM115, PTH123
        journal.append(RECORDS[0])
