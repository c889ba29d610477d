"""VGG-19 from generated weight files of the true structure."""

import socket
import threading
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.io import savemat
from torch import nn

from dpedkit.core.errors import DpedkitError
from dpedkit.losses import ContentLoss
from dpedkit.train import vgg

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


def test_torchvision_weights(tmp_path, thin_vgg):
    write_torchvision(tmp_path / "vgg.pth", thin_vgg)
    features = vgg.Vgg19(vgg.read_weights(tmp_path / "vgg.pth"), pooling="floor")
    image = torch.rand(2, 3, 100, 100)
    mean = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
    std = torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    with torch.no_grad():
        torch.testing.assert_close(features(image), thin_vgg((image - mean) / std))


def test_matconvnet_weights(tmp_path, thin_vgg):
    write_matconvnet(tmp_path / "vgg.mat", thin_vgg)
    features = vgg.Vgg19(vgg.read_weights(tmp_path / "vgg.mat"), pooling="floor")
    image = torch.rand(1, 3, 64, 48)
    mean = torch.tensor([123.68, 116.779, 103.939])[:, None, None]
    with torch.no_grad():
        torch.testing.assert_close(features(image), thin_vgg(image * 255 - mean))


@pytest.mark.parametrize(("pooling", "side"), [("same", 7), ("floor", 6)])
def test_sizes_of_the_feature_maps(tmp_path, thin_vgg, pooling, side):
    write_torchvision(tmp_path / "vgg.pth", thin_vgg)
    features = vgg.Vgg19(vgg.read_weights(tmp_path / "vgg.pth"), pooling=pooling)
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
    features = vgg.Vgg19(vgg.read_weights(tmp_path / "vgg.mat"), pooling=pooling).double()
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
    features = vgg.Vgg19(vgg.read_weights(tmp_path / "vgg.pth"), pooling=pooling).double()
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
    write_torchvision(tmp_path / "wide.pth", thin_vgg)
    for name in ("trap.pth", "other.pth", "text.mat"):
        with pytest.raises(DpedkitError, match=r"does not hold the weights of VGG-19"):
            vgg.read_weights(tmp_path / name)


def test_another_size_of_network_is_refused(tmp_path, thin_vgg, monkeypatch):
    write_torchvision(tmp_path / "thin.pth", thin_vgg)
    monkeypatch.undo()
    with pytest.raises(DpedkitError, match="other sizes"):
        vgg.read_weights(tmp_path / "thin.pth")


def test_where_weights_are_looked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(DpedkitError, match=r"no\.pth: there is no such file"):
        vgg.find_weights(str(tmp_path / "no.pth"), download=True)
    assert vgg.find_weights(None, download=False) is None
    vgg.cache_file().parent.mkdir()
    vgg.cache_file().touch()
    assert vgg.find_weights(None, download=False) == vgg.cache_file()


def test_no_network_means_no_weights_and_no_waiting(tmp_path, monkeypatch):
    def refuse(*args, **options):
        raise OSError("network unreachable")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    assert vgg.find_weights(None, download=True) is None
    assert not list(tmp_path.rglob("*.p*"))


def test_a_damaged_download_is_not_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "cache"))
    (tmp_path / "answer").write_bytes(b"<html>sign in</html>")
    url = (tmp_path / "answer").as_uri()
    monkeypatch.setattr(vgg, "DOWNLOAD_URL", url)
    assert vgg.find_weights(None, download=True) is None
    assert not vgg.cache_file().exists()


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\ncut short",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\ncut short",
        b"",
    ],
)
def test_whatever_answers_there_is_no_traceback(answer, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve():
            connection, _ = server.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        monkeypatch.setattr(vgg, "DOWNLOAD_URL", f"http://127.0.0.1:{server.getsockname()[1]}/")
        started = time.monotonic()
        assert vgg.find_weights(None, download=True) is None
        assert time.monotonic() - started < vgg._CONNECT_TIMEOUT_S
        thread.join()
    assert not list(tmp_path.rglob("*.p*"))
    assert "Traceback" not in capfd.readouterr().err
