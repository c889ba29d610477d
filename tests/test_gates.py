"""Each gate by itself: a pair that is accepted, and the one change for which it is refused."""

import functools
import re
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from test_align_pair import (
    PHONE_SIZE,
    SCENE,
    SCENE_SIZE,
    brick_wall,
    paint,
    photograph,
    symmetric_scene,
    true_map,
)
from test_depth import deep

from dpedkit.align.config import AlignConfig
from dpedkit.align.features import MATCHERS, Matches
from dpedkit.align.pair import find_alignment
from dpedkit.align.verdict import Agreement, Verification, rejection_reason, warnings
from dpedkit.geometry import apply_homography, grid_points, resize_points

DOCS = Path(__file__).parent.parent / "docs" / "alignment.md"
TRUTH = true_map()
ASIDE = np.array([[3.5, 0.0, 60.0], [0.3, 1.3, 40.0], [4e-3, 0.0, 1.0]])


@functools.cache
def phone():
    return photograph(SCENE, TRUTH)


def whole_scene():
    return SCENE


@functools.cache
def other():
    return photograph(paint(1), TRUTH)


def mostly_another_scene(columns):
    """The phone photo, its left part pasted over with another scene."""
    photo = phone().copy()
    photo[:, :columns] = other()[:, :columns]
    return photo


@functools.cache
def bent():
    """A photo that no rigid map fits to a pixel."""
    return photograph(SCENE, true_map(0.01, 2.2))


def two_tones():
    """One edge and nothing else: not blank, but nothing to tell one place from another by."""
    photo = np.full(phone().shape, 40, np.uint8)
    photo[:, 300:] = 200
    return photo


# Of each gate: the accepted pair and its settings, the changed ones, and what is said of those.
# Only one of the two photos or one setting differs.
BASE = (phone, whole_scene, {})
CASES = {
    "--min-size": [
        (BASE, (phone, whole_scene, {"min_size": 481}), "the phone photo is only 640 x 480 px"),
        (BASE, (phone, lambda: SCENE[:100], {}), "the DSLR photo is only 1000 x 100 px"),
        (
            (phone, lambda: SCENE[:, :200], {"min_size": 90}),
            (phone, lambda: SCENE[:, :200], {}),
            r"the overlap of the photos is only \d+ x 480 px",
        ),
    ],
    "--max-blur": [
        (
            (phone, whole_scene, {"max_blur": 1.5}),
            (phone, whole_scene, {"max_blur": 0.9}),
            r"the phone photo is out of focus or .* is 1\.\d px \(limit 0\.9\)",
        ),
        (
            BASE,
            (phone, lambda: cv2.GaussianBlur(SCENE, (0, 0), 10), {}),
            r"the DSLR photo is out of focus or .* \(limit 4\.5\)",
        ),
    ],
    "a blank photo": [
        (BASE, (lambda: np.full_like(phone(), 90), whole_scene, {}), "the phone photo is blank"),
        (BASE, (phone, lambda: np.full_like(SCENE, 90), {}), "the DSLR photo is blank"),
    ],
    "no plausible homography": [
        (BASE, (other, whole_scene, {}), r"RANSAC found no plausible homography among \d+ matches"),
        (BASE, (two_tones, whole_scene, {}), "the phone photo has almost no detail"),
    ],
    "too wide a baseline": [
        (
            BASE,
            (
                lambda: photograph(SCENE, lambda points: apply_homography(ASIDE, points)),
                whole_scene,
                {},
            ),
            r"too far apart: .* \d+ matches agree on implies too wide a baseline",
        ),
    ],
    "no refinement": [
        (
            (phone, lambda: SCENE[:, :250], {"min_size": 64, "min_overlap": 0.0}),
            (phone, lambda: SCENE[:, :160], {"min_size": 64, "min_overlap": 0.0}),
            "the initial homography cannot be refined",
        ),
    ],
    "--min-verified": [
        (
            (phone, lambda: SCENE[:, :300], {"min_verified": 100}),
            (phone, lambda: SCENE[:, :300], {"min_verified": 250}),
            r"only 1\d\d of \d+ cells with detail are in place .* \(minimum 250\)",
        ),
    ],
    "--min-in-place": [
        (
            (lambda: mostly_another_scene(240), whole_scene, {}),
            (lambda: mostly_another_scene(240), whole_scene, {"min_in_place": 0.75}),
            r"only 6\d% of the detail is in place after alignment \(minimum 75%\)",
        ),
    ],
    "strong detail that does not match": [
        (
            (lambda: mostly_another_scene(320), whole_scene, {"min_in_place": 0.1}),
            (lambda: mostly_another_scene(440), whole_scene, {"min_in_place": 0.1}),
            r"\d+ of \d+ blocks with strong detail do not match",
        ),
    ],
    "--max-residual": [
        (
            (bent, whole_scene, {"field": "off", "max_residual": 2.0}),
            (bent, whole_scene, {"field": "off"}),
            r"matching details are still 1\.\d\d px apart \(limit 1\.00\)",
        ),
    ],
    "--min-overlap": [
        (
            (phone, lambda: SCENE[270:480, 350:650], {}),
            (phone, lambda: SCENE[270:480, 350:650], {"min_overlap": 0.12}),
            r"the DSLR photo covers only 10% of the phone photo \(minimum 12%\)",
        ),
    ],
}
# These have a test of their own below.
APART = {"mirrored", "second fit", "too narrow a strip", "depth that is not followed"}


