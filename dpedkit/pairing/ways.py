"""`pair_photos`: the photos of two folders, paired according to the settings."""

from __future__ import annotations

from pathlib import Path

from dpedkit.core.errors import DpedkitError
from dpedkit.pairing.config import PairingConfig
from dpedkit.pairing.lists import pair_by_csv
from dpedkit.pairing.names import pair_by_name, pair_by_order
from dpedkit.pairing.pairing import Pairing
from dpedkit.pairing.times import pair_by_time


def pair_photos(
    phone_folder: str | Path, dslr_folder: str | Path, config: PairingConfig | None = None
) -> Pairing:
    """Pair the photos of two folders according to the settings.

    Parameters
    ----------
    phone_folder, dslr_folder : str or Path
    config : PairingConfig, optional

    Raises
    ------
    DpedkitError
        If a folder or a file is missing, there is nothing to pair, or a photo is its own partner.
    """
    pairing = _pair_as_named(Path(phone_folder), Path(dslr_folder), config or PairingConfig())
    for _, phone, dslr in pairing.pairs:
        if phone.samefile(dslr):
            raise DpedkitError(
                f"{phone} and {dslr} would be a pair, but are the same photo; give the folders of "
                "two cameras."
            )
    return pairing


def _pair_as_named(phone_folder: Path, dslr_folder: Path, config: PairingConfig) -> Pairing:
    match config.pair_by:
        case "order":
            return pair_by_order(phone_folder, dslr_folder)
        case "time":
            return pair_by_time(phone_folder, dslr_folder, config)
        case "csv":
            assert config.csv is not None
            return pair_by_csv(phone_folder, dslr_folder, Path(config.csv))
        case _:
            return pair_by_name(phone_folder, dslr_folder, config)
