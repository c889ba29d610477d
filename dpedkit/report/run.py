"""The report of a training run: curves, the paper's tables, before and after over time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dpedkit.core.config import read_toml
from dpedkit.core.manifest import read_jsonl
from dpedkit.core.records import RUN_CONFIG
from dpedkit.core.wording import counted, decibel
from dpedkit.intervals import Interval, caution_on_validation
from dpedkit.models.files import BEST_NAME, read_card
from dpedkit.report import zoom
from dpedkit.report.charts import curves
from dpedkit.report.evaluations import evaluations
from dpedkit.report.losses import pair_losses
from dpedkit.report.page import cards, escape, table, write_page
from dpedkit.report.photos import photo_evaluations
from dpedkit.report.samples import over_time
from dpedkit.shards.index import PAIRS_FILE

MARK = RUN_CONFIG
_ROWS_SHOWN = 24
_VALIDATED = {
    "val": "validation patches (val split)",
    "train": "validation patches (of the train split: there is no val split)",
}

Row = dict[str, Any]


def write(folder: Path) -> Path:
    """Write the report of a run's folder and return its path."""
    record = read_toml(folder / MARK)
    rows = read_jsonl(folder / "log.jsonl")
    settings = record["train"]
    best = _best(folder)
    camera = _camera(Path(record["data"]["shards"]))
    shown = _spread(rows)
    best_row = next(
        (n for n, row in enumerate(shown) if best and row["step"] == best["step"]), None
    )
    caution = f'<p class="warn">{escape(_caution(best))}</p>' if best else ""
    headline = f"Run {folder.name}: {settings['generator']}"
    body = (
        f"<h1>{escape(headline)}</h1>"
        f"{cards(_facts(best, settings, record['content']['loss']))}{caution}"
        f"{evaluations(folder)}"
        f"{photo_evaluations(folder)}"
        f'<h2>Training</h2><div class="charts">{_charts(rows, best)}</div>'
        "<h2>Table I: training progress of photo enhancement model, part 1</h2>"
        f"{_table_1(shown, camera, best_row)}"
        "<h2>Table II: training progress of photo enhancement model, part 2</h2>"
        f"{_table_2(shown, camera, best_row)}"
        f"{_left_out(len(rows) - len(shown))}"
        '<p class="soft">Test stands for the patches of the validation, as in the paper&#39;s '
        "tables; here they are never those of the test split. Over scenes: the mean of each "
        "scene&#39;s mean, with the 95% bootstrap interval over the scenes.</p>"
        f"{pair_losses(folder)}"
        "<h2>Before and after, over time</h2>"
        '<p class="soft">Patches of the validation. Click on one to see it large, after more '
        "steps; arrow keys go to the others.</p>"
        f"{over_time(folder / 'samples')}"
        "<details><summary>Settings</summary>"
        f"{table(('setting', 'value'), list(settings.items()), words=('value',))}</details>"
    )
    return write_page(folder, headline, body, styles=[zoom.STYLE], scripts=[zoom.SCRIPT])


def _facts(best: Row | None, settings: Row, content: str) -> list[tuple[str, str]]:
    facts = [(content, "content loss"), (str(settings["batch"]), "patch pairs per step")]
    if best is None:
        return [(f"0 of {settings['steps']:,}", "steps so far"), *facts]
    known = _over_scenes(best)
    over = [
        (f"{found.text(form)}{unit}", f"{name}, mean of {counted(found.scenes, 'scene')}")
        for key, name, form, unit in (
            ("psnr", "its PSNR", ".2f", " dB"),
            ("ms_ssim", "its MS-SSIM", ".4f", ""),
        )
        if (found := known.get(key))
    ]
    return [
        (f"{decibel(best['psnr'])} dB", "PSNR of the best network in validation, mean of patches"),
        (f"{best['ms_ssim']:.4f}", "its MS-SSIM, mean of patches"),
        *over,
        (f"{best['step']:,} of {settings['steps']:,}", "step of the best network"),
        *facts,
    ]


def _over_scenes(best: Row) -> dict[str, Interval]:
    """Of the network that the run keeps; empty if it is not known, as in earlier versions."""
    return {key: Interval(**found) for key, found in best.get("over_scenes", {}).items()}


