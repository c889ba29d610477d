"""A library call leaves the process as it was, also where several threads call at once."""

import logging
import subprocess
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
import torch
from fake_shards import make_patches, write_shards
from PIL import Image
from threadpoolctl import threadpool_info

import dpedkit
from dpedkit import stages
from dpedkit.align.folder import align_folders
from dpedkit.core import console
from dpedkit.core.device import arithmetic_restored, full_float32, let_convolutions_round
from dpedkit.core.process import SharedChange, one_thread
from dpedkit.enhancement.config import EnhanceConfig
from dpedkit.evaluation.config import EvaluateConfig
from dpedkit.images import write_photo
from dpedkit.models.build import build_generator
from dpedkit.models.files import save_model
from dpedkit.simulate.config import SimulateConfig
from dpedkit.simulate.driver import simulate_pair
from dpedkit.training.config import TrainConfig

SMALL = SimulateConfig(phone_megapixels=0.3, dslr_megapixels=0.5)


@pytest.fixture(scope="module")
def shots():
    return [simulate_pair(SMALL, index) for index in range(4)]


def state_of_the_process():
    """All that a call might change and forget about."""
    log = logging.getLogger("dpedkit")
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    return {
        "threads of OpenCV": cv2.getNumThreads(),
        "threads of BLAS": {
            pool["filepath"]: pool["num_threads"]
            for pool in threadpool_info()
            if pool["user_api"] == "blas"
        },
        "threads of torch": torch.get_num_threads(),
        "arithmetic": (cudnn.allow_tf32, cudnn.benchmark, matmul.allow_tf32),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "random state": torch.get_rng_state().tolist(),
        "NumPy's random state": repr(np.random.get_state()),
        "log": (log.level, log.propagate, tuple(log.handlers)),
        "root log": (logging.root.level, tuple(logging.root.handlers)),
        "limit of Pillow": Image.MAX_IMAGE_PIXELS,
    }


@pytest.fixture
def unusual():
    """Settings that no call would leave by chance."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(3)
    with arithmetic_restored():
        torch.backends.cudnn.allow_tf32 = True
        torch.backends.cuda.matmul.allow_tf32 = True
        yield
    cv2.setNumThreads(before)


def align(shots, folder):
    assert dpedkit.align_pair(shots[0].phone, shots[0].dslr).accepted


def match(shots, folder):
    assert len(dpedkit.match_windows(shots[0].dslr, shots[0].dslr))


def align_a_folder(shots, folder):
    for side in ("phone", "dslr"):
        (folder / side).mkdir()
        write_photo(folder / side / "1.jpg", getattr(shots[0], side))
    align_folders(folder / "phone", folder / "dslr", folder / "aligned", jobs=1)


def read_and_write(shots, folder):
    filters = list(warnings.filters)
    write_photo(folder / "a.jpg", shots[0].phone)
    dpedkit.read_photo(folder / "a.jpg")
    assert warnings.filters == filters


def model_in(folder):
    with torch.random.fork_rng(devices=[]):
        save_model(folder / "m.safetensors", build_generator("resnet-8-32"), {})
    return folder / "m.safetensors"


def train(shots, folder):
    shards = write_shards(folder / "shards", {"train": make_patches(8, 32, 0)})
    config = TrainConfig(
        steps=1, batch=2, content="msssim-l1", texture_weight=0, generator="colour-residual"
    )
    stages.train(shards, config, runs=folder / "runs")


def evaluate(shots, folder):
    shards = write_shards(folder / "shards", {"test": make_patches(4, 32, 0)})
    stages.evaluate(model_in(folder), shards, EvaluateConfig(device="cpu"))


def enhance(shots, folder):
    write_photo(folder / "a.png", shots[0].phone[:64, :64])
    stages.enhance(model_in(folder), folder / "a.png", folder / "out", EnhanceConfig(device="cpu"))


CALLS = [align, match, align_a_folder, read_and_write, train, evaluate, enhance]


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.__name__)
def test_the_process_is_left_as_it_was(call, shots, tmp_path, unusual):
    before = state_of_the_process()
    call(shots, tmp_path)
    assert state_of_the_process() == before


def test_a_call_that_fails_leaves_the_process_as_it_was(unusual):
    before = state_of_the_process()
    with pytest.raises(ValueError), one_thread:
        assert cv2.getNumThreads() == 1
        raise ValueError
    assert state_of_the_process() == before


def test_threads_that_align_at_once_get_the_results_of_one(shots):
    def aligned(shot):
        return dpedkit.align_pair(shot.phone, shot.dslr)

    before = state_of_the_process()
    alone = [aligned(shot) for shot in shots]
    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(aligned, shots))
    for one, other in zip(alone, together, strict=True):
        assert one.accepted and other.accepted
        assert one.map.to_dict() == other.map.to_dict()
        assert one.evidence == other.evidence
        assert np.array_equal(one.dslr, other.dslr)
    assert state_of_the_process() == before


def test_the_last_to_leave_takes_a_shared_change_back():
    made = []

    class Change:
        def __enter__(self):
            made.append("on")

        def __exit__(self, *_):
            made.append("off")

    change = SharedChange(Change)
    inside, leave = threading.Event(), threading.Event()

    def stay():
        with change:
            inside.set()
            leave.wait(10)

    other = threading.Thread(target=stay)
    other.start()
    assert inside.wait(10)
    with change:
        pass
    assert made == ["on"]
    leave.set()
    other.join()
    assert made == ["on", "off"]
    with change, change:
        assert made == ["on", "off", "on"]
    assert made == ["on", "off", "on", "off"]


def test_full_float32_holds_inside_alone(unusual):
    with full_float32:
        assert not torch.backends.cudnn.allow_tf32
        assert not torch.backends.cuda.matmul.allow_tf32
    assert torch.backends.cudnn.allow_tf32 and torch.backends.cuda.matmul.allow_tf32
    with arithmetic_restored():
        let_convolutions_round(False)
    assert torch.backends.cudnn.allow_tf32


MALLOC = """
import ctypes, sys
real = ctypes.CDLL
class Watched:
    def __init__(self, *a): self.library = real(*a)
    def __getattr__(self, name):
        if name == "mallopt": print("mallopt")
        return getattr(self.library, name)
