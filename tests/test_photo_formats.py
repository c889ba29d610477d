"""Photos as cameras make them: HEIC, RAW, colour profiles, limits, damage that is meant."""

import io
import struct
import sys
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from PIL import ExifTags, Image, ImageCms
from raw_files import mosaic_of, write_cr3_head, write_dng, write_nef
from test_images import SRGB_ICC, STORED, gradient

from dpedkit import images
from dpedkit.cli import execute
from dpedkit.core.errors import DpedkitError, PhotoError
from dpedkit.images import profiles
from dpedkit.images.limits import PhotoLimits
from dpedkit.images.matrix import MatrixProfile

pillow_heif = pytest.importorskip("pillow_heif", reason="needs the extra 'photos'")
pytest.importorskip("rawpy", reason="needs the extra 'photos'")
pillow_heif.register_heif_opener()

PHOTOS = Path(__file__).parents[2] / "shared" / "data" / "photos"


def picture(height: int = 64, width: int = 96) -> np.ndarray:
    """A smooth picture without saturated colours, no two corners of which are alike."""
    y, x = np.mgrid[0:height, 0:width]
    channels = [40 + 1.4 * x, 60 + 2 * y, 120 + 0.8 * x - 0.5 * y]
    return np.stack(channels, axis=-1).clip(0, 255).astype(np.uint8)


def exif_of(**tags) -> Image.Exif:
    exif = Image.Exif()
    for name, value in tags.items():
        exif[getattr(ExifTags.Base, name)] = value
    return exif


def difference(photo: np.ndarray, expected: np.ndarray) -> np.ndarray:
    assert photo.shape == expected.shape and photo.dtype == np.uint8
    return np.abs(photo.astype(int) - expected)


class TestHeic:
    @pytest.mark.parametrize("orientation", range(1, 9))
    @pytest.mark.parametrize("suffix", [".heic", ".avif"])
    def test_orientation_is_applied_once(self, tmp_path, suffix, orientation):
        path = tmp_path / f"a{suffix}"
        stored = np.ascontiguousarray(STORED[orientation](picture()))
        exif = exif_of(Orientation=orientation, Make="Apple", Model="iPhone X")
        options = {"chroma": 444} if suffix == ".heic" else {"subsampling": "4:4:4"}
        Image.fromarray(stored).save(path, exif=exif.tobytes(), quality=95, **options)
        photo, metadata = images.read_photo_and_metadata(path)
        assert difference(photo, picture()).mean() < 1.5
        assert images.photo_size(path) == (96, 64)
        assert metadata.camera == images.read_capture(path).camera == "Apple iPhone X"

        again = tmp_path / "again.jpg"
        images.write_photo(again, photo, metadata)
        assert difference(images.read_photo(again), picture()).mean() < 3

    def test_orientation_in_the_file_and_in_exif_is_one(self, tmp_path):
        """Phones write both, and mean one quarter turn."""
        path = tmp_path / "a.heic"
        Image.fromarray(np.ascontiguousarray(STORED[6](picture()))).save(
            path, exif=exif_of(Orientation=6).tobytes(), quality=95
        )
        content = path.read_bytes()
        assert b"irot" in content
        entry = struct.pack(">HHI", ExifTags.Base.Orientation, 3, 1)
        upright, turned = (entry + struct.pack(">H", value) for value in (1, 6))
        path.write_bytes(content.replace(upright, turned))
        assert turned in path.read_bytes()
        assert difference(images.read_photo(path), picture()).mean() < 1.5

    def test_the_content_decides_not_the_name(self, tmp_path):
        path = tmp_path / "a.heic"
        Image.fromarray(picture()).save(path, quality=95)
        path = path.rename(tmp_path / "a.jpg")
        assert difference(images.read_photo(path), picture()).mean() < 1.5

    def test_10_bits(self, tmp_path):
        path = tmp_path / "a.heic"
        deep = picture().astype(np.uint16) * 257
        file = pillow_heif.from_bytes("RGB;16", (96, 64), deep.tobytes())
        file.save(path, quality=95)
        assert difference(images.read_photo(path), picture()).mean() < 1.5

    def test_hdr_is_refused(self, tmp_path):
        path = tmp_path / "a.heic"
        file = pillow_heif.from_bytes("RGB", (96, 64), picture().tobytes())
        file.save(path, color_primaries=9, transfer_characteristics=16, matrix_coefficients=9)
        with pytest.raises(PhotoError, match=r"HDR photo \(PQ\)"):
            images.read_photo(path)


