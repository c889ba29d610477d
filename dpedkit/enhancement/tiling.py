"""Networks computed strip by strip, with exactly the result of computing the whole photo at once.

A convolution needs a few rows above and below those it computes. Each layer keeps the last rows of
its input until the next strip comes, and computes what it has enough rows for: every output once,
whatever the size of the strips. Strips may so be small enough for the processor's cache.

Instance norm needs the mean and variance over the whole photo, so the network is cut into segments
at each instance norm: a segment computes the convolution before the norm for all strips, stores it,
and gathers its statistics; the next segment begins by normalising what is stored.

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

ReadRows = Callable[[int, int], Tensor]  # (top, bottom) -> (1, C, bottom - top, W)


def apply_in_strips(
    layers: Iterable[nn.Module],
    read: ReadRows,
    size: tuple[int, int],
    placement: Placement,
    on_strip: Callable[[], None] = lambda: None,
) -> Iterator[Tensor]:
    """Apply a straight sequence of layers to a photo of any size.

    Parameters
    ----------
    layers : iterable of ConvLayer and ResidualBlock
        As in `models.generator.Generator.layers`, in evaluation mode.
    read : callable
        Gives the rows from `top` to `bottom` - 1 as a (1, C, bottom - top, W) tensor of float32;
        it is called for each row once, from top to bottom.
    size : tuple of int
        Height and width of the maps.
    placement : Placement
    on_strip : callable
        Called after each of the `count_strips` strips.

    Yields
    ------
    (1, D, rows, W) tensor of float32
        From top to bottom; together equal to applying `layers` to the whole but for rounding. Each
        is valid until the next is asked for.

    Raises
    ------
    DpedkitError
        If the disk is too full for the temporary files.
    """
    height, width = size
    bands = _bands(height, width, placement.strip_pixels)
    *inner, last = _segments(layers)
    statistics: _Statistics | None = None
    with _Storage(inner, height, width, placement) as stored:
        for segment in inner:
            gathered = _Statistics()
            run = _Run(segment, read, stored, statistics, placement)
            done = 0
            for top, bottom in bands:
                convolved = run.advance(top, bottom, is_last=bottom == height)
                if convolved.shape[2]:
                    gathered.add(convolved)
                    stored.convolved.write(convolved, done)
                    done += convolved.shape[2]
                on_strip()
            read, statistics = stored.convolved.read, gathered
        run = _Run(last, read, stored, statistics, placement)
        for top, bottom in bands:
            result = run.advance(top, bottom, is_last=bottom == height)
            if result.shape[2]:
                yield result.float()
            on_strip()


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
    def leaves_block_open(self) -> bool:
        """Whether it ends within a residual block, whose sum is taken in a later segment."""
        return bool(self.units) and self.units[-1].opens_block and self.units[-1].needs_whole_photo

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


class _Run:
    """A segment, computed from the top of the photo to its bottom."""

    def __init__(
        self,
        segment: _Segment,
        read: ReadRows,
        stored: _Storage,
        statistics: _Statistics | None,
        placement: Placement,
    ) -> None:
        self.segment, self.read, self.stored = segment, read, stored
        self.statistics, self.placement = statistics, placement
        self.inputs = [_Input(unit.layer, placement) for unit in segment.units]
        for unit, opening, closing in zip(
            segment.units, self.inputs, self.inputs[1:], strict=False
        ):
            if unit.opens_block:
                opening.added_by = closing

    def advance(self, top: int, bottom: int, *, is_last: bool) -> Tensor:
        """Take the rows from `top` to `bottom` - 1, and return those of the result that follow.

        There may be none. Stored rows are read before those of the same place are overwritten.
        """
        result = self._begin(top, bottom)
        self.inputs[0].room(result.shape[2], result.shape[3]).copy_(result)
        opening = self.inputs[0]
        for unit, rows, following in zip(
            self.segment.units, self.inputs, [*self.inputs[1:], None], strict=True
        ):
            if unit.opens_block:
                opening = rows
                if unit.needs_whole_photo and result.shape[2]:
                    self.stored.block_input.write(result, rows.bottom - result.shape[2])
            begin = rows.computed
            convolved = rows.convolve(is_last=is_last)
            count, width = convolved.shape[2:]
            if unit.needs_whole_photo:
                return convolved
            result = convolved if following is None else following.room(count, width)
            block_input = opening.between(begin, begin + count) if unit.closes_block else None
            _finish(unit.layer, convolved, block_input, out=result)
        return result

    def _begin(self, top: int, bottom: int) -> Tensor:
        """The rows that the first convolution is fed."""
        device, dtype = self.placement.device, self.placement.dtype
        rows = self.read(top, bottom).to(device, dtype)
        finished = self.segment.finished
        if finished is not None and self.statistics is not None:
            rows = self.statistics.normalise(rows, finished.layer.norm)
            rows = activate(rows, finished.layer.activation).to(dtype)
            if self.segment.adds_block_input:
                rows = rows + self.stored.block_input.read(top, bottom).to(device, dtype)
        return rows


class _Input:
    """The input of a layer: the last rows of what has come, which later outputs need.

    Attributes
    ----------
    bottom : int
        Below the last row that has come.
    computed : int
        Rows of the output so far.
    added_by : _Input or None
        That of the layer to whose output these rows are added, so that they must be kept for it.
    """

    def __init__(self, layer: ConvLayer, placement: Placement) -> None:
        self.conv, self.reach = layer.conv, layer.reach
        self.placement = placement
        self.computed = 0
        self.added_by: _Input | None = None
        self._top = self.bottom = -self.reach  # those above row 0 are padding
        self._held = torch.empty(0)

    def room(self, count: int, width: int) -> Tensor:
        """Where to write the next rows: (1, C, count, width)."""
        if self._held.numel() == 0:
            self._held = self._allocate(2 * self.reach + count, width)
            self._held[:, :, : self.reach] = 0
            self.bottom = 0
        self._forget(count)
        begin = self.bottom - self._top
        self.bottom += count
        return self._held[:, :, begin : begin + count]

    def between(self, top: int, bottom: int) -> Tensor:
        """Some of the rows held."""
        return self._held[:, :, top - self._top : bottom - self._top]

    def convolve(self, *, is_last: bool) -> Tensor:
        """All rows of the output that are not computed yet and for which there is enough input."""
        width = self._held.shape[3]
        if is_last:
            self.room(self.reach, width).zero_()
        begin = self.computed - self.reach
        count = max(0, self.bottom - self.reach - self.computed)
        dtype = self.placement.dtype
        if count == 0:
            shape = (1, self.conv.out_channels, 0, width)
            return torch.empty(shape, dtype=dtype, device=self.placement.device)
        self.computed += count
        bias = None if self.conv.bias is None else self.conv.bias.to(dtype)
        return functional.conv2d(
            self.between(begin, self.bottom),
            self.conv.weight.to(dtype),
            bias,
            padding=(0, self.conv.kernel_size[1] // 2),
        )

    def _forget(self, count: int) -> None:
        """Drop the rows that nothing needs, and make room for `count` more."""
        needed = self.computed - self.reach
        if self.added_by is not None:
            needed = min(needed, self.added_by.computed)
        kept = self.between(max(needed, self._top), self.bottom)
        rows = kept.shape[2]
        if rows + count > self._held.shape[2]:
            self._held = self._allocate(rows + count, kept.shape[3])
        elif rows > self.bottom - self._top - rows:  # the old and the new place overlap
            kept = kept.clone()
        self._top = self.bottom - rows
        self._held[:, :, :rows] = kept

    def _allocate(self, rows: int, width: int) -> Tensor:
        """Rows that lie behind each other in memory, channels last."""
        return torch.empty(
            (1, rows, width, self.conv.in_channels),
            dtype=self.placement.dtype,
            device=self.placement.device,
        ).permute(0, 3, 1, 2)


def _finish(layer: ConvLayer, convolved: Tensor, block_input: Tensor | None, out: Tensor) -> None:
    """The norm (batch norm or none: pixel by pixel), activation and sum of a layer, into `out`."""
    values = convolved
    if layer.norm is not None:
        values = layer.norm(values.float()).to(values.dtype)
    if layer.activation == "relu":
        values = torch.clamp_min(values, 0, out=out if block_input is None else None)
    else:
        values = activate(values, layer.activation)
    if block_input is not None:
        torch.add(values, block_input, out=out)
    elif values is not out:
        out.copy_(values)


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
