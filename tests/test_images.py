"""Photos of every kind and every kind of damage, made here byte by byte."""

import io
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from PIL import ExifTags, Image, ImageCms

from dpedkit import images
from dpedkit.core.errors import DpedkitError, PhotoError
from dpedkit.images import decoding

RNG = np.random.default_rng(7)
SRGB_ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def gradient(height: int = 24, width: int = 36) -> np.ndarray:
    """A smooth picture in which no two corners are alike; survives JPEG well."""
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([6 * x, 9 * y, 120 + 2 * x - 3 * y], axis=-1).clip(0, 255).astype(np.uint8)


@pytest.fixture
def jpeg(tmp_path: Path) -> Path:
    path = tmp_path / "photo.jpg"
    Image.fromarray(gradient(200, 300)).save(path, quality=95)
    return path


class TestDamage:
    def test_truncated_jpeg(self, jpeg):
        whole = jpeg.read_bytes()
        for part in (0.3, 0.6, 0.95):
            jpeg.write_bytes(whole[: int(len(whole) * part)])
            with pytest.raises(PhotoError, match="cut short"):
                images.read_photo(jpeg)

    @pytest.mark.parametrize("suffix", [".png", ".tif", ".webp"])
    def test_truncated_others(self, tmp_path, suffix):
        path = tmp_path / f"photo{suffix}"
        noise = RNG.integers(0, 256, (60, 60, 3), dtype=np.uint8)
        Image.fromarray(noise).save(path)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        with pytest.raises(PhotoError, match=r"photo\."):
            images.read_photo(path)

    @pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.tif", "a.webp"])
    def test_text_with_a_photo_name(self, tmp_path, name):
        path = tmp_path / name
        path.write_text("this is no photo\n" * 50)
        with pytest.raises(PhotoError, match="not a photo"):
            images.read_photo(path)
        with pytest.raises(PhotoError):
            images.photo_size(path)

    def test_empty_file(self, tmp_path):
        path = tmp_path / "a.jpg"
        path.touch()
        with pytest.raises(PhotoError, match="empty"):
            images.read_photo(path)

    def test_missing_file_and_folder(self, tmp_path):
        for read in (images.read_photo, images.photo_size):
            with pytest.raises(PhotoError, match="no such file"):
                read(tmp_path / "gone.jpg")
            with pytest.raises(PhotoError, match="folder"):
                read(tmp_path)

    def test_every_flipped_byte_is_read_or_refused(self, tmp_path):
        """Damage may go unnoticed in the pixels, but it must not end in another exception."""
        buffer = io.BytesIO()
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = 6
        Image.fromarray(gradient()).save(buffer, "JPEG", exif=exif, icc_profile=SRGB_ICC[:200])
        content = buffer.getvalue()
        path = tmp_path / "a.jpg"
        for position in range(0, len(content), 3):
            damaged = bytearray(content)
            damaged[position] ^= 0xFF
            path.write_bytes(damaged)
            try:
                photo = images.read_photo(path)
            except PhotoError:
                continue
            assert photo.dtype == np.uint8 and photo.ndim == 3 and photo.shape[2] == 3

    @pytest.mark.parametrize("side", [20_000, 60_000])
    def test_decompression_bomb(self, tmp_path, side):
        """A tiny file whose header claims hundreds of megapixels is refused before decoding."""
        path = tmp_path / "bomb.png"

        def chunk(kind: bytes, data: bytes) -> bytes:
            body = kind + data
            return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

        header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
        data = zlib.compress(b"\0" * 1000)
        path.write_bytes(
            b"\x89PNG\r\n\x1a\n"
            + chunk(b"IHDR", header)
            + chunk(b"IDAT", data)
            + chunk(b"IEND", b"")
        )
        with pytest.raises(PhotoError, match="MP"):
            images.read_photo(path)

    def test_large_tiff_for_opencv_is_refused_by_its_header(self, tmp_path):
        path = tmp_path / "large.tif"
        with path.open("wb") as file:
            tifffile.imwrite(file, shape=(20_000, 20_000, 3), dtype=np.uint16, photometric="rgb")
            file.truncate(4000)
        with pytest.raises(PhotoError):
            images.read_photo(path)