class TestRaw:
    @pytest.mark.parametrize("orientation", range(1, 9))
    @pytest.mark.parametrize("kind", ["dng", "nef"])
    def test_orientation_is_applied_once(self, tmp_path, kind, orientation):
        path = tmp_path / f"a.{kind.upper()}"
        write = write_dng if kind == "dng" else write_nef
        grey = np.repeat(picture()[:, :, :1] // 2 + picture()[:, :, 1:2] // 3, 3, axis=2)
        stored = np.ascontiguousarray(STORED[orientation](grey))
        write(path, mosaic_of(stored), orientation=orientation)
        photo = images.read_photo(path)
        assert photo.shape == (64, 96, 3)
        assert images.photo_size(path) == (96, 64)
        luma = photo[:, :, 1].astype(float)
        assert np.corrcoef(luma.ravel(), grey[:, :, 1].ravel())[0, 1] > 0.995

    def test_development_is_neutral(self, tmp_path):
        """A camera that sees in sRGB gives the picture back: no brightening, the curve of sRGB."""
        path = tmp_path / "a.dng"
        write_dng(path, mosaic_of(picture()))
        photo, metadata = images.read_photo_and_metadata(path)
        assert difference(photo, picture())[2:-2, 2:-2].max() <= 2
        assert metadata.camera == "Maker X1"
        assert metadata.conversion.startswith("developed by LibRaw")
        assert "as-shot white balance" in metadata.conversion

    def test_a_dark_scene_stays_dark(self, tmp_path):
        path = tmp_path / "a.dng"
        write_dng(path, mosaic_of(picture() // 4))
        assert difference(images.read_photo(path), picture() // 4)[2:-2, 2:-2].max() <= 4

    def test_what_the_file_says_is_kept_without_the_mosaics_tags(self, tmp_path):
        path = tmp_path / "a.dng"
        write_dng(path, mosaic_of(picture()))
        photo, metadata = images.read_photo_and_metadata(path)
        images.write_photo(tmp_path / "a.tif", photo, metadata)
        with Image.open(tmp_path / "a.tif") as image:
            exif = image.getexif()
            assert exif[ExifTags.Base.Model] == "X1"
            assert 50706 not in exif and 33422 not in exif
            details = exif.get_ifd(ExifTags.IFD.Exif)
            assert details[ExifTags.Base.DateTimeOriginal] == "2026:05:01 14:00:00"
        np.testing.assert_array_equal(images.read_photo(tmp_path / "a.tif"), photo)

    def test_when_it_was_taken(self, tmp_path):
        write_nef(tmp_path / "a.nef", mosaic_of(picture()))
        write_cr3_head(tmp_path / "b.cr3", "2026:05:01 14:00:07")
        nef, cr3 = (images.read_capture(tmp_path / name) for name in ("a.nef", "b.cr3"))
        assert (nef.camera, cr3.camera) == ("NIKON D5500", "Canon EOS R5")
        assert (str(nef.time), nef.resolution) == ("2026-05-01 14:00:00.250000", 0.01)
        assert (str(cr3.time), cr3.resolution) == ("2026-05-01 14:00:07", 1.0)

    @pytest.mark.parametrize("part", [0.02, 0.5, 0.99])
    def test_cut_short(self, tmp_path, part):
        path = tmp_path / "a.dng"
        write_dng(path, mosaic_of(picture()))
        content = path.read_bytes()
        path.write_bytes(content[: int(part * len(content))])
        with pytest.raises(PhotoError, match=r"a\.dng is damaged"):
            images.read_photo(path)


class TestDepthAndChannels:
    @pytest.mark.parametrize("orientation", range(1, 9))
    @pytest.mark.parametrize("channels", [3, 4])
    def test_16_bit_tiff_is_turned_once(self, tmp_path, orientation, channels):
        """Pillow reads those with three channels, OpenCV the others, and turns them itself."""
        path = tmp_path / "a.tif"
        stored = STORED[orientation](picture()).astype(np.uint16) * 257
        stored = np.dstack([stored, np.full(stored.shape[:2], 65535, np.uint16)])[:, :, :channels]
        tifffile.imwrite(
            path,
            np.ascontiguousarray(stored),
            photometric="rgb",
            extrasamples=["unassalpha"] if channels == 4 else [],
            extratags=[(274, "H", 1, orientation, True), (272, "s", 0, "X1", True)],
        )
        photo, metadata = images.read_photo_and_metadata(path)
        np.testing.assert_array_equal(photo, picture())
        assert images.photo_size(path) == (96, 64)
        assert metadata.camera == "X1"

    def test_a_jpeg_of_several_pictures(self, tmp_path):
        """Some phones put a preview or a depth map behind the photo (CIPA DC-007)."""
        path = tmp_path / "a.jpg"
        first = Image.fromarray(picture())
        preview = first.resize((24, 16))
        first.save(path, "MPO", save_all=True, append_images=[preview], quality=95, subsampling=0)
        assert difference(images.read_photo(path), picture()).mean() < 1.5

    def test_a_png_with_its_orientation_behind_the_pixels(self, tmp_path):
        path = tmp_path / "a.png"
        stored = np.ascontiguousarray(STORED[6](picture()))
        exif = exif_of(Orientation=6, Model="X1").tobytes()
        Image.fromarray(stored).save(path)
        block = exif.removeprefix(b"Exif\0\0")
        chunk = b"eXIf" + block
        chunk = struct.pack(">I", len(block)) + chunk + struct.pack(">I", zlib.crc32(chunk))
        content = path.read_bytes()
        end = content.rindex(b"IEND") - 4
        path.write_bytes(content[:end] + chunk + content[end:])
        np.testing.assert_array_equal(images.read_photo(path), picture())
        assert images.photo_size(path) == (96, 64)
        assert images.read_capture(path).camera == "X1"

    def test_bmp(self, tmp_path):
        Image.fromarray(picture()).save(tmp_path / "a.bmp")
        np.testing.assert_array_equal(images.read_photo(tmp_path / "a.bmp"), picture())


# Profiles written byte by byte: primaries (x, y) and the exponent of the curve.
PROFILES = {
    "Display P3": ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), 2.2),
    "Adobe RGB (1998)": ((0.640, 0.330), (0.210, 0.710), (0.150, 0.060), 563 / 256),
    "BT.709": ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060), 2.2),
}
D65, D50 = (0.3127, 0.3290), (0.9642, 1.0, 0.8249)
BRADFORD = np.array(
    [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]]
)


