"""Names of a package that are imported when they are first used.

`import dpedkit` and `dpedkit --help` must not load OpenCV and PyTorch, which take seconds.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any


def lazy_exports(package: str, home: Mapping[str, str]) -> Callable[[str], Any]:
    """The module-level `__getattr__` of a package (PEP 562).

    Parameters
    ----------
    package : str
        The package's `__name__`.
    home : mapping of str to str
        For each public name the module that defines it, relative to the package (".reader") or
        absolute.
    """

    def get(name: str) -> Any:
        if name not in home:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(home[name], package), name)

    return get