@functools.cache
def verdict_on_base():
    return find_alignment(phone(), SCENE, AlignConfig()).reason


def verdict_on(phone_photo, dslr_photo, settings):
    if (phone_photo, dslr_photo, settings) == BASE:
        return verdict_on_base()
    return find_alignment(phone_photo(), dslr_photo(), AlignConfig(**settings)).reason


@pytest.mark.parametrize(
    ("accepted", "refused", "reason"),
    [pytest.param(*case, id=gate) for gate, cases in CASES.items() for case in cases],
)
def test_one_change_is_refused_by_its_own_gate(accepted, refused, reason):
    before, after = verdict_on(*accepted), verdict_on(*refused)
    assert before == ""
    assert re.search(reason, after), after


def test_a_mirrored_photo_that_passes_all_other_gates_is_refused_as_mirrored():
    scene = symmetric_scene()
    straight = photograph(scene, lambda points: points * 1.4 + [50, 40])
    config = AlignConfig(min_in_place=0.4)
    assert find_alignment(straight, scene, config).accepted
    mirrored = find_alignment(np.ascontiguousarray(straight[:, ::-1]), scene, config)
    assert "one of the photos is mirrored" in mirrored.reason
    assert mirrored.evidence["verified"] >= config.min_verified
    assert mirrored.evidence["in_place"] >= config.min_in_place
    assert mirrored.evidence["agreement"] >= 0.7
    assert mirrored.evidence["residual_median"] <= config.max_residual
    assert mirrored.evidence["overlap"] >= config.min_overlap
    assert min(mirrored.crop[2:]) >= config.min_size


def test_depth_of_which_most_is_not_followed_is_refused(monkeypatch):
    """A scene of several surfaces, of which one camera saw other things in the larger part."""
    shot = deep(20, 11)
    phone_photo = shot.phone.copy()
    pasted = np.s_[:, : round(0.62 * phone_photo.shape[1])]
    phone_photo[pasted] = cv2.resize(paint(5), phone_photo.shape[1::-1])[pasted]
    config = AlignConfig(min_in_place=0.1)
    monkeypatch.setattr("dpedkit.align.verdict._MIN_AGREEMENT", 0.0)
    refused = find_alignment(phone_photo, shot.dslr, config)
    assert re.search(r"[56]\d% of the detail is on none of the surfaces", refused.reason)
    monkeypatch.setattr("dpedkit.align.verdict._MAX_UNEXPLAINED", 1.0)
    assert find_alignment(phone_photo, shot.dslr, config).accepted


def matches_by_the_truth(small_phone, small_dslr):
    """A matcher that knows, so that nothing but a later gate can see that bricks repeat."""
    points = grid_points(np.linspace(0, 639, 20), np.linspace(0, 479, 16))
    return Matches(
        resize_points(points, PHONE_SIZE, small_phone.shape[::-1]),
        resize_points(TRUTH(points), SCENE_SIZE, small_dslr.shape[::-1]),
        len(points),
        len(points),
    )


def test_repeated_texture_is_refused_by_its_second_fit(monkeypatch):
    monkeypatch.setitem(MATCHERS, "sift", matches_by_the_truth)
    few_marks, no_marks = (
        find_alignment(photograph(brick_wall(marks), TRUTH), brick_wall(marks), AlignConfig())
        for marks in (6, 0)
    )
    assert few_marks.accepted, few_marks.reason
    assert few_marks.evidence["second_fit"] > 0.8
    shift = re.search(r"repeated texture: .* shifted by \((-?\d+), (-?\d+)\) px", no_marks.reason)
    assert shift, no_marks.reason
    # By whole bricks of 100 x 80 scene px, seen turned by 2 degrees
    turn = np.deg2rad(2)
    moved = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]) @ [
        int(shift[1]),
        int(shift[2]),
    ]
    bricks = 1.4 * moved / [100, 80]
    assert np.abs(bricks - np.rint(bricks)).max() < 0.06
    assert np.abs(np.rint(bricks)).max() > 0


def test_detail_in_a_strip_that_determines_no_map_is_refused(monkeypatch):
    def undetermined(*_, **__):
        raise np.linalg.LinAlgError("Singular matrix")

    assert verdict_on_base() == ""
    monkeypatch.setattr("dpedkit.align.pair.fit_depth", undetermined)
    reason = find_alignment(phone(), SCENE, AlignConfig()).reason
    assert reason == "the shared detail lies in too narrow a strip to estimate the lens distortion"


LIMITS = AlignConfig()


