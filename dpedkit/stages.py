"""One function per stage, as the command line and the recipes run it: the work, then its report.

Stages themselves never import each other or the report; this is where they are put together.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dpedkit.core import console, lock
from dpedkit.core.errors import OutputExistsError, TooManyRejectedError, UsageError

if TYPE_CHECKING:
    from dpedkit.align.config import AlignConfig
    from dpedkit.align.folder import AlignSummary
    from dpedkit.diagnosis.config import DiagnoseConfig
    from dpedkit.diagnosis.diagnosis import Diagnosis
    from dpedkit.enhancement.config import EnhanceConfig
    from dpedkit.enhancement.driver import EnhanceSummary
    from dpedkit.evaluation.config import EvaluateConfig, PhotoEvaluateConfig
    from dpedkit.evaluation.driver import Evaluation
    from dpedkit.evaluation.photo_evaluation import PhotoEvaluation
    from dpedkit.export.config import ExportConfig
    from dpedkit.export.cube import CubeSummary
    from dpedkit.export.litert_file import LiteRTSummary
    from dpedkit.export.onnx_file import ExportSummary
    from dpedkit.import_model import ImportSummary
    from dpedkit.import_patches.config import ImportPatchesConfig
    from dpedkit.import_patches.summary import ImportPatchesSummary
    from dpedkit.pairing.config import PairingConfig
    from dpedkit.pairing.summary import PairsSummary
    from dpedkit.patches.config import PatchConfig
    from dpedkit.patches.driver import PatchSummary
    from dpedkit.publishing.card import CardSummary
    from dpedkit.publishing.config import CardConfig
    from dpedkit.report import ReportSummary
    from dpedkit.report.colour_loss import ColourLossReport
    from dpedkit.simulate.config import SimulateConfig
    from dpedkit.simulate.driver import SimulateSummary
    from dpedkit.training.config import TrainConfig
    from dpedkit.training.summary import TrainSummary


def simulate(
    output: str | Path,
    config: SimulateConfig | None = None,
    *,
    photos: str | Path | None = None,
    jobs: int = 0,
    overwrite: bool = False,
) -> SimulateSummary:
    """Make raw photos with known geometry: `output`/iphone and `output`/canon."""
    from dpedkit.simulate.driver import simulate_folders

    return simulate_folders(output, config, photos=photos, jobs=jobs, overwrite=overwrite)


def pairs(
    phone: Path,
    dslr: Path,
    config: PairingConfig,
    output: Path | None = None,
    report: Path | None = None,
    *,
    overwrite: bool = False,
) -> PairsSummary:
    """Pair two folders of photos and examine the result; write a list and a page on request."""
    from dpedkit.pairing.examination import examine
    from dpedkit.pairing.lists import write_csv
    from dpedkit.pairing.ways import pair_photos
    from dpedkit.report.pairs import write_pairs_page

    for path in (output, report):
        if path is not None and path.exists() and not overwrite:
            raise OutputExistsError(f"{path} already exists. Use --overwrite to replace it.")
    pairing = pair_photos(phone, dslr, config)
    if output is not None:
        write_csv(output, pairing)
    summary = examine(phone, dslr, config.pair_by, pairing, output)
    if report is not None:
        write_pairs_page(report, summary)
        console.say(f"report: {report}")
    return summary


@lock.until_end()
def align(
    phone: str | Path,
    dslr: str | Path,
    output: str | Path,
    config: AlignConfig | None = None,
    *,
    jobs: int = 0,
    overwrite: bool = False,
) -> AlignSummary:
    """Align two folders of photos, and write the report that shows it, if anything is new."""
    from dpedkit.align.folder import align_folders
    from dpedkit.report import current_report

    try:
        summary = align_folders(phone, dslr, output, config, jobs=jobs, overwrite=overwrite)
    except TooManyRejectedError:
        # All pairs are done; the report is where a person sees what is wrong with them.
        console.say(current_report(output).as_text())
        raise
    console.say(current_report(output).as_text())
    return summary


@lock.until_end()
def patches(
    aligned: str | Path,
    output: str | Path,
    config: PatchConfig | None = None,
    *,
    jobs: int = 0,
    overwrite: bool = False,
) -> PatchSummary:
    """Cut patch pairs from an aligned folder into shards, and write the report that shows them."""
    from dpedkit.patches.driver import cut_patches
    from dpedkit.report import write_report
    from dpedkit.shards.card import write_card

    summary = cut_patches(aligned, output, config, jobs=jobs, overwrite=overwrite)
    write_card(output)
    console.say(write_report(output).as_text())
    return summary


@lock.until_end()
def train(
    shards: str | Path,
    config: TrainConfig | None = None,
    *,
    name: str | None = None,
    runs: str | Path = "runs",
    resume: bool = False,
    extend: bool = False,
    overwrite: bool = False,
    measured_after: bool = False,
) -> TrainSummary | None:
    """Train a network on a shards folder, and write the report of the run.

    Parameters
    ----------
    shards : str or Path
        What `dpedkit patches` wrote.
    config : TrainConfig, optional
    name : str, optional
        Name of the run's folder; by default the next free number.
    runs : str or Path
        The folder of all runs.
    resume : bool
        Continue the run of that name, or the newest one, where it stopped.
    extend : bool
        With `resume`, also let the run have more steps than it was started with.
    overwrite : bool
        Replace a run of that name.
    measured_after : bool
        The caller measures the network itself: do not warn if there is no val split.

    Returns
    -------
    TrainSummary or None
        None in all but the first of several processes that train together.

    Raises
    ------
    DpedkitError
        If the patches cannot be read, the settings do not fit together, or the run's folder already
        exists.
    """
    from dpedkit.core.device import arithmetic_restored
    from dpedkit.report import write_report
    from dpedkit.training.config import TrainConfig
    from dpedkit.training.loop import train as run_training

    with arithmetic_restored():
        summary = run_training(
            Path(shards),
            config or TrainConfig(),
            name=name,
            runs=Path(runs),
            resume=resume,
            extend=extend,
            overwrite=overwrite,
            measured_after=measured_after,
        )
    if summary is not None:
        console.say(write_report(summary.folder).as_text())
    return summary


def evaluate(
    model: str | Path, shards: str | Path, config: EvaluateConfig | None = None
) -> Evaluation:
    """Compare a network with its baselines; a run keeps the result and shows it in its report.

    Parameters
    ----------
    model : str or Path
        A model file, the folder of a run, or the prefix of an authors' checkpoint.
    shards : str or Path
        What `dpedkit patches` wrote.
    config : EvaluateConfig, optional

    Raises
    ------
    DpedkitError
        If the model or the shards cannot be read, or there is nothing to measure.
    """
    from dpedkit.evaluation.driver import evaluate as run_evaluation
    from dpedkit.evaluation.record import keep_evaluation
    from dpedkit.report import write_report

    evaluation = run_evaluation(model, shards, config)
    run = keep_evaluation(evaluation)
    if run is not None:
        console.say(write_report(run).as_text())
    return evaluation


def evaluate_photos(
    model: str | Path, aligned: str | Path, config: PhotoEvaluateConfig | None = None
) -> PhotoEvaluation:
    """Compare a network with its baselines on the whole photos of an aligned folder.

    A run keeps the result and shows it in its report.

    Parameters
    ----------
    model : str or Path
        A model file, the folder of a run, or the prefix of an authors' checkpoint.
    aligned : str or Path
        What `dpedkit align` wrote; the original phone photos must still be there.
    config : PhotoEvaluateConfig, optional

    Raises
    ------
    DpedkitError
        If the model or the folder cannot be read, or there is nothing to measure.
    """
    from tempfile import TemporaryDirectory

    from dpedkit.enhancement.config import EnhanceConfig
    from dpedkit.enhancement.network import load_enhancer
    from dpedkit.evaluation.config import PhotoEvaluateConfig
    from dpedkit.evaluation.photos import evaluate_photos as run_evaluation
    from dpedkit.evaluation.record import keep_photo_evaluation
    from dpedkit.models.files import find_model
    from dpedkit.report import write_report

    config = config or PhotoEvaluateConfig()
    file = find_model(model)
    with TemporaryDirectory() as spill:
        enhancer = load_enhancer(file, EnhanceConfig(device=config.device), Path(spill))
        evaluation = run_evaluation(file, aligned, enhancer, config)
    run = keep_photo_evaluation(evaluation)
    if run is not None:
        console.say(write_report(run).as_text())
    return evaluation


def enhance(
    model: str | Path,
    photos: str | Path | Sequence[str | Path],
    output: str | Path,
    config: EnhanceConfig | None = None,
    *,
    overwrite: bool = False,
) -> EnhanceSummary:
    """Enhance photos and folders of photos into a folder.

    A stopped run is continued: what it finished with the same model and settings is kept. The
    photos themselves are never overwritten.

    Parameters
    ----------
    model : str or Path
        A model file, the folder of a run, or the prefix of an authors' checkpoint.
    photos : str, Path or sequence of them
        Photos, and folders whose photos are taken.
    output : str or Path
        The folder for the enhanced photos, which keep their names.
    config : EnhanceConfig, optional
    overwrite : bool
        Replace files of the same names that were not made with this model and these settings.

    Raises
    ------
    DpedkitError
        If the model or a folder cannot be used, a file is in the way, the disk is full, or the
        only photo cannot be read.
    TooManyRejectedError
        If more of several photos than `config.max_failed` cannot be read.
    """
    from dpedkit.enhancement.driver import enhance_photos

    return enhance_photos(model, photos, output, config, overwrite=overwrite)


def diagnose(
    model: str | Path,
    photos: str | Path | Sequence[str | Path],
    config: DiagnoseConfig | None = None,
) -> Diagnosis:
    """Compare photos with those that a network was trained on.

    Parameters
    ----------
    model : str or Path
        A model file, or the folder of a run.
    photos : str, Path or sequence of them
        Photos, and folders whose photos are taken.
    config : DiagnoseConfig, optional

    Raises
    ------
    DpedkitError
        If the file does not say what the network was trained on, or no photo can be measured.
    """
    from dpedkit.diagnosis.driver import diagnose as run_diagnosis

    return run_diagnosis(model, photos, config)


def export(
    model: Path, output: Path, config: ExportConfig, *, overwrite: bool = False
) -> ExportSummary | LiteRTSummary | CubeSummary:
    """Write a network as ONNX or for LiteRT, or its colour map, by the suffix of `output`."""
    from dpedkit.export import export_cube, export_litert, export_onnx

    if output.suffix.lower() == ".cube":
        return export_cube(model, output, config, overwrite=overwrite)
    write = export_litert if output.suffix.lower() == ".tflite" else export_onnx
    return write(model, output, config, overwrite=overwrite)


def import_model(checkpoint: Path, output: Path, *, overwrite: bool = False) -> ImportSummary:
    """Convert a TensorFlow checkpoint of the authors into a model file."""
    from dpedkit.import_model import import_model as run_import

    return run_import(checkpoint, output, overwrite=overwrite)


@lock.until_end()
def import_patches(
    folder: str | Path,
    dslr_folder: str | Path | None,
    output: str | Path,
    config: ImportPatchesConfig | None = None,
    *,
    jobs: int = 0,
    overwrite: bool = False,
) -> ImportPatchesSummary:
    """Write published patch pairs as shards."""
    from dpedkit.import_patches.driver import import_patches as run_import
    from dpedkit.shards.card import write_card

    summary = run_import(folder, dslr_folder, output, config, jobs=jobs, overwrite=overwrite)
    write_card(output)
    return summary


@lock.until_end()
def card(
    path: Path,
    config: CardConfig,
    *,
    data: Path | None = None,
    output: Path | None = None,
    check: bool = False,
    overwrite: bool = False,
) -> CardSummary:
    """Write the card of shards or a network, and say what it lacks for publication.

    Parameters
    ----------
    path : Path
        A shards folder, the folder of a run, or a model file.
    config : CardConfig
        What is stated; what is not given stays as it is.
    data : Path, optional
        The shards that the network was trained on: what its file says of them is taken anew.
    output : Path, optional
        The card; `README.md` beside the shards or the network by default.
    check : bool
        Only say what is missing.
    overwrite : bool
        Replace a file that dpedkit did not write.

    Raises
    ------
    DpedkitError
        If it is neither shards nor a network, the network was not trained on `data`, or the card
        cannot be written.
    """
    from dpedkit.core.publication import statements_of
    from dpedkit.models.files import restate
    from dpedkit.publishing.card import check_card, write_card
    from dpedkit.publishing.subjects import ShardsSubject, subject_of
    from dpedkit.training.run_folder import RunFolder

    subject = subject_of(path)
    statements = statements_of(config.to_dict())
    if check and (statements or data):
        raise UsageError("--check only says what is missing; to state anything, leave it out.")
    if data is not None and isinstance(subject, ShardsSubject):
        raise UsageError(f"--data is for a network; {path} holds shards.")
    if isinstance(subject, ShardsSubject):
        if statements:
            subject.state(statements)
    elif entries := subject.entries(statements, data):
        if subject.run is None:
            restate(subject.path, entries)
        else:
            lock.take(subject.run)
            run = RunFolder(subject.run)
            run.state(statements)
            run.restate(entries)
    if check:
        return check_card(subject, output)
    return write_card(subject, output, overwrite=overwrite)


def losses(folder: Path, vgg: Path | None = None) -> ReportSummary:
    """Measure each loss on the patch pairs of shards or a run; write the report with the result."""
    from dpedkit.report import write_report
    from dpedkit.report.losses import keep_losses
    from dpedkit.training.pair_losses import judge_folder

    found = judge_folder(folder, str(vgg) if vgg is not None else None)
    keep_losses(folder, found.to_dict())
    return write_report(folder)


def colour_loss(plot: Path, photos: Path | None) -> ColourLossReport:
    """Draw the paper's figure 2, from a folder of photos or from simulated ones."""
    from tempfile import TemporaryDirectory

    from dpedkit.images import list_photos, read_photo
    from dpedkit.report.colour_loss import ColourLossReport, write_colour_loss_report
    from dpedkit.report.shifts import losses_under_shifts
    from dpedkit.simulate.config import SimulateConfig

    with TemporaryDirectory() as folder:
        if photos is None:
            console.say("simulating photos to measure on")
            simulate(Path(folder), SimulateConfig(phone_megapixels=1.0, dslr_megapixels=1.0))
        source = photos or Path(folder) / "canon"
        curves = losses_under_shifts(map(read_photo, list_photos(source)))
    report = ColourLossReport(
        plot,
        str(photos) if photos else "simulated DSLR photos",
        curves.patches,
        curves.mse.tolist(),
        {
            "paper's blur": curves.paper.tolist(),
            "authors' blur": curves.authors.tolist(),
        },
    )
    write_colour_loss_report(report)
    return report
