"""One frozen dataclass per stage is the only place where defaults are defined.

A stage declares its settings once::

    @dataclass(frozen=True)
    class PatchConfig(Config):
        min_corr: float = option(0.9, "Keep a patch pair when its NCC exceeds this.",
                                 minimum=-1, maximum=1)

Command-line options, TOML recipe keys, the documentation and the settings recorded beside every
result are all derived from those fields.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import hashlib
import json
import math
import tomllib
import types
import typing
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from dpedkit.core.errors import UsageError
from dpedkit.core.regular import would_wait


def option(
    default: Any,
    help: str,
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    choices: Sequence[str] | None = None,
    synonyms: Mapping[str, str] | None = None,
    metavar: str | None = None,
    affects_output: bool = True,
    is_file: bool = False,
    is_note: bool = False,
) -> Any:
    """Declare one setting of a stage: a dataclass field with its help text and its limits.

    Parameters
    ----------
    default : bool, int, float, str or None
        Its type is given by the field's annotation (`int | None` where None is allowed).
    help : str
        One or two sentences for ``--help`` and the CLI reference; the default is appended.
    minimum, maximum : float, optional
        Inclusive limits of a number.
    choices : sequence of str, optional
        The allowed values of a string.
    synonyms : mapping of str to str, optional
        Other words that are taken for one of the choices, each with that choice.
    metavar : str, optional
        The placeholder for the value in ``--help`` (its unit, for example ``PX``).
    affects_output : bool
        False for settings that do not change the result, such as the number of workers; they are
        left out of the fingerprint.
    is_file : bool
        True where the value names a file whose content decides the result.
    is_note : bool
        True for settings that are only recorded with the result, such as a licence. They are left
        out of the fingerprint too, since the description of a result may change.
    """
    return dataclasses.field(
        default=default,
        metadata={
            "help": help,
            "minimum": minimum,
            "maximum": maximum,
            "choices": tuple(choices) if choices else None,
            "synonyms": dict(synonyms or {}),
            "metavar": metavar,
            "affects_output": affects_output and not is_note,
            "is_file": is_file,
            "is_note": is_note,
        },
    )


@dataclass(frozen=True)
class Config:
    """Base of all stage configurations: checked on construction, comparable, serialisable."""

    def __post_init__(self) -> None:
        for field in options_of(type(self)):
            value = getattr(self, field.name)
            if isinstance(value, str) and value in field.metadata["synonyms"]:
                value = field.metadata["synonyms"][value]
                object.__setattr__(self, field.name, value)
            plain, _ = value_type(field, type(self))
            _check(field, plain, value)
            if plain is float and isinstance(value, int):
                # 1 and 1.0 are one setting and must have one fingerprint.
                object.__setattr__(self, field.name, float(value))

    def refuse_unused(self, used: Collection[str], where: str) -> None:
        """Refuse settings that have no effect.

        Parameters
        ----------
        used : collection of str
            The settings that have one.
        where : str
            For the sentence, for example "in a .cube file".

        Raises
        ------
        UsageError
            For another setting whose value is not its default.
        """
        for field in options_of(type(self)):
            value = getattr(self, field.name)
            if field.name not in used and value != field.default:
                name = field.name.replace("_", "-")
                flag = f"--no-{name}" if value is False else f"--{name}"
                raise UsageError(f"{flag} changes nothing {where}; leave it out.")

    @classmethod
    def from_mapping(
        cls, values: Mapping[str, Any], where: str, beside: Sequence[str] = ()
    ) -> Self:
        """Build a configuration from TOML or JSON keys.

        Parameters
        ----------
        values : mapping
            Keys are field names, with ``-`` or ``_``.
        where : str
            The file and section to name when a key or a value is wrong.
        beside : sequence of str
            Other keys that the section may have, which the caller has taken out: named with the
            settings when a key is unknown.

        Raises
        ------
        UsageError
            For an unknown key (the nearest known one is named) or a value out of its limits.
        """
        known = [field.name for field in options_of(cls)]
        given = {}
        for key, value in values.items():
            name = key.replace("-", "_")
            if name not in known:
                cure = suggestion(name, [*beside, *known])
                raise UsageError(f"{where}: there is no setting '{key}'; {cure}")
            given[name] = value
        try:
            return cls(**given)
        except UsageError as error:
            raise UsageError(f"{where}: {error}") from None

    def to_dict(self) -> dict[str, Any]:
        """All settings as JSON-ready values, in the order of declaration."""
        return dataclasses.asdict(self)

    def files(self) -> dict[str, Path]:
        """The files that settings name, by the setting; those that are None are left out."""
        return {
            field.name: Path(value)
            for field in options_of(type(self))
            if field.metadata["is_file"] and (value := getattr(self, field.name)) is not None
        }

    def beginning_at(self, folder: Path) -> Self:
        """The same settings, with the relative paths of files beginning at a folder."""
        return dataclasses.replace(
            self, **{name: str(folder / path) for name, path in self.files().items()}
        )

    def notes(self) -> dict[str, Any]:
        """The settings that are only recorded with the result, if they are given."""
        return {
            field.name: getattr(self, field.name)
            for field in options_of(type(self))
            if field.metadata["is_note"] and getattr(self, field.name) != field.default
        }

    def fingerprint(self) -> str:
        """A short hash of the settings that change the result."""
        kept = {
            field.name: getattr(self, field.name)
            for field in options_of(type(self))
            if field.metadata["affects_output"]
        }
        return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:16]

    def differences(self, recorded: Mapping[str, Any]) -> list[str]:
        """Settings that change the result and differ from `recorded`, as 'name: was 1, now 2'."""
        return [
            f"{field.name}: was {recorded.get(field.name)!r}, now {getattr(self, field.name)!r}"
            for field in options_of(type(self))
            if field.metadata["affects_output"]
            and recorded.get(field.name) != getattr(self, field.name)
        ]


def options_of(cls: type[Config]) -> list[dataclasses.Field[Any]]:
    """The fields of a configuration class that were declared with `option`."""
    return [field for field in dataclasses.fields(cls) if "help" in field.metadata]


def value_type(field: dataclasses.Field[Any], cls: type[Config]) -> tuple[type, bool]:
    """The plain type of a setting, and whether it may be None."""
    hashable: Any = cls  # mypy takes the hash of a configuration for that of its class
    hint = _type_hints(hashable)[field.name]
    if isinstance(hint, types.UnionType):
        plain = [arg for arg in typing.get_args(hint) if arg is not types.NoneType]
        return plain[0], True
    return hint, False


@functools.cache
def _type_hints(cls: type) -> dict[str, Any]:
    return typing.get_type_hints(cls)


def suggestion(name: str, known: Sequence[str]) -> str:
    """The end of an error about an unknown name: the nearest known one, or all of them."""
    nearest = difflib.get_close_matches(name, known, n=1)
    return f"did you mean '{nearest[0]}'?" if nearest else f"known: {', '.join(known)}."


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file; an error says in one sentence what is wrong with it."""
    if would_wait(path):
        raise UsageError(f"{path} is not a regular file.")
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"{path}: there is no such file.") from None
    except IsADirectoryError:
        raise UsageError(f"{path} is a folder; give the TOML file itself.") from None
    except RecursionError:
        raise UsageError(f"{path} is not valid TOML: its values are nested too deeply.") from None
    except ValueError as error:  # no TOML, no UTF-8, or a number of thousands of digits
        raise UsageError(f"{path} is not valid TOML: {error}.") from None
    except PermissionError:
        raise UsageError(f"{path} cannot be read: permission denied.") from None


_NAMES = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}


def _is_finite(value: Any) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number that no float holds
        return False


def _check(field: dataclasses.Field[Any], plain: type, value: Any) -> None:
    """Raise UsageError unless `value` is of the plain type and within the field's limits."""
    limits = field.metadata
    if value is None:
        return
    if limits["choices"] and value not in limits["choices"]:
        allowed = ", ".join(limits["choices"])
        raise UsageError(f"{field.name} is {value!r}, but must be one of: {allowed}.")
    # In Python a bool is an int; in a recipe it is a mistake. An int will do for a float.
    accepted = (int, float) if plain is float else plain
    if not isinstance(value, accepted) or (isinstance(value, bool) and plain is not bool):
        raise UsageError(f"{field.name} is {value!r}, but must be {_NAMES[plain]}.")
    low, high = limits["minimum"], limits["maximum"]
    if (low is not None and not value >= low) or (high is not None and not value <= high):
        span = f"at least {low}" if high is None else f"at most {high}"
        if low is not None and high is not None:
            span = f"between {low} and {high}"
        raise UsageError(f"{field.name} is {value!r}, but must be {span}.")
    if plain is float and not _is_finite(value):
        raise UsageError(f"{field.name} is {value!r}, but must be a finite number.")
