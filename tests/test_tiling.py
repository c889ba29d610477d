"""Computing a network in strips gives what computing it whole gives."""

import io
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_photomap import random_map, random_photo
from torch import nn
from torch.nn import functional

from dpedkit.core.errors import DpedkitError, UsageError
from dpedkit.enhancement.config import EnhanceConfig
from dpedkit.enhancement.network import enhance_photo, load_enhancer
from dpedkit.enhancement.storage import Placement, StoredMap
from dpedkit.enhancement.tiling import apply_in_strips, count_strips
from dpedkit.models import GENERATORS, build_generator, save_model
from dpedkit.models.colour_residual import ColourResidual
from dpedkit.models.generator import Generator
from dpedkit.models.layers import ConvLayer, ResidualBlock
from dpedkit.models.photo_aware import PhotoAware

NETWORKS = {
    "resnet-8-32": {"norm": "instance"},
    "resnet-12-64": {"norm": "batch"},
    "srcnn": {},
    "colour-residual": {"channels": 8, "blocks": 2},
}


def lively(model: nn.Module) -> nn.Module:
    """Weights at which every layer matters: fresh ones are nearly zero."""
    torch.manual_seed(0)
    for name, value in [*model.named_parameters(), *model.named_buffers()]:
        with torch.no_grad():
            if value.ndim == 4:
                nn.init.normal_(value, std=(2 / value[0].numel()) ** 0.5)
            elif value.ndim == 1 and "mean" not in name:
                value.uniform_(0.5, 1.5)
    with torch.no_grad():
        model.layers[-1].conv.weight.mul_(0.1)  # or tanh saturates, and magnifies rounding
    return model.eval()


def in_strips(layers, photo: torch.Tensor, placement: Placement, **others) -> torch.Tensor:
    """What `apply_in_strips` gives, put together."""

    def read(top: int, bottom: int) -> torch.Tensor:
        return photo[:, :, top:bottom]

    strips = apply_in_strips(layers, read, tuple(photo.shape[2:]), placement, **others)
    return torch.cat([strip.clone() for strip in strips], dim=2)


@pytest.fixture(scope="module")
def models() -> dict[str, nn.Module]:
    return {name: lively(build_generator(name, **opts)) for name, opts in NETWORKS.items()}


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@settings(max_examples=25, deadline=None)
@given(
    name=st.sampled_from(sorted(NETWORKS)),
    height=st.integers(1, 40),
    width=st.integers(2, 40),
    strip_pixels=st.integers(1, 2000),
    in_memory=st.booleans(),
    seed=st.integers(0, 100),
)
def test_any_strips_equal_the_whole(models, name, height, width, strip_pixels, in_memory, seed):
    photo = torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(seed))
    placement = Placement(strip_pixels=strip_pixels, memory=10**9 if in_memory else 0)
    with torch.inference_mode():
        whole = models[name](photo)
        strips = enhance_photo(models[name], photo, placement)
    assert (strips - whole).abs().max() <= 1e-5 * max(1.0, whole.abs().max())


