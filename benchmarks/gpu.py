"""Everything about training on a GPU in one call: does it do the same, how fast, at what cost.

    python benchmarks/gpu.py [--steps 50] [--quality-steps 1500] [--shards FOLDER] [--no-compile]
    python benchmarks/gpu.py --device cpu --tiny --no-compile      (only that everything runs)

1. Checks: steps replayed from a CUDA graph, and compiled ones, against the same steps run eagerly;
   gradients in tf32 and bfloat16 against float32.
2. Times of a step of the paper's network with VGG-19, by turns in one process: a plain PyTorch port
   of the authors' loop with tf32 off and on, the same step in dpedkit ("authors": separate batches
   for the two networks, features of the DSLR patches kept), and dpedkit's fast recipe.
3. What tf32 and bfloat16 cost: the same run with the same seed in each precision.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from training_steps import (
    AUTHORS,
    Way,
    flops_of,
    our_way,
    peak_bandwidth,
    peak_flops,
    plain_way,
    synchroniser,
    time_by_turns,
    traffic_of,
    write_patches,
    write_vgg,
)

from dpedkit.core.console import QUIET, set_verbosity, table
from dpedkit.models.vgg import VGG19
from dpedkit.models.vgg_files import read_weights
from dpedkit.recipe import read_settings
from dpedkit.shards import DpedShards
from dpedkit.training.config import PRECISIONS, TrainConfig
from dpedkit.training.data import TrainLoader
from dpedkit.training.distributed import Processes
from dpedkit.training.loop import set_arithmetic, train
from dpedkit.training.objective import Objective
from dpedkit.training.state import TrainingState
from dpedkit.training.step import TrainingStep

_PLAIN, _PLAIN_TF32 = "plain port", "plain port, tf32"
_READ_EVERY = 10
_CHECKED_STEPS = 5


@dataclass(frozen=True)
class Scale:
    """How much is done."""

    batch: int = 50
    size: int = 100  # px
    patches: int = 2000
    rounds: int = 5
    steps: int = 50
    quality_steps: int = 1500
    matrix: int = 8192
    copy_bytes: int = 1 << 30


TINY = Scale(2, 32, 8, 1, 1, 4, 128, 1 << 20)


def check(
    shards: Path, vgg: Path, config: TrainConfig, device: torch.device, compiled: bool
) -> str:
    """How far other ways to compute the same steps lead away."""
    exact = replace(config, precision="float32")
    start, gradient = _first_gradient(shards, vgg, exact, device)
    rows = []
    for precision in PRECISIONS[1:]:
        _, other = _first_gradient(shards, vgg, replace(config, precision=precision), device)
        away = ((other - gradient).norm() / gradient.norm()).item()
        rows.append((f"first gradient of the generator, {precision}", f"{away:.2%}"))
    set_arithmetic("float32", device)
    after = _weights_after(shards, exact, device)
    moved = (after - start).norm()
    ways = {"recorded as a CUDA graph": replace(exact, cuda_graph=True)}
    if compiled:
        ways["compiled"] = replace(exact, compile=True)
    # What the same steps differ by when they are run twice is no fault of another way.
    for name, way in {"run again": exact, **ways}.items():
        away = ((_weights_after(shards, way, device) - after).norm() / moved).item()
        rows.append((f"weights after {_CHECKED_STEPS} steps, {name}", f"{away:.2%}"))
    return table(("difference from eager float32, relative", ""), rows)


def _first_gradient(
    shards: Path, vgg: Path, config: TrainConfig, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    set_arithmetic(config.precision, device)
    dataset = DpedShards(shards, "train")
    features = VGG19(read_weights(vgg)).to(device=device, memory_format=torch.channels_last)
    objective, state = Objective(config, features), TrainingState(config, dataset.reader, device)
    start = _kernels(state)
    batch = TrainLoader(config, dataset, device).batch(0)
    TrainingStep(config, state, objective, Processes()).generator_step(batch)
    gradients = (p.grad for p in state.generator.parameters() if p.grad is not None)
    return start, _flat(gradients)


def _weights_after(shards: Path, config: TrainConfig, device: torch.device) -> torch.Tensor:
    way = our_way(shards, config, device, _READ_EVERY)
    for _ in range(_CHECKED_STEPS):
        way.step()
    assert way.state is not None
    return _kernels(way.state)


def _kernels(state: TrainingState) -> torch.Tensor:
    """The generator's kernels; Adam makes steps of mere rounding in biases before norms."""
    return _flat(p.detach() for p in state.generator.parameters() if p.dim() == 4)


def _flat(tensors: Iterable[torch.Tensor]) -> torch.Tensor:
    return torch.cat([x.double().flatten().clone() for x in tensors])


