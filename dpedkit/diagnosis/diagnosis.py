"""The result of a diagnosis: a table of measures, and what it means."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from dpedkit.core.console import table
from dpedkit.core.wording import counted, listed
from dpedkit.photostatistics import MEASURES, PhotoStatistics

# Distances of medians, in units of the spread between the photos of the training. The medians of
# several photos of one camera hardly ever differ by 2.
_ALIKE, _FAR = 2.0, 4.0
_FEW = 5  # photos; the median of fewer says more of their scenes than of their camera


@dataclass(frozen=True)
class Finding:
    """One measure.

    Attributes
    ----------
    trained_on, found : float
        The medians of the photos of the training and of the given ones.
    low, high : float
        Percentiles 5 and 95 of the training.
    distance : float
        Difference of the medians in units of the spread between the photos of the training.
    """

    trained_on: float
    low: float
    high: float
    found: float
    distance: float

    def verdict(self, name: str) -> str:
        """What the distance means, in words."""
        size = abs(self.distance)
        if size < _ALIKE:
            return "as in training"
        words = MEASURES[name].more if self.distance > 0 else MEASURES[name].less
        return words if size < _FAR else f"far from training: {words}"

    @property
    def is_far(self) -> bool:
        return abs(self.distance) >= _FAR

    @property
    def is_alike(self) -> bool:
        return abs(self.distance) < _ALIKE


@dataclass(frozen=True)
class Diagnosis:
    """How photos compare with those that a network was trained on.

    Attributes
    ----------
    model : Path
    photos, given : int
        Photos that were measured, and those that were given.
    trained_on : PhotoStatistics
    findings : dict of str to Finding
        By measure.
    cameras, trained_cameras : dict of str to int
        Number of photos by camera, as far as the photos say: of the given ones, and of those that
        the network was trained on.
    failed : dict of str to str
        Photos that could not be measured, and why.
    """

    model: Path
    photos: int
    given: int
    trained_on: PhotoStatistics
    findings: dict[str, Finding]
    cameras: dict[str, int]
    trained_cameras: dict[str, int]
    failed: dict[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The diagnosis as JSON-ready values."""
        return {
            "model": str(self.model),
            "photos": self.photos,
            "given": self.given,
            "trained_on": self.trained_on.to_dict(),
            "measures": {
                name: {**asdict(finding), "verdict": finding.verdict(name)}
                for name, finding in self.findings.items()
            },
            "cameras": self.cameras,
            "trained_cameras": self.trained_cameras,
            "failed": self.failed,
            "fits": self.fits,
            "verdict": self.verdict(),
        }

    @property
    def fits(self) -> bool:
        """Whether the photos are like those of the training in every measure."""
        return all(finding.is_alike for finding in self.findings.values())

    def as_text(self) -> str:
        """The table and the verdict for people."""
        known, count = self.trained_on.known_photos, self.trained_on.photos
        trained_on = counted(count, "photo") if known else counted(count, "patch", "patches")
        rows = [
            (
                f"{MEASURES[name].title} ({MEASURES[name].unit})",
                f"{finding.trained_on:.2f}",
                f"{finding.low:.2f} to {finding.high:.2f}",
                f"{finding.found:.2f}",
                f"{finding.distance:+.1f}",
                finding.verdict(name),
            )
            for name, finding in self.findings.items()
        ]
        return "\n".join(
            [
                f"{self.model} on {counted(self.photos, 'photo')}; trained on {trained_on}",
                table(("", "training", "most of them", "here", "distance", "verdict"), rows),
                "distance: of the medians, in units of the spread between the photos of the "
                "training",
                "",
                *self._notes(),
                self.verdict(),
            ]
        )

    def _notes(self) -> list[str]:
        notes = []
        if self.trained_cameras and self.cameras:
            other = sorted(self.cameras.keys() - self.trained_cameras.keys())
            if other:
                notes.append(
                    f"Trained on photos of {listed(sorted(self.trained_cameras))}; these are of "
                    f"{listed(other)}."
                )
        if self.photos < _FEW:
            notes.append(f"Fewer than {_FEW} photos say more of their scenes than of their camera.")
        if not self.trained_on.known_photos:
            notes.append(
                "The network was trained on imported patches. Single patches vary more than "
                "photos, so small differences are not noticed."
            )
        return notes

    def verdict(self) -> str:
        """Whether the network fits these photos, in a sentence."""
        far = [MEASURES[n].title for n, found in self.findings.items() if found.is_far]
        unlike = [
            MEASURES[n].title
            for n, found in self.findings.items()
            if not found.is_alike and not found.is_far
        ]
        if far:
            return (
                f"These photos are far from those of the training in {listed(far)}: the network "
                "has not learnt to enhance such photos. Train with pairs of this camera, starting "
                "from this network with --init."
            )
        if unlike:
            return (
                f"These photos differ from those of the training in {listed(unlike)}. Look at a "
                "few enhanced photos before you trust the network with them."
            )
        return "These photos are like those of the training: the network should fit them."
