"""`PairsSummary`: what `dpedkit pairs` shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dpedkit.core.wording import counted
from dpedkit.pairing.pairing import Pairing
from dpedkit.pairing.words import describe_clock, describe_seconds, describe_set_aside, some

_SHOWN_PAIRS = 5
_SHOWN_GROUPS = 10
_SIDES = {"phone": "phone", "dslr": "DSLR"}


@dataclass(frozen=True)
class PairsSummary:
    """A pairing, and what the photos' times say about it.

    Attributes
    ----------
    phone_folder, dslr_folder : Path
    pair_by : str
    pairing : Pairing
    cameras : dict of str to dict of str to int
        For "phone" and "dslr" the cameras that took the photos, with the number of photos.
    bursts : dict of str to list of list of Path
        For "phone" and "dslr" the photos taken within seconds of each other.
    gaps : list of (float or None)
        For each pair, by how many seconds its photos are further apart than the clocks are, or than
        is usual where the photos were not paired by time: positive if the DSLR's was taken later.
        None where a photo does not say when it was taken.
    odd : list of (str, float)
        Pairs whose photos are much further apart in time than the others: name and seconds.
    written : Path or None
        The list that was written of the pairs.
    """

    phone_folder: Path
    dslr_folder: Path
    pair_by: str
    pairing: Pairing
    cameras: dict[str, dict[str, int]]
    bursts: dict[str, list[list[Path]]]
    gaps: list[float | None]
    odd: list[tuple[str, float]]
    written: Path | None = None

    @property
    def photos_of(self) -> dict[str, int]:
        """For "phone" and "dslr", the number of photos in the folder."""
        pairing = self.pairing
        unpaired = {"phone": pairing.unpaired_phone, "dslr": pairing.unpaired_dslr}
        return {side: len(pairing.pairs) + len(photos) for side, photos in unpaired.items()}

    @property
    def alone(self) -> dict[str, list[Path]]:
        """What is without any possible partner, or cannot have one, in words, with the photos."""
        pairing = self.pairing
        return {
            "phone photos without a partner": pairing.alone(pairing.unpaired_phone),
            "DSLR photos without a partner": pairing.alone(pairing.unpaired_dslr),
            "photos without a time": pairing.untimed,
        }

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready values; photos by their file names within the two folders."""
        pairing = self.pairing
        clock = pairing.clock
        return {
            "phone_folder": str(self.phone_folder),
            "dslr_folder": str(self.dslr_folder),
            "pair_by": self.pair_by,
            "pairs": [
                {"name": name, "phone": phone.name, "dslr": dslr.name, "gap_s": _rounded(gap)}
                for (name, phone, dslr), gap in zip(pairing.pairs, self.gaps, strict=True)
            ],
            "unpaired": {
                "phone": _names(pairing.unpaired_phone),
                "dslr": _names(pairing.unpaired_dslr),
            },
            "undecided": [
                {"phone": _names(phones), "dslr": _names(dslrs)}
                for phones, dslrs in pairing.undecided
            ],
            "untimed": [str(path) for path in pairing.untimed],
            "set_aside": [str(path) for path in pairing.set_aside],
            "clock": None
            if clock is None
            else {
                "offset_s": round(clock.seconds, 3),
                "jitter_s": round(clock.jitter, 3),
                "matched": clock.matched,
                "given": clock.given,
            },
            "cameras": self.cameras,
            "bursts": {
                side: [_names(burst) for burst in found] for side, found in self.bursts.items()
            },
            "odd_times": [{"name": name, "seconds": round(gap, 3)} for name, gap in self.odd],
            "written": str(self.written) if self.written else None,
        }

    def as_text(self) -> str:
        """What a person should know before the work begins."""
        pairing = self.pairing
        lines = [
            *self._folder_lines(),
            *_limited(
                f"{counted(len(pairing.pairs), 'pair')} by {self.pair_by}:",
                [f"  {phone.name}  {dslr.name}" for _, phone, dslr in pairing.pairs],
                _SHOWN_PAIRS,
            ),
            describe_clock(pairing.clock) if pairing.clock else "",
            *_limited(
                "undecided:",
                [f"  {some(phones)} with {some(dslrs)}" for phones, dslrs in pairing.undecided],
            ),
            *self._alone_lines(),
            *_limited(
                "bursts:",
                [
                    f"  {_SIDES[side]}: {some(burst)}"
                    for side, bursts in self.bursts.items()
                    for burst in bursts
                ],
            ),
            *_limited(
                "doubtful, further apart in time than the other pairs:",
                [f"  {name} by {describe_seconds(gap)}" for name, gap in self.odd],
            ),
            describe_set_aside(pairing.set_aside) if pairing.set_aside else "",
            f"pairs written to {self.written}" if self.written else "",
        ]
        return "\n".join(filter(None, lines))

    def _folder_lines(self) -> list[str]:
        return [
            f"{folder}: {counted(self.photos_of[side], 'photo')} "
            f"({', '.join(self.cameras[side]) or 'camera unknown'})"
            for side, folder in (("phone", self.phone_folder), ("dslr", self.dslr_folder))
        ]

    def _alone_lines(self) -> list[str]:
        return [
            f"{what} ({len(photos)}): {some(photos)}"
            for what, photos in self.alone.items()
            if photos
        ]


def _limited(title: str, lines: Sequence[str], limit: int = _SHOWN_GROUPS) -> list[str]:
    """Lines below their title, the first of them if they are many; nothing if there are none."""
    if not lines:
        return []
    more = [f"  ... and {len(lines) - limit} more"] if len(lines) > limit else []
    return [title, *lines[:limit], *more]


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)


def _names(photos: Sequence[Path]) -> list[str]:
    return [path.name for path in photos]