def xyz(x: float, y: float) -> np.ndarray:
    return np.array([x / y, 1.0, (1 - x - y) / y])


def rgb_to_xyz(name: str) -> np.ndarray:
    """Linear RGB to XYZ at D65: columns are the primaries, together they make white."""
    primaries = np.stack([xyz(*point) for point in PROFILES[name][:3]], axis=1)
    return primaries * np.linalg.solve(primaries, xyz(*D65))


def icc_profile(name: str, curve: bytes = b"") -> bytes:
    """A display profile with three channels."""
    cones = BRADFORD @ np.array(D50) / (BRADFORD @ xyz(*D65))
    to_d50 = np.linalg.inv(BRADFORD) @ np.diag(cones) @ BRADFORD @ rgb_to_xyz(name)
    colourants = {kind: xyz_tag(to_d50[:, i]) for i, kind in enumerate((b"rXYZ", b"gXYZ", b"bXYZ"))}
    curve = curve or curve_tag(PROFILES[name][3])
    curves = dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)
    return profile_of(name, b"RGB ", colourants | curves)


def grey_profile(exponent: float) -> bytes:
    return profile_of("Grey", b"GRAY", {b"kTRC": curve_tag(exponent)})


def xyz_tag(values) -> bytes:
    return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(float(v) * 65536) for v in values))


def curve_tag(exponent: float) -> bytes:
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(exponent * 256))


def parametric_tag(kind: int, *values: float) -> bytes:
    fixed = [round(value * 65536) for value in values]
    return b"para\0\0\0\0" + struct.pack(f">Hxx{len(fixed)}i", kind, *fixed)


def table_tag(values: np.ndarray) -> bytes:
    table = np.round(values * 65535).astype(">u2").tobytes()
    return b"curv\0\0\0\0" + struct.pack(">I", len(values)) + table


