"""`PairsSummary`: what `dpedkit pairs` shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
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
    odd: list[tuple[str, float]] = field(default_factory=list)
    written: Path | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready values; photos by their file names within the two folders."""
        pairing = self.pairing
        clock = pairing.clock
        return {
            "phone_folder": str(self.phone_folder),
            "dslr_folder": str(self.dslr_folder),
            "pair_by": self.pair_by,
            "pairs": [
                {"name": name, "phone": phone.name, "dslr": dslr.name}
                for name, phone, dslr in pairing.pairs
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
        pairing = self.pairing
        return [
            f"{folder}: {counted(len(pairing.pairs) + len(unpaired), 'photo')} "
            f"({', '.join(self.cameras[side]) or 'camera unknown'})"
            for side, folder, unpaired in (
                ("phone", self.phone_folder, pairing.unpaired_phone),
                ("dslr", self.dslr_folder, pairing.unpaired_dslr),
            )
        ]

    def _alone_lines(self) -> list[str]:
        """The photos without any possible partner, and those that cannot have one."""
        pairing = self.pairing
        found = (
            ("phone photos without a partner", pairing.alone(pairing.unpaired_phone)),
            ("DSLR photos without a partner", pairing.alone(pairing.unpaired_dslr)),
            ("photos without a time", pairing.untimed),
        )
        return [f"{what} ({len(photos)}): {some(photos)}" for what, photos in found if photos]


def _limited(title: str, lines: Sequence[str], limit: int = _SHOWN_GROUPS) -> list[str]:
    """Lines below their title, the first of them if they are many; nothing if there are none."""
    if not lines:
        return []
    more = [f"  ... and {len(lines) - limit} more"] if len(lines) > limit else []
    return [title, *lines[:limit], *more]


def _names(photos: Sequence[Path]) -> list[str]:
    return [path.name for path in photos]
