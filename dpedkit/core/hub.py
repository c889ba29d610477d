"""How the Hugging Face Hub spells what the header of a card says."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

# The licences of SPDX that the Hub lists (docs/hub/repositories-licenses of its documentation);
# it writes most of them in lower case.
_AS_THEY_ARE = (
    *("Apache-2.0", "MIT", "AFL-3.0", "Artistic-2.0", "BSL-1.0", "BSD-2-Clause", "BSD-3-Clause"),
    *("BSD-3-Clause-Clear", "CC0-1.0", "CC-BY-2.0", "CC-BY-2.5", "CC-BY-3.0", "CC-BY-4.0"),
    *("CC-BY-SA-3.0", "CC-BY-SA-4.0", "CC-BY-NC-2.0", "CC-BY-NC-3.0", "CC-BY-NC-4.0"),
    *("CC-BY-ND-4.0", "CC-BY-NC-ND-3.0", "CC-BY-NC-ND-4.0", "CC-BY-NC-SA-2.0"),
    *("CC-BY-NC-SA-3.0", "CC-BY-NC-SA-4.0", "CDLA-Sharing-1.0", "CDLA-Permissive-1.0"),
    *("CDLA-Permissive-2.0", "WTFPL", "ECL-2.0", "EPL-1.0", "EPL-2.0", "etalab-2.0", "EUPL-1.1"),
    *("AGPL-3.0", "GPL-2.0", "GPL-3.0", "LGPL-2.1", "LGPL-3.0", "ISC", "LPPL-1.3c", "MS-PL"),
    *("MPL-2.0", "OSL-3.0", "PostgreSQL", "OFL-1.1", "NCSA", "Unlicense", "Zlib"),
)
_OTHERWISE = {
    "C-UDA-1.0": "c-uda",
    "ODC-By-1.0": "odc-by",
    "ODbL-1.0": "odbl",
    "PDDL-1.0": "pddl",
    "unknown": "unknown",
    **{
        f"{name}-{later}": name.lower()
        for name in ("AGPL-3.0", "GPL-2.0", "GPL-3.0", "LGPL-2.1", "LGPL-3.0")
        for later in ("only", "or-later")
    },
}
HUB_LICENCES = {**{name: name.lower() for name in _AS_THEY_ARE}, **_OTHERWISE}
"""The Hub's identifiers by those of SPDX, and by "unknown", which the Hub has too."""


def licence_lines(licence: str) -> Iterator[str]:
    """The lines of a card's header that state the licence, an SPDX expression or "unknown".

    What the Hub does not list is `other`, with its name and, where SPDX has its text, a link.
    """
    if listed := HUB_LICENCES.get(licence):
        yield f"license: {quoted(listed)}"
        return
    yield 'license: "other"'
    name = re.sub(r"[^a-z0-9.]+", "-", licence.removeprefix("LicenseRef-").lower()).strip("-")
    yield f"license_name: {quoted(name)}"
    if " " not in licence and not licence.startswith("LicenseRef-"):
        yield f"license_link: {quoted(f'https://spdx.org/licenses/{licence}.html')}"


def quoted(text: str) -> str:
    """A string in YAML: every string of JSON is one."""
    return json.dumps(text)