def profile_of(name: str, space: bytes, tags: dict[bytes, bytes]) -> bytes:
    """A profile of version 2 (ICC.1:2001-04)."""
    text = name.encode() + b"\0"
    description = b"desc\0\0\0\0" + struct.pack(">I", len(text)) + text + b"\0" * 78
    tags = {b"desc": description, b"wtpt": xyz_tag(D50), **tags}
    table, data = struct.pack(">I", len(tags)), b""
    begin = 128 + 4 + 12 * len(tags)
    for kind, content in tags.items():
        table += struct.pack(">4sII", kind, begin + len(data), len(content))
        data += content + b"\0" * (-len(content) % 4)
    head = bytearray(128)
    struct.pack_into(">I4xI4s4s4s", head, 0, begin + len(data), 0x02400000, b"mntr", space, b"XYZ ")
    head[36:40] = b"acsp"
    struct.pack_into(">3i", head, 68, *(round(value * 65536) for value in D50))
    return bytes(head) + table + data


def to_srgb(photo: np.ndarray, name: str) -> np.ndarray:
    """What a photo in another space is in sRGB, by the definitions of both."""
    linear = (photo / 255.0) ** PROFILES[name][3]
    return encode(linear @ (np.linalg.inv(rgb_to_xyz("BT.709")) @ rgb_to_xyz(name)).T)


def encode(linear: np.ndarray) -> np.ndarray:
    """Linear light to sRGB from 0 to 255."""
    light = linear.clip(0, 1)
    return 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


class TestProfiles:
    @pytest.mark.parametrize("name", ["Display P3", "Adobe RGB (1998)"])
    @pytest.mark.parametrize("suffix", [".png", ".tif", ".webp", ".heic", ".avif", ".jpg"])
    def test_wide_gamut_becomes_srgb(self, tmp_path, name, suffix):
        path = tmp_path / f"a{suffix}"
        lossless = suffix in (".png", ".tif", ".webp")
        options = {".webp": {"lossless": True}, ".jpg": {"subsampling": 0}}.get(suffix, {})
        if not lossless:
            options |= {"quality": 98}
        Image.fromarray(picture()).save(path, icc_profile=icc_profile(name), **options)
        photo, metadata = images.read_photo_and_metadata(path)
        expected = to_srgb(picture(), name)
        error = np.abs(photo - expected)
        assert error.mean() < (0.6 if lossless else 1.6)
        assert error.mean() < 0.4 * np.abs(picture() - expected).mean()
        assert metadata.conversion == f"converted from {name} to sRGB"
        # The pixels handed on are sRGB.
        assert profiles.is_srgb(metadata.icc, "RGB")
        assert metadata.icc == profiles.srgb_profile()

    @pytest.mark.parametrize(
        "curve",
        [
            parametric_tag(0, 1.8),
            parametric_tag(1, 2.4, 1 / 1.055, 0.055 / 1.055),
            parametric_tag(2, 2.2, 0.9, 0.05, 0.02),
            parametric_tag(3, 2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045),
            parametric_tag(4, 2.2, 0.95, 0.03, 0.1, 0.05, 0.01, 0.005),
            table_tag(np.linspace(0, 1, 900) ** 1.7),
            table_tag(np.array([])),
        ],
        ids=["kind 0", "kind 1", "kind 2", "kind 3", "kind 4", "table", "none"],
    )
    def test_the_fast_way_agrees_with_littlecms(self, curve):
        icc = icc_profile("Display P3", curve)
        matrix = MatrixProfile.parse(icc)
        assert matrix is not None
        pixels = np.random.default_rng(1).integers(0, 256, (60, 70, 3), dtype=np.uint8)
        profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        transform = ImageCms.buildTransform(
            profile,
            ImageCms.createProfile("sRGB"),
            "RGB",
            "RGB",
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
        )
        expected = np.array(ImageCms.applyTransform(Image.fromarray(pixels), transform))
        assert difference(matrix.to_srgb(pixels), expected).max() <= 1

    def test_what_the_fast_way_does_not_understand_is_left_to_littlecms(self, monkeypatch):
        icc = icc_profile("Display P3", curve_tag(2.0))
        image = Image.fromarray(picture())
        with monkeypatch.context() as patch:
            wrong = MatrixProfile.parse(icc_profile("Adobe RGB (1998)"))
            patch.setattr(MatrixProfile, "parse", lambda icc: wrong)
            pixels, _ = profiles.to_srgb(image, icc)
        assert MatrixProfile.parse(grey_profile(2.0)) is None
        assert MatrixProfile.parse(icc_profile("Display P3", parametric_tag(0, -9000.0))) is None
        right = MatrixProfile.parse(icc)
        assert right is not None
        assert difference(pixels, right.to_srgb(picture())).max() <= 1

    def test_grey_photos_have_profiles_too(self, tmp_path):
        path = tmp_path / "a.png"
        grey = picture()[:, :, 0]
        Image.fromarray(grey).save(path, icc_profile=grey_profile(1.0))
        expected = np.repeat(encode(grey / 255.0)[:, :, None], 3, axis=2)
        assert difference(images.read_photo(path), expected.round().astype(int)).max() <= 1

    def test_srgb_stays_as_it_is(self, tmp_path):
        path = tmp_path / "a.png"
        Image.fromarray(picture()).save(path, icc_profile=SRGB_ICC)
        photo, metadata = images.read_photo_and_metadata(path)
        np.testing.assert_array_equal(photo, picture())
        assert (metadata.icc, metadata.conversion) == (SRGB_ICC, "")

    def test_an_alpha_channel_does_not_hide_the_profile(self, tmp_path):
        path = tmp_path / "a.png"
        rgba = np.dstack([picture(), np.full(picture().shape[:2], 200, np.uint8)])
        Image.fromarray(rgba).save(path, icc_profile=icc_profile("Display P3"))
        error = np.abs(images.read_photo(path) - to_srgb(picture(), "Display P3"))
        assert error.mean() < 0.6

    @pytest.mark.parametrize("profile", [b"p" * 200, icc_profile("Display P3")[:300]])
    def test_a_damaged_profile_does_not_cost_the_photo(self, tmp_path, profile):
        path = tmp_path / "a.png"
        Image.fromarray(picture()).save(path, icc_profile=profile)
        photo, metadata = images.read_photo_and_metadata(path)
        np.testing.assert_array_equal(photo, picture())
        assert metadata.icc == b""


