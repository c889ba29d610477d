"""The sampler: every epoch sees every patch pair once, from the seed and the step alone."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from dpedkit.device import to_images
from dpedkit.shards.sampling import spread_indices
from dpedkit.train.data import apply_symmetries, batch_indices, coins, symmetries


@given(st.integers(0, 2**32), st.integers(1, 40), st.integers(1, 50))
def test_every_epoch_sees_every_pair_once(seed, batch, count):
    steps = -(-3 * count // batch)
    drawn = np.concatenate([batch_indices(seed, step, batch, count) for step in range(steps)])
    for epoch in range(3):
        assert sorted(drawn[epoch * count : (epoch + 1) * count]) == list(range(count))


@given(st.integers(0, 100), st.integers(0, 1000))
def test_a_step_depends_on_nothing_before_it(seed, step):
    fresh = batch_indices(seed, step, 8, 100)
    batch_indices(seed + 1, step + 3, 8, 100)
    assert np.array_equal(batch_indices(seed, step, 8, 100), fresh)


@given(st.integers(0, 100), st.integers(0, 50), st.integers(1, 20), st.integers(1, 5))
def test_processes_that_train_together_divide_the_step_of_one(seed, step, batch, world_size):
    """So that no two see the same patch pair, and their number changes nothing."""
    count = 97
    whole = world_size * batch
    ranks = range(world_size)
    indices = [batch_indices(seed, step, batch, count, rank, world_size) for rank in ranks]
    assert np.array_equal(np.concatenate(indices), batch_indices(seed, step, whole, count))
    for draw in (symmetries, coins):
        parts = [draw(seed, step, batch, rank, world_size) for rank in ranks]
        assert np.array_equal(np.concatenate(parts), draw(seed, step, whole))


def test_epochs_and_seeds_have_orders_of_their_own():
    orders = {tuple(batch_indices(seed, step, 30, 30)) for seed in (0, 1) for step in (0, 1)}
    assert len(orders) == 4


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
    a, b = (to_images(x, torch.device("cpu")) for x in (patches, 255 - patches))
    torch.testing.assert_close(apply_symmetries(a, which), 1 - apply_symmetries(b, which))


def test_images_are_scaled_and_in_order():
    patches = np.zeros((2, 4, 5, 3), np.uint8)
    patches[1, 2, 3] = (255, 51, 0)
    images = to_images(patches, torch.device("cpu"))
    assert images.shape == (2, 3, 4, 5)
    torch.testing.assert_close(images[1, :, 2, 3], torch.tensor([1.0, 0.2, 0.0]))


def test_spread_indices():
    assert spread_indices(5, 10).tolist() == [0, 1, 2, 3, 4]
    assert spread_indices(100, 3).tolist() == [0, 50, 99]
    assert spread_indices(1, 1).tolist() == [0]
