"""TensorFlow checkpoints: written here from the format's definition, read by the tool."""

import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from dpedkit.core.errors import DpedkitError
from dpedkit.core.methods import NETWORK, PHONE
from dpedkit.evaluation.config import EvaluateConfig
from dpedkit.evaluation.driver import evaluate
from dpedkit.images import read_photo
from dpedkit.import_model import import_model
from dpedkit.import_patches.config import ImportPatchesConfig
from dpedkit.import_patches.driver import import_patches
from dpedkit.models import build_generator, load_model, read_card
from dpedkit.models.layers import ConvLayer
from dpedkit.models.tensorflow import masked_crc32c, read_checkpoint

PUBLISHED = Path(__file__).parents[2] / "shared" / "data" / "dped"
needs_published = pytest.mark.skipif(
    not PUBLISHED.is_dir(), reason="the authors' checkpoints are not beside the repository"
)


def varint(value):
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def field(number, value):
    """One field of a protocol buffer: a number, or bytes with their length."""
    if isinstance(value, bytes):
        return varint(number << 3 | 2) + varint(len(value)) + value
    return varint(number << 3) + varint(value)


def fixed32(number, value):
    return varint(number << 3 | 5) + struct.pack("<I", value)


def block(entries):
    """A LevelDB block with shared key prefixes, a restart point every 16 entries."""
    body, restarts, before = b"", [], b""
    for number, (key, value) in enumerate(entries):
        if number % 16 == 0:
            restarts.append(len(body))
            before = b""
        shared = 0
        while shared < min(len(before), len(key)) and before[shared] == key[shared]:
            shared += 1
        body += varint(shared) + varint(len(key) - shared) + varint(len(value))
        body += key[shared:] + value
        before = key
    return body + struct.pack(f"<{len(restarts)}I", *restarts) + struct.pack("<I", len(restarts))


def write_checkpoint(prefix, tensors, dtype=1):
    data = b""
    entries = [(b"", field(1, 1) + field(3, field(1, 1)))]
    for name in sorted(tensors):
        raw = tensors[name].astype("<f4").tobytes()
        shape = b"".join(field(2, field(1, size)) for size in tensors[name].shape)
        value = field(1, dtype) + field(2, shape) + field(4, len(data)) + field(5, len(raw))
        entries.append((name.encode(), value + fixed32(6, masked_crc32c(raw))))
        data += raw
    table, handles = b"", []
    for content in (entries[: len(entries) // 2], entries[len(entries) // 2 :], []):
        encoded = block(content)
        handles.append(
            (content[-1][0] if content else b"", varint(len(table)) + varint(len(encoded)))
        )
        table += encoded + b"\0" + struct.pack("<I", masked_crc32c(encoded + b"\0"))
    index = block(handles[:2])
    index_handle = varint(len(table)) + varint(len(index))
    table += index + b"\0" + struct.pack("<I", masked_crc32c(index + b"\0"))
    footer = (handles[2][1] + index_handle).ljust(40, b"\0")
    table += footer + struct.pack("<Q", 0xDB4775248B80FB57)
    Path(f"{prefix}.index").write_bytes(table)
    Path(f"{prefix}.data-00000-of-00001").write_bytes(data)


def authors_variables(model):
    """The variables of a generator under the authors' names."""
    variables, norms = {}, 0
    layers = [module for module in model.modules() if isinstance(module, ConvLayer)]
    for number, layer in enumerate(layers, start=1):
        kernel = layer.conv.weight.detach().permute(2, 3, 1, 0)
        variables[f"generator/W{number}"] = kernel.numpy()
        variables[f"generator/b{number}"] = layer.conv.bias.detach().numpy()
        if layer.norm is not None:
            for values in (layer.norm.bias, layer.norm.weight):  # shift first, then scale
                name = f"generator/Variable_{norms}" if norms else "generator/Variable"
                variables[name] = values.detach().numpy()
                norms += 1
    return variables


@pytest.fixture
def network():
    torch.manual_seed(0)
    model = build_generator("resnet-8-32", norm="instance")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) / 20)
    return model.eval()


