"""The page of `dpedkit pairs`: what was paired, and what was not, as a person sees it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

from dpedkit.core import console
from dpedkit.core.atomic import write_text
from dpedkit.core.errors import PhotoError
from dpedkit.core.parallel import ordered_map
from dpedkit.images import read_thumbnail
from dpedkit.pairing.summary import PairsSummary
from dpedkit.pairing.words import describe_clock, describe_seconds
from dpedkit.report.page import cards, escape, page, picture

_SIDE = 200  # px of a thumbnail
_PAIRS_SHOWN = 200
_OTHERS_SHOWN = 60  # photos or groups of a kind
_QUALITY = 80

Group = tuple[Sequence[Path], Sequence[Path], str]  # phone photos, DSLR photos, what to say of them


def write_pairs_page(path: Path, summary: PairsSummary, jobs: int = 0) -> Path:
    """Write a page with thumbnails of the pairs, and of all that is undecided or unpaired.

    Parameters
    ----------
    path : Path
        The HTML file.
    summary : PairsSummary
    jobs : int
        Worker processes that read the photos; 0 stands for every usable core.

    Returns
    -------
    Path
        `path`.
    """
    sections = [(title, groups) for title, groups in _sections(summary) if groups]
    images = _thumbnails(sections, jobs)
    pairing = summary.pairing
    title = f"{summary.phone_folder} and {summary.dslr_folder}"
    clock = f'<p class="soft">{escape(describe_clock(pairing.clock))}</p>' if pairing.clock else ""
    body = [f"<h1>{escape(title)}</h1>", clock, cards(_facts(summary))]
    if any(gap is not None for gap in summary.gaps):
        body.append(f'<p class="soft">{escape(_GAPS[pairing.clock is None])}</p>')
    for heading, groups in sections:
        limit = _limit(heading)
        more = f"the first {limit} of {len(groups)}" if len(groups) > limit else str(len(groups))
        body.append(f"<h2>{escape(heading)} ({more})</h2>")
        body.append('<div class="tiles">')
        body += [_figure(group, images) for group in groups[:limit]]
        body.append("</div>")
    write_text(path, page(title, "\n".join(body), styles=("pairs.css",)))
    return path


_PAIRS = "Pairs"
_GAPS = (
    "The time beside a pair says how much earlier or later the DSLR photo was taken, with the "
    "clocks' difference taken off.",
    "The time beside a pair says how much earlier or later the DSLR photo was taken than is usual "
    "for these pairs.",
)


def _facts(summary: PairsSummary) -> list[tuple[str, str]]:
    """The counts of the command line, and no others."""
    pairing = summary.pairing
    counts = {
        "phone photos": summary.photos_of["phone"],
        "DSLR photos": summary.photos_of["dslr"],
        f"paired by {summary.pair_by}": len(pairing.pairs),
        "undecided groups": len(pairing.undecided),
        **{what: len(photos) for what, photos in summary.alone.items()},
        "doubtful pairs": len(summary.odd),
        "bursts": sum(map(len, summary.bursts.values())),
        "RAW files not used": len(pairing.set_aside),
    }
    always = ("phone photos", "DSLR photos", f"paired by {summary.pair_by}")
    return [(f"{count:,}", what) for what, count in counts.items() if count or what in always]


def _gap_words(gap: float | None) -> str:
    if gap is None:
        return ""
    if abs(gap) < 0.05:
        return "at the same time"
    return f"DSLR {describe_seconds(abs(gap))} {'later' if gap > 0 else 'earlier'}"


def _sections(summary: PairsSummary) -> list[tuple[str, list[Group]]]:
    """The groups of photos under each heading, those that need a person's eye first."""
    pairing = summary.pairing
    odd = dict(summary.odd)
    gaps = [*map(_gap_words, summary.gaps)]
    doubtful: list[Group] = [
        ([phone], [dslr], f"{describe_seconds(odd[name])} further apart than in the other pairs")
        for name, phone, dslr in pairing.pairs
        if name in odd
    ]
    alone: list[tuple[str, list[Group]]] = [
        (what[0].upper() + what[1:], [([path], [], "") for path in photos])
        for what, photos in summary.alone.items()
    ]
    return [
        ("Undecided", [(phones, dslrs, "") for phones, dslrs in pairing.undecided]),
        ("Doubtful: the times do not fit", doubtful),
        (_PAIRS, [
            ([phone], [dslr], gap)
            for (_, phone, dslr), gap in zip(pairing.pairs, gaps, strict=True)
        ]),
        *alone,
        ("Bursts by the phone", [(burst, [], "") for burst in summary.bursts["phone"]]),
        ("Bursts by the DSLR", [([], burst, "") for burst in summary.bursts["dslr"]]),
    ]  # fmt: skip


def _limit(heading: str) -> int:
    return _PAIRS_SHOWN if heading == _PAIRS else _OTHERS_SHOWN


def _thumbnails(sections: Iterable[tuple[str, list[Group]]], jobs: int) -> dict[Path, str]:
    """An `<img>`, or why there is none, for every photo on the page; each is read once."""
    shown = [
        path
        for heading, groups in sections
        for phones, dslrs, _ in groups[: _limit(heading)]
        for path in (*phones, *dslrs)
    ]
    photos = list(dict.fromkeys(shown))
    images = {}
    with console.progress("thumbnails", len(photos), "photos") as bar:
        for path, image in zip(photos, ordered_map(_thumbnail, photos, jobs), strict=True):
            images[path] = image
            bar.advance()
    return images


def _thumbnail(path: Path) -> str:
    try:
        return picture(read_thumbnail(path, _SIDE), path.name, _QUALITY)
    except PhotoError as error:
        return f'<span class="bad">{escape(error)}</span>'


def _figure(group: Group, images: dict[Path, str]) -> str:
    phones, dslrs, words = group
    both = "".join(map(partial(_photos, images), (phones, dslrs)))
    said = f"<figcaption>{escape(words)}</figcaption>" if words else ""
    return f'<figure class="pair"><div>{both}</div>{said}</figure>'


def _photos(images: dict[Path, str], photos: Sequence[Path]) -> str:
    """Photos of one camera, each above its name."""
    return "".join(
        f"<div>{images[path]}<small>{escape(path.name)}</small></div>" for path in photos
    )
