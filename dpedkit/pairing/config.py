"""Settings of the pairing of photos."""

from __future__ import annotations

import re
from dataclasses import dataclass

from dpedkit.core.config import Config, option, options_of
from dpedkit.core.errors import UsageError

# The way of pairing that each setting belongs to.
_BELONGS = {
    "strip_prefix": "name",
    "name_pattern": "name",
    "clock_offset": "time",
    "max_gap": "time",
    "bursts": "time",
    "csv": "csv",
}


@dataclass(frozen=True)
class PairingConfig(Config):
    """Settings of `pair_photos`; `dpedkit align` has them in addition to its own."""

    pair_by: str = option(
        "name",
        "How to pair the photos: 'name' by file name; 'order' the first with the first and so on; "
        "'time' by when they were taken, even if the cameras' clocks are wrong; 'csv' as listed "
        "in the file given by --csv.",
        choices=("name", "order", "time", "csv"),
    )
    strip_prefix: bool = option(
        False,
        "With --pair-by name: ignore leading letters and zeros, so that IMG_0042, _MG_0042 and "
        "DSC00042 belong together.",
    )
    name_pattern: str | None = option(
        None,
        "With --pair-by name: compare only the part of the names that this regular expression "
        "matches (its first group, if it has one), such as '(\\d+)$'.",
        metavar="REGEX",
    )
    clock_offset: float | None = option(
        None,
        "With --pair-by time: how far the DSLR's clock is ahead of the phone's; estimated from "
        "the photos by default.",
        metavar="SECONDS",
    )
    max_gap: float | None = option(
        None,
        "With --pair-by time: maximum time between the two photos of a pair; estimated from the "
        "photos by default.",
        minimum=0.01,
        metavar="SECONDS",
    )
    bursts: str = option(
        "leave",
        "With --pair-by time: what to do when a burst matches a photo, or a burst, of the other "
        "camera: 'leave' lists it as undecided, 'closest' takes the two photos closest in time.",
        choices=("leave", "closest"),
    )
    csv: str | None = option(
        None,
        "File with one pair per line: phone photo, DSLR photo (names within the two folders). "
        "`dpedkit pairs -o FILE` writes one.",
        metavar="FILE",
        is_file=True,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for field in options_of(type(self)):
            way = _BELONGS.get(field.name, self.pair_by)
            if getattr(self, field.name) != field.default and self.pair_by != way:
                raise UsageError(
                    f"{field.name} can only be used with pair_by '{way}', not '{self.pair_by}'."
                )
        if self.pair_by == "csv" and self.csv is None:
            raise UsageError("pair_by 'csv' needs the setting csv, the file that lists the pairs.")
        if self.strip_prefix and self.name_pattern is not None:
            raise UsageError("strip_prefix and name_pattern cannot be used together.")
        if self.name_pattern is not None:
            try:
                re.compile(self.name_pattern)
            except re.error as error:
                raise UsageError(
                    f"name_pattern is {self.name_pattern!r}, which is not a valid regular "
                    f"expression ({error})."
                ) from None
