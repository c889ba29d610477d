"""One training step: its faster forms against the plain ones, and the order of its two halves."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from fake_shards import make_patches, write_shards
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from dpedkit.core.errors import UsageError
from dpedkit.models.build import build_generator
from dpedkit.models.discriminator import to_grey
from dpedkit.shards.dataset import DpedShards
from dpedkit.training import cpu_kernels
from dpedkit.training import features as kept_features
from dpedkit.training.config import PRECISIONS, TrainConfig
from dpedkit.training.cpu_kernels import instance_norm_relu, thin_convolution
from dpedkit.training.data import TrainLoader
from dpedkit.training.distributed import Processes
from dpedkit.training.features import keep_features
from dpedkit.training.loop import set_arithmetic
from dpedkit.training.objective import Objective
from dpedkit.training.state import TrainingState
from dpedkit.training.step import GeneratorForward, GraphedStep, TrainingStep

SIZE = 20
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "shards"
    return DpedShards(write_shards(folder, {"train": make_patches(12, SIZE, 0)}), "train")


def tiny(**changes) -> TrainConfig:
    given = {
        "generator": "resnet-8-32",
        "norm": "instance",
        "losses": "authors",
        "content": "msssim-l1",
        "batch": 4,
        "device": "cpu",
    }
    return TrainConfig(**(given | changes))


class TwoConvolutions(nn.Module):
    """In VGG's place: features of a tiny network."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.register_buffer("kernel", torch.randn(5, 3, 3, 3, generator=generator))

    def forward(self, image):
        return functional.relu(functional.conv2d(image, self.kernel, stride=2))


def make_step(dataset, config, vgg=None):
    objective = Objective(config, vgg)
    state = TrainingState(config, dataset.reader, CPU)
    loader = TrainLoader(config, dataset, CPU)
    if config.cache_features:
        loader.keep_features(objective)
    return TrainingStep(config, state, objective, Processes()), state, loader


def run(dataset, config, steps=3, vgg=None, wrap=lambda step: step):
    """The numbers of some steps, and the generator's weights after them."""
    step, state, loader = make_step(dataset, config, vgg)
    step = wrap(step)
    rows = []
    for number in range(steps):
        state.begin_step(number)
        rows.append(step(loader.batch(number)))
    return torch.stack(rows), state


def assert_same_weights(a, b, **tolerance):
    for (name, x), y in zip(a.state_dict().items(), b.state_dict().values(), strict=True):
        torch.testing.assert_close(
            x, y, msg=lambda words, name=name: f"{name}: {words}", **tolerance
        )


@given(st.integers(1, 3), st.integers(1, 5), st.integers(2, 9), st.integers(2, 9))
@settings(max_examples=20, deadline=None)
def test_fused_norm_is_instance_norm_then_relu(count, channels, height, width):
    random = torch.Generator().manual_seed(height * 10 + width)
    shape = (count, channels, height, width)
    x = torch.randn(shape, generator=random, dtype=torch.float64)
    x = x.contiguous(memory_format=torch.channels_last).requires_grad_()
    weight, bias = (
        torch.randn(channels, generator=random, dtype=torch.float64).requires_grad_()
        for _ in range(2)
    )
    gradient = torch.randn(shape, generator=random, dtype=torch.float64)
    expected = functional.relu(functional.instance_norm(x, weight=weight, bias=bias, eps=1e-3))
    found = instance_norm_relu(x, weight, bias, 1e-3)
    torch.testing.assert_close(found, expected)
    for ours, theirs in zip(
        torch.autograd.grad(found, (x, weight, bias), gradient),
        torch.autograd.grad(expected, (x, weight, bias), gradient),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-7, atol=1e-9)


@given(st.integers(1, 3), st.sampled_from([1, 3, 5, 9]), st.integers(5, 12), st.integers(5, 12))
@settings(max_examples=20, deadline=None)
def test_thin_convolution_is_the_convolution(outputs, size, height, width):
    random = torch.Generator().manual_seed(height * 100 + width)
    tensors = [
        torch.randn(shape, generator=random, dtype=torch.float64).requires_grad_()
        for shape in ((2, 4, height, width), (outputs, 4, size, size), (outputs,))
    ]
    expected = functional.conv2d(*tensors, padding=size // 2)
    found = thin_convolution(*tensors)
    torch.testing.assert_close(found, expected)
    gradient = torch.randn(expected.shape, generator=random, dtype=torch.float64)
    for ours, theirs in zip(
        torch.autograd.grad(found, tensors, gradient),
        torch.autograd.grad(expected, tensors, gradient),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("resnet-8-32", {"norm": "instance"}),
        ("resnet-8-32", {"norm": "batch"}),
        ("srcnn", {}),
        ("colour-residual", {}),
    ],
)
def test_the_training_forward_is_the_generator(name, options):
    torch.manual_seed(0)
    generator = build_generator(name, **options).to(memory_format=torch.channels_last)
    photo = torch.rand(2, 3, SIZE, SIZE).contiguous(memory_format=torch.channels_last)
    exact = GeneratorForward(generator, "float32")(photo)
    torch.testing.assert_close(exact, generator(photo), rtol=0, atol=1e-5)
    rounded = GeneratorForward(generator, "bfloat16")(photo)
    assert rounded.dtype == torch.float32
    torch.testing.assert_close(rounded, exact, rtol=0, atol=0.02)


