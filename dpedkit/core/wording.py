"""How names and numbers are written for people, the same way everywhere."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def some(names: Iterable[object], shown: int = 3) -> str:
    """The first names of a list and how many follow: 'a, b, c and 4 more'."""
    told = [str(name) for name in names]
    more = f" and {len(told) - shown} more" if len(told) > shown else ""
    return ", ".join(told[:shown]) + more


def decibel(psnr: float | None) -> str:
    """A PSNR with two decimals; None stands for one without limit."""
    return "inf" if psnr is None else f"{psnr:.2f}"


def listed(names: Sequence[str]) -> str:
    """All names in a sentence: 'a', 'a and b', 'a, b and c'."""
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or its type if it has none."""
    return str(error).strip().split("\n")[0] or type(error).__name__


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """A number of things, in agreement: '1 patch pair', '1,570 patch pairs', '2 processes'."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"