class TestKinds:
    def test_one_pixel(self, tmp_path):
        for suffix in (".jpg", ".png", ".tif"):
            path = tmp_path / f"one{suffix}"
            images.write_photo(path, np.full((1, 1, 3), 90, np.uint8))
            assert images.read_photo(path).shape == (1, 1, 3)
            assert images.photo_size(path) == (1, 1)

    @pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif"])
    def test_greyscale(self, tmp_path, suffix):
        path = tmp_path / f"grey{suffix}"
        grey = gradient()[:, :, 0]
        Image.fromarray(grey).save(path)
        photo = images.read_photo(path)
        assert (photo[..., 0] == photo[..., 1]).all() and (photo[..., 1] == photo[..., 2]).all()
        assert np.abs(photo[..., 0].astype(int) - grey).max() <= 6

    @pytest.mark.parametrize("suffix", [".png", ".tif", ".webp"])
    def test_alpha_is_dropped_and_colours_stay(self, tmp_path, suffix):
        path = tmp_path / f"rgba{suffix}"
        rgba = np.dstack([gradient(), RNG.integers(1, 256, (24, 36), dtype=np.uint8)])
        options = {"lossless": True, "exact": True} if suffix == ".webp" else {}
        Image.fromarray(rgba).save(path, **options)
        np.testing.assert_array_equal(images.read_photo(path), gradient())

    def test_grey_with_alpha(self, tmp_path):
        path = tmp_path / "la.png"
        grey = gradient()[:, :, 1]
        Image.merge("LA", [Image.fromarray(grey), Image.new("L", (36, 24), 9)]).save(path)
        np.testing.assert_array_equal(images.read_photo(path)[..., 2], grey)

    def test_palette_with_and_without_transparency(self, tmp_path):
        path = tmp_path / "palette.png"
        picture = Image.fromarray(gradient()).quantize(64)
        picture.save(path)
        expected = np.asarray(picture.convert("RGB"))
        np.testing.assert_array_equal(images.read_photo(path), expected)
        picture.save(path, transparency=3)
        np.testing.assert_array_equal(images.read_photo(path), expected)

    def test_one_bit(self, tmp_path):
        path = tmp_path / "bits.png"
        Image.fromarray(gradient()[:, :, 0] > 100).save(path)
        assert set(np.unique(images.read_photo(path))) == {0, 255}

    def test_cmyk_jpeg(self, tmp_path):
        path = tmp_path / "cmyk.jpg"
        Image.fromarray(gradient()).convert("CMYK").save(path, quality=95)
        difference = images.read_photo(path).astype(int) - gradient()
        assert np.abs(difference).mean() < 4

    @pytest.mark.parametrize("suffix", [".png", ".tif"])
    def test_16_bit_grey(self, tmp_path, suffix):
        path = tmp_path / f"deep{suffix}"
        deep = np.linspace(0, 65535, 24 * 36).reshape(24, 36).astype(np.uint16)
        cv2.imwrite(str(path), deep)
        photo = images.read_photo(path)
        np.testing.assert_array_equal(photo[..., 0], np.round(deep / 257).astype(np.uint8))
        small = images.read_thumbnail(path, 12)
        assert small.shape == (8, 12, 3)
        means = (deep / 257).reshape(8, 3, 12, 3).mean((1, 3))
        assert np.abs(small[..., 0] - means).max() < 3

    @pytest.mark.parametrize("suffix", [".png", ".tif"])
    @pytest.mark.parametrize("channels", [3, 4])
    def test_16_bit_colour(self, tmp_path, suffix, channels):
        path = tmp_path / f"deep{suffix}"
        deep = RNG.integers(0, 65536, (24, 36, channels), dtype=np.uint16)
        cv2.imwrite(str(path), deep)  # BGR
        photo = images.read_photo(path)
        expected = np.round(deep[:, :, 2::-1] / 257)
        assert np.abs(photo - expected).max() <= 1  # Pillow keeps the upper byte

    def test_16_bit_tiff_size_is_known_from_its_header(self, tmp_path):
        path = tmp_path / "deep.tif"
        cv2.imwrite(str(path), np.zeros((24, 36, 3), np.uint16))
        assert images.photo_size(path) == (36, 24)

    def test_floating_point_tiff(self, tmp_path):
        path = tmp_path / "float.tif"
        Image.fromarray(np.linspace(0, 1, 24 * 36, dtype=np.float32).reshape(24, 36)).save(path)
        photo = images.read_photo(path)
        assert photo[0, 0, 0] == 0 and photo[-1, -1, 0] == 255

    def test_pixels_are_writable_and_contiguous(self, jpeg):
        photo = images.read_photo(jpeg)
        assert photo.flags.writeable and photo.flags.c_contiguous


