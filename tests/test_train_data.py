"""The batches of training: which patches, in what order, and by whichever reader the same."""

from pathlib import Path

import numpy as np
import pytest
import torch
from fake_shards import make_patches, write_shards
from hypothesis import given
from hypothesis import strategies as st

from dpedkit.core.device import to_images
from dpedkit.shards import open_split
from dpedkit.shards.reader import SplitReader
from dpedkit.shards.sampling import spread_indices
from dpedkit.train import loader as loaders
from dpedkit.train import order as orders
from dpedkit.train.config import LOADERS
from dpedkit.train.data import TrainBatches, apply_symmetries, coins, symmetries
from dpedkit.train.loader import Ahead, GroupReadAhead
from dpedkit.train.order import BlockShuffle, FullShuffle, Order, batch_indices

CPU = torch.device("cpu")


@st.composite
def shuffles(draw: st.DrawFn) -> Order:
    seed, count = draw(st.integers(0, 2**32)), draw(st.integers(1, 50))
    if draw(st.booleans()):
        return FullShuffle(seed, count)
    return BlockShuffle(seed, count, draw(st.integers(1, 9)), draw(st.integers(1, 4)))


@given(shuffles(), st.integers(1, 40))
def test_every_epoch_sees_every_pair_once(order, batch):
    steps = -(-3 * order.count // batch)
    drawn = np.concatenate([batch_indices(order, step, batch) for step in range(steps)])
    for epoch in range(3):
        part = drawn[epoch * order.count : (epoch + 1) * order.count]
        assert sorted(part) == list(range(order.count))


@pytest.mark.parametrize("kind", [FullShuffle, lambda seed, n: BlockShuffle(seed, n, 7, 4)])
@given(seed=st.integers(0, 100), step=st.integers(0, 1000))
def test_a_step_depends_on_nothing_before_it(kind, seed, step):
    fresh = batch_indices(kind(seed, 100), step, 8)
    batch_indices(kind(seed + 1, 100), step + 3, 8)
    orders._permutation.cache_clear()
    orders._block_permutation.cache_clear()
    assert np.array_equal(batch_indices(kind(seed, 100), step, 8), fresh)


@given(shuffles(), st.integers(0, 50), st.integers(1, 20), st.integers(1, 5))
def test_processes_that_train_together_divide_the_step_of_one(order, step, batch, world_size):
    """So that no two see the same patch pair, and their number changes nothing."""
    whole = world_size * batch
    ranks = range(world_size)
    indices = [batch_indices(order, step, batch, rank, world_size) for rank in ranks]
    assert np.array_equal(np.concatenate(indices), batch_indices(order, step, whole))
    for draw in (symmetries, coins):
        parts = [draw(order.seed, step, batch, rank, world_size) for rank in ranks]
        assert np.array_equal(np.concatenate(parts), draw(order.seed, step, whole))


@pytest.mark.parametrize("kind", [FullShuffle, lambda seed, n: BlockShuffle(seed, n, 3, 4)])
def test_epochs_and_seeds_have_orders_of_their_own(kind):
    found = {tuple(batch_indices(kind(seed, 30), step, 30)) for seed in (0, 1) for step in (0, 1)}
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
            seen.append(batch_indices(order, len(seen), 1)[0])
        assert sorted(seen[-len(rows) :]) == rows
        group = order.group_after(group)
    assert len(seen) == 2 * count


# ------------------------------------------------------------------------------------- readers


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> SplitReader:
    patches = make_patches(40, 12, 0)
    return open_split(
        write_shards(tmp_path_factory.mktemp("data") / "s", {"train": patches}), "train"
    )


@pytest.mark.parametrize("shuffle", ["full", "blocks"])
def test_every_reader_brings_the_same_batches(reader, shuffle, monkeypatch):
    monkeypatch.setattr(orders, "_BLOCK_BYTES", 5 * 2 * 12 * 12 * 3)
    phone, dslr = reader.gather(range(len(reader)))
    batches = {
        loader: TrainBatches(reader, 7, 3, False, CPU, shuffle=shuffle, loader=loader)
        for loader in LOADERS
    }
    order = FullShuffle(3, 40) if shuffle == "full" else BlockShuffle(3, 40, 5)
    for step in (0, 1, 2, 9, 0, 1):  # also out of turn, as after a resumption
        chosen = batch_indices(order, step, 7)
        expected = [to_images(patches[chosen], CPU) for patches in (phone, dslr)]
        for of_loader in batches.values():
            for part, wanted in zip(of_loader.at(step), expected, strict=True):
                torch.testing.assert_close(part, wanted, rtol=0, atol=0)


def test_a_batch_of_a_rank_is_its_part_of_the_whole_batch(reader):
    whole = TrainBatches(reader, 6, 1, True, CPU).at(4)
    parts = [TrainBatches(reader, 3, 1, True, CPU, rank=r, world_size=2).at(4) for r in (0, 1)]
    for n in (0, 1):
        torch.testing.assert_close(torch.cat([part[n] for part in parts]), whole[n])


def test_blocks_are_read_once_an_epoch_and_before_they_are_needed(reader):
    order, read = BlockShuffle(0, 40, 3, 4), []

    class Recorder:
        def read_through(self, first: int, last: int) -> None:
            read.append((first, last))

    ahead = GroupReadAhead(Recorder(), order)
    for start in range(0, 40, 4):
        ahead.wait_for(range(start, start + 4))
        rows = {row for block in read for row in range(*block)}
        assert rows.issuperset(batch_indices(order, start // 4, 4))
    first_epoch = [block for n in range(4) for block in order.blocks_of((0, n))]
    assert read[: len(first_epoch)] == [(block.start, block.stop) for block in first_epoch]


def test_reading_through_touches_the_bytes_of_those_patches(reader, monkeypatch):
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
    reader.read_through(10, 20)
    layout = reader._layouts[0]
    for (start, stop), name in zip(touched, ("phone", "dslr"), strict=True):
        assert start == layout.offsets[name] + 10 * 12 * 12 * 3
        assert stop >= layout.offsets[name] + 20 * 12 * 12 * 3


def test_the_next_step_is_prepared_while_this_one_is_used():
    begun = []

    def work(step: int) -> int:
        begun.append(step)
        return step * step

    ahead = Ahead(work)
    assert [ahead.at(step) for step in (0, 1, 2, 7, 8)] == [0, 1, 4, 49, 64]
    assert begun[:9] == [0, 1, 2, 3, 7, 8, 9][: len(begun)]


def test_an_error_while_reading_ahead_is_raised_by_the_step_that_needs_it():
    ahead = Ahead(lambda step: 1 // (2 - step))
    assert ahead.at(0) == 0
    assert ahead.at(1) == 1
    with pytest.raises(ZeroDivisionError):
        ahead.at(2)


def test_shards_larger_than_memory_are_told_of(reader, monkeypatch, caplog):
    monkeypatch.setattr(loaders.os, "sysconf", lambda name: 10)
    TrainBatches(reader, 4, 0, False, CPU, loader="mapped")
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
    assert set(symmetries(0, 0, 1000)) == set(range(8))


def test_phone_and_dslr_are_turned_alike():
    patches = np.random.default_rng(0).integers(0, 256, (16, 6, 6, 3), dtype=np.uint8)
    which = symmetries(3, 5, 16)
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