def test_the_published_test_value_of_crc32c():
    # RFC 3720, B.4: the checksum of 32 zero bytes is 0x8A9136AA.
    crc = 0x8A9136AA
    assert masked_crc32c(bytes(32)) == ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def test_a_checkpoint_becomes_the_same_network(tmp_path, network):
    write_checkpoint(tmp_path / "iphone", authors_variables(network))
    summary = import_model(tmp_path / "iphone", tmp_path / "out" / "iphone.safetensors")
    assert (summary.architecture, summary.parameters) == ("resnet-8-32", 71331)
    photo = torch.rand(1, 3, 20, 24)
    with torch.no_grad():
        expected = network(photo)
        for path in (summary.model, tmp_path / "iphone", tmp_path / "iphone.index"):
            assert torch.equal(load_model(path)(photo), expected)
    assert read_card(summary.model)["imported"]["from"] == "iphone"
    with pytest.raises(DpedkitError, match="--overwrite"):
        import_model(tmp_path / "iphone", summary.model)


@pytest.mark.parametrize("suffix", ["index", "data-00000-of-00001"])
def test_any_flipped_bit_is_noticed(tmp_path, suffix):
    tensors = {f"generator/t{n:02}": np.arange(5.0) + n for n in range(40)}
    write_checkpoint(tmp_path / "c", tensors)
    assert all(np.array_equal(v, tensors[k]) for k, v in read_checkpoint(tmp_path / "c").items())
    path = tmp_path / f"c.{suffix}"
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    positions = rng.choice(len(whole), 60, replace=False)
    for position in positions:
        if suffix == "index" and len(whole) - 48 <= position < len(whole) - 8:
            continue  # padding of the footer, which nothing protects
        flipped = bytearray(whole)
        flipped[position] ^= 1 << rng.integers(8)
        path.write_bytes(flipped)
        with pytest.raises(DpedkitError, match="damaged"):
            read_checkpoint(tmp_path / "c")


def test_what_is_refused(tmp_path, network):
    with pytest.raises(DpedkitError, match="no such file"):
        import_model(tmp_path / "none", tmp_path / "x.safetensors")
    (tmp_path / "text.index").write_text("hello")
    with pytest.raises(DpedkitError, match="not the index of a TensorFlow checkpoint"):
        import_model(tmp_path / "text", tmp_path / "x.safetensors")
    write_checkpoint(tmp_path / "other", {"generator/w1": np.zeros((3, 3, 3, 5))})
    with pytest.raises(DpedkitError, match="not of one of the authors' networks"):
        import_model(tmp_path / "other", tmp_path / "x.safetensors")
    write_checkpoint(tmp_path / "ints", {"generator/w1": np.zeros(3)}, dtype=3)
    with pytest.raises(DpedkitError, match="values other than float32"):
        import_model(tmp_path / "ints", tmp_path / "x.safetensors")
    write_checkpoint(tmp_path / "lost", authors_variables(network))
    (tmp_path / "lost.data-00000-of-00001").unlink()
    with pytest.raises(DpedkitError, match="belongs beside"):
        import_model(tmp_path / "lost", tmp_path / "x.safetensors")
    assert not (tmp_path / "x.safetensors").exists()


@needs_published
@pytest.mark.parametrize(
    ("name", "architecture"),
    [("iphone_orig", "resnet-12-64"), ("dped_resnet_8_32", "resnet-8-32"), ("dped_srcnn", "srcnn")],
)
def test_the_published_checkpoints_are_read(name, architecture):
    model = load_model(PUBLISHED / "models_orig" / name)
    assert model.architecture == architecture
    with torch.no_grad():
        enhanced = model(torch.full((1, 3, 40, 40), 0.4))
    assert 0 < enhanced.mean() < 1