# What a camera held in each way writes: the stored pixels of a picture that is upright as shown.
STORED = {
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, 1),
    7: lambda a: np.rot90(a, 2).transpose(1, 0, 2),
    8: lambda a: np.rot90(a, -1),
}


class TestMetadata:
    @pytest.mark.parametrize("orientation", range(1, 9))
    @pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp"])
    def test_orientation_is_applied_once(self, tmp_path, orientation, suffix):
        path = tmp_path / f"turned{suffix}"
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = orientation
        stored = np.ascontiguousarray(STORED[orientation](gradient()))
        options = {"quality": 98, "subsampling": 0} if suffix == ".jpg" else {}
        options |= {"lossless": True} if suffix == ".webp" else {}
        Image.fromarray(stored).save(path, exif=exif, **options)

        assert images.photo_size(path) == (36, 24)
        photo, metadata = images.read_photo_and_metadata(path)
        assert photo.shape == (24, 36, 3)
        assert np.abs(photo.astype(int) - gradient()).max() <= 6

        again = tmp_path / "again.jpg"
        images.write_photo(again, photo, metadata)
        assert np.abs(images.read_photo(again).astype(int) - gradient()).max() <= 10
        with Image.open(again) as image:
            assert image.getexif().get(ExifTags.Base.Orientation, 1) == 1

    @pytest.mark.parametrize("source", [".jpg", ".png", ".tif"])
    @pytest.mark.parametrize("target", [".jpg", ".png", ".tif"])
    def test_exif_and_icc_are_kept(self, tmp_path, source, target):
        exif = Image.Exif()
        exif[ExifTags.Base.Make] = "Nikon"
        exif[ExifTags.Base.Model] = "D5500"
        exif[ExifTags.Base.DateTime] = "2024:05:01 12:00:00"
        details = exif.get_ifd(ExifTags.IFD.Exif)
        details[ExifTags.Base.ISOSpeedRatings] = 200
        details[ExifTags.Base.ExposureTime] = 0.008
        place = exif.get_ifd(ExifTags.IFD.GPSInfo)
        place[ExifTags.GPS.GPSLatitudeRef] = "N"
        place[ExifTags.GPS.GPSLatitude] = (46.0, 12.0, 30.0)
        path = tmp_path / f"photo{source}"
        Image.fromarray(gradient()).save(path, exif=exif.tobytes(), icc_profile=SRGB_ICC)

        photo, metadata = images.read_photo_and_metadata(path)
        written = tmp_path / f"written{target}"
        images.write_photo(written, photo, metadata)
        with Image.open(written) as image:
            assert image.info["icc_profile"] == SRGB_ICC
            kept = image.getexif()
            assert kept[ExifTags.Base.Make] == "Nikon"
            assert kept[ExifTags.Base.DateTime] == "2024:05:01 12:00:00"
            assert kept.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.ISOSpeedRatings] == 200
            latitude = kept.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitude]
            assert [float(part) for part in latitude] == [46.0, 12.0, 30.0]

    def test_the_layout_of_the_old_file_is_not_carried_over(self, tmp_path):
        """A TIFF's EXIF block also says where its strips are; another file has them elsewhere."""
        path = tmp_path / "photo.tif"
        Image.fromarray(RNG.integers(0, 256, (50, 70, 3), dtype=np.uint8)).save(path)
        _, metadata = images.read_photo_and_metadata(path)
        other = RNG.integers(0, 256, (31, 20, 3), dtype=np.uint8)
        written = tmp_path / "written.tif"
        images.write_photo(written, other, metadata)
        np.testing.assert_array_equal(images.read_photo(written), other)
        np.testing.assert_array_equal(tifffile.imread(written), other)

    def test_profile_of_other_channels_is_dropped(self, tmp_path):
        for mode in ("CMYK", "L"):
            path = tmp_path / "photo.jpg"
            Image.fromarray(gradient()).convert(mode).save(path, icc_profile=SRGB_ICC)
            assert images.read_photo_and_metadata(path)[1].icc == b""

    def test_damaged_exif_does_not_cost_the_photo(self, tmp_path):
        path = tmp_path / "photo.jpg"
        Image.fromarray(gradient()).save(path, exif=b"Exif\0\0II*\0\xff\xff\xff\xff garbage")
        photo, metadata = images.read_photo_and_metadata(path)
        images.write_photo(tmp_path / "again.jpg", photo, metadata)
        assert photo.shape == (24, 36, 3)


