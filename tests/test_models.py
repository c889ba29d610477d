"""Generators, the discriminator, and model files."""

import errno
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from scipy.signal import correlate

from dpedkit.colourmap import ColourMap
from dpedkit.core.errors import DpedkitError, UsageError
from dpedkit.models import Discriminator, build_generator, load_model, read_card, save_model


def reference_layer(x, layer):
    """A ConvLayer in float64 numpy: (C, H, W) -> (C', H, W), from its definition."""
    kernels = layer.conv.weight.detach().double().numpy()
    bias = layer.conv.bias.detach().double().numpy()
    reach = kernels.shape[2] // 2
    padded = np.pad(x, ((0, 0), (reach, reach), (reach, reach)))
    out = np.stack(
        [correlate(padded, k, mode="valid")[0] + b for k, b in zip(kernels, bias, strict=True)]
    )
    if layer.norm is not None:
        mean = out.mean(axis=(1, 2), keepdims=True)
        variance = ((out - mean) ** 2).mean(axis=(1, 2), keepdims=True)
        scale, shift = (p.detach().double().numpy()[:, None, None] for p in layer.norm.parameters())
        out = scale * (out - mean) / np.sqrt(variance + 1e-3) + shift
    return {"relu": np.maximum(out, 0), "tanh": 0.58 * np.tanh(out) + 0.5}[layer.activation]


