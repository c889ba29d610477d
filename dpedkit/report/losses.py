"""The values of each loss for patch pairs, on the pages of shards and runs, if measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dpedkit.core.atomic import make_folder, write_text
from dpedkit.core.wording import counted
from dpedkit.report.charts import curves
from dpedkit.report.page import escape, table

_FILE = "losses.json"
_TOLD = (1, 3, 5, 8)  # px, in the table


def keep_losses(folder: Path, found: dict[str, Any]) -> None:
    """Keep the result of `PairLosses.to_dict` for the page."""
    write_text(make_folder(folder / "report") / _FILE, json.dumps(found, indent=1) + "\n")


def pair_losses(folder: Path) -> str:
    """HTML of the result that was kept; empty if there is none."""
    file = folder / "report" / _FILE
    if not file.is_file():
        return ""
    found = json.loads(file.read_text(encoding="utf-8"))
    losses = found["losses"]
    weights = found["weights"]
    vgg = (
        f"VGG-19 is that of {Path(weights).name}."
        if weights
        else "The content loss of VGG-19 is missing: no weights were found."
    )
    return (
        "<h2>How each loss reacts to shifts</h2>"
        f"<p>{counted(found['pairs'], 'patch pair')}, the central {found['size']} px of each. Each "
        "loss is shown as a share of its value for two unrelated patches. The lower a curve starts "
        f"and the flatter it is, the better. {escape(vgg)}</p>"
        f'<div class="charts">{_curves(losses, "shifted", "True pairs, shifted")}'
        f"{_curves(losses, 'itself', 'A DSLR patch and itself, shifted (figure 2)')}</div>"
        f"{_table(losses)}"
    )


def _curves(losses: dict[str, Any], kind: str, title: str) -> str:
    series = {
        name: [(shift, value / loss["shuffled"]) for shift, value in enumerate(loss[kind])]
        for name, loss in losses.items()
    }
    label = "share of the loss of unrelated patches"
    return curves(series, title, "shift, px", label, from_zero=True)


def _table(losses: dict[str, Any]) -> str:
    header = ["loss", "true pair", "unrelated", "true / unrelated", "true is smaller"]
    header += [f"pair, {shift} px" for shift in _TOLD]
    header += [f"itself, {shift} px" for shift in _TOLD]
    rows = []
    for name, loss in losses.items():
        whole = loss["shuffled"]
        row = [name, _digits(loss["true"]), _digits(whole), f"{loss['true'] / whole:.1%}"]
        row.append(f"{loss['preferred']:.0%}")
        row += [f"{loss[kind][n] / whole:.1%}" for kind in ("shifted", "itself") for n in _TOLD]
        rows.append(row)
    return table(header, rows)


def _digits(value: float) -> str:
    """Four significant digits, also where the last ones are zeros."""
    return f"{value:#.4g}".removesuffix(".")
