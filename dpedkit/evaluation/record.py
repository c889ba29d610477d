"""Results of `dpedkit evaluate`, kept in the folder of the run whose network was measured."""

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

    A later evaluation of the same model file on the same splits of the same patches replaces it.

    Returns
    -------
    Path or None
        The run's folder; None if the model is not from a run, or the folder cannot be written to.
        The latter only causes a warning, since the result is printed in any case.
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
        console.warn(f"The evaluation could not be saved: {error}")
        return None
    return run
