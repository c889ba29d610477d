"""What `dpedkit evaluate` found, kept beside the run whose network it measured."""

from __future__ import annotations

from pathlib import Path

from dpedkit.core import console
from dpedkit.core.atomic import make_folder, write_json
from dpedkit.core.errors import DpedkitError
from dpedkit.core.records import EVALUATIONS
from dpedkit.evaluation.evaluation import Evaluation
from dpedkit.models.files import model_hash
from dpedkit.shards.index import fingerprint


def keep_evaluation(evaluation: Evaluation) -> Path | None:
    """Write an evaluation into the run's folder that the model lies in.

    A later one of the same model file on the same splits of the same patches takes its place.

    Returns
    -------
    Path or None
        The run's folder; None where the model is not of a run, or the folder may not be written
        to, which is only told: the result is on the screen all the same.
    """
    run = evaluation.model.parent
    if not (run / "config.toml").is_file():
        return None
    splits = "-".join(split.split for split in evaluation.splits)
    name = f"{evaluation.model.stem}-{fingerprint(evaluation.shards)}-{splits}.json"
    content = {
        **evaluation.to_dict(),
        "model_file": evaluation.model.name,
        "model_hash": model_hash(evaluation.model),
    }
    try:
        write_json(make_folder(run / EVALUATIONS) / name, content)
    except DpedkitError as error:
        console.warn(f"The evaluation is not kept: {error}")
        return None
    return run