def _caution(best: Row) -> str:
    known = _over_scenes(best)
    scenes = max((found.scenes for found in known.values()), default=None)
    return caution_on_validation(best.get("validated_on", "val"), scenes)


def _charts(rows: list[Row], best: Row | None) -> str:
    def line(key: str) -> list[tuple[float, float]]:
        return [(row["step"], row[key]) for row in rows if row.get(key) is not None]

    # The log names the paper's columns; what they call "test" is the split of the validation.
    validated = (best or {}).get("validated_on", "validation")

    def both(key: str) -> dict[str, list[tuple[float, float]]]:
        return {"train": line(f"{key}_train"), validated: line(f"{key}_test")}

    def score(key: str, name: str, label: str) -> str:
        series = {name: line(key), "mean over scenes": line(f"{key}_over_scenes")}
        levels = {
            method: found[key]
            for method, found in (best or {}).get("baselines", {}).items()
            if found[key] is not None
        }
        title = f"{name} on {_VALIDATED.get(validated, 'validation patches')}"
        return curves(series, title, "step", label, levels=levels)

    pictures = [
        score("psnr", "PSNR", "PSNR, dB"),
        score("ms_ssim", "MS-SSIM", "MS-SSIM"),
        curves(both("generator_loss"), "Generator", "step", "loss"),
        curves(both("discriminator_accuracy"), "Discriminator", "step", "accuracy"),
    ]
    return "".join(pictures)


def _table_1(rows: list[Row], camera: str, best: int | None) -> str:
    header = ("Step", "Disc. Accuracy (Train)", "Disc. Accuracy (Test)")
    keys = ("discriminator_accuracy_train", "discriminator_accuracy_test")
    if rows and all(row[key] is None for row in rows for key in keys):
        return '<p class="soft">This run trained without a discriminator.</p>'
    lines = [(_step(row, camera), *(_number(row[key]) for key in keys)) for row in rows]
    return table(header, lines, best=best)


def _table_2(rows: list[Row], camera: str, best: int | None) -> str:
    header = ["Step", "Gen. Loss (Train)", "Gen. Loss (Test)", "Metrics (PSNR, MS-SSIM)"]
    lines = [
        [
            _step(row, camera),
            _number(row["generator_loss_train"]),
            _number(row["generator_loss_test"]),
            f"{decibel(row['psnr'])}, {row['ms_ssim']:.4f}",
        ]
        for row in rows
    ]
    if any("psnr_over_scenes" in row for row in rows):
        header += ["PSNR over scenes", "MS-SSIM over scenes"]
        for line, row in zip(lines, rows, strict=True):
            line += [_interval(row, "psnr", ".2f"), _interval(row, "ms_ssim", ".4f")]
    return table(header, lines, best=best)


def _interval(row: Row, key: str, form: str) -> str:
    """A mean over scenes, with its interval where the log has it; earlier versions' has not."""
    name = f"{key}_over_scenes"
    if (mean := row.get(name)) is None:
        return "-"
    return Interval(mean, row.get(f"{name}_low"), row.get(f"{name}_high"), scenes=0).text(form)


def _step(row: Row, camera: str) -> str:
    """As the paper writes it: '200, iPhone'."""
    return f"{row['step']}, {camera}" if camera else str(row["step"])


def _camera(shards: Path) -> str:
    """The name of the folder that the first phone photo came from, if the shards are there."""
    file = shards / PAIRS_FILE
    if not file.is_file():
        return ""
    phone = next((pair.get("phone") for pair in read_jsonl(file)), None)
    return Path(phone).parent.name if phone else ""


def _spread(rows: list[Row]) -> list[Row]:
    """Evenly chosen rows, the first and the last among them: as many as a table should have."""
    last = len(rows) - 1
    if last < _ROWS_SHOWN:
        return rows
    return [rows[round(n * last / (_ROWS_SHOWN - 1))] for n in range(_ROWS_SHOWN)]


def _left_out(count: int) -> str:
    return f'<p class="soft">{counted(count, "more validation")} in log.jsonl.</p>' if count else ""


def _best(folder: Path) -> Row | None:
    """Step and scores of the network that the run keeps; None if there is none yet."""
    if not (folder / BEST_NAME).is_file():
        return None
    found: Row = read_card(folder / BEST_NAME)["training"]
    return found


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
