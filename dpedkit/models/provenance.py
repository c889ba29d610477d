"""What a network converted to another format keeps of its card, as texts by name."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from dpedkit.core.publication import statements_of
from dpedkit.models.files import DATA, PUBLICATION

CARD_KEY = "dpedkit"
_KEPT = ("architecture", "options", "tool_version", "training", DATA, PUBLICATION)


def provenance(card: Mapping[str, Any]) -> dict[str, str]:
    """Where a network comes from, for the metadata of a file of another format.

    Parameters
    ----------
    card : mapping
        From `read_card`, or the attribute `card` of a network.

    Returns
    -------
    dict of str to str
        `licence`, `authors`, `citation` and `doi`, those that are stated, and `dpedkit`: JSON of
        the network's architecture, its training and the origin of its patches.
    """
    kept = {key: card[key] for key in _KEPT if key in card}
    return {**statements_of(card.get(PUBLICATION, {})), CARD_KEY: json.dumps(kept)}