def roughen(model, seed=0):
    """Weights large enough that every layer matters."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            fan_in = parameter[0].numel() if parameter.ndim > 1 else 25
            parameter.add_(noise / fan_in**0.5)
    return model


def test_resnet_computes_what_the_authors_code_does():
    model = roughen(build_generator("resnet-8-32", norm="instance")).eval()
    photo = torch.rand(1, 3, 21, 18, generator=torch.Generator().manual_seed(1))
    first, block_1, block_2, conv_1, conv_2, last = model.layers
    x = reference_layer(photo[0].double().numpy(), first)
    for block in (block_1, block_2):
        x = reference_layer(reference_layer(x, block.first), block.second) + x
    for layer in (conv_1, conv_2, last):
        x = reference_layer(x, layer)
    with torch.no_grad():
        np.testing.assert_allclose(model(photo)[0].numpy(), x, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("resnet-12-64", 401475),
        ("resnet-8-32", 71331),
        ("srcnn", 69251),
        ("colour-residual", 65900),
    ],
)
def test_generators_have_the_published_size(name, parameters):
    assert sum(p.numel() for p in build_generator(name).parameters()) == parameters


@pytest.mark.parametrize("norm", ["batch", "instance"])
@pytest.mark.parametrize(("norm_first", "outputs"), [(True, 1), (False, 2)])
def test_discriminator_gives_one_log_odds_a_picture(norm, norm_first, outputs):
    model = Discriminator(norm, norm_first=norm_first, outputs=outputs)
    assert model.stages[-1](torch.zeros(2, 192, 13, 13)).shape == (2, 128, 7, 7)
    log_odds = model(torch.rand(3, 1, 100, 100))
    assert log_odds.shape == (3,)
    log_odds.sum().backward()
    assert all(p.grad is not None for p in model.parameters())


def test_two_outputs_are_a_softmax():
    model = Discriminator("none", outputs=2)
    logits = []
    model.output.register_forward_hook(lambda *call: logits.append(call[-1]))
    log_odds = model(torch.rand(4, 1, 100, 100))
    torch.testing.assert_close(log_odds.sigmoid(), logits[0].softmax(dim=1)[:, 1])


def test_a_saved_model_comes_back_as_it_was(tmp_path):
    model = roughen(build_generator("resnet-8-32", norm="batch"))
    model(torch.rand(4, 3, 16, 16))  # moves the running statistics
    path = tmp_path / "model.safetensors"
    save_model(path, model, {"training": {"steps": 7}})
    loaded = load_model(path)
    assert not loaded.training
    assert loaded.card["architecture"] == "resnet-8-32"
    assert loaded.card["options"] == {"norm": "batch"}
    assert loaded.card["training"] == {"steps": 7}
    photo = torch.rand(1, 3, 20, 30)
    with torch.no_grad():
        assert torch.equal(loaded(photo), model.eval()(photo))


def test_colour_residual_starts_at_its_colour_map():
    colour_map = ColourMap(np.random.default_rng(0).normal(size=(20, 3)) / 5)
    model = build_generator("colour-residual", channels=8, blocks=2)
    photo = torch.rand(2, 3, 11, 16)
    with torch.no_grad():
        torch.testing.assert_close(model(photo), photo)
        model.set_colour_map(colour_map)
        mapped = colour_map.apply(photo.permute(0, 2, 3, 1).double().numpy())
    expected = torch.from_numpy(mapped).permute(0, 3, 1, 2).float()
    torch.testing.assert_close(model(photo).detach(), expected, atol=1e-5, rtol=0)


def test_the_colour_map_keeps_its_precision_under_autocast():
    rng = np.random.default_rng(0)
    model = build_generator("colour-residual", channels=8, blocks=2).eval()
    model.set_colour_map(ColourMap(rng.normal(size=(20, 3))))
    photo = torch.from_numpy(rng.random((2, 3, 21, 33), dtype=np.float32))
    with torch.inference_mode():
        exact = model(photo)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            mixed = model(photo)
    assert mixed.dtype == torch.float32
    torch.testing.assert_close(mixed, exact, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["resnet-8-32", "srcnn", "colour-residual"])
def test_every_generator_is_prepare_layers_finish(name):
    model = roughen(build_generator(name)).eval()
    photo = torch.rand(1, 3, 13, 18)
    x, base = model.prepare(photo)
    for layer in model.layers:
        x = layer(x)
    assert torch.equal(model.finish(x, base), model(photo))
    assert model(photo).shape == photo.shape


def test_reach_is_how_far_a_pixel_looks():
    model = roughen(build_generator("colour-residual")).eval()
    reach = sum(layer.reach for layer in model.layers)
    x = torch.zeros(1, 24, 1, 60, requires_grad=True)
    model.layers(x)[0, 0, 0, 30].backward()
    touched = x.grad[0, :, 0].abs().sum(dim=0).nonzero().flatten()
    assert (touched.min().item(), touched.max().item()) == (30 - reach, 30 + reach)


def test_the_folder_of_a_run_stands_for_its_best_network(tmp_path):
    save_model(tmp_path / "model.safetensors", build_generator("srcnn"), {"training": {"best": 1}})
    assert load_model(tmp_path).card["training"] == {"best": 1}


def test_a_full_disk_is_one_sentence_and_leaves_the_old_model(tmp_path, monkeypatch):
    path = tmp_path / "model.safetensors"
    save_model(path, build_generator("srcnn"), {"training": {"old": 1}})

    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(DpedkitError, match="disk is full"):
        save_model(path, build_generator("srcnn"), {"training": {"new": 1}})
    assert read_card(path)["training"] == {"old": 1}
    assert [entry.name for entry in tmp_path.iterdir()] == ["model.safetensors"]


def write_not_a_model(path: Path, kind: str) -> None:
    if kind == "text":
        path.write_text("hello")
    elif kind == "empty":
        path.touch()
    elif kind == "folder":
        path.mkdir()
    elif kind == "other weights":
        save_file({"a": torch.zeros(1)}, path)
    elif kind == "cut short":
        save_model(path, build_generator("srcnn"), {})
        path.write_bytes(path.read_bytes()[:-100])
    elif kind in ("other network", "later version"):
        changes = {"architecture": "resnet-8-32"} if kind == "other network" else {"format": 99}
        save_model(path, build_generator("srcnn"), changes)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("missing", "no such model"),
        ("text", "not a model file"),
        ("empty", "not a model file"),
        ("folder", "holds no model.safetensors"),
        ("other weights", "does not say which network"),
        ("cut short", "not a model file"),
        ("other network", "damaged"),
        ("later version", "later version"),
    ],
)
def test_a_file_that_is_not_a_model_is_refused_in_one_sentence(tmp_path, kind, words):
    path = tmp_path / "model.safetensors"
    write_not_a_model(path, kind)
    with pytest.raises(DpedkitError, match=words) as caught:
        load_model(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_the_card_is_plain_json_in_the_metadata(tmp_path):
    path = tmp_path / "model.safetensors"
    save_model(path, build_generator("srcnn"), {"training": {}})
    header_size = int.from_bytes(path.read_bytes()[:8], "little")
    header = json.loads(path.read_bytes()[8 : 8 + header_size])
    assert json.loads(header["__metadata__"]["dpedkit"]) == read_card(path)


def test_unknown_names_and_options_are_usage_errors():
    with pytest.raises(UsageError, match="did you mean 'resnet-12-64'"):
        build_generator("resnet-12-46")
    with pytest.raises(UsageError, match="norm"):
        build_generator("srcnn", norm="batch")
    with pytest.raises(UsageError, match="batch, instance, none"):
        build_generator("resnet-8-32", norm="layer")


def write_with_card(path, tensors, **card):
    content = {"format": 1, "architecture": "colour-residual", "options": {}, **card}
    save_file(tensors, path, metadata={"dpedkit": json.dumps(content)})


@pytest.mark.parametrize(
    "options",
    [
        {"channels": 100000},
        {"blocks": 1000000},
        {"channels": 0},
        {"channels": 16.0},
        {"blocks": True},
        {"blocks": "3"},
        {"channels": 1024, "blocks": 64},  # within the limits, but not what the file holds
    ],
)
def test_a_card_is_not_believed_before_its_weights_are_seen(tmp_path, monkeypatch, options):
    def allocate(*args, **others):
        raise AssertionError("memory was asked for")

    tensors = {name: value.contiguous() for name, value in
               build_generator("colour-residual").state_dict().items()}  # fmt: skip
    write_with_card(tmp_path / "m.safetensors", tensors, options=options)
    monkeypatch.setattr("safetensors.torch.load_file", allocate)
    with pytest.raises(DpedkitError, match=r"m\.safetensors is damaged"):
        load_model(tmp_path / "m.safetensors")


@pytest.mark.parametrize("options", [0, 3.5, None, [], "norm", {"norm": 7}, {"": 1}])
def test_options_that_are_none_are_one_sentence(tmp_path, options):
    write_with_card(tmp_path / "m.safetensors", {"a": torch.zeros(1)}, options=options)
    with pytest.raises(DpedkitError, match=r"m\.safetensors is damaged"):
        load_model(tmp_path / "m.safetensors")


@pytest.mark.parametrize("architecture", [0, None, ["srcnn"], {}])
def test_an_architecture_that_is_no_name_is_one_sentence(tmp_path, architecture):
    write_with_card(tmp_path / "m.safetensors", {"a": torch.zeros(1)}, architecture=architecture)
    with pytest.raises(DpedkitError, match=r"m\.safetensors is damaged"):
        load_model(tmp_path / "m.safetensors")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_no_numbers_are_refused(tmp_path, value):
    model = build_generator("srcnn")
    with torch.no_grad():
        model.layers[1].conv.weight[3, 2, 1, 0] = value
    save_model(tmp_path / "m.safetensors", model, {})
    with pytest.raises(DpedkitError, match=r"layers\.1\.conv\.weight holds values"):
        load_model(tmp_path / "m.safetensors")


def test_the_same_model_is_the_same_file(tmp_path):
    model = build_generator("srcnn")
    for number in range(8):
        save_model(tmp_path / f"{number}.safetensors", model, {"training": {"best": 1}})
    assert len({path.read_bytes() for path in tmp_path.iterdir()}) == 1


def test_a_weight_that_changed_after_writing_is_noticed(tmp_path):
    path = tmp_path / "m.safetensors"
    save_model(path, build_generator("srcnn"), {})
    content = bytearray(path.read_bytes())
    content[-2] ^= 1  # the weight stays finite, and the shapes are right
    path.write_bytes(content)
    with pytest.raises(DpedkitError, match=r"m\.safetensors is damaged: it is not as it was"):
        load_model(path)


def test_a_card_that_changed_after_writing_is_noticed(tmp_path):
    path = tmp_path / "m.safetensors"
    save_model(path, build_generator("srcnn"), {"training": {"best": 1}})
    path.write_bytes(path.read_bytes().replace(b'best\\": 1', b'best\\": 2'))
    with pytest.raises(DpedkitError, match=r"m\.safetensors is damaged: it is not as it was"):
        load_model(path)


def test_a_model_of_an_earlier_version_has_no_checksum(tmp_path):
    path = tmp_path / "m.safetensors"
    model = build_generator("srcnn")
    save_model(path, model, {})
    card = json.dumps({k: v for k, v in read_card(path).items() if k != "sha256"})
    save_file(dict(model.state_dict()), path, metadata={"dpedkit": card})
    assert load_model(path).architecture == "srcnn"
