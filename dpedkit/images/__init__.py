"""The only reader and writer of photos: files in, `(H, W, 3) uint8` RGB arrays out, and back.

Whatever the format, photos are returned upright (EXIF orientation applied), in sRGB (colour profile
applied) and with 8 bits per channel. A photo that cannot be read completely raises `PhotoError`;
missing parts are never filled with grey.

    photo = read_photo(path)                        # (H, W, 3) uint8
    photo, metadata = read_photo_and_metadata(path) # with what to write beside changed pixels
    write_photo(path, photo, metadata)
    thumbnail = make_thumbnail(photo)               # (h, w, 3) uint8, the whole photo in 256 px

Nothing here imports Pillow or NumPy until a name is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dpedkit.core.lazy import lazy_exports

if TYPE_CHECKING:
    from dpedkit.images.capture import Capture, read_capture
    from dpedkit.images.limits import PhotoLimits
    from dpedkit.images.listing import PHOTO_SUFFIXES, RAW_SUFFIXES, is_photo_name, list_photos
    from dpedkit.images.metadata import Metadata
    from dpedkit.images.reading import (
        photo_size,
        read_photo,
        read_photo_and_metadata,
        read_thumbnail,
    )
    from dpedkit.images.shooting import describe_shooting
    from dpedkit.images.thumbnail import THUMBNAIL_SIDE, make_thumbnail
    from dpedkit.images.writing import JPEG_QUALITY, write_photo

__all__ = [
    "JPEG_QUALITY",
    "PHOTO_SUFFIXES",
    "RAW_SUFFIXES",
    "THUMBNAIL_SIDE",
    "Capture",
    "Metadata",
    "PhotoLimits",
    "describe_shooting",
    "is_photo_name",
    "list_photos",
    "make_thumbnail",
    "photo_size",
    "read_capture",
    "read_photo",
    "read_photo_and_metadata",
    "read_thumbnail",
    "write_photo",
]
_HOME = {
    "JPEG_QUALITY": ".writing",
    "PHOTO_SUFFIXES": ".listing",
    "RAW_SUFFIXES": ".listing",
    "THUMBNAIL_SIDE": ".thumbnail",
    "Capture": ".capture",
    "Metadata": ".metadata",
    "PhotoLimits": ".limits",
    "describe_shooting": ".shooting",
    "is_photo_name": ".listing",
    "list_photos": ".listing",
    "make_thumbnail": ".thumbnail",
    "photo_size": ".reading",
    "read_capture": ".capture",
    "read_photo": ".reading",
    "read_photo_and_metadata": ".reading",
    "read_thumbnail": ".reading",
    "write_photo": ".writing",
}
__getattr__ = lazy_exports(__name__, _HOME)
