"""JPEGs with parts missing are refused; sound ones of every kind are accepted."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from dpedkit import images
from dpedkit.core.errors import PhotoError


def scene(height, width, seed=0):
    """Blocks, a gradient and noise: something in every part of the photo."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (height // 24 + 1, width // 24 + 1, 3), dtype=np.uint8)
    picture = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)
    return cv2.add(picture, rng.integers(0, 20, (height, width, 3), dtype=np.uint8))


def jpeg(picture, **settings):
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", **settings)
    return buffer.getvalue()


KINDS = {
    "plain": {"quality": 90},
    "full colour": {"quality": 95, "subsampling": 0, "optimize": True},
    "progressive": {"quality": 85, "progressive": True},
    "restarts by row": {"quality": 85, "restart_marker_rows": 1},
    "few restarts": {"quality": 85, "restart_marker_rows": 9},
    "many restarts": {"quality": 85, "restart_marker_blocks": 3},
    "progressive with restarts": {"quality": 85, "progressive": True, "restart_marker_rows": 2},
}


def hole(content, first, last):
    start, stop = int(first * len(content)), int(last * len(content))
    return content[:start] + content[stop:]


DAMAGE = {
    "early end": lambda b: b[: len(b) // 2] + b"\xff\xd9",
    "end at nine tenths": lambda b: b[: len(b) * 9 // 10] + b"\xff\xd9",
    "early end, zeros after it": lambda b: b[: len(b) // 2] + b"\xff\xd9" + bytes(len(b) // 2),
    "missing tenth": lambda b: hole(b, 0.4, 0.5),
    "missing half": lambda b: hole(b, 0.3, 0.8),
    "zeroed end": lambda b: b[: len(b) * 2 // 3] + bytes(len(b) // 3),
}


def read(tmp_path, content):
    path = tmp_path / "photo.jpg"
    path.write_bytes(content)
    return images.read_photo(path)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("damage", DAMAGE)
def test_missing_parts_are_noticed(tmp_path, kind, damage):
    whole = jpeg(scene(400, 600), **KINDS[kind])
    with pytest.raises(PhotoError, match=r"photo\.jpg is damaged"):
        read(tmp_path, DAMAGE[damage](whole))


@pytest.mark.parametrize("damage", DAMAGE)
def test_missing_parts_of_grey_photos_are_noticed(tmp_path, damage):
    buffer = io.BytesIO()
    Image.fromarray(scene(400, 600)).convert("L").save(buffer, "JPEG")
    with pytest.raises(PhotoError, match=r"photo\.jpg is damaged"):
        read(tmp_path, DAMAGE[damage](buffer.getvalue()))


def zeroed(content, first, last):
    start, stop = int(first * len(content)), int(last * len(content))
    return content[:start] + bytes(stop - start) + content[stop:]


@pytest.mark.parametrize("kind", ["plain", "progressive", "progressive with restarts"])
@pytest.mark.parametrize("remove", [hole, zeroed])
@pytest.mark.parametrize("first", np.arange(0.05, 0.85, 0.1))
def test_a_missing_stretch_is_noticed_wherever_it_is(tmp_path, kind, remove, first):
    # Smooth, as photos are: a progressive pass then has codes for many empty blocks, and what
    # follows a gap in it can end too early as well as too late.
    picture = cv2.GaussianBlur(scene(400, 600), None, 2)
    damaged = remove(jpeg(picture, **KINDS[kind]), first, first + 0.1)
    with pytest.raises(PhotoError, match="damaged"):
        read(tmp_path, damaged)


@pytest.mark.parametrize("progressive", [False, True])
def test_a_restart_marker_too_many_at_the_end_is_no_damage(tmp_path, progressive):
    whole = jpeg(scene(240, 320), restart_marker_rows=1, progressive=progressive)
    # The last pass of a progressive photo codes single blocks, of 8 px, in 30 rows.
    marks = 29 if progressive else 14
    changed = whole[:-2] + bytes([0xFF, 0xD0 + marks % 8]) + whole[-2:]
    assert np.array_equal(read(tmp_path, changed), read(tmp_path, whole))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("level", [0, 128, 255])
def test_a_flat_end_is_not_taken_for_a_missing_one(tmp_path, kind, level):
    """128 is the very grey that libjpeg fills missing parts with."""
    picture = scene(300, 200)
    picture[120:] = level
    assert read(tmp_path, jpeg(picture, **KINDS[kind])).shape == picture.shape
    picture[:] = level
    assert (read(tmp_path, jpeg(picture, **KINDS[kind])) == level).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(1, 1), (1, 200), (200, 1), (17, 33), (64, 64), (8, 500)])
def test_every_size_is_read(tmp_path, kind, size):
    picture = scene(*size)
    assert read(tmp_path, jpeg(picture, **KINDS[kind])).shape == picture.shape


CAMERAS = {
    "zeros before the end": lambda b: b[:-2] + bytes(99) + b[-2:],
    "fill bytes before the end": lambda b: b[:-2] + b"\xff" * 99 + b[-2:],
    "zeros after the end": lambda b: b + bytes(4096),
    "a second photo after the end": lambda b: b + b,
    "text after the end": lambda b: b + b"\xff\xd0maker's own" * 20,
}


@pytest.mark.parametrize("camera", CAMERAS)
@pytest.mark.parametrize("kind", KINDS)
def test_padding_of_cameras_is_no_damage(tmp_path, camera, kind):
    whole = jpeg(scene(120, 160), **KINDS[kind])
    assert np.array_equal(read(tmp_path, CAMERAS[camera](whole)), read(tmp_path, whole))


def test_a_thumbnail_in_the_header_is_not_the_photo(tmp_path):
    small = jpeg(scene(120, 160))
    whole = jpeg(scene(240, 320), exif=b"Exif\0\0" + small)
    assert read(tmp_path, whole).shape == (240, 320, 3)
    with pytest.raises(PhotoError, match="damaged"):
        read(tmp_path, whole[: (len(small) + len(whole)) // 2] + b"\xff\xd9")


@pytest.mark.parametrize("sampling", [0x411111, 0x221111, 0x211111, 0x121111, 0x111111])
@pytest.mark.parametrize("interval", [0, 1, 7])
@pytest.mark.parametrize("progressive", [0, 1])
def test_every_sampling_of_colours_is_read(tmp_path, sampling, interval, progressive):
    settings = [
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR, sampling,
        cv2.IMWRITE_JPEG_RST_INTERVAL, interval,
        cv2.IMWRITE_JPEG_PROGRESSIVE, progressive,
    ]  # fmt: skip
    content = cv2.imencode(".jpg", scene(90, 130), settings)[1].tobytes()
    assert read(tmp_path, content).shape == (90, 130, 3)
    with pytest.raises(PhotoError, match="damaged"):
        read(tmp_path, content[: len(content) * 3 // 5] + b"\xff\xd9")


def test_cmyk(tmp_path):
    buffer = io.BytesIO()
    Image.fromarray(scene(200, 300)).convert("CMYK").save(buffer, "JPEG", quality=90)
    assert read(tmp_path, buffer.getvalue()).shape == (200, 300, 3)
    with pytest.raises(PhotoError, match="damaged"):
        read(tmp_path, DAMAGE["early end"](buffer.getvalue()))
