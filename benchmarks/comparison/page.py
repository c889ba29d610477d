"""The page of all comparisons: docs/benchmarks.md."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from comparison.machine import BUSY, Others
from comparison.tables import Table

INTRODUCTION = """\
# Benchmarks
<!-- Written by `./dev bench`; do not edit. -->

Each stage is compared with what people would use instead: the script that every tutorial shows,
other libraries that do the job, and, where there is one, the floor, which is what no way can do
without. The page is written by

```sh
./dev bench
```

which installs the libraries (the extra `bench`, in the versions of `constraints.txt`) into a
virtual environment of their own, `.venv-bench`, and takes about 15 minutes on two idle cores.
`./dev bench --quick` measures small things for about a minute and writes no page; `./dev bench
--stage align patches` measures only these stages.

All ways alternate, and medians over the turns are stated; a ratio is the median of the ratios
within each turn. Other work on the machine changes times by the clock most, and processor time
less. Values in **bold** are better than dpedkit's by more than a twentieth; the reason is below the
table."""

BUSY_WARNING = """\
> **The machine was busy.** Before the start, others took {cores:.1f} of its {of} cores. Times by
> the clock on this page are too long, and how far two workers go is not to be relied on; ratios of
> processor time are of use."""


QUICK_WARNING = """\
> **This was a quick run** of small sizes and few turns, to see that everything works. `./dev bench`
> without `--quick` gives the numbers to rely on."""


@dataclass(frozen=True)
class Measured:
    """A stage's tables, what they mean, and what others took of the machine meanwhile."""

    title: str
    note: str
    tables: Sequence[Table]
    others: Others


def page(
    machine: Sequence[tuple[str, str]],
    cores: int,
    load: float | None,
    stages: Sequence[Measured],
    quick: bool = False,
) -> str:
    """The whole page in Markdown."""
    parts = [INTRODUCTION, *([QUICK_WARNING] if quick else []), "## Machine", facts(machine)]
    if load is not None and load > BUSY:
        parts.append(BUSY_WARNING.format(cores=load, of=cores))
    for stage in stages:
        parts += [
            f"## {stage.title}",
            stage.note,
            *([said] if (said := about(stage.others)) else []),
        ]
        parts += [table.markdown() for table in stage.tables]
    return "\n\n".join(parts) + "\n"


def facts(machine: Sequence[tuple[str, str]]) -> str:
    """Names and values as a table."""
    return "\n".join(
        ["| | |", "| --- | --- |", *(f"| {name} | {value} |" for name, value in machine)]
    )


def about(others: Others) -> str:
    """A sentence, if others took enough of the machine to matter."""
    if not others.busy:
        return ""
    return (
        f"Other processes took {others.cores:.1f} cores meanwhile, so that times by the clock are "
        "too long here."
    )