def test_the_ends_of_the_generator_stay_in_float32(monkeypatch):
    seen = {}

    def at_the_end(x, weight, bias):
        seen[last] = x.dtype
        return thin_convolution(x, weight, bias)

    monkeypatch.setattr(cpu_kernels, "thin_convolution", at_the_end)
    generator = build_generator("resnet-8-32", norm="instance")
    for index, layer in enumerate(generator.layers):
        conv = layer.conv if hasattr(layer, "conv") else layer.second.conv
        conv.register_forward_hook(lambda m, i, y, index=index: seen.update({index: y.dtype}))
    last = len(generator.layers) - 1
    GeneratorForward(generator, "bfloat16")(torch.rand(1, 3, SIZE, SIZE))
    inner = dict.fromkeys(range(1, last), torch.bfloat16)
    assert seen == {0: torch.float32, **inner, last: torch.float32}


def test_the_generator_learns_by_the_weighted_sum_and_adam(dataset):
    """One step against autograd on the formula and torch's own Adam."""
    config = tiny(content_weight=2.0, texture_weight=0.5, colour_weight=0.2, tv_weight=3.0)
    step, state, loader = make_step(dataset, config)
    twin = TrainingState(config, dataset.reader, CPU)
    batch = loader.batch(0)
    enhanced = twin.generator(batch.phone)
    logits = twin.discriminator(to_grey(enhanced))
    terms = Objective(config, None).terms(enhanced, batch.dslr, logits)
    adam = torch.optim.Adam(twin.generator.parameters(), config.learning_rate, foreach=False)
    sum(terms.values()).backward()
    adam.step()
    state.begin_step(0)
    row = step(batch)
    torch.testing.assert_close(row[:4], torch.stack(list(terms.values())), rtol=1e-5, atol=1e-6)
    photo = torch.rand(1, 3, SIZE, SIZE)
    torch.testing.assert_close(state.generator(photo), twin.generator(photo), rtol=0, atol=1e-4)


@pytest.mark.parametrize("separate", [True, False])
def test_which_patches_the_discriminator_is_shown(dataset, separate, monkeypatch):
    config = tiny(separate_batches=separate, losses="paper")
    step, state, loader = make_step(dataset, config)
    shown = []
    forward = type(step.discriminator).forward

    def look(self, *batches):
        shown.append(batches)
        return forward(self, *batches)

    monkeypatch.setattr(type(step.discriminator), "forward", look)
    batch = loader.batch(1)
    before = state.generator(batch.phone)
    step(batch)
    draws = TrainLoader(config, dataset, CPU)
    (generator_sees,), (dslr, enhanced) = shown
    torch.testing.assert_close(generator_sees, before)
    if separate:
        phone, expected_dslr = draws.load(3)  # steps take two draws each
        expected = state.generator(phone)  # by the network as it is after its step
        assert torch.equal(batch.phone, draws.load(2)[0])
    else:
        expected_dslr, expected = batch.dslr, before  # from before the step
    assert torch.equal(dslr, expected_dslr)
    torch.testing.assert_close(enhanced, expected, rtol=0, atol=1e-6)


def test_separate_batches_still_see_every_pair_once_an_epoch(dataset):
    loader = TrainLoader(tiny(separate_batches=True, batch=2), dataset, CPU)
    steps = [loader.batch(number) for number in range(3)]
    seen = torch.cat([part for batch in steps for part in (batch.phone, batch.discriminator_phone)])
    every = TrainLoader(tiny(batch=12), dataset, CPU).batch(0).phone
    keys = [sorted(float(x.double().sum()) for x in images) for images in (seen, every)]
    assert keys[0] == pytest.approx(keys[1])


def test_kept_features_change_nothing(dataset):
    config = tiny(content="vgg19", content_weight=5.0)
    plain, state = run(dataset, config, vgg=TwoConvolutions())
    kept, other = run(dataset, replace(config, cache_features=True), vgg=TwoConvolutions())
    torch.testing.assert_close(kept, plain, rtol=1e-5, atol=1e-6)
    photo = torch.rand(1, 3, SIZE, SIZE)
    torch.testing.assert_close(state.generator(photo), other.generator(photo), rtol=0, atol=1e-4)


