"""The report of a training run: curves, the paper's tables, before and after over time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dpedkit.config import read_toml
from dpedkit.images import read_photo
from dpedkit.manifest import read_jsonl
from dpedkit.report.charts import curves
from dpedkit.report.page import escape, picture, table, write_page

MARK = "config.toml"
_SAMPLES_SHOWN = 6

Row = dict[str, Any]


def write(folder: Path) -> Path:
    """Write the report of a run's folder and return its path."""
    record = read_toml(folder / MARK)
    rows = read_jsonl(folder / "log.jsonl")
    settings = record["train"]
    best = _best(folder)
    headline = f"Run {folder.name}: {settings['generator']}"
    found = ""
    if best is not None:
        found = (
            f"Its best network so far, after {best['step']} of {settings['steps']} steps: "
            f"{_decibel(best['psnr'])} dB, MS-SSIM {best['ms_ssim']:.4f} in the run's evaluation. "
        )
    body = (
        f"<h1>{escape(headline)}</h1>"
        f'<p class="soft">{escape(found)}Content loss: {escape(record["content"]["loss"])}.</p>'
        f'<div class="charts">{_charts(rows)}</div>'
        f"<h2>Training progress (the paper's table I)</h2>{_table_1(rows)}"
        f"<h2>Training progress (the paper's table II)</h2>{_table_2(rows)}"
        f"<h2>Before, after, DSLR</h2>{_samples(folder)}"
        f"<h2>Settings</h2>{table(('setting', 'value'), list(settings.items()))}"
    )
    return write_page(folder, headline, body)


def _charts(rows: list[Row]) -> str:
    def line(key: str) -> list[tuple[float, float]]:
        return [(row["step"], row[key]) for row in rows if row.get(key) is not None]

    pictures = [
        curves({"PSNR": line("psnr")}, "PSNR on validation patches, dB, by step"),
        curves({"MS-SSIM": line("ms_ssim")}, "MS-SSIM on validation patches, by step"),
        curves(
            {"train": line("generator_loss_train"), "test": line("generator_loss_test")},
            "generator loss, by step",
        ),
        curves(
            {
                "train": line("discriminator_accuracy_train"),
                "test": line("discriminator_accuracy_test"),
            },
            "discriminator accuracy, by step",
        ),
    ]
    return "".join(pictures)


def _table_1(rows: list[Row]) -> str:
    header = ("Step", "Disc. accuracy (train)", "Disc. accuracy (test)")
    keys = ("discriminator_accuracy_train", "discriminator_accuracy_test")
    return table(header, [(row["step"], *(_number(row[key]) for key in keys)) for row in rows])


def _table_2(rows: list[Row]) -> str:
    header = ("Step", "Gen. loss (train)", "Gen. loss (test)", "Metrics (PSNR, MS-SSIM)")
    lines = [
        (
            row["step"],
            _number(row["generator_loss_train"]),
            _number(row["generator_loss_test"]),
            f"{_decibel(row['psnr'])}, {row['ms_ssim']:.4f}",
        )
        for row in rows
    ]
    return table(header, lines)


def _best(folder: Path) -> Row | None:
    """Step, PSNR and MS-SSIM of the network that the run keeps; None if there is none yet."""
    from dpedkit.models.files import BEST_NAME, read_card

    if not (folder / BEST_NAME).is_file():
        return None
    found: Row = read_card(folder / BEST_NAME)["training"]
    return found


def _decibel(value: float | None) -> str:
    return "inf" if value is None else f"{value:.2f}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def _samples(folder: Path) -> str:
    """Sample pictures of evaluations evenly spread over the run, the first and last among them."""
    files = sorted((folder / "samples").glob("step-*.png"))
    count = min(_SAMPLES_SHOWN, len(files))
    chosen = [files[round(i * (len(files) - 1) / max(count - 1, 1))] for i in range(count)]
    return "".join(
        f"<figure><figcaption>{escape(file.stem)}</figcaption>"
        f"{picture(read_photo(file), file.stem)}</figure>"
        for file in chosen
    )
