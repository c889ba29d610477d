"""The batches of training: which patches, in what order, and by whichever reader the same."""

from pathlib import Path

import numpy as np
import pytest
import torch
from fake_shards import make_patches, write_shards
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from dpedkit.core.device import to_images
from dpedkit.shards.dataset import DpedShards
from dpedkit.shards.sampling import spread_indices
from dpedkit.training import data
from dpedkit.training.config import LOADERS, TrainConfig
from dpedkit.training.data import (
    SYMMETRIES,
    BlockReadAhead,
    BlockShuffle,
    FullShuffle,
    Prefetcher,
    Shuffle,
    StepSampler,
    Stream,
    TrainLoader,
    apply_symmetries,
)
from dpedkit.training.distributed import Processes

CPU = torch.device("cpu")


@st.composite
def shuffles(draw: st.DrawFn) -> Shuffle:
    seed, count = draw(st.integers(0, 2**32)), draw(st.integers(1, 50))
    if draw(st.booleans()):
        return FullShuffle(seed, count)
    return BlockShuffle(seed, count, draw(st.integers(1, 9)), draw(st.integers(1, 4)))


@given(shuffles(), st.integers(1, 40))
def test_every_epoch_sees_every_pair_once(order, batch):
    steps = -(-3 * order.count // batch)
    drawn = np.concatenate([StepSampler(order, batch).indices(step) for step in range(steps)])
    for epoch in range(3):
        part = drawn[epoch * order.count : (epoch + 1) * order.count]
        assert sorted(part) == list(range(order.count))


@pytest.mark.parametrize("kind", [FullShuffle, lambda seed, n: BlockShuffle(seed, n, 7, 4)])
@given(seed=st.integers(0, 100), step=st.integers(0, 1000))
def test_a_step_depends_on_nothing_before_it(kind, seed, step):
    fresh = StepSampler(kind(seed, 100), 8).indices(step)
    StepSampler(kind(seed + 1, 100), 8).indices(step + 3)
    data._permutation.cache_clear()
    data._block_permutation.cache_clear()
    assert np.array_equal(StepSampler(kind(seed, 100), 8).indices(step), fresh)


@given(shuffles(), st.integers(0, 50), st.integers(1, 20), st.integers(1, 5))
def test_processes_that_train_together_divide_the_step_of_one(order, step, batch, world_size):
    """So that no two see the same patch pair, and their number changes nothing."""
    whole = StepSampler(order, world_size * batch)
    parts = [StepSampler(order, batch, rank=r, world_size=world_size) for r in range(world_size)]
    indices = [part.indices(step) for part in parts]
    assert np.array_equal(np.concatenate(indices), whole.indices(step))
    numbers = [part.random(Stream.SYMMETRY, SYMMETRIES, step) for part in parts]
    assert np.array_equal(np.concatenate(numbers), whole.random(Stream.SYMMETRY, SYMMETRIES, step))


@pytest.mark.parametrize("kind", [FullShuffle, lambda seed, n: BlockShuffle(seed, n, 3, 4)])
def test_epochs_and_seeds_have_orders_of_their_own(kind):
    found = {
        tuple(StepSampler(kind(seed, 30), 30).indices(step)) for seed in (0, 1) for step in (0, 1)
    }
    assert len(found) == 4


@given(st.integers(0, 99), st.integers(1, 60), st.integers(1, 9), st.integers(1, 4))
def test_a_block_shuffle_stays_within_its_groups(seed, count, block, blocks):
    order = BlockShuffle(seed, count, block, blocks)
    group, seen = (0, 0), []
    while group[0] < 2:
        rows = sorted(row for found in order.blocks_of(group) for row in found)
        assert len(rows) <= block * blocks
        for _ in rows:
            assert order.group_at(len(seen)) == group
            seen.append(StepSampler(order, 1).indices(len(seen))[0])
        assert sorted(seen[-len(rows) :]) == rows
        group = order.group_after(group)
    assert len(seen) == 2 * count


# ------------------------------------------------------------------------------------- readers


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> DpedShards:
    patches = make_patches(40, 12, 0)
    return DpedShards(write_shards(tmp_path_factory.mktemp("data") / "s", {"train": patches}))


def test_a_data_loader_announces_a_batch_before_it_is_read(dataset, monkeypatch):
    told = []
    for name in ("announce", "gather"):
        own = getattr(dataset.reader, name)

        def tell(indices, *, _name=name, _own=own, **others):
            told.append((_name, list(indices)))
            return _own(indices, **others)

        monkeypatch.setattr(dataset.reader, name, tell)
    list(DataLoader(dataset, batch_sampler=[[3, 1], [5]]))
    assert told == [(name, batch) for batch in ([3, 1], [5]) for name in ("announce", "gather")]


@pytest.mark.parametrize("shuffle", ["full", "blocks"])
def test_every_reader_brings_the_same_batches(dataset, shuffle, monkeypatch):
    monkeypatch.setattr(data, "_BLOCK_BYTES", 5 * 2 * 12 * 12 * 3)
    phone, dslr = dataset.reader.gather(range(len(dataset)))
    loaders = {
        loader: TrainLoader(
            TrainConfig(batch=7, seed=3, shuffle=shuffle, loader=loader), dataset, CPU
        )
        for loader in LOADERS
    }
    order = FullShuffle(3, 40) if shuffle == "full" else BlockShuffle(3, 40, 5)
    for step in (0, 1, 2, 9, 0, 1):  # also out of turn, as after a resumption
        chosen = StepSampler(order, 7).indices(step)
        expected = [to_images(patches[chosen], CPU) for patches in (phone, dslr)]
        for loader in loaders.values():
            for part, wanted in zip(loader.load(step), expected, strict=True):
                torch.testing.assert_close(part, wanted, rtol=0, atol=0)


def test_a_plain_data_loader_brings_the_batches_of_training(dataset):
    """The dataset and the sampler of training, in a loop of one's own."""
    training = TrainLoader(TrainConfig(batch=7, seed=3, loader="mapped"), dataset, CPU)
    sampler = StepSampler(FullShuffle(3, len(dataset)), 7, first_step=4)
    own = iter(DataLoader(dataset, batch_sampler=sampler))
    for step in range(4, 12):
        for mine, theirs in zip(next(own), training.load(step), strict=True):
            torch.testing.assert_close(mine, theirs, rtol=0, atol=0)


def test_a_batch_of_a_rank_is_its_part_of_the_whole_batch(dataset):
    config = TrainConfig(batch=6, seed=1, augment=True, losses="authors")
    whole = TrainLoader(config, dataset, CPU).batch(4)
    parts = [TrainLoader(config, dataset, CPU, Processes(r, 2)).batch(4) for r in (0, 1)]
    for name in ("phone", "dslr", "show_dslr"):
        found = torch.cat([getattr(part, name) for part in parts])
        torch.testing.assert_close(found, getattr(whole, name), rtol=0, atol=0)


def test_blocks_are_read_once_an_epoch_and_before_they_are_needed():
    order, read = BlockShuffle(0, 40, 3, 4), []

    class Recorder:
        def read_through(self, first: int, last: int) -> None:
            read.append((first, last))

    ahead = BlockReadAhead(Recorder(), order)
    for start in range(0, 40, 4):
        ahead.wait_for(range(start, start + 4))
        rows = {row for block in read for row in range(*block)}
        assert rows.issuperset(StepSampler(order, 4).indices(start // 4))
    first_epoch = [block for n in range(4) for block in order.blocks_of((0, n))]
    assert read[: len(first_epoch)] == [(block.start, block.stop) for block in first_epoch]


def test_reading_through_touches_the_bytes_of_those_patches(dataset, monkeypatch):
    touched = []
    opened = Path.open

    class Watched:
        def __init__(self, file):
            self.file = file

        def __enter__(self):
            return self

        def __exit__(self, *error):
            self.file.close()

        def seek(self, place):
            touched.append([self.file.seek(place)] * 2)

        def readinto(self, piece):
            count = self.file.readinto(piece)
            touched[-1][1] += count
            return count

    monkeypatch.setattr(Path, "open", lambda *a, **k: Watched(opened(*a, **k)))
    dataset.reader.read_through(10, 20)
    layout = dataset.reader._layouts[0]
    for (start, stop), name in zip(touched, ("phone", "dslr"), strict=True):
        assert start == layout.offsets[name] + 10 * 12 * 12 * 3
        assert stop >= layout.offsets[name] + 20 * 12 * 12 * 3


def test_the_next_step_is_prepared_while_this_one_is_used():
    begun = []

    def work(step: int) -> int:
        begun.append(step)
        return step * step

    ahead = Prefetcher(work)
    assert [ahead.result(step) for step in (0, 1, 2, 7, 8)] == [0, 1, 4, 49, 64]
    assert begun[:9] == [0, 1, 2, 3, 7, 8, 9][: len(begun)]


def test_an_error_while_reading_ahead_is_raised_by_the_step_that_needs_it():
    ahead = Prefetcher(lambda step: 1 // (2 - step))
    assert ahead.result(0) == 0
    assert ahead.result(1) == 1
    with pytest.raises(ZeroDivisionError):
        ahead.result(2)


def test_shards_larger_than_memory_are_told_of(dataset, monkeypatch, caplog):
    monkeypatch.setattr(data.os, "sysconf", lambda name: 10)
    TrainLoader(TrainConfig(batch=4, loader="mapped"), dataset, CPU)
    assert "--shuffle blocks" in caplog.text


# ---------------------------------------------------------------------------------- augmentation


def test_symmetries_are_the_eight_of_the_square():
    image = torch.arange(12.0).view(1, 3, 2, 2)
    images = apply_symmetries(image.repeat(8, 1, 1, 1), np.arange(8))
    seen = {tuple(x.flatten().tolist()) for x in images}
    assert len(seen) == 8
    turned = np.rot90(image[0].numpy(), 3, axes=(1, 2))
    assert np.array_equal(images[3].numpy(), turned)
    assert np.array_equal(images[7].numpy(), turned[:, :, ::-1])
    assert set(StepSampler(FullShuffle(0, 9), 1000).random(Stream.SYMMETRY, 8, 0)) == set(range(8))


def test_phone_and_dslr_are_turned_alike():
    patches = np.random.default_rng(0).integers(0, 256, (16, 6, 6, 3), dtype=np.uint8)
    which = StepSampler(FullShuffle(3, 9), 16).random(Stream.SYMMETRY, 8, 5)
    a, b = (to_images(x, CPU) for x in (patches, 255 - patches))
    torch.testing.assert_close(apply_symmetries(a, which), 1 - apply_symmetries(b, which))


def test_images_are_scaled_and_in_order():
    patches = np.zeros((2, 4, 5, 3), np.uint8)
    patches[1, 2, 3] = (255, 51, 0)
    images = to_images(patches, CPU)
    assert images.shape == (2, 3, 4, 5)
    torch.testing.assert_close(images[1, :, 2, 3], torch.tensor([1.0, 0.2, 0.0]))


def test_spread_indices():
    assert spread_indices(5, 10).tolist() == [0, 1, 2, 3, 4]
    assert spread_indices(100, 3).tolist() == [0, 50, 99]
    assert spread_indices(1, 1).tolist() == [0]