@pytest.mark.parametrize("name", ["a.jpg", "a.heic", "a.dng", "a.tif"])
def test_thumbnails_are_the_photo_reduced(tmp_path, name):
    path = tmp_path / name
    large = cv2.resize(picture(), (480, 320), interpolation=cv2.INTER_CUBIC)
    stored = np.ascontiguousarray(STORED[8](large))
    if name == "a.dng":
        write_dng(path, mosaic_of(stored), orientation=8)
    else:
        Image.fromarray(stored).save(path, exif=exif_of(Orientation=8).tobytes())
    thumbnail = images.read_thumbnail(path, 48)
    expected = cv2.resize(large, (48, 32), interpolation=cv2.INTER_AREA)
    assert difference(thumbnail, expected).mean() < 3
    whole = images.read_thumbnail(path, 1000)  # never enlarged
    assert whole.shape == ((160, 240, 3) if name == "a.dng" else (320, 480, 3))


@pytest.mark.skipif(not PHOTOS.is_dir(), reason=f"needs the photos in {PHOTOS}")
@pytest.mark.parametrize("name", ["IMG_1025.JPG", "IMG_1041.JPG"])
def test_photos_by_a_phone_held_upright(name):
    """Stored lying on their side, in Display P3; OpenCV turns them too, and knows no profiles."""
    path = PHOTOS / name
    photo, metadata = images.read_photo_and_metadata(path)
    assert photo.shape == (4032, 3024, 3)
    assert images.photo_size(path) == (3024, 4032)
    assert metadata.conversion == "converted from Display P3 to sRGB"
    plain = cv2.imread(str(path))[:, :, ::-1]
    shift = np.abs(photo[::8, ::8].astype(int) - plain[::8, ::8])
    assert 0.3 < shift.mean() < 4


