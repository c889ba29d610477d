"""Alignment of scenes with depth against what is true of them, pixel by pixel."""

import functools
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from test_align_pair import PHONE_SIZE, SCENE, SCENE_SIZE, paint, photograph, true_map

from dpedkit.align.config import AlignConfig
from dpedkit.align.pair import find_alignment
from dpedkit.geometry import centre_of, grid_points
from dpedkit.simulate.config import SimulateConfig
from dpedkit.simulate.driver import simulate_pair
from dpedkit.surfaces import EDGE

EVERY = grid_points(np.arange(4, 640, 8), np.arange(4, 480, 8))
RECTANGLE = np.s_[150:310, 200:400]


@functools.lru_cache(maxsize=4)
def deep(disparity, seed):
    """A small simulated pair of a scene with three things in front of it."""
    config = SimulateConfig(
        phone_megapixels=0.5, dslr_megapixels=0.75, disparity=disparity, objects=3, seed=seed
    )
    return simulate_pair(config, index=seed % 2)


@functools.lru_cache(maxsize=4)
def aligned(disparity, seed):
    shot = deep(disparity, seed)
    return find_alignment(shot.phone, shot.dslr, AlignConfig())


def errors(found, truth, phone_size):
    """Points of the phone photo, and how far the map is from the truth there, phone px."""
    width, height = phone_size
    points = grid_points(np.arange(2, width, 4), np.arange(2, height, 4))
    scale = found.map.scale_at(centre_of(phone_size))
    return points, np.linalg.norm(found.map(points) - truth(points), axis=1) / scale


@pytest.mark.parametrize(("disparity", "seed"), [(6, 11), (6, 2), (20, 11), (20, 2)])
def test_depth_is_followed_where_the_map_is_said_to_hold(disparity, seed):
    truth = deep(disparity, seed).pixel_truth
    found = aligned(disparity, seed)
    assert found.accepted, found.reason
    assert found.evidence["model"] == "surfaces"
    assert found.evidence["surfaces"] > 1
    points, error = errors(found, truth, found.map.phone_size)
    seen, held = np.isfinite(error), found.map.holds(points)
    surface = truth.surface_at(points)
    assert np.median(error[seen & held]) < 0.3
    assert np.median(error[seen & held & (surface == 0)]) < 0.08
    assert (error[seen & held] > 1).mean() < 0.03
    # It holds in most of what both photos show, and hardly where one is hidden from the other.
    assert held[seen].mean() > 0.7
    assert (held & ~seen).sum() < 0.05 * held.sum()
    # Without the surfaces, what stands in front would be far from its place.
    near = seen & held & (surface > 0)
    assert near.sum() > 100
    rigid = np.linalg.norm(found.map.surfaces.displacement_at(points[near]), axis=1)
    assert np.percentile(rigid, 90) > 0.4 * disparity
    assert np.median(error[near]) < 0.3


@pytest.mark.parametrize("seed", [11, 2])
def test_edges_are_marked_where_one_surface_meets_another(seed):
    labels = deep(20, seed).labels
    height, width = labels.shape
    known = aligned(20, seed).map.surfaces.known((0, 0, width, height))
    # Where a pixel and its neighbours show different things, or one camera alone sees them
    kernel = np.ones((3, 3), np.uint8)
    border = cv2.dilate(labels, kernel) != cv2.erode(labels, kernel)
    distance = cv2.distanceTransform(1 - border.astype(np.uint8), cv2.DIST_L2, 5)
    on_edge = known == EDGE
    assert 0.002 < on_edge.mean() < 0.3
    assert (distance[on_edge] < 24).mean() > 0.85  # px: cells are 16 px wide


def test_with_the_field_off_the_map_stays_rigid_and_is_not_said_to_hold_in_front():
    shot = deep(20, 11)
    rigid = find_alignment(shot.phone, shot.dslr, AlignConfig(field="off"))
    assert rigid.evidence["model"] == "radial"
    assert rigid.evidence["surfaces"] == 1
    assert rigid.map.field is None
    assert not rigid.map.surfaces.layer.displacement.any()
    points, error = errors(rigid, shot.pixel_truth, rigid.map.phone_size)
    near = np.isfinite(error) & (shot.pixel_truth.surface_at(points) > 0)
    assert np.percentile(error[near], 90) > 5
    assert rigid.map.holds(points[near & (error > 3)]).mean() < 0.1


