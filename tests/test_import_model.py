"""TensorFlow checkpoints: written here from the format's definition, read by the tool."""

import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from dpedkit.errors import DpedkitError
from dpedkit.import_model import import_model
from dpedkit.models import build_generator, load_model, read_card
from dpedkit.models.layers import ConvLayer
from dpedkit.models.tensorflow import masked_crc32c, read_checkpoint

PUBLISHED = Path(__file__).parents[2] / "shared" / "data" / "dped"


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


@pytest.mark.skipif(
    not PUBLISHED.is_dir(), reason="the authors' checkpoints are not beside the repository"
)
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


@pytest.mark.slow
@pytest.mark.skipif(
    not PUBLISHED.is_dir(), reason="the authors' checkpoints are not beside the repository"
)
@pytest.mark.parametrize(
    ("name", "psnr", "ms_ssim"),
    [
        ("iphone_orig", 22.12, 0.9214),
        ("dped_resnet_8_32", 22.36, 0.9163),
        ("dped_srcnn", 21.26, 0.9048),
    ],
)
def test_the_published_networks_reach_their_numbers(name, psnr, ms_ssim):
    from dpedkit import metrics
    from dpedkit.images import read_photo

    model = load_model(PUBLISHED / "models_orig" / name).to(memory_format=torch.channels_last)
    psnrs, ms_ssims = [], []
    for start in range(0, 300, 20):
        phone, dslr = (
            torch.from_numpy(
                np.stack(
                    [
                        read_photo(PUBLISHED / "patches" / side / f"{start + n}.jpg")
                        for n in range(20)
                    ]
                )
            )
            .permute(0, 3, 1, 2)
            .float()
            / 255
            for side in ("iphone", "canon")
        )
        with torch.inference_mode():
            enhanced = model(phone)
            psnrs.append(metrics.psnr(enhanced.clamp(0, 1), dslr))
            ms_ssims.append(metrics.ms_ssim(enhanced, dslr))
    each = torch.cat(psnrs)
    assert each[each.isfinite()].mean().item() == pytest.approx(psnr, abs=0.01)
    assert torch.cat(ms_ssims).mean().item() == pytest.approx(ms_ssim, abs=0.0005)
