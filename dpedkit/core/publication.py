"""What somebody who publishes data or a network states: licence, authors, citation, DOI.

Photos and networks have the same four statements. They are settings that change no result
(`core.config.option`, `is_note`), and they go from the photos to the shards, the model file and
whatever is exported from it.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from dpedkit.core.config import Config, option
from dpedkit.core.errors import UsageError
from dpedkit.core.hub import HUB_LICENCES

UNKNOWN_LICENCE = "unknown"
STATEMENTS = ("licence", "authors", "citation", "doi")

_DOI = re.compile(r"10\.\d{4,9}/\S+")
_DOI_PREFIX = re.compile(r"(https?://(dx\.)?doi\.org/|doi:\s*)", re.IGNORECASE)


def licence_option(subject: str, default: str | None = UNKNOWN_LICENCE) -> Any:
    """The setting `licence` of photos or of a network."""
    return option(
        default,
        f"Licence of the {subject} for the card, as an SPDX identifier such as 'CC-BY-4.0', or "
        "'LicenseRef-NAME' for a licence that SPDX does not list.",
        is_note=True,
        metavar="SPDX",
    )


def authors_option(subject: str) -> Any:
    """The setting `authors`."""
    return option(
        None,
        f"Who made the {subject}: names, separated by semicolons.",
        is_note=True,
        metavar="NAMES",
    )


def citation_option(subject: str) -> Any:
    """The setting `citation`."""
    return option(None, f"How to cite the {subject}: a BibTeX entry or a sentence.", is_note=True)


def doi_option(subject: str) -> Any:
    """The setting `doi`."""
    return option(
        None,
        f"DOI of the {subject}, for example '10.5281/zenodo.1234567'.",
        is_note=True,
        metavar="DOI",
    )


def settle_statements(config: Config) -> None:
    """Check the statements among the settings of a stage, and write them in their standard form.

    Raises
    ------
    UsageError
        For a licence that SPDX does not know, or something that is not a DOI.
    """
    for name, value in standard_form({s: getattr(config, s) for s in STATEMENTS}).items():
        object.__setattr__(config, name, value)


def standard_form(statements: Mapping[str, str | None]) -> dict[str, str | None]:
    """Statements with the licence and the DOI as their registries write them.

    Raises
    ------
    UsageError
        As `settle_statements`.
    """
    form = {name: value.strip() if value else value for name, value in statements.items()}
    if licence := form.get("licence"):
        form["licence"] = standard_licence(licence)
    if doi := form.get("doi"):
        form["doi"] = _standard_doi(doi)
    return form


def standard_licence(licence: str) -> str:
    """An SPDX expression in its standard spelling; "unknown" stays.

    Raises
    ------
    UsageError
        If it is none.
    """
    from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

    if licence.lower() == UNKNOWN_LICENCE:
        return UNKNOWN_LICENCE
    try:
        return str(canonicalize_license_expression(licence))
    except InvalidLicenseExpression:
        usual = {name.lower(): name for name in HUB_LICENCES}
        nearest = difflib.get_close_matches(licence.lower(), usual, n=1)
        meant = f" (did you mean {usual[nearest[0]]}?)" if nearest else ""
        raise UsageError(
            f"licence is {licence!r}, but must be an SPDX identifier from "
            f"https://spdx.org/licenses{meant}, or LicenseRef-NAME for a licence that is not "
            "listed there."
        ) from None


def is_standard_licence(licence: str) -> bool:
    """Whether SPDX knows it, or it is marked as one that SPDX does not list."""
    try:
        return standard_licence(licence) != UNKNOWN_LICENCE
    except UsageError:
        return False


def _standard_doi(doi: str) -> str:
    bare = _DOI_PREFIX.sub("", doi, count=1)
    if not _DOI.fullmatch(bare):
        raise UsageError(f"doi is {doi!r}, but must be a DOI such as 10.5281/zenodo.1234567.")
    return bare


def statements_of(settings: Mapping[str, Any]) -> dict[str, str]:
    """The statements among recorded settings, without those that say nothing."""
    found = {name: settings.get(name) for name in STATEMENTS}
    told = {
        name: str(value)
        for name, value in found.items()
        if value not in (None, "", UNKNOWN_LICENCE)
    }
    if "licence" in told:
        with suppress(UsageError):  # earlier versions recorded anything, as it was typed
            told["licence"] = standard_licence(told["licence"])
    return told


def common_statements(several: Iterable[Mapping[str, Any]]) -> dict[str, str | None]:
    """What holds for data from several sources: all authors and citations, one licence and DOI.

    Where licences or DOIs differ, none holds for all, and none is stated.
    """
    told = [statements_of(settings) for settings in several]
    authors = [
        name.strip() for one in told for name in one.get("authors", "").split(";") if name.strip()
    ]
    citations = [one["citation"] for one in told if "citation" in one]
    licences, dois = ({one.get(name) for one in told} for name in ("licence", "doi"))
    return {
        "licence": (licences.pop() if len(licences) == 1 else None) or UNKNOWN_LICENCE,
        "authors": "; ".join(dict.fromkeys(authors)) or None,
        "citation": "\n\n".join(dict.fromkeys(citations)) or None,
        "doi": dois.pop() if len(dois) == 1 else None,
    }


def forbids_commercial_use(licence: str) -> bool:
    """Whether the identifier says so, as those of Creative Commons do ("CC-BY-NC-4.0")."""
    return "NC" in re.split(r"[-\s]", licence.upper())