import dpedkit.core.process as process
process.ctypes = type("ctypes", (), {"CDLL": Watched})
if sys.argv[1] == "own":
    process.own_process()
process.keep_freed_memory()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc is tuned")
@pytest.mark.parametrize(("whose", "said"), [("own", "mallopt"), ("a program's", "")])
def test_memory_is_managed_differently_in_processes_of_dpedkit_alone(whose, said):
    done = subprocess.run(
        [sys.executable, "-c", MALLOC, whose], capture_output=True, text=True, check=True
    )
    assert done.stdout.split()[:1] == said.split()


def test_a_program_decides_what_it_hears(capsys, caplog):
    caplog.set_level(logging.WARNING)  # the default; libraries of other tests may have changed it
    console.warn("careful")
    console.say("going on")
    assert capsys.readouterr().err == ""  # pytest has a handler of its own
    assert caplog.messages == ["careful"]


def test_what_is_shown_is_shown_inside_alone(capsys):
    before = state_of_the_process()
    with console.shown():
        console.say("going on")
        console.set_verbosity(console.QUIET)
        console.say("more")
        console.warn("careful")
    assert capsys.readouterr().err == "going on\nwarning: careful\n"
    assert state_of_the_process() == before


PLAIN = """
import logging, dpedkit
from dpedkit.core import console
console.warn("careful"); console.say("going on")
logging.basicConfig(level=logging.INFO, format="%(name)s %(message)s")
console.say("louder")
"""


def test_without_any_setting_warnings_are_seen():
    done = subprocess.run([sys.executable, "-c", PLAIN], capture_output=True, text=True, check=True)
    assert done.stderr == "careful\ndpedkit louder\n"


def test_the_random_numbers_of_opencv_are_left_alone(shots):
    """And do not matter: whatever comes next of them, the result is the same."""

    def drawn():
        values = np.zeros(8)
        cv2.randu(values, 0, 1)
        return values.tolist()

    cv2.setRNGSeed(7)
    expected = drawn()
    maps = []
    for seed in (7, 8):
        cv2.setRNGSeed(seed)
        maps.append(dpedkit.align_pair(shots[0].phone, shots[0].dslr).map.to_dict())
        assert (drawn() == expected) == (seed == 7)
    assert maps[0] == maps[1]
