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
    """Settings of `pair_photos`; `dpedkit align` has them besides its own."""

    pair_by: str = option(
        "name",
        "Which photos belong together: 'name', those of the same file name; 'order', the first "
        "with the first and so on; 'time', those taken at the same moment, however wrong the "
        "cameras' clocks are; 'csv', those that the file of --csv lists.",
        choices=("name", "order", "time", "csv"),
    )
    strip_prefix: bool = option(
        False,
        "With names: compare only what follows the letters and zeros at their beginning, so that "
        "IMG_0042, _MG_0042 and DSC00042 belong together.",
    )
    name_pattern: str | None = option(
        None,
        "With names: compare only what this regular expression finds in them (its first group, if "
        "it has one), such as '(\\d+)$'.",
        metavar="REGEX",
    )
    clock_offset: float | None = option(
        None,
        "With times: how far the DSLR's clock is ahead of the phone's; found from the photos "
        "unless given.",
        metavar="SECONDS",
    )
    max_gap: float | None = option(
        None,
        "With times: how far apart the two photos of a pair may be taken; as far as is usual "
        "among these photos unless given.",
        minimum=0.01,
        metavar="SECONDS",
    )
    bursts: str = option(
        "leave",
        "With times: where a burst fits a photo, or a burst, of the other camera, 'leave' lists it "
        "as undecided, 'closest' takes the two photos closest in time.",
        choices=("leave", "closest"),
    )
    csv: str | None = option(
        None,
        "File with one pair a line: phone photo, DSLR photo (names within the two folders). "
        "`dpedkit pairs -o FILE` writes one.",
        metavar="FILE",
        is_file=True,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for field in options_of(type(self)):
            way = _BELONGS.get(field.name, self.pair_by)
            if getattr(self, field.name) != field.default and self.pair_by != way:
                raise UsageError(f"{field.name} goes with pair_by '{way}', not '{self.pair_by}'.")
        if self.pair_by == "csv" and self.csv is None:
            raise UsageError("pair_by 'csv' needs the setting csv, the file that lists the pairs.")
        if self.strip_prefix and self.name_pattern is not None:
            raise UsageError("strip_prefix and name_pattern exclude each other.")
        if self.name_pattern is not None:
            try:
                re.compile(self.name_pattern)
            except re.error as error:
                raise UsageError(
                    f"name_pattern is {self.name_pattern!r}, which is no regular expression "
                    f"({error})."
                ) from None