class TestWriting:
    @pytest.mark.parametrize("suffix", [".png", ".tif", ".tiff", ".PNG", ".TIF"])
    def test_lossless(self, tmp_path, suffix):
        path = tmp_path / f"photo{suffix}"
        photo = RNG.integers(0, 256, (33, 21, 3), dtype=np.uint8)
        images.write_photo(path, photo)
        np.testing.assert_array_equal(images.read_photo(path), photo)

    def test_jpeg_quality(self, tmp_path):
        path = tmp_path / "photo.JPG"
        sizes = []
        for quality in (60, 85, 95):
            images.write_photo(path, gradient(200, 300), jpeg_quality=quality)
            sizes.append(path.stat().st_size)
        assert sizes == sorted(sizes)

    def test_same_pixels_same_bytes(self, tmp_path):
        for suffix in (".jpg", ".png", ".tif"):
            files = [tmp_path / f"{name}{suffix}" for name in "ab"]
            for file in files:
                images.write_photo(file, gradient())
            assert files[0].read_bytes() == files[1].read_bytes()

    def test_unknown_format(self, tmp_path):
        with pytest.raises(DpedkitError, match="written as"):
            images.write_photo(tmp_path / "photo.webp", gradient())
        assert list(tmp_path.iterdir()) == []

    def test_views_with_strides(self, tmp_path):
        path = tmp_path / "photo.png"
        images.write_photo(path, gradient()[::-1, ::2])
        np.testing.assert_array_equal(images.read_photo(path), gradient()[::-1, ::2])


class TestFolders:
    def test_photos_are_listed_by_name(self, tmp_path):
        for name in ("b.JPG", "a.png", ".hidden.jpg", "notes.txt"):
            (tmp_path / name).touch()
        (tmp_path / "folder.jpg").mkdir()
        assert [path.name for path in images.list_photos(tmp_path)] == ["a.png", "b.JPG"]

    def test_a_link_that_leads_nowhere_is_told(self, tmp_path):
        (tmp_path / "a.jpg").touch()
        (tmp_path / "b.jpg").symlink_to(tmp_path / "a.jpg")
        (tmp_path / "c.jpg").symlink_to(tmp_path / "gone.jpg")
        with pytest.raises(DpedkitError, match=r"c\.jpg is a link to .*gone\.jpg"):
            images.list_photos(tmp_path)
        (tmp_path / "c.jpg").unlink()
        assert [path.name for path in images.list_photos(tmp_path)] == ["a.jpg", "b.jpg"]

    def test_nothing_to_list(self, tmp_path):
        (tmp_path / "notes.txt").touch()
        for folder, said in ((tmp_path / "gone", "no such"), (tmp_path / "notes.txt", "is a file"),
                             (tmp_path, r"no photos \(notes.txt\)")):  # fmt: skip
            with pytest.raises(DpedkitError, match=said):
                images.list_photos(folder)