def time_steps(shards: Path, scale: Scale, device: torch.device, compiled: bool) -> str:
    """Times of a step in all ways, beside the plain port's."""
    authors = replace(AUTHORS, batch=scale.batch, cache_features=True)
    fast = replace(TrainConfig(**read_settings("fast", "train", TrainConfig)), batch=scale.batch)
    configs = {
        "authors, float32": replace(authors, precision="float32"),
        "authors, tf32": replace(authors, precision="tf32"),
        "authors, tf32, graph": replace(authors, precision="tf32", cuda_graph=True),
        "authors, bfloat16": replace(authors, precision="bfloat16"),
        "authors, bfloat16, graph": replace(authors, precision="bfloat16", cuda_graph=True),
        "fast recipe": fast,
        "fast recipe, graph": replace(fast, cuda_graph=True),
    }
    if compiled:
        for name in ("authors, bfloat16, graph", "fast recipe, graph"):
            configs[f"{name}, compiled"] = replace(configs[name], compile=True)
    precisions = {_PLAIN: "float32", _PLAIN_TF32: "tf32"}
    precisions |= {name: config.precision for name, config in configs.items()}
    ways: dict[str, Way] = {}
    for name, precision in precisions.items():
        prepare = partial(
            set_arithmetic if name in configs else _round_all_products, precision, device
        )
        prepare()
        if name in configs:
            ways[name] = our_way(shards, configs[name], device, _READ_EVERY)
        else:
            ways[name] = plain_way(shards, scale.batch, device)
        ways[name].prepare = prepare
    timings = time_by_turns(ways, scale.rounds, scale.steps, synchroniser(device))
    floors = _peaks(scale, device)
    bandwidth = peak_bandwidth(device, scale.copy_bytes)
    work = {name: _work(ways[name]) for name in ways if "compiled" not in name}
    rows = []
    for name, timing in timings.items():
        flops, traffic = work[name.removesuffix(", compiled")]
        rows.append(
            (
                name,
                f"{timing.seconds * 1e3:.2f}",
                f"{scale.batch / timing.seconds:.0f}",
                f"{timings[_PLAIN].seconds / timing.seconds:.2f}",
                f"{timings[_PLAIN_TF32].seconds / timing.seconds:.2f}",
                f"{timing.waiting / timing.seconds:.1%}",
                f"{flops / floors[precisions[name]] / timing.seconds:.0%}",
                f"{traffic / bandwidth / timing.seconds:.0%}",
            )
        )
    header = ("step", "ms", "images/s", "ratio", "to tf32", "waiting", "FLOP floor", "byte floor")
    speeds = ", ".join(f"{name} {flops / 1e12:.1f}" for name, flops in floors.items())
    note = (
        f"batch {scale.batch}; best of {scale.rounds} rounds by turns of {scale.steps} steps; "
        "ratio to the plain port, and to it with tf32.\n"
        "waiting: for patches. Floors: share of the time that the step's operations would take at "
        f"the speed of\na large matrix product ({speeds} TFLOP/s), and all tensors that eager "
        f"operations read and\nwrite at that of a large copy ({bandwidth / 1e9:.0f} GB/s); fused "
        "operations move less than that."
    )
    return table(header, rows, note)


def _round_all_products(precision: str, device: torch.device) -> None:
    """As `set_arithmetic`, but tf32 is allowed in matrix products too."""
    set_arithmetic(precision, device)
    torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"


def _peaks(scale: Scale, device: torch.device) -> dict[str, float]:
    found = {}
    for precision in PRECISIONS:
        _round_all_products(precision, device)
        dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
        found[precision] = peak_flops(device, dtype, scale.matrix)
    return found


def _work(way: Way) -> tuple[int, int]:
    way.prepare()
    return flops_of(way), traffic_of(way)


def compare_precisions(shards: Path, vgg: Path, scale: Scale, device: torch.device) -> str:
    """PSNR and MS-SSIM that the same run ends with in each precision."""
    rows, exact = [], None
    for precision in PRECISIONS:
        config = replace(
            TrainConfig(**read_settings("fast", "train", TrainConfig)),
            **{"batch": scale.batch, "steps": scale.quality_steps, "precision": precision},
            **{"content": "vgg19", "vgg": str(vgg), "evaluate_every": scale.quality_steps},
            device=device.type,
        )
        with tempfile.TemporaryDirectory() as runs:
            summary = train(shards, config, runs=Path(runs))
        assert summary is not None and summary.psnr is not None
        exact = exact or summary
        rows.append(
            (
                precision,
                f"{summary.psnr:.2f}",
                f"{summary.psnr - exact.psnr:+.2f}",
                f"{summary.ms_ssim:.4f}",
                f"{summary.ms_ssim - exact.ms_ssim:+.4f}",
            )
        )
    note = f"fast recipe, {scale.quality_steps} steps, the same seed and patches"
    return table(("precision", "PSNR dB", "difference", "MS-SSIM", "difference"), rows, note)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--steps", type=int, default=Scale.steps, help="in each turn")
    parser.add_argument("--quality-steps", type=int, default=Scale.quality_steps)
    parser.add_argument("--shards", type=Path, help="compare precisions on these, with a val split")
    parser.add_argument("--vgg", type=Path, help="weights of VGG-19; random ones by default")
    parser.add_argument("--no-compile", action="store_true", help="leave torch.compile out")
    parser.add_argument("--tiny", action="store_true", help="only show that everything runs")
    arguments = parser.parse_args()
    set_verbosity(QUIET)
    device = torch.device(arguments.device)
    scale = replace(Scale(), steps=arguments.steps, quality_steps=arguments.quality_steps)
    if arguments.tiny:
        scale = TINY
    if device.type == "cuda":
        print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}\n")
    compiled = not arguments.no_compile
    with tempfile.TemporaryDirectory() as scratch:
        patches = write_patches(Path(scratch) / "shards", scale.patches, scale.size, val=8)
        vgg = arguments.vgg or write_vgg(Path(scratch) / "vgg.pth")
        config = replace(AUTHORS, batch=scale.batch, content_weight=1.0)
        print(check(patches, vgg, config, device, compiled), end="\n\n", flush=True)
        print(time_steps(patches, scale, device, compiled), end="\n\n", flush=True)
        print(compare_precisions(arguments.shards or patches, vgg, scale, device))


if __name__ == "__main__":
    main()
