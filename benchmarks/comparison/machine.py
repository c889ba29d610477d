"""The machine: what it is, how busy others keep it, and how far two processes go on it."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from comparison import peers
from comparison.turns import processor_seconds

BUSY = 0.15  # cores that others take: more than a system at rest needs
OUR_PACKAGES = ("numpy", "torch", "opencv-contrib-python", "opencv-contrib-python-headless", "h5py")

_PROBE = """
import sys, time
import numpy as np
kind, seconds = sys.argv[1], float(sys.argv[2])
if kind == "arithmetic":
    a = np.random.default_rng(0).random((100, 100)).astype(np.float32)  # stays in a core's cache
    def work():
        for _ in range(200):
            np.exp(a).sum()
else:
    a = np.zeros(64 << 20, np.uint8); b = np.ones_like(a)
    def work():
        np.copyto(b, a)
work()
print("ready", flush=True)
sys.stdin.readline()
end, count = time.monotonic() + seconds, 0
while time.monotonic() < end:
    work()
    count += 1
print(count)
"""


def processor_name() -> str:
    """The model of the processor."""
    path = Path("/proc/cpuinfo")
    if path.exists():
        for line in path.read_text("utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def description() -> list[tuple[str, str]]:
    """Machine and versions, as names and values."""
    packages = [*OUR_PACKAGES, *peers.names()]
    versions = [f"{name} {found}" for name in packages if (found := _version(name))]
    return [
        ("processor", processor_name()),
        ("cores", str(cores())),
        ("system", f"{platform.system()} {platform.release()}"),
        ("Python", platform.python_version()),
        ("packages", ", ".join(versions)),
        ("load average at the start", ", ".join(f"{value:.2f}" for value in os.getloadavg())),
    ]


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


# ------------------------------------------------------------------------------ what others take


@dataclass
class Others:
    """How many cores' work other processes did meanwhile; None where the system does not say."""

    cores: float | None = None

    @property
    def busy(self) -> bool:
        """Whether times by the clock are to be doubted."""
        return self.cores is not None and self.cores > BUSY


@contextmanager
def watching_others() -> Iterator[Others]:
    """Measures others from entering until leaving."""
    others, began, busy, own = Others(), time.monotonic(), _busy_seconds(), processor_seconds()
    yield others
    after, elapsed = _busy_seconds(), time.monotonic() - began
    if busy is not None and after is not None and elapsed > 0:
        # The system counts in ticks of a hundredth of a second, this process exactly.
        others.cores = max(0.0, (after - busy - (processor_seconds() - own)) / elapsed)


def _busy_seconds() -> float | None:
    """Processor time of all processes, and what a hypervisor gave to other machines."""
    path = Path("/proc/stat")
    if not path.exists():
        return None
    ticks = [int(value) for value in path.read_text("utf-8").splitlines()[0].split()[1:9]]
    idle, waiting = ticks[3:5]
    return (sum(ticks) - idle - waiting) / os.sysconf("SC_CLK_TCK")


def load_before(seconds: float = 1.0) -> float | None:
    """Cores that others take now, measured while this process sleeps."""
    with watching_others() as others:
        time.sleep(seconds)
    return others.cores


# ------------------------------------------------------------------------- two processes at once


@dataclass
class Scaling:
    """How many times as much two processes do as one that runs alone, of each kind of work.

    "arithmetic" stays in a core's own cache; "copying" moves large arrays through main memory.
    """

    measured: dict[str, list[float]] = field(
        default_factory=lambda: {"arithmetic": [], "copying": []}
    )

    def probe(self, seconds: float) -> None:
        """Measure both kinds once more."""
        for kind, found in self.measured.items():
            alone = sum(_counts(kind, 1, seconds))
            found.append(sum(_counts(kind, 2, seconds)) / alone)


def _counts(kind: str, processes: int, seconds: float) -> list[int]:
    command = [sys.executable, "-c", _PROBE, kind, str(seconds)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    started = [
        subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for _ in range(processes)
    ]
    for process in started:
        assert process.stdout is not None
        process.stdout.readline()
    for process in started:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    return [int(process.communicate()[0]) for process in started]
