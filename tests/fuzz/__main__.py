"""Feed damaged files to what reads them, and count what should not happen.

    python -m tests.fuzz [--mutants N] [--seed N] [KIND ...]

Each mutant is read by a process that may take 10 s and 2 GB more than it had. Counted are
tracebacks (anything but a DpedkitError), hangs, processes that died, memory beyond the limit, and
damage that was accepted: photos of which a tenth or more is missing, and any other bytes in shards,
model files and checkpoints than those that were written.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.fuzz.targets import TARGETS, read_mutant

LIMIT_S = 10.0
DEFAULT_MUTANTS = 700  # of each kind; nine kinds
COLUMNS = ("refused", "read", "traceback", "hang", "died", "memory", "accepted")
BAD = COLUMNS[2:]


def run(kind: str, mutants: int, seed: int, folder: Path) -> tuple[Counter[str], list[str]]:
    """Counts of one kind, and the mutants that went wrong."""
    counts: Counter[str] = Counter()
    wrong = []
    numbers = list(range(seed, seed + mutants))
    context = multiprocessing.get_context("spawn")
    while numbers:
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=read_mutant, args=(kind, numbers, folder, sender))
        process.start()
        sender.close()
        began = False
        while numbers:
            # The first answer takes the time of importing and of making the sound file.
            if not receiver.poll(LIMIT_S if began else 120):
                outcome, note = "hang", ""
            else:
                try:
                    outcome, note = receiver.recv()
                except EOFError:
                    outcome, note = "died", f"exit code {process.exitcode}"
            if outcome == "begun":
                began = True
                continue
            number = numbers.pop(0)
            counts[outcome] += 1
            if outcome in BAD:
                wrong.append(f"{kind} {number}: {outcome} {note}")
            if outcome in ("hang", "died"):
                break
        process.kill()
        process.join()
    return counts, wrong


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=f"of {', '.join(TARGETS)}")
    parser.add_argument("--mutants", type=int, default=DEFAULT_MUTANTS, help="of each kind")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    all_wrong = []
    total: Counter[str] = Counter()
    print(f"{'kind':12}" + "".join(f"{name:>11}" for name in COLUMNS) + f"{'seconds':>9}")
    for kind in arguments.kinds or TARGETS:
        began = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            counts, wrong = run(kind, arguments.mutants, arguments.seed, Path(folder))
        total += counts
        all_wrong += wrong
        cells = "".join(f"{counts[name]:11}" for name in COLUMNS)
        print(f"{kind:12}{cells}{time.monotonic() - began:9.0f}", flush=True)
    print(f"{'all':12}" + "".join(f"{total[name]:11}" for name in COLUMNS))
    print("\n".join(all_wrong), file=sys.stderr)
    print(json.dumps(dict(total)), file=sys.stderr)
    return 1 if all_wrong else 0


if __name__ == "__main__":
    sys.exit(main())