def test_features_that_do_not_fit_or_do_not_hold(dataset, tmp_path, monkeypatch, caplog):
    with pytest.raises(UsageError, match="cannot be used together"):
        tiny(cache_features=True, augment=True)
    assert keep_features(dataset.reader, Objective(tiny(), None), CPU) is None
    objective = Objective(tiny(content="vgg19"), TwoConvolutions())
    assert keep_features(dataset.reader, objective, CPU) is not None
    monkeypatch.setattr(kept_features, "_MEMINFO", tmp_path / "meminfo")
    (tmp_path / "meminfo").write_text("MemFree:    1 kB\nMemAvailable: 8000000 kB\n")
    assert keep_features(dataset.reader, objective, CPU) is not None
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "8000000")
    assert keep_features(dataset.reader, objective, CPU) is None
    monkeypatch.delenv("LOCAL_WORLD_SIZE")
    (tmp_path / "meminfo").write_text("MemFree:    1 kB\nMemAvailable:       1 kB\n")
    assert keep_features(dataset.reader, objective, CPU) is None
    assert "computed in every step instead" in caplog.text


def test_a_replayed_step_is_the_step(dataset):
    config = tiny(ema=0.9, schedule="cosine", steps=6, separate_batches=True, clip=1.0)
    plain, state = run(dataset, config, steps=6)
    replayed, other = run(
        dataset,
        replace(config, cuda_graph=True),
        steps=6,
        wrap=lambda step: GraphedStep(step, CPU),
    )
    torch.testing.assert_close(replayed, plain)
    assert_same_weights(state.generator, other.generator, rtol=0, atol=1e-6)
    assert_same_weights(state.ema, other.ema, rtol=0, atol=1e-6)


def test_a_checkpoint_goes_on_with_and_without_recording(dataset):
    _, state = run(dataset, tiny(ema=0.9))
    other = TrainingState(tiny(ema=0.9, cuda_graph=True), dataset.reader, CPU)
    other.load_state_dict(state.state_dict())
    other.begin_step(5)
    (group,) = other.optimiser.param_groups
    assert isinstance(group["lr"], torch.Tensor)
    state.load_state_dict(other.state_dict())
    assert isinstance(state.optimiser.param_groups[0]["lr"], float)


def test_compiled_networks_are_called_in_a_step(dataset, monkeypatch):
    compiled = []

    def compile_for_one_size(self, *, dynamic):
        assert dynamic is False
        compiled.append(type(self).__name__)

    monkeypatch.setattr(nn.Module, "compile", compile_for_one_size)
    run(dataset, tiny(compile=True, content="vgg19"), vgg=TwoConvolutions())
    assert compiled == ["GeneratorForward", "DiscriminatorForward", "TwoConvolutions"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of torch's compiler, about torch
def test_a_compiled_step_is_the_step(dataset):
    plain, _ = run(dataset, tiny())
    compiled, _ = run(dataset, tiny(compile=True))
    torch.testing.assert_close(compiled, plain, rtol=1e-3, atol=1e-4)


def test_in_bfloat16_a_step_still_learns(dataset):
    config = tiny(precision="bfloat16", content="vgg19", steps=30, learning_rate=2e-3)
    rows, state = run(dataset, config, steps=30, vgg=TwoConvolutions())
    assert rows.isfinite().all()
    assert all(p.dtype == torch.float32 for p in state.generator.parameters())
    assert rows[-5:, 0].mean() < rows[:5, 0].mean()


@pytest.mark.parametrize("precision", PRECISIONS)
def test_no_precision_rounds_what_losses_and_scores_multiply(precision):
    set_arithmetic(precision, CPU)
    assert torch.backends.cudnn.allow_tf32 == (precision != "float32")
    assert not torch.backends.cuda.matmul.allow_tf32


def test_in_bfloat16_logits_keep_all_their_bits(dataset):
    """The last layer's rounding to 8 bits would show as log-odds that bfloat16 can hold."""
    config = tiny(precision="bfloat16")
    step, state, _ = make_step(dataset, config)
    nn.init.normal_(state.discriminator.output.weight)
    (logits,) = step.discriminator(torch.rand(8, 3, SIZE, SIZE))
    assert logits.dtype == torch.float32
    assert (logits != logits.bfloat16().float()).any()


def test_the_average_is_that_of_the_weights(dataset):
    config = tiny(ema=0.5)
    step, state, loader = make_step(dataset, config)
    name = "layers.0.conv.weight"
    expected = state.generator.state_dict()[name].double().clone()
    for number in range(4):
        state.begin_step(number)
        step(loader.batch(number))
        decay = min(0.5, (1 + number) / (10 + number))
        expected = decay * expected + (1 - decay) * state.generator.state_dict()[name].double()
    found = state.ema.state_dict()[name].double()
    assert np.abs((found - expected).numpy()).max() < 1e-7