class TestLimits:
    def test_200_megapixels_are_admitted(self, tmp_path, monkeypatch):
        PhotoLimits().check_pixels(tmp_path / "a.jpg", 16_320, 12_240)
        PhotoLimits().check_file(tmp_path / "a.dng", 410_000_000)
        # Pillow's own limit would refuse them.
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
        Image.fromarray(picture()).save(tmp_path / "a.png")
        np.testing.assert_array_equal(images.read_photo(tmp_path / "a.png"), picture())
        assert Image.MAX_IMAGE_PIXELS == 1000

    @pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp", ".avif", ".heic", ".dng"])
    def test_larger_photos_are_refused_in_a_sentence(self, tmp_path, suffix):
        path = tmp_path / f"a{suffix}"
        if suffix == ".dng":
            write_dng(path, mosaic_of(picture(110, 110)))
        else:
            Image.fromarray(picture(110, 110)).save(path)
        assert images.read_photo(path, PhotoLimits(max_megapixels=0.0122)).shape == (110, 110, 3)
        with pytest.raises(PhotoError, match=r"claims 110 x 110 px.*--max-megapixels"):
            images.read_photo(path, PhotoLimits(max_megapixels=0.012))

    def test_larger_files_are_refused_in_a_sentence(self, tmp_path):
        path = tmp_path / "a.dng"
        write_dng(path, mosaic_of(picture()))
        with pytest.raises(PhotoError, match=r"the limit is 0.01 \(--max-file-size\)"):
            images.read_photo(path, PhotoLimits(max_file_size=0.01))

    def test_of_a_command(self, tmp_path, capsys):
        for side in ("phone", "dslr"):
            (tmp_path / side).mkdir()
            Image.fromarray(picture(200, 200)).save(tmp_path / side / "a.png")
        folders = [str(tmp_path / "phone"), str(tmp_path / "dslr"), "-o", str(tmp_path / "out")]
        assert execute(["align", *folders, "-j", "1", "--max-megapixels", "0.03"]) == 3
        assert "the limit is 0.03 (--max-megapixels)" in capsys.readouterr().err

    def test_programs_that_photos_could_start_stay_away(self, tmp_path):
        """Pillow hands PostScript to another program; dpedkit does not even look at it."""
        path = tmp_path / "a.jpg"
        path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n")
        with pytest.raises(PhotoError, match="not a photo"):
            images.read_photo(path)


FUZZED = ("a.jpg", "a.png", "a.tif", "a.webp", "a.avif", "a.heic", "a.bmp", "a.dng", "deep.tif")
MUTANTS = 60


def write_example(path: Path) -> None:
    if path.suffix == ".dng":
        write_dng(path, mosaic_of(picture(32, 48)))
    elif path.stem == "deep":
        tifffile.imwrite(path, picture(32, 48).astype(np.uint16) * 257, photometric="rgb")
    else:
        exif = exif_of(Orientation=6, Model="X1")
        Image.fromarray(gradient()).save(path, exif=exif, icc_profile=icc_profile("Display P3"))


@pytest.mark.parametrize("name", FUZZED)
def test_mutants_are_read_or_refused_in_a_sentence(tmp_path, name):
    """Cut anywhere, or a few bytes of the header or of all of it replaced."""
    path = tmp_path / name
    write_example(path)
    whole = path.read_bytes()
    rng = np.random.default_rng(5)
    refused = 0
    for number in range(MUTANTS):
        content = bytearray(whole)
        if number % 3 == 0:
            del content[rng.integers(1, len(content)) :]
        else:
            reach = len(content) if number % 3 == 1 else min(len(content), 400)
            for at in rng.integers(reach, size=rng.integers(1, 6)):
                content[at] = rng.choice([0, 127, 128, 255, int(rng.integers(256))])
        path.write_bytes(content)
        try:
            photo = images.read_photo(path, PhotoLimits(max_megapixels=5))
        except PhotoError as error:
            refused += 1
            assert name in str(error) and str(error).endswith((".", ")"))
        else:
            assert photo.dtype == np.uint8 and photo.ndim == 3 and photo.shape[2] == 3
        images.read_capture(path)
    assert refused >= MUTANTS // 6


@pytest.mark.parametrize(("name", "library"), [("a.heic", "pillow_heif"), ("a.CR3", "rawpy")])
def test_without_the_extra_the_answer_is_how_to_install_it(tmp_path, monkeypatch, name, library):
    monkeypatch.setitem(sys.modules, library, None)
    path = tmp_path / name
    path.write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0")
    for read in (images.read_photo, lambda path: images.list_photos(path.parent)):
        with pytest.raises(DpedkitError, match=r"pip install 'dpedkit\[photos\]'") as caught:
            read(path)
        assert not isinstance(caught.value, PhotoError)