class Sharpened(Generator):
    """A network of one's own: layers at half the resolution that are told a pixel's chroma."""

    step = 2

    def __init__(self, norm: str) -> None:
        layers = [
            ConvLayer(12, 8, 3, activation="relu"),
            ResidualBlock(8, norm),
            ConvLayer(8, 12, 3, activation="none"),
        ]
        super().__init__("sharpened", layers)

    def prepare(self, photo: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        chroma = photo - photo.mean(dim=1, keepdim=True)
        padded = functional.pad(chroma, (0, photo.shape[3] % 2, 0, photo.shape[2] % 2))
        return functional.pixel_unshuffle(padded, 2), photo**0.8

    def finish(self, maps: torch.Tensor, base: torch.Tensor) -> torch.Tensor:
        detail = functional.pixel_shuffle(maps, 2)
        return base * (1 + detail[:, :, : base.shape[2], : base.shape[3]])


class Inverted(PhotoAware):
    """A colour map of one's own, around the layers of another network."""

    def map_colours(self, photo: torch.Tensor) -> torch.Tensor:
        return 1 - super().map_colours(photo)


class Tripled(ColourResidual):
    def finish(self, maps: torch.Tensor, base: torch.Tensor) -> torch.Tensor:
        return super().finish(3 * maps, base)


@pytest.mark.parametrize("size", [(24, 30), (37, 21)])
@pytest.mark.parametrize(
    "network", [Sharpened("none"), Sharpened("instance"), Inverted(8, 1), Tripled(8, 1)]
)
def test_what_a_network_of_ones_own_does_around_its_layers_is_done_in_strips(network, size):
    network = lively(network)
    height, width = size
    photo = torch.rand(1, 3, height, width)
    planes, guide = photo, None
    if isinstance(network, Inverted):
        network.photo_map = random_map()
        guide = network.guide(random_photo(height, width))
        planes = torch.cat([photo, torch.from_numpy(guide.rows(0, height, width, height))[None]], 1)
    with torch.inference_mode():
        strips = enhance_photo(network, photo, Placement(strip_pixels=7 * width), guide=guide)
        torch.testing.assert_close(strips, network(planes), atol=1e-4, rtol=0)


def test_a_colour_map_of_ones_own_is_not_applied_alone_as_another(tmp_path, monkeypatch):
    monkeypatch.setitem(GENERATORS, "colour-residual", Tripled)
    save_model(tmp_path / "m.safetensors", Tripled(8, 1), {})
    with pytest.raises(UsageError, match="no colour map to apply alone"):
        load_enhancer(tmp_path / "m.safetensors", EnhanceConfig(colours_only=True), tmp_path)


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_every_row_of_every_layer_is_computed_once(models, name, monkeypatch):
    rows = []
    convolve = torch.nn.functional.conv2d

    def counting(x, weight, *others, **options):
        y = convolve(x, weight, *others, **options)
        rows.append(y.shape[2])
        return y

    layers = models[name].layers
    photo = torch.rand(1, layers[0].conv.in_channels, 50, 20)
    monkeypatch.setattr("dpedkit.enhancement.tiling.functional.conv2d", counting)
    with torch.inference_mode():
        in_strips(layers, photo, Placement(strip_pixels=60))
    convolutions = sum(isinstance(module, nn.Conv2d) for module in layers.modules())
    assert len(rows) > 5 * convolutions
    assert sum(rows) == 50 * convolutions


def test_bands_of_an_odd_photo_taller_than_a_band(models):
    photo = torch.rand(1, 3, 531, 7)
    with torch.inference_mode():
        whole = models["colour-residual"](photo)
        strips = enhance_photo(models["colour-residual"], photo, Placement(strip_pixels=300))
    assert (strips - whole).abs().max() < 1e-5


def test_strips_without_shared_statistics_would_differ(models):
    """The reason for all this: tiles normalised one by one are not the photo."""
    photo = torch.rand(1, 3, 40, 40)
    photo[:, :, 20:] *= 0.2
    with torch.inference_mode():
        whole = models["resnet-8-32"](photo)
        apart = torch.cat([models["resnet-8-32"](part) for part in photo.split(20, dim=2)], dim=2)
    assert (whole - apart).abs().max() > 0.05


def test_a_single_pixel_has_no_variance():
    model = lively(build_generator("resnet-8-32", norm="instance"))
    photo = torch.rand(1, 3, 1, 1)
    x = photo
    with torch.inference_mode():
        for layer in model.layers:
            x = one_pixel(layer, x)
        strips = in_strips(model.layers, photo, Placement())
    assert (strips - x).abs().max() < 1e-6


def one_pixel(layer: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """A layer at a single pixel, where torch refuses instance norm: only the bias is left."""
    if isinstance(layer, ResidualBlock):
        return one_pixel(layer.second, one_pixel(layer.first, x)) + x
    assert isinstance(layer, ConvLayer)
    y = layer.conv(x)
    if layer.norm is not None:
        y = layer.norm.bias.view(1, -1, 1, 1).expand_as(y)
    return y.relu() if layer.activation == "relu" else 0.58 * y.tanh() + 0.5


def test_statistics_survive_a_large_offset(models):
    """The variance is taken about the mean; a sum of squares would lose it."""
    model = models["resnet-8-32"]
    photo = 1000 + torch.rand(1, 3, 30, 30)
    with torch.inference_mode():
        exact = model.double()(photo.double())
        strips = in_strips(model.float().layers, photo, Placement(strip_pixels=100))
    assert (strips - exact).abs().max() < 2e-2


def test_half_precision_is_close(models):
    photo = torch.rand(1, 3, 24, 24)
    with torch.inference_mode():
        whole = models["srcnn"](photo)
        half = in_strips(models["srcnn"].layers, photo, Placement(dtype=torch.bfloat16))
    assert 0 < (half - whole).abs().max() < 0.1


def test_every_strip_is_counted(models):
    calls = []
    layers = models["resnet-8-32"].layers
    with torch.inference_mode():
        in_strips(
            layers,
            torch.rand(1, 3, 10, 10),
            Placement(strip_pixels=40),
            on_strip=lambda: calls.append(1),
        )
    assert len(calls) == count_strips(layers, 10, 10, 40) == 5 * 3


def test_temporary_files_are_gone_afterwards(models, tmp_path: Path):
    placement = Placement(strip_pixels=50, memory=0, spill_folder=tmp_path)
    with torch.inference_mode():
        in_strips(models["resnet-8-32"].layers, torch.rand(1, 3, 10, 10), placement)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_file_that_is_read_and_written_in_pieces_is_whole(dtype):
    class Piecemeal(io.BytesIO):
        def readinto(self, buffer):
            return super().readinto(buffer[:1000])

        def write(self, data):
            return super().write(data[:700])

    stored = StoredMap(20, 30, 4, Placement(dtype=dtype), on_disk=True)
    stored.close()
    stored.file = Piecemeal()
    values = torch.rand(1, 4, 20, 30).to(dtype)
    stored.write(values[:, :, :12], 0)
    stored.write(values[:, :, 12:], 12)
    assert torch.equal(stored.read(3, 18), values[:, :, 3:18])
    assert stored.read(5, 5).shape == (1, 4, 0, 30)


def test_a_full_disk_is_said(models, monkeypatch):
    class FullFile:
        def seek(self, position: int) -> None:
            pass

        def write(self, content: memoryview) -> int:
            raise OSError(28, "No space left on device")

        def close(self) -> None:
            pass

    monkeypatch.setattr("tempfile.TemporaryFile", lambda **options: FullFile())
    with torch.inference_mode(), pytest.raises(DpedkitError, match="disk is full"):
        in_strips(models["resnet-8-32"].layers, torch.rand(1, 3, 10, 10), Placement(memory=0))
