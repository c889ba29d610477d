"""Descriptions of a pairing for people."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dpedkit.core import console, wording
from dpedkit.pairing.clocks import ClockOffset
from dpedkit.pairing.pairing import Pairing

_SHOWN = 6


def tell(pairing: Pairing) -> None:
    """Say before the work begins how the photos were paired by time, and what is left out."""
    if pairing.clock is not None:
        console.say(describe_clock(pairing.clock))
    for side, photos in (("phone", pairing.unpaired_phone), ("DSLR", pairing.unpaired_dslr)):
        if photos:
            console.warn(
                f"{side} photos without a partner, left out ({len(photos)}): {some(photos)}"
            )
    if pairing.undecided:
        console.warn(
            "some of them have several possible partners; `dpedkit pairs` lists them, and "
            "--pair-by csv resolves them"
        )
    if pairing.set_aside:
        console.say(describe_set_aside(pairing.set_aside))


def describe_clock(clock: ClockOffset) -> str:
    """How the clocks differ."""
    where = "ahead of" if clock.seconds >= 0 else "behind"
    source = "given" if clock.given else "found"
    return (
        f"clock offset ({source}): the DSLR's clock is {describe_seconds(abs(clock.seconds))} "
        f"{where} the phone's; {wording.counted(clock.matched, 'time')} matched, typically to "
        f"within {clock.jitter:.2g} s"
    )


def describe_set_aside(photos: Sequence[Path]) -> str:
    """Which camera RAW files are not used."""
    return f"RAW files beside a developed photo, not used ({len(photos)}): {some(photos)}"


def describe_seconds(length: float) -> str:
    """A length of time in days, hours, minutes and seconds: '1 h 0 min 3.2 s'."""
    minutes, rest = divmod(round(length, 1), 60)
    hours, minutes = divmod(int(minutes), 60)
    days, hours = divmod(hours, 24)
    parts = [f"{days} d"] if days else []
    parts += [f"{hours} h"] if days or hours else []
    parts += [f"{minutes} min"] if parts or minutes else []
    return " ".join([*parts, f"{rest:.1f} s"])


def some(photos: Sequence[Path]) -> str:
    """The names of a few photos, and how many more there are."""
    return wording.some((path.name for path in photos), _SHOWN)