def verification_at_limits():
    return Verification(
        textured=100,
        verified=LIMITS.min_verified,
        share=LIMITS.min_in_place,
        unexplained=0.4,
        holds=0.0,
        coverage=0.0,
        residual_median=LIMITS.max_residual,
        residual_p95=50.0,
        ncc=0.0,
        points=np.zeros((0, 2)),
        shifts=np.zeros((0, 2)),
    )


def judged(working_px=1.0, **change):
    """The verdict on a pair that is just at every limit, but for what is changed."""
    values = {
        "verified": LIMITS.min_verified,
        "share": LIMITS.min_in_place,
        "unexplained": 0.4,
        "contradicted": 30,
        "residual_median": LIMITS.max_residual,
        "overlap": LIMITS.min_overlap,
        "crop": (0, 0, LIMITS.min_size, LIMITS.min_size),
    } | change
    verification = replace(
        verification_at_limits(),
        verified=values["verified"],
        share=values["share"],
        unexplained=values["unexplained"],
        residual_median=values["residual_median"] * working_px,
    )
    strong = Agreement(100, values["contradicted"], 100)
    return rejection_reason(
        verification, strong, values["crop"], values["overlap"], working_px, LIMITS
    )


def test_a_pair_just_at_every_limit_is_accepted():
    assert judged() == judged(working_px=2.5) == ""


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"verified": LIMITS.min_verified - 1}, "of 100 cells with detail are in place"),
        ({"share": LIMITS.min_in_place - 0.01}, "of the detail is in place"),
        ({"unexplained": 0.41}, "41% of the detail is on none of the surfaces"),
        ({"contradicted": 31}, "31 of 100 blocks with strong detail do not match"),
        ({"residual_median": LIMITS.max_residual + 0.01}, "matching details are still"),
        ({"overlap": LIMITS.min_overlap - 0.01}, "the DSLR photo covers only"),
        ({"crop": (0, 0, LIMITS.min_size - 1, 999)}, "the overlap of the photos is only"),
        ({"crop": (0, 0, 999, 0)}, "the overlap of the photos is only 999 x 0 px"),
    ],
)
def test_just_beyond_one_limit_the_pair_is_refused_by_that_one(change, reason):
    assert reason in judged(**change)


def test_the_residual_counts_in_pixels_of_the_reduced_photos():
    assert judged(working_px=2.0, residual_median=0.99) == ""
    reason = judged(working_px=2.0, residual_median=1.01)
    assert "matching details are still 2.02 px apart (limit 2.00)" in reason


WARNINGS = {
    "a DSLR photo that is too small": (
        lambda: cv2.resize(SCENE, None, fx=0.4, fy=0.4, interpolation=cv2.INTER_AREA),
        r"the DSLR photo had to be enlarged 1\.[78] times and is blurred: .* 3\d\d x 2\d\d px",
    ),
    "a small crop": (
        lambda: SCENE[270:480, 350:650],
        "the crop is only 10% of the phone photo",
    ),
}


@pytest.mark.parametrize(("dslr", "warning"), WARNINGS.values(), ids=WARNINGS)
def test_a_pair_that_is_good_but_for_one_thing_is_accepted_with_a_warning(dslr, warning):
    assert find_alignment(phone(), SCENE, AlignConfig()).warnings == ()
    found = find_alignment(phone(), dslr(), AlignConfig())
    assert found.accepted, found.reason
    (said,) = found.warnings
    assert re.fullmatch(warning, said), said


@pytest.mark.parametrize(
    ("coverage", "holds", "warning"),
    [
        (0.25, 0.5, ()),
        (0.24, 0.5, ("detail is in place in only 24% of the crop",)),
        (0.25, 0.49, ("the map is known to hold in only 49% of the crop",)),
    ],
)
def test_just_below_one_limit_there_is_the_warning_of_that_one(coverage, holds, warning):
    accepted = find_alignment(phone(), SCENE, AlignConfig())
    verification = replace(verification_at_limits(), coverage=coverage, holds=holds)
    assert warnings(verification, accepted.crop, accepted.map) == warning


def gates_in_the_documentation():
    """The first two columns of the table: each gate, and its default."""
    text = DOCS.read_text(encoding="utf-8")
    section = text.split("## What is refused, and why")[1].split("\n## ")[0]
    rows = [line.split("|")[1:3] for line in section.splitlines() if line.startswith("|")]
    return {gate.strip().strip("`"): default.strip() for gate, default in rows[2:]}


def test_every_gate_in_the_documentation_is_tested_here_and_the_other_way_round():
    gates, tested = set(gates_in_the_documentation()), set(CASES) | APART
    assert gates <= tested
    assert tested - gates <= {"a blank photo"}  # blur without an end, to the documentation


def test_the_documentation_states_the_real_defaults():
    stated = {
        gate: default for gate, default in gates_in_the_documentation().items() if gate[:2] == "--"
    }
    assert len(stated) >= 5
    for gate, default in stated.items():
        number = float(re.match(r"[\d.]+", default)[0]) / (100 if "%" in default else 1)
        assert number == getattr(LIMITS, gate[2:].replace("-", "_")), gate
