"""Networks computed strip by strip, with exactly the result of computing the whole photo at once.

A convolution needs a few rows above and below its strip, which are read along. Instance norm needs
the mean and variance over the whole photo, so the network is cut into segments at each instance
norm: a segment computes the convolution before the norm for all strips, stores it, and gathers its
statistics; the next segment begins by normalising what is stored. Every convolution is computed
once, whatever the size of the strips, apart from the rows that strips share.

Stored maps stay in memory up to a limit and otherwise go to a temporary file, so that memory is
bounded for photos of any size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional

from dpedkit.enhancement.storage import Placement, StoredMap
from dpedkit.models.layers import ConvLayer, ResidualBlock, activate

ReadRows = Callable[[int, int], Tensor]  # (top, bottom) -> (1, C, bottom - top, W) in main memory


def apply_in_strips(
    layers: Iterable[nn.Module],
    photo: Tensor,
    placement: Placement,
    on_strip: Callable[[], None] = lambda: None,
) -> Tensor:
    """Apply a straight sequence of layers to a photo of any size.

    Parameters
    ----------
    layers : iterable of ConvLayer and ResidualBlock
        As in `models.generator.Generator.layers`, in evaluation mode.
    photo : (1, C, H, W) tensor of float32
        In main memory.
    placement : Placement
    on_strip : callable
        Called after each of the `count_strips` strips.

    Returns
    -------
    (1, D, H, W) tensor of float32
        In main memory; equal to applying `layers` to `photo` but for rounding.

    Raises
    ------
    DpedkitError
        If the disk is too full for the temporary files.
    """
    height, width = photo.shape[2:]
    bands = _bands(height, width, placement.strip_pixels)
    *inner, last = _segments(layers)
    output = torch.empty((1, last.units[-1].layer.conv.out_channels, height, width))

    def read_photo(top: int, bottom: int) -> Tensor:
        return photo[:, :, top:bottom]

    read, statistics = read_photo, None
    with _Storage(inner, height, width, placement) as stored:
        for segment in inner:
            gathered = _Statistics()
            for top, bottom, result in _run(segment, read, stored, statistics, bands, placement):
                convolved = result.output.crop(top, bottom)
                gathered.add(convolved)
                stored.convolved.write(convolved, top)
                if segment.leaves_block_open:
                    stored.block_input.write(result.block_input.crop(top, bottom), top)
                on_strip()
            read, statistics = stored.convolved.read, gathered
        for top, bottom, result in _run(last, read, stored, statistics, bands, placement):
            output[:, :, top:bottom] = result.output.crop(top, bottom).float().cpu()
            on_strip()
    return output


def count_strips(layers: Iterable[nn.Module], height: int, width: int, strip_pixels: int) -> int:
    """How many strips `apply_in_strips` computes for a photo: segments times strips."""
    return len(_segments(layers)) * len(_bands(height, width, strip_pixels))


@dataclass(frozen=True)
class _Unit:
    """One convolution layer and its place in a residual block."""

    layer: ConvLayer
    opens_block: bool = False
    closes_block: bool = False

    @property
    def needs_whole_photo(self) -> bool:
        return isinstance(self.layer.norm, nn.InstanceNorm2d)


@dataclass
class _Segment:
    """What is computed from one instance norm to the next.

    Attributes
    ----------
    finished : _Unit or None
        The unit whose stored convolution is normalised, activated and added up first.
    units : list of _Unit
        Computed then. If the last one has instance norm, only its convolution is.
    """

    finished: _Unit | None = None
    units: list[_Unit] = field(default_factory=list)

    @property
    def reach(self) -> int:
        """Rows above and below a strip that its result depends on."""
        return sum(unit.layer.reach for unit in self.units)

    @property
    def leaves_block_open(self) -> bool:
        """Whether a residual block begins here whose sum is taken in a later segment."""
        opened = sum(unit.opens_block for unit in self.units)
        closed = sum(unit.closes_block and not unit.needs_whole_photo for unit in self.units)
        return opened > closed

    @property
    def adds_block_input(self) -> bool:
        """Whether it begins with the sum of a block that an earlier segment left open."""
        return self.finished is not None and self.finished.closes_block


def _segments(layers: Iterable[nn.Module]) -> list[_Segment]:
    """Cut a network after the convolution of every unit with instance norm."""
    segments = [_Segment()]
    for layer in layers:
        if isinstance(layer, ResidualBlock):
            units = [_Unit(layer.first, opens_block=True), _Unit(layer.second, closes_block=True)]
        else:
            assert isinstance(layer, ConvLayer)
            units = [_Unit(layer)]
        for unit in units:
            segments[-1].units.append(unit)
            if unit.needs_whole_photo:
                segments.append(_Segment(unit))
    return segments


def _bands(height: int, width: int, strip_pixels: int) -> list[tuple[int, int]]:
    rows = max(1, strip_pixels // width)
    return [(top, min(height, top + rows)) for top in range(0, height, rows)]


@dataclass(frozen=True)
class _Rows:
    """A band of rows of a map, `values` (1, C, rows, W), from row `top` of the photo."""

    values: Tensor
    top: int

    @property
    def bottom(self) -> int:
        return self.top + self.values.shape[2]

    def crop(self, top: int, bottom: int) -> Tensor:
        return self.values[:, :, top - self.top : bottom - self.top]


@dataclass(frozen=True)
class _Result:
    """What a segment made of one strip: its output, and the input of a block left open."""

    output: _Rows
    block_input: _Rows


def _run(
    segment: _Segment,
    read: ReadRows,
    stored: _Storage,
    statistics: _Statistics | None,
    bands: Sequence[tuple[int, int]],
    placement: Placement,
) -> Iterator[tuple[int, int, _Result]]:
    """Compute a segment for each strip `(top, bottom)`.

    The rows of a strip may be overwritten as soon as it is yielded: what later strips need of them
    is held back.
    """
    height = bands[-1][1]
    source = _LookAhead(read, height, segment.reach, placement)
    blocks = _LookAhead(stored.block_input.read, height, segment.reach, placement)
    for top, bottom in bands:
        rows = source.around(top, bottom)
        block_input = rows
        if segment.finished is not None and statistics is not None:
            values = statistics.normalise(rows.values, segment.finished.layer.norm)
            values = activate(values, segment.finished.layer.activation).to(placement.dtype)
            if segment.adds_block_input:
                values = values + blocks.around(top, bottom).values
            rows = _Rows(values, rows.top)
        for unit in segment.units:
            if unit.opens_block:
                block_input = rows
            rows = _convolve(unit.layer.conv, rows, height)
            if unit.needs_whole_photo:
                break
            rows = _Rows(_activate(unit.layer, rows.values), rows.top)
            if unit.closes_block:
                rows = _Rows(rows.values + block_input.crop(rows.top, rows.bottom), rows.top)
        yield top, bottom, _Result(rows, block_input)


def _convolve(conv: nn.Conv2d, rows: _Rows, height: int) -> _Rows:
    """Convolve a band: zeros beyond the photo's edges, and inside it only where rows suffice."""
    reach = conv.kernel_size[0] // 2
    at_top, at_bottom = rows.top == 0, rows.bottom == height
    values = rows.values
    if at_top or at_bottom:
        values = functional.pad(values, (0, 0, reach * at_top, reach * at_bottom))
    dtype = values.dtype
    bias = None if conv.bias is None else conv.bias.to(dtype)
    padding = (0, conv.kernel_size[1] // 2)
    convolved = functional.conv2d(values, conv.weight.to(dtype), bias, padding=padding)
    return _Rows(convolved, rows.top if at_top else rows.top + reach)


def _activate(layer: ConvLayer, values: Tensor) -> Tensor:
    """The norm (batch norm or none: pixel by pixel) and activation of a layer."""
    if layer.norm is not None:
        values = layer.norm(values.float()).to(values.dtype)
    return activate(values, layer.activation)


class _Statistics:
    """Mean and biased variance per channel, gathered strip by strip (Chan et al., 1979)."""

    def __init__(self) -> None:
        self.count = 0
        self.mean = torch.zeros(1, dtype=torch.float64)
        self.squares = torch.zeros(1, dtype=torch.float64)

    def add(self, values: Tensor) -> None:
        """Take in a strip (1, C, rows, W)."""
        rows = values[0].permute(1, 2, 0).float()  # (rows, W, C)
        count = rows.shape[0] * rows.shape[1]
        # Two passes, about the strip's own mean: as exact as var_mean, which is several times
        # slower along the strided dimensions of this layout.
        mean = rows.sum(dim=1).cpu().double().sum(dim=0) / count
        squares = (rows - mean.float().to(rows.device)).square_().sum(dim=1)
        squares = squares.cpu().double().sum(dim=0)
        total = self.count + count
        difference = mean - self.mean
        self.mean = self.mean + difference * (count / total)
        self.squares = self.squares + squares + difference**2 * (self.count * count / total)
        self.count = total

    def normalise(self, values: Tensor, norm: nn.Module | None) -> Tensor:
        """What `norm` makes of a strip, given the statistics of the whole photo; float32."""
        assert isinstance(norm, nn.InstanceNorm2d)
        scale = 1 / torch.sqrt(self.squares / self.count + norm.eps)
        shift = -self.mean * scale
        if norm.affine:
            weight, bias = norm.weight.cpu().double(), norm.bias.cpu().double()
            scale, shift = scale * weight, shift * weight + bias
        scale, shift = (
            factor.float().view(1, -1, 1, 1).to(values.device) for factor in (scale, shift)
        )
        return torch.addcmul(shift, values.float(), scale)


class _LookAhead:
    """Reads a map band by band with `reach` rows around each, and each row only once.

    So the rows of a band may be overwritten once it is read.
    """

    def __init__(self, read: ReadRows, height: int, reach: int, placement: Placement) -> None:
        self.read, self.height, self.reach, self.placement = read, height, reach, placement
        self.held: _Rows | None = None

    def around(self, top: int, bottom: int) -> _Rows:
        low, high = max(0, top - self.reach), min(self.height, bottom + self.reach)
        begin = low if self.held is None else self.held.bottom
        fresh = self.read(begin, high).to(self.placement.device, self.placement.dtype)
        values = fresh
        if self.held is not None and low < begin:
            values = _stack_rows(self.held.crop(low, begin), fresh)
        rows = _Rows(values, low)
        keep = max(low, bottom - self.reach)
        self.held = _Rows(rows.crop(keep, high).clone(), keep)
        return rows


def _stack_rows(upper: Tensor, lower: Tensor) -> Tensor:
    """Concatenate along the rows; as (1, rows, W, C), where that is one copy of memory."""
    bands = [part.permute(0, 2, 3, 1) for part in (upper, lower)]
    return torch.cat(bands, dim=1).permute(0, 3, 1, 2)


class _Storage:
    """The two maps that segments hand on: a convolution, and the input of a residual block."""

    def __init__(
        self, segments: Sequence[_Segment], height: int, width: int, placement: Placement
    ) -> None:
        convolved = max((s.units[-1].layer.conv.out_channels for s in segments), default=0)
        inputs = [u.layer.conv.in_channels for s in segments for u in s.units if u.opens_block]
        carried = max(inputs, default=0)
        itemsize = placement.dtype.itemsize
        left = placement.memory
        maps = []
        for channels in (convolved, carried):
            needed = height * width * channels * itemsize
            fits = needed <= left
            left -= needed * fits
            maps.append(StoredMap(height, width, channels, placement, on_disk=not fits))
        self.convolved, self.block_input = maps

    def __enter__(self) -> _Storage:
        return self

    def __exit__(self, *_: object) -> None:
        self.convolved.close()
        self.block_input.close()
