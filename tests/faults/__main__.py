"""Kill commands again and again, and compare what they leave with an uninterrupted run.

    python -m tests.faults [--kills N] [--full-disks N] [--seed N] [COMMAND ...]

A command is killed with SIGKILL at a random moment or right before a random change of the disk,
one to four times in a row in the same folder, and then runs to its end. After every other kill a
loss of power is simulated: the file that was written last is cut short, or its end is zeroed. Or
the disk is full from a random change on, and has room again for the next run.

Counted are kills, losses of power and full disks; and how the chains of them ended: "same" bytes as
an uninterrupted run; "told", where a run refused what the loss of power left in a sentence that
names it; "wrong" bytes; "failed" otherwise, with a traceback or a hang for example.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.faults.children import Fault, Outcome, count_changes, run
from tests.faults.scenarios import SCENARIOS, Scenario

COLUMNS = ("kills", "power", "full", "chains", "same", "told", "wrong", "failed")
BAD = ("wrong", "failed")
_ON_THE_DISK = (".dpedkit.lock", "log.jsonl")  # each line of the log is, before the next step
_IN_A_ROW = 4
_WITH_WORKERS = 0.15  # of the chains; workers take seconds to start


class Disturbed:
    """A command, its input and what an uninterrupted run leaves."""

    def __init__(self, name: str, folder: Path, seed: int) -> None:
        self.name, self.folder = name, folder
        self.scenario: Scenario = SCENARIOS[name]
        self.random = random.Random(f"{name} {seed}")
        self.counts: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.spoilt: list[str] = []
        self.input = folder / "input"
        self.input.mkdir(parents=True)
        self.scenario.prepare(self.input)
        # Every run is in a folder of the same name, so that paths in the files are the same.
        self.work = folder / "work"
        self.fresh()
        self.changes, outcome = count_changes(self.command(1), self.work)
        assert outcome.code == 0, outcome.said
        self.seconds = outcome.seconds
        self.expected = self.scenario.result(self.work)

    def fresh(self) -> None:
        shutil.rmtree(self.work, ignore_errors=True)
        shutil.copytree(self.input, self.work)
        self.spoilt = []

    def command(self, jobs: int) -> tuple[str, ...]:
        return self.scenario.arguments + (("-j", str(jobs)) if self.scenario.jobs else ())

    def chain(self, kills: int) -> None:
        """Kill a run and those that continue it, then let one finish and compare."""
        self.fresh()
        jobs = 2 if self.scenario.jobs and self.random.random() < _WITH_WORKERS else 1
        power = 0
        told: list[str] = []
        left = kills
        for _ in range(10 * kills):
            if not left:
                break
            outcome = run(self.command(jobs), self.work, self.moment(jobs))
            if outcome.code == -9:
                left -= 1
                self.counts["kills"] += 1
                if self.random.random() < 0.5 and self.lose_power():
                    power += 1
            elif outcome.code != 0:
                if not self.is_told(outcome, power):
                    return
                told.append(outcome.said)
                break
            else:  # it was faster, or there was nothing left to do
                self.fresh()
                power = 0
        self.counts["power"] += power
        self.end(told, power)

    def full_disk(self) -> None:
        """Let the disk be full once, then finish with room again."""
        self.fresh()
        fault = Fault(change=self.random.randint(1, self.changes), full_disk=True)
        outcome = run(self.command(1), self.work, fault)
        self.counts["full"] += 1
        if outcome.code != 0 and ("Traceback" in outcome.said or "full" not in outcome.said):
            self.fail(f"full disk at change {fault.change}", outcome)
            return
        self.end([], 0)

    def moment(self, jobs: int) -> Fault:
        if self.random.random() < 0.5:
            return Fault(change=self.random.randint(1, self.changes))
        longest = self.seconds + (3 if jobs > 1 else 0)
        return Fault(seconds=self.random.uniform(0.02, longest))

    def lose_power(self) -> bool:
        """Spoil what was written last, as when its blocks had not reached the disk yet."""
        files = [
            path
            for output in self.scenario.outputs
            for path in (self.work / output).rglob("*")
            if path.is_file() and path.name not in _ON_THE_DISK and path.stat().st_size
        ]
        if not files:
            return False
        newest = max(files, key=lambda path: path.stat().st_mtime_ns)
        content = newest.read_bytes()
        kept = self.random.randrange(len(content))
        lost = b"" if self.random.random() < 0.5 else bytes(len(content) - kept)
        newest.write_bytes(content[:kept] + lost)
        how = "zeroed" if lost else "cut"
        self.spoilt.append(f"{newest.relative_to(self.work)} {how} at {kept}")
        return True

    def end(self, told: list[str], power: int) -> None:
        self.counts["chains"] += 1
        if not told:
            outcome = run(self.command(1), self.work)
            if outcome.code != 0:
                if not self.is_told(outcome, power):
                    return
                told.append(outcome.said)
        if told:
            self.counts["told"] += 1
            spoilt = ", ".join(self.spoilt)
            self.wrong.append(f"({self.name} told, {spoilt}: {told[0].strip()[-300:]})")
            return
        found = self.scenario.result(self.work)
        if found == self.expected:
            self.counts["same"] += 1
            return
        self.counts["wrong"] += 1
        names = sorted(
            name
            for name in found.keys() | self.expected.keys()
            if found.get(name) != self.expected.get(name)
        )
        self.wrong.append(f"{self.name}: {', '.join(names[:5])} differ; {', '.join(self.spoilt)}")

    def is_told(self, outcome: Outcome, power: int) -> bool:
        """Whether a failure is a sentence about what a loss of power spoilt."""
        in_a_sentence = "error: " in outcome.said and "Traceback" not in outcome.said
        if power and outcome.code > 0 and in_a_sentence:
            return True
        self.fail("a run that should have gone on", outcome)
        return False

    def fail(self, what: str, outcome: Outcome) -> None:
        self.counts["failed"] += 1
        self.wrong.append(f"{self.name}: {what}: exit code {outcome.code}\n{outcome.said[-1500:]}")


def disturb(
    name: str, kills: int, full_disks: int, seed: int, folder: Path
) -> tuple[Counter[str], list[str]]:
    """Counts of one command, and what went wrong."""
    disturbed = Disturbed(name, folder, seed)
    while (left := kills - disturbed.counts["kills"]) > 0:
        before = disturbed.counts.total()
        disturbed.chain(min(left, disturbed.random.randint(1, _IN_A_ROW)))
        assert disturbed.counts.total() > before, "nothing could be killed"
    for _ in range(full_disks):
        disturbed.full_disk()
    return disturbed.counts, disturbed.wrong


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.faults",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("commands", nargs="*", metavar="COMMAND", help=f"of {', '.join(SCENARIOS)}")
    parser.add_argument("--kills", type=int, default=120, help="in all, shared by the commands")
    parser.add_argument("--full-disks", type=int, default=30, help="in all")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    names = arguments.commands or list(SCENARIOS)
    total: Counter[str] = Counter()
    all_wrong = []
    print(f"{'command':16}" + "".join(f"{name:>8}" for name in COLUMNS) + f"{'seconds':>9}")
    for name in names:
        began = time.monotonic()
        shares = (-(-count // len(names)) for count in (arguments.kills, arguments.full_disks))
        with tempfile.TemporaryDirectory() as folder:
            counts, wrong = disturb(name, *shares, arguments.seed, Path(folder) / "disturbed")
        total += counts
        all_wrong += wrong
        cells = "".join(f"{counts[column]:8}" for column in COLUMNS)
        print(f"{name:16}{cells}{time.monotonic() - began:9.0f}", flush=True)
    print(f"{'all':16}" + "".join(f"{total[column]:8}" for column in COLUMNS))
    print("\n".join(all_wrong), file=sys.stderr)
    return 1 if any(total[name] for name in BAD) else 0


if __name__ == "__main__":
    sys.exit(main())
