"""`dpedkit card`: the card of shards or of a network, written and checked."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dpedkit.core.atomic import write_text
from dpedkit.core.errors import DpedkitError
from dpedkit.core.publication import (
    STATEMENTS,
    forbids_commercial_use,
    is_standard_licence,
    statements_of,
)
from dpedkit.core.wording import counted
from dpedkit.models.files import DATA
from dpedkit.publishing.subjects import ModelSubject, ShardsSubject

_OURS = "Made by dpedkit"  # in every card that dpedkit wrote
_REQUIRED = {  # statements, each with what to do where it is missing
    "licence": "licence: not stated; --licence states it, for example --licence CC-BY-4.0",
    "authors": "authors: not stated; --authors 'NAME; NAME' states them",
    "citation": "citation: not stated; --citation states how to cite it",
}


@dataclass(frozen=True)
class CardSummary:
    """A card, and what it lacks.

    Attributes
    ----------
    kind : str
        "dataset" or "model".
    file : Path
        Where the card is, or would be written.
    statements : dict of str to str
        Licence, authors, citation and DOI, those that are stated.
    photos : dict
        For "phone" and "dslr": `count`, `folders`, `cameras`.
    problems : list of str
        What has to be settled before this is published.
    hints : list of str
        What should be considered.
    written : bool
        Whether the card was written.
    """

    kind: str
    file: Path
    statements: dict[str, str]
    photos: dict[str, dict[str, Any]]
    problems: list[str] = field(default_factory=list)
    hints: list[str] = field(default_factory=list)
    written: bool = False

    def to_dict(self) -> dict[str, Any]:
        """The summary as JSON-ready values."""
        return {**vars(self), "file": str(self.file)}

    def as_text(self) -> str:
        """The summary for people."""
        lines = [f"{self.file}: card of a {self.kind}{', written' if self.written else ''}"]
        for name in STATEMENTS:
            value = self.statements.get(name, "not stated").splitlines()[0]
            lines.append(f"  {name.ljust(9)} {value}")
        for side, title in (("phone", "phone"), ("dslr", "DSLR")):
            own = self.photos[side]
            cameras = ", ".join(own["cameras"]) or "camera not known"
            lines.append(f"  {title.ljust(9)} {counted(own['count'], 'photo')}, {cameras}")
        lines += [f"! {problem}" for problem in self.problems]
        lines += [f"- {hint}" for hint in self.hints]
        if not self.problems:
            lines.append("Nothing is missing.")
        return "\n".join(lines)


def write_card(
    subject: ShardsSubject | ModelSubject, output: Path | None = None, *, overwrite: bool = False
) -> CardSummary:
    """Write a card.

    Parameters
    ----------
    subject : ShardsSubject or ModelSubject
    output : Path, optional
        By default `README.md` beside it.
    overwrite : bool
        Replace a file of that name that dpedkit did not write.

    Raises
    ------
    DpedkitError
        If there is such a file, or it cannot be written.
    """
    file = output or subject.file
    if file.is_dir():
        raise DpedkitError(f"{file} is a folder; give the file to write with -o.")
    if file.exists() and not overwrite and _OURS not in _read(file):
        raise DpedkitError(
            f"{file} is not a card that dpedkit wrote. Use -o to write elsewhere, or --overwrite "
            "to replace it."
        )
    write_text(file, subject.text())
    return check_card(subject, file, written=True)


def check_card(
    subject: ShardsSubject | ModelSubject, file: Path | None = None, *, written: bool = False
) -> CardSummary:
    """What has to be settled before shards or a network are published. Writes nothing."""
    file = file or subject.file
    statements, photos = subject.statements(), subject.photos()
    problems = list(_missing(statements))
    hints = []
    if "doi" not in statements:
        hints.append("DOI: not stated; Zenodo and the Hugging Face Hub give one, --doi states it")
    if statements.get("licence", "").startswith("LicenseRef-"):
        hints.append("licence: not one of SPDX's; put its text beside the card, as LICENSE")
    if not any(own.cameras for own in photos.values()):
        hints.append("cameras: not known, because the photos do not name them")
    if isinstance(subject, ModelSubject):
        own_problems, own_hints = _of_model(subject, statements)
        problems, hints = problems + own_problems, hints + own_hints
    elif subject.has_thumbnails():
        hints.append(
            "thumbnails: they show the whole photos, with faces and number plates; "
            "`dpedkit shards filter --no-thumbnails` leaves them out"
        )
    if not file.is_file():
        problems.append(f"{file} is not there; the same command without --check writes it")
    elif _read(file) != subject.text():
        problems.append(
            f"{file} is not what dpedkit would write now; the same command without --check "
            "writes it"
        )
    counts = {side: own.to_dict() for side, own in photos.items()}
    return CardSummary(subject.kind, file, statements, counts, problems, hints, written)


def _missing(statements: dict[str, str]) -> Iterator[str]:
    for name, words in _REQUIRED.items():
        if name not in statements:
            yield words
    licence = statements.get("licence")
    if licence is not None and not is_standard_licence(licence):
        yield (
            f"licence: {licence!r} is not an SPDX identifier; --licence states another, for "
            "example --licence CC-BY-4.0"
        )


def _of_model(subject: ModelSubject, statements: dict[str, str]) -> tuple[list[str], list[str]]:
    """Problems and hints that only a network can have."""
    problems, hints = [], []
    data = subject.card().get(DATA)
    if data is None:
        hints.append("training data: not recorded in the file; describe it in your own words")
    elif "licence" not in (photos := statements_of(data)):
        problems.append(
            "licence of the photos: not stated when the network was trained; state it with "
            f"`dpedkit card SHARDS --licence`, then use `dpedkit card {subject.path} --data SHARDS`"
        )
    elif forbids_commercial_use(photos["licence"]) and not forbids_commercial_use(
        statements.get("licence", photos["licence"])
    ):
        hints.append(
            f"licences: that of the photos, {photos['licence']}, forbids commercial use, and that "
            f"of the network, {statements['licence']}, does not; make sure that you may do this"
        )
    if not subject.evaluations():
        hints.append("scores: none on a test split; `dpedkit evaluate` measures and keeps them")
    return problems, hints


def _read(file: Path) -> str:
    return file.read_text(encoding="utf-8", errors="replace")
