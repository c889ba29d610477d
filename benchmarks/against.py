"""How long pairs take to align, beside another version of dpedkit.

Both versions align the same pairs by turns, each in a process of its own and on one thread. Printed
are the seconds of processor time a pair, and the ratio of this version to the other: of the sums of
all turns, and its quartiles over single turns. Other work on the machine hits both alike, so the
ratio varies far less than the seconds.

    git worktree add ../before COMMIT
    OMP_NUM_THREADS=1 python benchmarks/against.py ../before PHONE DSLR --width 1024
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Self

THIS = Path(__file__).resolve().parents[1]
# Any version since `align_pair` exists can run this.
SERVE = """
import sys, time
from pathlib import Path
import cv2, dpedkit
from dpedkit.images import read_photo
cv2.setNumThreads(1)
width = int(sys.argv[1])
for line in sys.stdin:
    phone, dslr = (read_photo(Path(path)) for path in line.rstrip("\\n").split("\\t"))
    if 0 < width < phone.shape[1]:
        size = (width, round(phone.shape[0] * width / phone.shape[1]))
        phone = cv2.resize(phone, size, interpolation=cv2.INTER_AREA)
    started = time.process_time()
    dpedkit.align_pair(phone, dslr)
    print(time.process_time() - started, flush=True)
"""


class Version:
    """A process that aligns pairs with the version of dpedkit in a checkout."""

    def __init__(self, checkout: Path, width: int) -> None:
        one_thread = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
        self._process = subprocess.Popen(
            [sys.executable, "-c", SERVE, str(width)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=checkout,  # where Python looks for modules first
            env={**os.environ, **one_thread},
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def seconds(self, phone: Path, dslr: Path) -> float:
        """Processor time of one alignment."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(f"{phone.resolve()}\t{dslr.resolve()}\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            sys.exit(f"error: {phone.name} could not be aligned; see above.")
        return float(answer)


def main() -> None:
    """Print the seconds of both versions, and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("before", type=Path, help="checkout of the other version")
    parser.add_argument("phone", type=Path, help="folder of phone photos")
    parser.add_argument("dslr", type=Path, help="folder of DSLR photos with the same names")
    parser.add_argument("--width", type=int, default=0, help="to reduce the phone photos to")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    names = sorted(path.name for path in options.phone.iterdir())
    pairs = [(options.phone / name, options.dslr / name) for name in names]
    with Version(options.before, options.width) as old, Version(THIS, options.width) as new:
        for version in (old, new):
            version.seconds(*pairs[0])  # imports and first allocations
        times = [
            (old.seconds(*pair), new.seconds(*pair))
            for _ in range(options.rounds)
            for pair in pairs
        ]
    ratios = [after / before for before, after in times]
    lower, median, upper = statistics.quantiles(ratios, n=4)
    before, after = (statistics.mean(seconds) for seconds in zip(*times, strict=True))
    print(f"{len(pairs)} pairs, {options.rounds} rounds")
    print(f"seconds a pair: before {before:.3f}, now {after:.3f}")
    print(f"ratio: {after / before:.3f}; quartiles {lower:.3f}, {median:.3f} and {upper:.3f}")


if __name__ == "__main__":
    main()