class TestExifTooLongForJpeg:
    def write(self, path: Path, note: int, description: int) -> Image.Exif:
        exif = Image.Exif()
        exif[ExifTags.Base.Model] = "iPhone"
        exif[ExifTags.Base.ImageDescription] = "x" * description
        exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.MakerNote] = b"n" * note
        exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.ExposureTime] = 0.5
        images.write_photo(path, gradient(), images.Metadata(exif=exif.tobytes()))
        assert images.read_photo(path).shape == (24, 36, 3)
        with Image.open(path) as written:
            return written.getexif()

    def test_the_makers_note_goes_first(self, tmp_path, caplog):
        found = self.write(tmp_path / "a.jpg", note=60_000, description=20_000)
        assert found[ExifTags.Base.Model] == "iPhone"
        details = found.get_ifd(ExifTags.IFD.Exif)
        assert details[ExifTags.Base.ExposureTime] == 0.5
        assert ExifTags.Base.MakerNote not in details
        assert "a.jpg: the maker note" in caplog.text

    def test_then_all_of_it(self, tmp_path, caplog):
        assert not self.write(tmp_path / "a.jpg", note=10, description=70_000)
        assert "a.jpg: its EXIF data is too long" in caplog.text

    @pytest.mark.parametrize(("name", "note"), [("a.png", 70_000), ("a.jpg", 60_000)])
    def test_what_fits_is_kept(self, tmp_path, caplog, name, note):
        found = self.write(tmp_path / name, note, description=10)
        assert len(found.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.MakerNote]) == note
        assert caplog.text == ""


def test_pixels_that_a_format_cannot_hold_are_a_photo_error(tmp_path):
    with pytest.raises(PhotoError, match=r"a\.jpg could not be written as JPEG"):
        images.write_photo(tmp_path / "a.jpg", np.zeros((1, 70_000, 3), np.uint8))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", [".webp", ".avif"])
def test_a_photo_of_a_newer_format_cut_in_half_is_told_as_such(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    noise = np.random.default_rng(0).integers(0, 256, (80, 120, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(PhotoError, match=r"cut short|only part of one"):
        images.read_photo(path)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif"])
def test_a_limit_on_what_a_photo_takes_decoded(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    Image.fromarray(gradient(100, 200)).save(path)
    assert images.read_photo(path, images.PhotoLimits(max_decoded_size=0.08)).shape[0] == 100
    with pytest.raises(PhotoError, match=r"MB when decoded.*--max-decoded-size"):
        images.read_photo(path, images.PhotoLimits(max_decoded_size=0.079))


def test_16_bits_with_alpha_take_twice_as_much(tmp_path):
    path = tmp_path / "a.tif"
    deep = np.full((100, 200, 4), 257, np.uint16)
    tifffile.imwrite(path, deep, photometric="rgb", extrasamples=["unassalpha"])
    decoding._decode_with_opencv(path, images.PhotoLimits(max_decoded_size=0.16))
    with pytest.raises(PhotoError, match="8 bytes per pixel"):
        decoding._decode_with_opencv(path, images.PhotoLimits(max_decoded_size=0.159))


def test_16_bits_are_rounded_as_before():
    deep = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    expected = np.round(deep / 257).astype(np.uint8)
    assert np.array_equal(decoding._to_8_bits(deep), expected)


class TestShooting:
    def block(self, **values):
        exif = Image.Exif()
        exif[ExifTags.Base.Make] = "Nikon"
        details = exif.get_ifd(ExifTags.IFD.Exif)
        for name, value in values.items():
            details[getattr(ExifTags.Base, name)] = value
        return exif.tobytes()

    def test_lens_and_exposure_are_told_as_photographers_write_them(self):
        block = self.block(
            LensModel="18-55mm f/3.5-5.6G\0",
            FocalLength=35.0,
            FNumber=5.6,
            ExposureTime=1 / 120,
            ISOSpeedRatings=400,
        )
        words = ("18-55mm f/3.5-5.6G", "35 mm, f/5.6, 1/120 s, ISO 400")
        assert images.describe_shooting(block) == words

    @pytest.mark.parametrize(
        ("values", "exposure"),
        [
            ({"ExposureTime": 2.0}, "2 s"),
            ({"ExposureTime": 0.5, "FocalLength": 4.25}, "4.25 mm, 0.5 s"),
            ({"ExposureTime": 0.0, "FNumber": (0, 0), "ISOSpeedRatings": (100, 0)}, "ISO 100"),
            ({}, ""),
        ],
    )
    def test_what_is_not_known_is_left_out(self, values, exposure):
        assert images.describe_shooting(self.block(**values)) == ("", exposure)

    @pytest.mark.parametrize("block", [b"", b"Exif\0\0", b"Exif\0\0MM\0*\0\0\xff\xff", b"x" * 40])
    def test_damaged_blocks_say_nothing(self, block):
        assert images.describe_shooting(block) == ("", "")