def test_a_flat_scene_is_one_surface_and_the_map_holds_all_over():
    truth = true_map(0.01)
    found = find_alignment(photograph(SCENE, truth), SCENE, AlignConfig())
    assert found.accepted, found.reason
    assert found.evidence["model"] == "radial"
    assert found.evidence["surfaces"] == found.map.surfaces.count == 1
    assert found.map.holds(EVERY).mean() > 0.95
    assert not (found.map.surfaces.known((0, 0, *PHONE_SIZE)) == EDGE).any()
    assert not found.map.surfaces.layer.displacement.any()
    assert errors(found, truth, PHONE_SIZE)[1].max() < 0.05


@pytest.mark.parametrize("bump", [8.0, 12.0, 16.0])
def test_strong_bending_is_followed_or_refused(bump):
    truth = true_map(0.01, bump)
    found = find_alignment(photograph(SCENE, truth), SCENE, AlignConfig())
    if not found.accepted:
        assert bump > 8
        assert "is in place" in found.reason or "px apart" in found.reason
        return
    points, error = errors(found, truth, PHONE_SIZE)
    held = found.map.holds(points)
    assert held.mean() > 0.4
    assert np.median(error[held]) < 1
    assert (error[held] > 3).mean() < 0.03


def test_what_was_pasted_over_is_not_held():
    truth = true_map()
    phone = photograph(SCENE, truth)
    phone[RECTANGLE] = photograph(paint(1), truth)[RECTANGLE]
    found = find_alignment(phone, SCENE, AlignConfig())
    assert found.accepted, found.reason
    held = found.map.holds(grid_points(np.arange(640), np.arange(480))).reshape(480, 640)
    assert held[RECTANGLE].mean() < 0.1
    assert held[166:294, 216:384].mean() < 0.05
    around = np.ones((480, 640), bool)
    around[134:326, 184:416] = False
    assert held[around].mean() > 0.95
    points, error = errors(found, truth, PHONE_SIZE)
    assert np.median(error[found.map.holds(points)]) < 0.03


def test_what_the_dslr_photo_does_not_show_is_not_held():
    truth = true_map()
    found = find_alignment(photograph(SCENE, truth), SCENE[:, :600], AlignConfig())
    assert found.accepted, found.reason
    inside = truth(EVERY)[:, 0] < 599
    held = found.map.holds(EVERY)
    assert held[inside].mean() > 0.9
    # A cell of 16 px may overhang, and no more.
    assert not held[truth(EVERY)[:, 0] > 599 + 1.4 * 16].any()
    assert SCENE_SIZE[0] > 700


def comparable(found):
    """All of an alignment but the seconds it took."""
    return found.reason, found.map.to_dict(), found.crop, found.evidence, found.warnings


def test_the_result_is_the_same_each_time_and_from_two_threads_at_once():
    shot = deep(20, 11)

    def again(_):
        return comparable(find_alignment(shot.phone, shot.dslr, AlignConfig()))

    with ThreadPoolExecutor(2) as threads:
        results = list(threads.map(again, range(2)))
    assert results == [comparable(aligned(20, 11))] * 2


def test_a_strip_too_narrow_to_tell_its_depth_ends_in_a_verdict_all_the_same():
    """So little in common that the flow between the photos agrees with itself hardly anywhere."""
    wide = paint(7, (2400, 900))
    noise = np.random.default_rng(5).normal(0, 2, (2, 900, 1200, 3))
    phone, dslr = (
        np.clip(part + noise[side], 0, 255).astype(np.uint8)
        for side, part in enumerate((wide[:, :1200], wide[:, 1032:2232]))
    )
    found = find_alignment(phone, dslr, AlignConfig())
    assert found.accepted or len(found.reason) > 20


@pytest.mark.parametrize(("where_different", "model"), [(True, "surfaces"), (False, "field")])
def test_a_field_that_bends_around_an_edge_loses_where_it_differs(
    monkeypatch, where_different, model
):
    # Without the comparisons over the whole photo, the one where the maps differ decides alone.
    monkeypatch.setattr("dpedkit.align.model._MIN_MORE", np.inf)
    monkeypatch.setattr("dpedkit.align.model._MUCH_BETTER", 0.0)
    if not where_different:
        monkeypatch.setattr("dpedkit.align.model._MIN_DIFFERENT", np.inf)
    shot = deep(3, 4)
    assert find_alignment(shot.phone, shot.dslr, AlignConfig()).evidence["model"] == model
