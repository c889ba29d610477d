"""TensorFlow's V2 checkpoints, read without TensorFlow, every checksum checked.

`PREFIX.index` is a sorted table in LevelDB's format whose values are protocol buffers; it says
where in `PREFIX.data-00000-of-0000N` the raw little-endian values of each tensor lie.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dpedkit.core.errors import DpedkitError

INDEX_SUFFIX = ".index"
_FOOTER_BYTES, _MAGIC = 48, 0xDB4775248B80FB57
_TRAILER_BYTES = 5  # one for the compression, four for the checksum
_CRC_POLYNOMIAL, _CRC_MASK_DELTA = 0x82F63B78, 0xA282EAD8
_FLOAT32 = 1  # tensorflow.DataType
# Field numbers of BundleHeaderProto, BundleEntryProto, TensorShapeProto and its Dim.
_HEADER_SHARDS, _HEADER_ENDIANNESS = 1, 2
_DTYPE, _SHAPE, _SHARD, _OFFSET, _SIZE, _CRC = 1, 2, 3, 4, 5, 6
_DIM, _DIM_SIZE = 2, 1

Fields = dict[int, list[int | bytes]]


@dataclass(frozen=True)
class _Entry:
    """Where one tensor's values lie, and their checksum."""

    shape: tuple[int, ...]
    shard: int
    offset: int
    size: int
    checksum: int


def read_checkpoint(prefix: Path) -> dict[str, NDArray[np.float32]]:
    """All tensors of a checkpoint by name, in the order of their names.

    Parameters
    ----------
    prefix : Path
        The checkpoint's files without `.index` and `.data-...`; a path that ends in `.index` will
        do.

    Raises
    ------
    DpedkitError
        If a file is missing, not a checkpoint, holds other values than float32, or is damaged,
        be it by a single bit.
    """
    index_file = index_of(prefix)
    try:
        content = index_file.read_bytes()
    except OSError:
        raise DpedkitError(
            f"{index_file} cannot be read; give the checkpoint's name without .index or .data-..."
        ) from None
    try:
        table = dict(_read_table(content))
        header = _parse(table.pop(b""))
        entries = {key.decode(): _read_entry(value) for key, value in table.items()}
    except (_DamagedError, KeyError, IndexError, UnicodeDecodeError, struct.error) as error:
        raise DpedkitError(
            f"{index_file} is damaged or not the index of a TensorFlow checkpoint ({error})."
        ) from None
    if _number(header, _HEADER_ENDIANNESS):
        raise DpedkitError(
            f"{index_file} belongs to a big-endian checkpoint; these are not supported."
        )
    shards = _number(header, _HEADER_SHARDS)
    data: dict[int, bytes] = {}
    for entry in entries.values():
        if entry.shard not in data:
            data[entry.shard] = _read_data(index_file, entry.shard, shards)
    return {
        name: _read_tensor(data[entry.shard], entry, name, index_file)
        for name, entry in entries.items()
    }


def index_of(prefix: Path) -> Path:
    """The index file of a checkpoint given by its prefix or by that file."""
    if prefix.suffix == INDEX_SUFFIX:
        return prefix
    return prefix.with_name(prefix.name + INDEX_SUFFIX)


def masked_crc32c(data: bytes) -> int:
    """The Castagnoli checksum, turned and shifted as LevelDB and TensorFlow store it."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _CRC_TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + _CRC_MASK_DELTA) & 0xFFFFFFFF


class _DamagedError(Exception):
    """The bytes are not what the format promises; says why."""


def _read_table(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of a LevelDB table, in order."""
    if len(content) < _FOOTER_BYTES or _fixed64(content, len(content) - 8) != _MAGIC:
        raise _DamagedError("it does not end as such a table does")
    footer = content[-_FOOTER_BYTES:]
    _, position = _read_handle(footer, 0)  # the metaindex block, which is empty
    index_handle, _ = _read_handle(footer, position)
    for _, handle in _read_block(content, index_handle):
        yield from _read_block(content, _read_handle(handle, 0)[0])


