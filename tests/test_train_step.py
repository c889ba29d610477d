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
from dpedkit.shards import open_split
from dpedkit.train import features as kept_features
from dpedkit.train import forward
from dpedkit.train.config import PRECISIONS, TrainConfig
from dpedkit.train.data import TrainBatches
from dpedkit.train.features import TargetFeatures, keep_features
from dpedkit.train.feed import Feed
from dpedkit.train.forward import TrainingForward
from dpedkit.train.fused import instance_norm_relu, thin_convolution
from dpedkit.train.learner import Learner
from dpedkit.train.objective import Objective
from dpedkit.train.processes import Processes
from dpedkit.train.replay import ReplayedStep
from dpedkit.train.setup import choose_arithmetic
from dpedkit.train.step import TrainingStep

SIZE = 20
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "shards"
    return open_split(write_shards(folder, {"train": make_patches(12, SIZE, 0)}), "train")


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


def make_step(reader, config, vgg=None):
    objective = Objective(config, vgg)
    learner = Learner(config, reader, CPU)
    batches = TrainBatches(reader, config.batch, config.seed, config.augment, CPU)
    kept = TargetFeatures(reader, objective, CPU) if config.cache_features else None
    step = TrainingStep(config, learner, objective, Processes())
    return step, learner, Feed(config, batches, kept)


def run(reader, config, steps=3, vgg=None, wrap=lambda step: step):
    """The numbers of some steps, and the generator's weights after them."""
    step, learner, feed = make_step(reader, config, vgg)
    step = wrap(step)
    rows = []
    for number in range(steps):
        learner.begin_step(number)
        rows.append(step(feed.at(number)))
    return torch.stack(rows), learner


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
    exact = TrainingForward(generator, "float32")(photo)
    torch.testing.assert_close(exact, generator(photo), rtol=0, atol=1e-5)
    rounded = TrainingForward(generator, "bfloat16")(photo)
    assert rounded.dtype == torch.float32
    torch.testing.assert_close(rounded, exact, rtol=0, atol=0.02)


def test_the_ends_of_the_generator_stay_in_float32(monkeypatch):
    seen = {}

    def at_the_end(x, weight, bias):
        seen[last] = x.dtype
        return thin_convolution(x, weight, bias)

    monkeypatch.setattr(forward, "thin_convolution", at_the_end)
    generator = build_generator("resnet-8-32", norm="instance")
    for index, layer in enumerate(generator.layers):
        conv = layer.conv if hasattr(layer, "conv") else layer.second.conv
        conv.register_forward_hook(lambda m, i, y, index=index: seen.update({index: y.dtype}))
    last = len(generator.layers) - 1
    TrainingForward(generator, "bfloat16")(torch.rand(1, 3, SIZE, SIZE))
    inner = dict.fromkeys(range(1, last), torch.bfloat16)
    assert seen == {0: torch.float32, **inner, last: torch.float32}


def test_the_generator_learns_by_the_weighted_sum_and_adam(reader):
    """One step against autograd on the formula and torch's own Adam."""
    config = tiny(content_weight=2.0, texture_weight=0.5, colour_weight=0.2, tv_weight=3.0)
    step, learner, feed = make_step(reader, config)
    twin = Learner(config, reader, CPU)
    data = feed.at(0)
    enhanced = twin.generator(data.phone)
    log_odds = twin.discriminator(to_grey(enhanced))
    terms = Objective(config, None).terms(enhanced, data.dslr, log_odds)
    adam = torch.optim.Adam(twin.generator.parameters(), config.learning_rate, foreach=False)
    sum(terms.values()).backward()
    adam.step()
    learner.begin_step(0)
    row = step(data)
    torch.testing.assert_close(row[:4], torch.stack(list(terms.values())), rtol=1e-5, atol=1e-6)
    photo = torch.rand(1, 3, SIZE, SIZE)
    torch.testing.assert_close(learner.generator(photo), twin.generator(photo), rtol=0, atol=1e-4)


@pytest.mark.parametrize("separate", [True, False])
def test_which_patches_the_discriminator_is_shown(reader, separate, monkeypatch):
    config = tiny(separate_batches=separate, losses="paper")
    step, learner, feed = make_step(reader, config)
    shown = []
    verdicts = type(step.verdicts).forward

    def look(self, *batches):
        shown.append(batches)
        return verdicts(self, *batches)

    monkeypatch.setattr(type(step.verdicts), "forward", look)
    data = feed.at(1)
    before = learner.generator(data.phone)
    step(data)
    batches = TrainBatches(reader, 4, config.seed, False, CPU)
    (generator_sees,), (dslr, enhanced) = shown
    torch.testing.assert_close(generator_sees, before)
    if separate:
        phone, expected_dslr = batches.at(3)  # steps take two draws each
        expected = learner.generator(phone)  # by the network as it is after its step
        assert torch.equal(data.phone, batches.at(2)[0])
    else:
        expected_dslr, expected = data.dslr, before  # from before the step
    assert torch.equal(dslr, expected_dslr)
    torch.testing.assert_close(enhanced, expected, rtol=0, atol=1e-6)


def test_separate_batches_still_see_every_pair_once_an_epoch(reader):
    feed = Feed(tiny(separate_batches=True), TrainBatches(reader, 2, 0, False, CPU))
    steps = [feed.at(number) for number in range(3)]
    seen = torch.cat([part for data in steps for part in (data.phone, data.other_phone)])
    every = TrainBatches(reader, 12, 0, False, CPU).at(0)[0]
    keys = [sorted(float(x.double().sum()) for x in images) for images in (seen, every)]
    assert keys[0] == pytest.approx(keys[1])


