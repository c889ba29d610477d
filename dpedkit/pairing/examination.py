"""What a pairing looks like before any work is done with it: `dpedkit pairs`."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from dpedkit import console
from dpedkit.images import Capture, read_capture
from dpedkit.pairing.clocks import BURST_S
from dpedkit.pairing.pairing import Pairing
from dpedkit.pairing.times import seconds

_SHOWN_PAIRS = 5
_SHOWN_NAMES = 6
_ODD_JITTERS = 20.0  # a pair's times are odd beyond so many times the usual deviation ...
_ODD_S = 60.0  # ... and beyond a minute, whatever is usual


@dataclass(frozen=True)
class PairsSummary:
    """A pairing, and what the photos' times say of it.

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
        Pairs whose photos are further apart in time than the others by far: name and seconds.
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
            self._folder_line("phone", self.phone_folder, pairing.unpaired_phone),
            self._folder_line("dslr", self.dslr_folder, pairing.unpaired_dslr),
            f"{len(pairing.pairs)} pairs by {self.pair_by}:",
            *(f"  {phone.name}  {dslr.name}" for _, phone, dslr in pairing.pairs[:_SHOWN_PAIRS]),
        ]
        if len(pairing.pairs) > _SHOWN_PAIRS:
            lines.append(f"  ... and {len(pairing.pairs) - _SHOWN_PAIRS} more")
        if pairing.clock is not None:
            lines.append(describe_clock(pairing))
        lines += [
            f"undecided: {_some(phones)} with {_some(dslrs)}" for phones, dslrs in pairing.undecided
        ]
        decided = {path for both in pairing.undecided for side in both for path in side}
        for side, photos in (("phone", pairing.unpaired_phone), ("DSLR", pairing.unpaired_dslr)):
            alone = [path for path in photos if path not in decided]
            if alone:
                lines.append(f"{side} photos without a partner ({len(alone)}): {_some(alone)}")
        for side, found in self.bursts.items():
            lines += [f"burst, {side}: {_some(burst)}" for burst in found[:_SHOWN_NAMES]]
            if len(found) > _SHOWN_NAMES:
                lines.append(f"  ... {len(found)} bursts, {side}, in all")
        if pairing.untimed:
            lines.append(f"without a time ({len(pairing.untimed)}): {_some(pairing.untimed)}")
        if pairing.set_aside:
            lines.append(
                f"RAW files beside a developed photo, not used ({len(pairing.set_aside)}): "
                f"{_some(pairing.set_aside)}"
            )
        lines += [
            f"doubtful: {name}: its photos are {describe_seconds(gap)} further apart in time than "
            "those of other pairs"
            for name, gap in self.odd
        ]
        if self.written:
            lines.append(f"pairs written to {self.written}")
        return "\n".join(lines)

    def _folder_line(self, side: str, folder: Path, unpaired: list[Path]) -> str:
        count = len(self.pairing.pairs) + len(unpaired)
        cameras = ", ".join(self.cameras[side]) or "camera unknown"
        return f"{folder}: {count} photos ({cameras})"


def examine(
    phone_folder: Path, dslr_folder: Path, pair_by: str, pairing: Pairing, written: Path | None
) -> PairsSummary:
    """Look at the times and cameras of paired photos."""
    sides = {
        "phone": [phone for _, phone, _ in pairing.pairs] + pairing.unpaired_phone,
        "dslr": [dslr for _, _, dslr in pairing.pairs] + pairing.unpaired_dslr,
    }
    captures = {path: read_capture(path) for photos in sides.values() for path in photos}
    cameras = {
        side: dict(Counter(captures[path].camera for path in photos if captures[path].camera))
        for side, photos in sides.items()
    }
    bursts = {side: _bursts(photos, captures) for side, photos in sides.items()}
    return PairsSummary(
        phone_folder,
        dslr_folder,
        pair_by,
        pairing,
        cameras,
        bursts,
        _odd_times(pairing, captures),
        written,
    )


def tell(pairing: Pairing) -> None:
    """Say before the work begins how the photos were paired by time, and what is left out."""
    if pairing.clock is not None:
        console.say(describe_clock(pairing))
    for side, photos in (("phone", pairing.unpaired_phone), ("DSLR", pairing.unpaired_dslr)):
        if photos:
            console.warn(
                f"{side} photos without a partner, left out ({len(photos)}): {_some(photos)}"
            )
    if pairing.undecided:
        console.warn(
            "for some of them several partners are possible; `dpedkit pairs` lists them, and "
            "--pair-by csv settles them"
        )
    if pairing.set_aside:
        console.say(
            f"RAW files beside a developed photo, not used ({len(pairing.set_aside)}): "
            f"{_some(pairing.set_aside)}"
        )


def describe_clock(pairing: Pairing) -> str:
    """How the clocks differ, in words."""
    clock = pairing.clock
    assert clock is not None
    where = "ahead of" if clock.seconds >= 0 else "behind"
    source = "given" if clock.given else "found"
    return (
        f"clock offset ({source}): the DSLR's clock is {describe_seconds(abs(clock.seconds))} "
        f"{where} the phone's; {clock.matched} moments agree, typically to {clock.jitter:.2g} s"
    )


def describe_seconds(length: float) -> str:
    """A length of time in days, hours, minutes and seconds: '1 h 0 min 3.2 s'."""
    minutes, rest = divmod(round(length, 1), 60)
    hours, minutes = divmod(int(minutes), 60)
    days, hours = divmod(hours, 24)
    parts = [f"{days} d"] if days else []
    parts += [f"{hours} h"] if days or hours else []
    parts += [f"{minutes} min"] if parts or minutes else []
    return " ".join([*parts, f"{rest:.1f} s"])


def _bursts(photos: list[Path], captures: dict[Path, Capture]) -> list[list[Path]]:
    """Groups of two or more photos that follow each other within seconds."""
    timed = [path for path in photos if captures[path].time is not None]
    times = seconds([captures[path] for path in timed])
    order = np.argsort(times, kind="stable")
    breaks = np.flatnonzero(np.diff(times[order]) > BURST_S) + 1
    groups = [[timed[index] for index in group] for group in np.split(order, breaks)]
    return [group for group in groups if len(group) > 1]


def _odd_times(pairing: Pairing, captures: dict[Path, Capture]) -> list[tuple[str, float]]:
    """Pairs whose photos are much further apart in time than is usual among the pairs."""
    timed = [
        (name, captures[phone], captures[dslr])
        for name, phone, dslr in pairing.pairs
        if captures[phone].time is not None and captures[dslr].time is not None
    ]
    if not timed:
        return []
    gaps = seconds([dslr for *_, dslr in timed]) - seconds([phone for _, phone, _ in timed])
    deviations = gaps - np.median(gaps)
    limit = max(_ODD_S, _ODD_JITTERS * float(np.median(np.abs(deviations))))
    return [
        (name, abs(float(deviation)))
        for (name, *_), deviation in zip(timed, deviations, strict=True)
        if abs(deviation) > limit
    ]


def _names(photos: list[Path]) -> list[str]:
    return [path.name for path in photos]


def _some(photos: list[Path]) -> str:
    more = f" and {len(photos) - _SHOWN_NAMES} more" if len(photos) > _SHOWN_NAMES else ""
    return ", ".join(_names(photos[:_SHOWN_NAMES])) + more
