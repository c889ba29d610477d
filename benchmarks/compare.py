"""Every stage beside what people would use instead, a table or more for each.

    ./dev bench [--quick] [--stage STAGE ...] [--output FILE]

Prints the tables, and writes docs/benchmarks.md if all stages are measured in full. `--quick`
measures small things for about a minute, to see that everything runs; its numbers say little. A
peer that is not installed has a line that says so.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import time
from pathlib import Path

from comparison import machine, page
from comparison.effort import FULL, QUICK, Effort
from comparison.turns import processor_seconds

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "benchmarks.md"
STAGES = ("align", "patches", "loading", "metrics", "training", "enhance")


def main() -> None:
    parser = argparse.ArgumentParser(prog="./dev bench", description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="small sizes, about a minute")
    parser.add_argument(
        "--stage", nargs="+", choices=STAGES, default=STAGES, metavar="STAGE", help="only these"
    )
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the page here")
    options = parser.parse_args()
    whole = not options.quick and set(options.stage) == set(STAGES)
    output = options.output or (PAGE if whole else None)
    written = measure(options.stage, QUICK if options.quick else FULL)
    if output is not None:
        output.write_text(written, "utf-8")
        print(f"Written: {output}")


def measure(stages: list[str], effort: Effort) -> str:
    """Measure and print some stages; returns the page."""
    facts, cores, load = machine.description(), machine.cores(), machine.load_before()
    print("\n".join(f"{name}: {value}" for name, value in facts))
    if load is not None and load > machine.BUSY:
        print(
            f"WARNING: the machine is busy: others take {load:.1f} of its {cores} cores. Times by "
            "the clock will be wrong.",
            file=sys.stderr,
        )
    done = []
    for name in (name for name in STAGES if name in stages):
        stage = importlib.import_module(f"comparison.{name}")
        print(f"\n== {stage.TITLE}\n{stage.NOTE}", flush=True)
        tables = []
        began, processor = time.perf_counter(), processor_seconds()
        with machine.watching_others() as others:
            for table in stage.compare(effort):
                print(f"\n{table.text()}", flush=True)
                tables.append(table)
        took = time.perf_counter() - began, processor_seconds() - processor
        print("\n{:.0f} s, {:.0f} s of processor time".format(*took), page.about(others))
        done.append(page.Measured(stage.TITLE, stage.NOTE, tables, others))
    return page.page(facts, cores, load, done, quick=effort is QUICK)


if __name__ == "__main__":
    main()