def reference_forward(variables, photo):
    """The authors' networks from their variables, in float64: (H, W, 3) -> (H, W, 3)."""
    values = {name.removeprefix("generator/").lower(): v for name, v in variables.items()}
    names = ("variable", *(f"variable_{n}" for n in range(1, 16)))
    norms = iter([values[name] for name in names if name in values])

    def conv(x, number):
        kernel = values[f"w{number}"].astype(np.float64)  # (height, width, in, out)
        reach = kernel.shape[0] // 2
        padded = np.pad(x, ((reach, reach), (reach, reach), (0, 0)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, kernel.shape[:2], axis=(0, 1))
        return np.einsum("yxckl,klco->yxo", windows, kernel, optimize=True) + values[f"b{number}"]

    def instance_norm(x):
        shift, scale = next(norms), next(norms)
        centred = x - x.mean(axis=(0, 1))
        return scale * centred / np.sqrt((centred**2).mean(axis=(0, 1)) + 1e-3) + shift

    def relu(x):
        return np.maximum(x, 0)

    convolutions = sum(name.startswith("w") for name in values)
    x = relu(conv(photo, 1))
    number = 2
    if convolutions == 3:
        x = relu(conv(x, number))
        number += 1
    else:
        while number < convolutions - 2:
            inner = relu(instance_norm(conv(x, number)))
            x = relu(instance_norm(conv(inner, number + 1))) + x
            number += 2
        for _ in range(2):
            x = relu(conv(x, number))
            number += 1
    return np.tanh(conv(x, number)) * 0.58 + 0.5


@needs_published
@pytest.mark.parametrize("name", ["iphone_orig", "sony_orig", "dped_resnet_8_32", "dped_srcnn"])
def test_the_published_networks_equal_a_float64_reference(name):
    prefix = PUBLISHED / "models_orig" / name
    photo = read_photo(PUBLISHED / "patches" / "iphone" / "7.jpg")[20:64, 30:70]
    expected = reference_forward(read_checkpoint(prefix), photo / 255)
    assert np.ptp(expected) > 0.2  # a picture, not one colour
    with torch.no_grad():
        found = load_model(prefix)(torch.from_numpy(photo).permute(2, 0, 1)[None].float() / 255)
    np.testing.assert_allclose(found[0].permute(1, 2, 0).numpy(), expected, rtol=0, atol=1e-5)


@needs_published
def test_a_flipped_bit_of_a_published_checkpoint_is_refused(tmp_path):
    source = PUBLISHED / "models_orig" / "dped_srcnn"
    for suffix in (".index", ".data-00000-of-00001"):
        (tmp_path / f"c{suffix}").write_bytes(Path(f"{source}{suffix}").read_bytes())
    import_model(tmp_path / "c", tmp_path / "whole.safetensors")
    data = tmp_path / "c.data-00000-of-00001"
    flipped = bytearray(data.read_bytes())
    flipped[len(flipped) // 2] ^= 8
    data.write_bytes(flipped)
    with pytest.raises(DpedkitError, match="do not match their checksum"):
        import_model(tmp_path / "c", tmp_path / "flipped.safetensors")
    assert not (tmp_path / "flipped.safetensors").exists()


@pytest.fixture(scope="module")
def published_shards(tmp_path_factory):
    """The 300 published patch pairs, imported."""
    output = tmp_path_factory.mktemp("dped") / "shards"
    import_patches(PUBLISHED / "patches", None, output, ImportPatchesConfig(), jobs=1)
    return output


@pytest.mark.slow
@needs_published
@pytest.mark.parametrize(
    ("name", "psnr", "ms_ssim"),
    [
        ("iphone_orig", 22.12, 0.9214),
        ("dped_resnet_8_32", 22.36, 0.9163),
        ("dped_srcnn", 21.26, 0.9048),
    ],
)
def test_evaluating_the_published_networks_gives_their_numbers(
    published_shards, name, psnr, ms_ssim
):
    checkpoint = PUBLISHED / "models_orig" / name
    (test,) = evaluate(checkpoint, published_shards, EvaluateConfig(device="cpu")).splits
    network, phone = test.scores[NETWORK], test.scores[PHONE]
    assert network.psnr == pytest.approx(psnr, abs=0.01)
    assert network.ms_ssim == pytest.approx(ms_ssim, abs=0.0005)
    assert (test.patches, phone.identical) == (300, 3)
    assert phone.psnr == pytest.approx(17.31, abs=0.01)
    assert phone.ms_ssim == pytest.approx(0.8460, abs=0.0005)
    assert network.psnr_per_batch < network.psnr - 2  # the procedures differ by over 2 dB