def test_kept_features_change_nothing(reader):
    config = tiny(content="vgg19", content_weight=5.0)
    plain, learner = run(reader, config, vgg=TwoConvolutions())
    kept, other = run(reader, replace(config, cache_features=True), vgg=TwoConvolutions())
    torch.testing.assert_close(kept, plain, rtol=1e-5, atol=1e-6)
    photo = torch.rand(1, 3, SIZE, SIZE)
    torch.testing.assert_close(learner.generator(photo), other.generator(photo), rtol=0, atol=1e-4)


def test_features_that_do_not_fit_or_do_not_hold(reader, tmp_path, monkeypatch, caplog):
    with pytest.raises(UsageError, match="leave out one of the two"):
        tiny(cache_features=True, augment=True)
    assert keep_features(reader, Objective(tiny(), None), CPU) is None
    objective = Objective(tiny(content="vgg19"), TwoConvolutions())
    assert keep_features(reader, objective, CPU) is not None
    monkeypatch.setattr(kept_features, "_MEMINFO", tmp_path / "meminfo")
    (tmp_path / "meminfo").write_text("MemFree:    1 kB\nMemAvailable: 8000000 kB\n")
    assert keep_features(reader, objective, CPU) is not None
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "8000000")
    assert keep_features(reader, objective, CPU) is None
    monkeypatch.delenv("LOCAL_WORLD_SIZE")
    (tmp_path / "meminfo").write_text("MemFree:    1 kB\nMemAvailable:       1 kB\n")
    assert keep_features(reader, objective, CPU) is None
    assert "computed in every step instead" in caplog.text


def test_a_replayed_step_is_the_step(reader):
    config = tiny(ema=0.9, schedule="cosine", steps=6, separate_batches=True, clip=1.0)
    plain, learner = run(reader, config, steps=6)
    replayed, other = run(
        reader,
        replace(config, cuda_graph=True),
        steps=6,
        wrap=lambda step: ReplayedStep(step, CPU),
    )
    torch.testing.assert_close(replayed, plain)
    assert_same_weights(learner.generator, other.generator, rtol=0, atol=1e-6)
    assert_same_weights(learner.average, other.average, rtol=0, atol=1e-6)


def test_a_checkpoint_goes_on_with_and_without_recording(reader):
    _, learner = run(reader, tiny(ema=0.9))
    other = Learner(tiny(ema=0.9, cuda_graph=True), reader, CPU)
    other.load_state(learner.state())
    other.begin_step(5)
    (group,) = other.optimiser.param_groups
    assert isinstance(group["lr"], torch.Tensor)
    learner.load_state(other.state())
    assert isinstance(learner.optimiser.param_groups[0]["lr"], float)


def test_compiled_networks_are_called_in_a_step(reader, monkeypatch):
    compiled = []

    def compile_for_one_size(self, *, dynamic):
        assert dynamic is False
        compiled.append(type(self).__name__)

    monkeypatch.setattr(nn.Module, "compile", compile_for_one_size)
    run(reader, tiny(compile=True, content="vgg19"), vgg=TwoConvolutions())
    assert compiled == ["TrainingForward", "_Verdicts", "TwoConvolutions"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of torch's compiler, about torch
def test_a_compiled_step_is_the_step(reader):
    plain, _ = run(reader, tiny())
    compiled, _ = run(reader, tiny(compile=True))
    torch.testing.assert_close(compiled, plain, rtol=1e-3, atol=1e-4)


def test_in_bfloat16_a_step_still_learns(reader):
    config = tiny(precision="bfloat16", content="vgg19", steps=30, learning_rate=2e-3)
    rows, learner = run(reader, config, steps=30, vgg=TwoConvolutions())
    assert rows.isfinite().all()
    assert all(p.dtype == torch.float32 for p in learner.generator.parameters())
    assert rows[-5:, 0].mean() < rows[:5, 0].mean()


@pytest.mark.parametrize("precision", PRECISIONS)
def test_no_precision_rounds_what_losses_and_scores_multiply(precision):
    choose_arithmetic(precision, CPU)
    assert torch.backends.cudnn.allow_tf32 == (precision != "float32")
    assert not torch.backends.cuda.matmul.allow_tf32


def test_in_bfloat16_verdicts_keep_all_their_bits(reader):
    """The last layer's rounding to 8 bits would show as log-odds that bfloat16 can hold."""
    config = tiny(precision="bfloat16")
    step, learner, _ = make_step(reader, config)
    nn.init.normal_(learner.discriminator.output.weight)
    (log_odds,) = step.verdicts(torch.rand(8, 3, SIZE, SIZE))
    assert log_odds.dtype == torch.float32
    assert (log_odds != log_odds.bfloat16().float()).any()


def test_the_average_is_that_of_the_weights(reader):
    config = tiny(ema=0.5)
    step, learner, feed = make_step(reader, config)
    name = "layers.0.conv.weight"
    expected = learner.generator.state_dict()[name].double().clone()
    for number in range(4):
        learner.begin_step(number)
        step(feed.at(number))
        decay = min(0.5, (1 + number) / (10 + number))
        expected = decay * expected + (1 - decay) * learner.generator.state_dict()[name].double()
    found = learner.average.state_dict()[name].double()
    assert np.abs((found - expected).numpy()).max() < 1e-7