def _read_block(content: bytes, handle: tuple[int, int]) -> Iterator[tuple[bytes, bytes]]:
    offset, size = handle
    block = content[offset : offset + size]
    trailer = content[offset + size : offset + size + _TRAILER_BYTES]
    if len(trailer) < _TRAILER_BYTES:
        raise _DamagedError("a block reaches beyond the end")
    if masked_crc32c(block + trailer[:1]) != struct.unpack("<I", trailer[1:])[0]:
        raise _DamagedError("a checksum is wrong")
    if trailer[0] != 0:
        raise _DamagedError("it is compressed, which checkpoints never are")
    end = size - 4 * (1 + struct.unpack_from("<I", block, size - 4)[0])  # the restart points
    key, position = b"", 0
    while position < end:
        shared, position = _varint(block, position)
        unshared, position = _varint(block, position)
        length, position = _varint(block, position)
        key = key[:shared] + block[position : position + unshared]
        position += unshared
        yield key, block[position : position + length]
        position += length


def _read_handle(data: bytes, position: int) -> tuple[tuple[int, int], int]:
    offset, position = _varint(data, position)
    size, position = _varint(data, position)
    return (offset, size), position


def _read_entry(value: bytes) -> _Entry:
    fields = _parse(value)
    if _number(fields, _DTYPE) != _FLOAT32:
        raise _DamagedError("it holds values other than float32")
    shape = _parse(_message(fields, _SHAPE)).get(_DIM, [])
    sizes = [_number(_parse(dim), _DIM_SIZE) for dim in shape if isinstance(dim, bytes)]
    return _Entry(
        tuple(sizes),
        _number(fields, _SHARD),
        _number(fields, _OFFSET),
        _number(fields, _SIZE),
        _number(fields, _CRC),
    )


def _read_data(index_file: Path, shard: int, shards: int) -> bytes:
    name = f"{index_file.name.removesuffix(INDEX_SUFFIX)}.data-{shard:05d}-of-{shards:05d}"
    path = index_file.with_name(name)
    try:
        return path.read_bytes()
    except OSError:
        raise DpedkitError(f"{path} cannot be read; it belongs beside {index_file.name}.") from None


def _read_tensor(data: bytes, entry: _Entry, name: str, index_file: Path) -> NDArray[np.float32]:
    raw = data[entry.offset : entry.offset + entry.size]
    expected = 4 * int(np.prod(entry.shape, dtype=np.int64))
    if len(raw) != expected or masked_crc32c(raw) != entry.checksum:
        raise DpedkitError(
            f"The data beside {index_file} is damaged: the values of '{name}' do not match their "
            "checksum. Copy or download the checkpoint again."
        )
    return np.frombuffer(raw, "<f4").astype(np.float32).reshape(entry.shape)


def _parse(message: bytes) -> Fields:
    """The fields of a protocol buffer by number: integers, and bytes for what is nested."""
    fields: Fields = {}
    position = 0
    while position < len(message):
        tag, position = _varint(message, position)
        kind = tag & 7
        value: int | bytes
        if kind == 0:
            value, position = _varint(message, position)
        elif kind == 2:
            length, position = _varint(message, position)
            value = message[position : position + length]
            position += length
        elif kind in (1, 5):
            width = 8 if kind == 1 else 4
            value = int.from_bytes(message[position : position + width], "little")
            position += width
        else:
            raise _DamagedError("a record has a field of an unknown kind")
        fields.setdefault(tag >> 3, []).append(value)
    return fields


def _number(fields: Fields, number: int) -> int:
    value = fields.get(number, [0])[-1]
    if not isinstance(value, int):
        raise _DamagedError("a record has a text where a number belongs")
    return value


def _message(fields: Fields, number: int) -> bytes:
    value = fields.get(number, [b""])[-1]
    if not isinstance(value, bytes):
        raise _DamagedError("a record has a number where a text belongs")
    return value


def _varint(data: bytes, position: int) -> tuple[int, int]:
    """A variable-length integer, and the position after it."""
    value, shift = 0, 0
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, position


def _fixed64(data: bytes, position: int) -> int:
    value: int = struct.unpack_from("<Q", data, position)[0]
    return value


def _crc_table() -> list[int]:
    table = []
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = crc >> 1 ^ (_CRC_POLYNOMIAL if crc & 1 else 0)
        table.append(crc)
    return table


_CRC_TABLE = _crc_table()
