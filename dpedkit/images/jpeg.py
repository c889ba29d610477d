"""Whether a JPEG holds all of its photo: libjpeg completes what is missing with grey, silently.

An end marker that comes too early, or a hole in the middle, ends the coded data before the last
block, or leaves data over after it. Neither is to be seen in the structure of the file, and grey is
a colour that photos have. So the photo is decoded a second time with the end of its coded data
replaced by noise: in a whole photo that changes the last block. Where data are left over it is not
read at all. In a photo that ends too soon it is read early, and so is noise after the end.

In progressive photos, the blocks are spread over several passes. Noise after all of them must
change nothing, noise at the end of each must change something, and together they must bring every
coefficient to its last bit. This takes a decoding for each pass.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image, ImageChops

from dpedkit.core.errors import PhotoError

# Markers of ITU-T T.81, table B.1.
_SOI, _EOI, _SOS, _DRI = 0xD8, 0xD9, 0xDA, 0xDD
_SEQUENTIAL, _PROGRESSIVE = (0xC0, 0xC1), 0xC2
_FRAMES = (*range(0xC0, 0xC4), *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0))
_BARE = (0x01, *range(0xD0, 0xD9))
_BETWEEN_SCANS = (0xC4, 0xCC, 0xDB, _DRI, _SOS, _EOI, 0xDC, *range(0xE0, 0xF0), 0xFE)
_END_OF_SCAN = re.compile(rb"\xff+[^\x00\xd0-\xd7\xff]")
_RESTART = re.compile(rb"\xff+([\xd0-\xd7])")
_PADDING = b"\x00\xff"

_BLOCK = 8  # px
_COEFFICIENTS = 64
_BLENDED = 2  # px
_TAIL = 8  # bytes that are replaced: the codes of a few blocks
_LATE = 6  # blocks, or fewer, have their codes there, but in a photo that is flat at its end
_FEW = 5000  # blocks, of which a damaged photo may have the right number by chance
_NOISE = 512  # bytes: more than the blocks of the tail take, far less than a photo
_ATTEMPTS = 12  # by chance, noise can decode to what is there, above all to white or black


@dataclass
class _Scan:
    """One pass over the photo: the coded data lie in the file from `start` to `end`."""

    start: int
    end: int
    components: tuple[int, ...]
    restart_interval: int


@dataclass
class _Structure:
    """The frame of a JPEG, and its scans up to the end marker."""

    kind: int = 0
    width: int = 0
    height: int = 0
    sampling: dict[int, tuple[int, int]] = field(default_factory=dict)
    scans: list[_Scan] = field(default_factory=list)
    bits_left: dict[int, list[int]] = field(default_factory=dict)  # by component and coefficient

    def blocks(self, scan: _Scan) -> tuple[int, int]:
        """Columns and rows of the units that a scan codes one after the other."""
        widest = max(h for h, _ in self.sampling.values())
        highest = max(v for _, v in self.sampling.values())
        if len(scan.components) > 1:
            return (
                math.ceil(self.width / (_BLOCK * widest)),
                math.ceil(self.height / (_BLOCK * highest)),
            )
        h, v = self.sampling[scan.components[0]]
        width, height = math.ceil(self.width * h / widest), math.ceil(self.height * v / highest)
        return math.ceil(width / _BLOCK), math.ceil(height / _BLOCK)


def refuse_incomplete(path: Path, image: Image.Image) -> None:
    """Raise PhotoError if parts of a JPEG are missing.

    Parameters
    ----------
    path : Path
    image : Image
        The photo as decoded at full size, in the mode of its file.
    """
    content = path.read_bytes()
    structure = _parse(path, content)
    if structure.kind not in (*_SEQUENTIAL, _PROGRESSIVE) or not structure.scans:
        return  # coded arithmetically, where what is left over says nothing
    for scan in structure.scans:
        _check_restarts(path, content, structure, scan)
    if any(any(bits) for bits in structure.bits_left.values()):
        raise _incomplete(path)
    one_pass = structure.kind in _SEQUENTIAL and len(structure.scans) == 1
    checks = (_ends_with_its_data,) if one_pass else (_does_without_more, _needs_all_passes)
    if not all(whole(content, structure, image) for whole in checks):
        raise _incomplete(path)


def _incomplete(path: Path) -> PhotoError:
    return PhotoError(
        f"{path} is damaged: parts of the photo are missing, most likely because it was not copied "
        "completely; copy it again."
    )


# ----------------------------------------------------------------------------------- structure


def _parse(path: Path, content: bytes) -> _Structure:
    """Walk the markers up to the end of the first photo in the file."""
    found = _Structure()
    interval = 0
    position = 2
    while True:
        position = content.find(b"\xff", position)
        while 0 <= position < len(content) - 1 and content[position + 1] == 0xFF:
            position += 1
        if position < 0 or position + 1 >= len(content):
            raise _incomplete(path)
        marker = content[position + 1]
        position += 2
        if marker == _EOI:
            return found
        if marker in _BARE or marker == 0:
            continue
        if found.scans and marker not in _BETWEEN_SCANS:
            raise _incomplete(path)
        start, position = position, position + int.from_bytes(content[position : position + 2])
        body = content[start + 2 : position]
        try:
            if marker in _FRAMES:
                _read_frame(found, marker, body)
            elif marker == _DRI:
                interval = int.from_bytes(body[:2])
            elif marker == _SOS:
                end = _END_OF_SCAN.search(content, position)
                if end is None:
                    raise _incomplete(path)
                components = _read_scan(found, body)
                found.scans.append(_Scan(position, end.start(), components, interval))
                position = end.start()
        except (IndexError, KeyError, ValueError):
            raise _incomplete(path) from None


def _read_frame(found: _Structure, marker: int, body: bytes) -> None:
    found.kind = marker
    found.height, found.width = int.from_bytes(body[1:3]), int.from_bytes(body[3:5])
    for n in range(body[5]):
        name, factors = body[6 + 3 * n], body[7 + 3 * n]
        found.sampling[name] = max(factors >> 4, 1), max(factors & 15, 1)
        found.bits_left[name] = [1] * _COEFFICIENTS


def _read_scan(found: _Structure, body: bytes) -> tuple[int, ...]:
    """The components of a scan; what it brings them is noted."""
    count = body[0]
    components = tuple(body[1 + 2 * n] for n in range(count))
    first, last, bits = body[1 + 2 * count], body[2 + 2 * count], body[3 + 2 * count] & 15
    if found.kind in _SEQUENTIAL:
        first, last, bits = 0, _COEFFICIENTS - 1, 0
    for name in components:
        left = found.bits_left[name]
        left[first : last + 1] = [bits] * (min(last, _COEFFICIENTS - 1) + 1 - first)
    return components


def _check_restarts(path: Path, content: bytes, structure: _Structure, scan: _Scan) -> None:
    """Raise PhotoError unless the restart markers of a scan are all there, in their order.

    Some cameras write one more at the end of the scan; it is left out of the scan.
    """
    columns, rows = structure.blocks(scan)
    interval = scan.restart_interval
    wanted = -(-columns * rows // interval) - 1 if interval else 0
    marks = list(_RESTART.finditer(content, scan.start, scan.end))
    found = [mark[1][0] & 7 for mark in marks]
    if interval and len(marks) == wanted + 1 and marks[-1].end() == scan.end:
        scan.end = marks[-1].start()
        wanted += 1
    if len(found) != wanted or found != [n % 8 for n in range(wanted)]:
        raise _incomplete(path)


# --------------------------------------------------------------------------------------- noise


def _ends_with_its_data(content: bytes, structure: _Structure, image: Image.Image) -> bool:
    """Whether noise at the end of the only scan changes the last block, and none after it does.

    Of large photos, noise after the end is tried only if more than the last blocks have changed.
    """
    (scan,) = structure.scans
    columns, rows = structure.blocks(scan)
    width, height = math.ceil(image.width / columns), math.ceil(image.height / rows)
    width, height = (-(-side // _BLOCK) * _BLOCK for side in (width, height))
    # Colours at its edge are blended with those of the blocks before it.
    left = min((columns - 1) * width + _BLENDED, image.width - 1)
    top = min((rows - 1) * height + _BLENDED, image.height - 1)
    last = (left, top, image.width, image.height)
    late = (max(0, columns - _LATE) * width, (rows - 1) * height)
    for attempt, start, end in _tails(content, scan):
        noise = _noise(attempt, end - start + _NOISE)
        pieces = _noise_before_restarts(content, scan, start)
        changed = _decoded(b"".join([*pieces, noise, content[scan.end :]]))
        if changed is None or changed.size != image.size or changed.mode != image.mode:
            return False
        difference = ImageChops.difference(image, changed)
        box = difference.getbbox()
        early = box is not None and (box[0] < late[0] or box[1] < late[1] - _BLENDED)
        in_doubt = early or columns * rows < _FEW
        if attempt == 0 and in_doubt and not _does_without_more(content, structure, image):
            return False
        if difference.crop(last).getbbox() is not None:
            return True
    # A photo that is grey all over can have codes for nothing else.
    changed = _decoded(content[: scan.start] + _noise(0, _NOISE) + content[scan.end :])
    return changed is not None and ImageChops.difference(image, changed).getbbox() is None


def _does_without_more(content: bytes, structure: _Structure, image: Image.Image) -> bool:
    """Whether noise after each scan changes nothing."""
    pieces = []
    done = 0
    for number, scan in enumerate(structure.scans):
        pieces.append(content[done : scan.start])
        pieces += _noise_before_restarts(content, scan, scan.end, before=scan.start)
        pieces.append(_noise(number, _NOISE))
        done = scan.end
    changed = _decoded(b"".join([*pieces, content[done:]]))
    if changed is None or changed.size != image.size or changed.mode != image.mode:
        return False
    return ImageChops.difference(image, changed).getbbox() is None


def _needs_all_passes(content: bytes, structure: _Structure, image: Image.Image) -> bool:
    """Whether noise at the end of each scan changes something, so that no data are left over."""
    return all(
        scan.end - scan.start <= _TAIL  # an empty one, such as for the colours of a grey photo
        or any(_changes(content, scan, at, seed, image) for seed, at, _ in _tails(content, scan))
        # A scan of a photo that is white all over can have codes for nothing else.
        or not _changes(content, scan, scan.start, 0, image)
        for scan in structure.scans
    )


def _tails(content: bytes, scan: _Scan) -> Iterator[tuple[int, int, int]]:
    """Attempts, each with the places in the file between which the last codes of a scan lie."""
    marks = [mark.end() for mark in _RESTART.finditer(content, scan.start, scan.end)]
    for attempt in range(_ATTEMPTS):
        # Cameras pad their data; but zeros can be codes, too.
        end = scan.end if attempt == 0 else _without_padding(content, scan)
        start = max([scan.start, end - _TAIL, *(at for at in marks[-1:] if at <= end)])
        # Never between a 255 and the zero that follows it.
        yield attempt, start - (content[start - 1] == 0xFF), end


def _changes(content: bytes, scan: _Scan, start: int, seed: int, image: Image.Image) -> bool:
    """Whether noise from `start` to the end of a scan changes the photo."""
    noise = _noise(seed, scan.end - start)
    changed = _decoded(content[:start] + noise + content[scan.end :])
    if changed is None or changed.size != image.size or changed.mode != image.mode:
        return True
    return ImageChops.difference(image, changed).getbbox() is not None


def _noise_before_restarts(
    content: bytes, scan: _Scan, end: int, *, before: int = 0
) -> Iterator[bytes]:
    """The file from `before` to `end`, with noise before each restart marker of the scan."""
    for number, mark in enumerate(_RESTART.finditer(content, scan.start, end)):
        yield content[before : mark.start()]
        yield _noise(number % 8, _NOISE)
        before = mark.start()
    yield content[before:end]


def _without_padding(content: bytes, scan: _Scan) -> int:
    end = scan.end
    while end > scan.start and content[end - 1] in _PADDING:
        end -= 1
    return end


def _noise(seed: int, count: int) -> bytes:
    """Bytes without a marker among them."""
    return np.random.default_rng(seed).integers(0, 0xFF, count, dtype=np.uint8).tobytes()


def _decoded(content: bytes) -> Image.Image | None:
    try:
        with Image.open(io.BytesIO(content), formats=("JPEG",)) as image:
            image.load()
            return image
    except (OSError, ValueError, SyntaxError):
        return None
