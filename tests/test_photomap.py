"""The colour map that depends on the whole photo: what it sees, how it is fitted, who uses it."""

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from fake_shards import write_shards
from hypothesis import given, settings
from hypothesis import strategies as st

from dpedkit.colourmap import ColourMap, fit_colour_map_to
from dpedkit.core.device import beside
from dpedkit.core.errors import DpedkitError
from dpedkit.core.manifest import read_jsonl, write_jsonl
from dpedkit.core.methods import NETWORK, POLYNOMIAL
from dpedkit.enhancement.network import Enhancer, enhance_photo, to_levels
from dpedkit.enhancement.storage import Placement
from dpedkit.evaluation.config import EvaluateConfig
from dpedkit.evaluation.driver import evaluate
from dpedkit.images import make_thumbnail
from dpedkit.models import build_generator, load_model, save_model
from dpedkit.photomap import (
    PatchGuides,
    PhotoColours,
    PhotoGuide,
    PhotoMap,
    describe,
    fit_photo_map_to,
)
from dpedkit.photomap.fit import Sums, choose, gather_sums
from dpedkit.photomap.guides import GUIDES, PatchPlaces
from dpedkit.photomap.look import DESCRIPTION
from dpedkit.photomap.map import RANK, TERMS, terms
from dpedkit.shards import open_split
from dpedkit.shards.index import PAIRS_FILE
from dpedkit.shards.thumbnails import Thumbnail
from dpedkit.training.config import TrainConfig
from dpedkit.training.loop import train

SIZE, EACH = 20, 4  # px, patches of each photo
TRAIN, TEST = 16, 6  # photos


def random_map(seed: int = 0) -> PhotoMap:
    rng = np.random.default_rng(seed)
    return PhotoMap(
        rng.normal(size=(TERMS, 3)) / 5,
        rng.normal(size=(RANK, 20, 3)) / 5,
        rng.normal(size=DESCRIPTION),
        rng.uniform(0.5, 2, DESCRIPTION),
        rng.normal(size=(DESCRIPTION, RANK)) / 50,
        rng.normal(size=RANK),
    )


def random_photo(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def gain(pair: int) -> float:
    """By how much brighter the DSLR took a photo: its thumbnail shows it, its patches do not."""
    return 0.6 + 0.4 * ((pair * 7) % 11) / 10


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    return exposed_shards(tmp_path_factory.mktemp("data") / "shards")


def exposed_shards(folder, *, with_thumbnails: bool = True):
    rng = np.random.default_rng(0)
    splits, thumbnails, first = {}, {}, 0
    for split, photos in (("train", TRAIN), ("val", 2), ("test", TEST)):
        pair = np.repeat(np.arange(first, first + photos), EACH)
        phone = rng.integers(0, 200, (len(pair), SIZE // 4, SIZE // 4, 3))
        phone = phone.repeat(4, axis=1).repeat(4, axis=2).astype(np.uint8)
        gains = np.array([gain(one) for one in pair])[:, None, None, None]
        splits[split] = phone, np.round(phone * gains).astype(np.uint8), pair
        first += photos
    for number in range(first):
        noise = rng.integers(-8, 9, (30, 40, 3))
        pixels = (250 * (gain(number) - 0.5) + 20 + noise).clip(0, 255).astype(np.uint8)
        thumbnails[number] = Thumbnail.of(pixels, (400, 300), (0, 0, 400, 300))
    write_shards(folder, splits, thumbnails if with_thumbnails else None)
    lines = read_jsonl(folder / PAIRS_FILE)
    write_jsonl(folder / PAIRS_FILE, [{**line, "crop": [0, 0, 400, 300]} for line in lines])
    return folder


# ------------------------------------------------------------------------------ what a photo shows


def test_a_description_is_of_the_whole_photo():
    photo = np.full((60, 80, 3), 255, np.uint8)
    photo[:, :40] = 0
    look = describe(photo)
    assert look.description.shape == (DESCRIPTION,)
    assert look.description[0] == pytest.approx(np.log(0.5))
    assert look.description[1:3] == pytest.approx([0, 0])  # grey
    assert look.description[3] == pytest.approx(0.5)  # the standard deviation
    areas = look.description[-12:].reshape(3, 4)
    np.testing.assert_allclose(areas, np.tile([0, 0, 1, 1], (3, 1)), atol=1e-12)


@settings(deadline=None)
@given(st.integers(1, 256), st.integers(1, 256))
def test_every_pixel_counts_in_the_cells_as_much_as_it_covers(height, width):
    photo = random_photo(height, width)
    look = describe(photo)
    assert max(look.luminance.shape) == 32
    luminance = (photo / 255) @ [0.299, 0.587, 0.114]
    assert look.luminance.mean() == pytest.approx(luminance.mean())
    rows, columns = look.luminance.shape
    fine = np.kron(luminance, np.ones((rows, columns)))  # cells are whole in it
    cells = fine.reshape(rows, height, columns, width).mean(axis=(1, 3))
    np.testing.assert_allclose(look.luminance, cells, atol=1e-12)


def test_a_black_photo_has_a_finite_description():
    assert np.isfinite(describe(np.zeros((5, 7, 3), np.uint8)).description).all()


# --------------------------------------------------------------------------- planes and their place


def test_planes_interpolate_between_the_centres_of_cells():
    guide = PhotoGuide.of(random_photo(192, 256), random_map())
    rows, columns = guide.look.luminance.shape
    at_centres = guide.planes((np.arange(columns) + 0.5) / columns, (np.arange(rows) + 0.5) / rows)
    assert at_centres.shape == (GUIDES, rows, columns)
    np.testing.assert_allclose(at_centres[0], guide.look.luminance, rtol=1e-6)
    between = guide.planes(np.arange(1, columns) / columns, (np.arange(rows) + 0.5) / rows)[0]
    means = (guide.look.luminance[:, 1:] + guide.look.luminance[:, :-1]) / 2
    np.testing.assert_allclose(between, means, rtol=1e-6)
    edges = guide.planes(np.array([0.0, 0.5, 1.0]), np.array([0.0, 1.0]))
    assert edges[1, 0].tolist() == [-0.5, 0, 0.5]  # x, in units of the longer side
    assert edges[2, :, 0].tolist() == [-0.375, 0.375]
    for plane, score in zip(edges[3:], guide.scores, strict=True):
        assert (plane == np.float32(score)).all()


def test_a_patch_lies_where_it_was_cut():
    """Patches whose pixels are the photo's thumbnail pixels find their own place in it."""
    thumbnail = Thumbnail.of(random_photo(60, 80), (800, 600), (160, 100, 480, 400))
    reader = SimpleNamespace(
        folder=None,
        patch_size=10,
        pair=np.array([0, 0]),
        column=lambda name: np.array([[0, 0], [30, 70]]),
    )
    places = PatchPlaces.__new__(PatchPlaces)
    places.reader, places._xy, places._widths = reader, reader.column("xy"), [480]
    for index, (x, y) in enumerate([(160, 100), (190, 170)]):
        columns, rows = places.centres(index, thumbnail.crop, thumbnail.size)
        np.testing.assert_allclose(columns, (x + np.arange(10) + 0.5) / 800)
        np.testing.assert_allclose(rows, (y + np.arange(10) + 0.5) / 600)


def test_guides_of_patches_are_those_of_their_photos(shards):
    reader, photo_map = open_split(shards, "train"), random_map()
    guides = PatchGuides(reader, lambda thumbnail: PhotoGuide.of(thumbnail, photo_map))
    planes = guides([5, 0, 5])
    assert planes.shape == (3, GUIDES, SIZE, SIZE)
    assert (planes[0] == planes[2]).all()
    (thumbnail,) = reader.thumbnails([1])
    whole = PhotoGuide.of(thumbnail.pixels, photo_map).rows(0, SIZE, 400, 300)
    np.testing.assert_allclose(planes[0], whole[:, :, :SIZE], atol=1e-6)  # cut at the corner


def test_pairs_that_do_not_say_where_they_were_aligned_are_refused(tmp_path):
    folder = exposed_shards(tmp_path / "shards")
    lines = read_jsonl(folder / PAIRS_FILE)
    del lines[3]["crop"]
    write_jsonl(folder / PAIRS_FILE, lines)
    with pytest.raises(DpedkitError, match="photo pair number 3 was aligned"):
        fit_photo_map_to(open_split(folder, "train"))


# -------------------------------------------------------------------------------------------- fit


def test_the_fit_finds_what_the_thumbnail_tells(shards):
    fitted = fit_photo_map_to(open_split(shards, "train"))
    unseen = open_split(shards, "test")
    sums = gather_sums(unseen)
    everywhere = PhotoMap.of_every_photo(
        fit_colour_map_to(open_split(shards, "train")).coefficients
    )
    for photo, pair in enumerate(np.unique(unseen.pair).tolist()):
        (thumbnail,) = unseen.thumbnails([pair])
        scores = fitted.scores(describe(thumbnail.pixels))
        error = sums.error(photo, fitted.coefficients_of(scores))
        white = fitted.coefficients_of(scores)[:20].sum(axis=0)
        np.testing.assert_allclose(white, gain(pair), atol=0.06)
        assert error < 0.02**2
        if abs(gain(pair) - 0.8) > 0.1:
            assert error < sums.error(photo, everywhere.coefficients) / 10


def test_the_error_of_sums_is_the_mean_squared_error_of_pixels(shards):
    reader = open_split(shards, "test")
    sums = gather_sums(reader)
    indices = np.flatnonzero(reader.pair == reader.pair[0])
    phone, dslr = (levels[:, ::5, ::5].reshape(-1, 3) / 255 for levels in reader.gather(indices))
    (thumbnail,) = reader.thumbnails([reader.pair[0]])
    places = PatchPlaces(reader)
    place = []
    for index in indices:
        guide = PhotoGuide.of(thumbnail.pixels, random_map())
        planes = guide.planes(*places.centres(index, thumbnail.crop, thumbnail.size))
        place.append(planes[:3, ::5, ::5].transpose(1, 2, 0).reshape(-1, 3))
    coefficients = random_map().coefficients
    expected = np.mean((terms(phone, np.concatenate(place)) @ coefficients - dslr) ** 2)
    assert sums.error(0, coefficients) == pytest.approx(expected)


def test_what_the_thumbnails_do_not_tell_is_seldom_learned(shards):
    """With the thumbnails of other photos, the fit mostly keeps to a map that suits all."""
    sums = gather_sums(open_split(shards, "train"))
    assert choose(sums).rank > 0
    learned = 0
    for seed in range(10):
        order = np.random.default_rng(seed).permutation(len(sums))
        shuffled = Sums(sums.description[order], sums.normal, sums.moments, sums.squares)
        learned += choose(shuffled).rank > 0
    assert learned <= 2


def test_the_place_counts_where_it_helps(shards):
    """Photos darker towards one side, which colour alone cannot tell."""
    sums = gather_sums(open_split(shards, "train"))
    assert not choose(sums).place
    slope = np.zeros((TERMS, 3))
    slope[:20] = ColourMap.identity().coefficients
    slope[21:24] = 4 * np.eye(3)  # x times R, G and B
    moments = sums.normal @ slope
    squares = np.einsum("tc,ptu,uc->p", slope, sums.normal, slope)
    leaning = Sums(sums.description, sums.normal, moments, squares)
    assert choose(leaning).place


@pytest.mark.parametrize("photos", [0, 4])
def test_without_enough_photos_the_map_is_the_same_for_all(tmp_path, photos):
    folder = exposed_shards(tmp_path / "shards", with_thumbnails=photos > 0)
    reader = open_split(folder, "train")
    if photos:
        reader.pair = reader.pair % photos
    fitted = fit_photo_map_to(reader)
    np.testing.assert_array_equal(fitted.coefficients[:20], fit_colour_map_to(reader).coefficients)
    assert not fitted.coefficients[20:].any()
    assert not fitted.directions.any()


# ---------------------------------------------------------------------------- colours of a photo


def test_colours_are_the_terms_of_the_map():
    photo_map, photo = random_map(), random_photo(40, 57)
    guide = PhotoGuide.of(photo, photo_map)
    colours = PhotoColours.of(photo_map, guide, (57, 40))
    planes = np.ascontiguousarray((photo / 255).transpose(2, 0, 1), np.float32)
    place = guide.rows(0, 40, 57, 40)[:3].reshape(3, -1).T.astype(np.float64)
    coefficients = photo_map.coefficients_of(guide.scores)
    wanted = terms(photo.reshape(-1, 3) / 255, place) @ coefficients
    mapped = colours.map_rows(planes, 0)
    np.testing.assert_allclose(mapped.reshape(3, -1).T, wanted, atol=1e-5)
    np.testing.assert_array_equal(colours.map_rows(planes[:, 7:9], 7), mapped[:, 7:9])
    levels = np.clip(wanted * 255, 0, 255).reshape(40, 57, 3)
    assert np.abs(colours.map_levels(photo, 0) - levels).max() < 0.502


def test_colours_without_place_are_those_of_the_polynomial():
    polynomial = np.random.default_rng(0).normal(size=(20, 3)) / 5
    photo = random_photo(6, 9)
    colours = PhotoColours.of_polynomial(polynomial, (9, 6))
    planes = np.ascontiguousarray((photo / 255).transpose(2, 0, 1), np.float32)
    wanted = ColourMap(polynomial).apply(photo).transpose(2, 0, 1)
    np.testing.assert_allclose(colours.map_rows(planes, 0), wanted, atol=1e-5)


# ---------------------------------------------------------------------------------------- network


@pytest.fixture
def network():
    torch.manual_seed(0)
    model = build_generator("photo-aware", channels=8, blocks=1).eval()
    model.photo_map = random_map()
    model.set_colour_map(ColourMap(np.random.default_rng(1).normal(size=(20, 3)) / 5))
    return model


def guided(network, photo):
    """A photo as the network takes it: (1, 9, H, W)."""
    levels = torch.from_numpy(photo).permute(2, 0, 1)[None].float() / 255
    height, width = photo.shape[:2]
    planes = network.guide(make_thumbnail(photo)).rows(0, height, width, height)
    return beside(levels, planes[None])


def test_it_starts_as_the_map_of_each_photo(network):
    photos = [random_photo(31, 45, seed) for seed in range(3)]
    batch = torch.cat([guided(network, photo) for photo in photos])
    with torch.inference_mode():
        enhanced = network(batch)
    for photo, planes, result in zip(photos, batch, enhanced, strict=True):
        look = describe(photo)
        coefficients = network.photo_map.coefficients_of(network.photo_map.scores(look))
        place = planes[3:6].numpy().reshape(3, -1).T.astype(np.float64)
        expected = terms(photo.reshape(-1, 3) / 255, place) @ coefficients
        np.testing.assert_allclose(result.numpy().reshape(3, -1).T, expected, atol=1e-5)


def test_without_planes_it_has_one_map_for_every_photo(network):
    photo = torch.rand(2, 3, 9, 12)
    plain = build_generator("colour-residual", channels=8, blocks=1).eval()
    plain.colour_map.copy_(network.colour_map)
    plain.layers.load_state_dict(network.layers.state_dict())
    with torch.inference_mode():
        assert torch.equal(network(photo), plain(photo))


def lively(network):
    with torch.no_grad():
        network.layers[-1].conv.weight.normal_(std=0.1)
        for block in network.layers[1:-1]:
            block.second.conv.weight.normal_(std=0.1)
    return network


@settings(max_examples=25, deadline=None)
@given(
    height=st.integers(1, 40),
    width=st.integers(2, 40),
    strip_pixels=st.integers(1, 2000),
    seed=st.integers(0, 100),
)
def test_any_strips_equal_the_whole(height, width, strip_pixels, seed):
    torch.manual_seed(0)
    model = lively(build_generator("photo-aware", channels=8, blocks=1)).eval()
    model.photo_map = random_map()
    photo = random_photo(height, width, seed)
    batch = guided(model, photo)
    guide = model.guide(make_thumbnail(photo))
    with torch.inference_mode():
        whole = model(batch)
        strips = enhance_photo(
            model, batch[:, :3], Placement(strip_pixels=strip_pixels), guide=guide
        )
    assert (strips - whole).abs().max() <= 1e-5 * max(1.0, whole.abs().max())


def test_enhance_looks_at_the_whole_of_a_photo_taller_than_a_band(network):
    photo = random_photo(601, 37)
    enhanced = Enhancer(lively(network), Placement(strip_pixels=2000))(photo)
    with torch.inference_mode():
        whole = to_levels(network(guided(network, photo)))
    assert np.abs(enhanced.astype(int) - whole).max() <= 1
    assert (enhanced != whole).mean() < 1e-3


@pytest.mark.parametrize("size", [(64, 82), (61, 83)])
@pytest.mark.parametrize("colours_only", [False, True])
def test_every_pixel_is_the_same_in_strips_of_any_size(network, size, colours_only):
    """To the last bit, so that a photo does not depend on the memory that it was enhanced in."""
    photo = random_photo(*size)
    lively(network)
    whole, *others = (
        Enhancer(network, Placement(strip_pixels=pixels), colours_only)(photo)
        for pixels in (10**6, 1000, 83, 1)
    )
    for other in others:
        np.testing.assert_array_equal(other, whole)


def test_without_planes_it_is_enhanced_by_the_map_of_every_photo(network):
    photo = torch.rand(1, 3, 37, 24)
    with torch.inference_mode():
        strips = enhance_photo(lively(network), photo, Placement(strip_pixels=100))
        assert (strips - network(photo)).abs().max() < 1e-5


def test_the_colour_map_alone_is_what_the_network_adds_detail_to(network):
    photo = random_photo(300, 41)
    mapped = Enhancer(lively(network), Placement(), colours_only=True)(photo)
    with torch.inference_mode():
        wanted = to_levels(network.map_colours(guided(network, photo)))
    assert np.abs(mapped.astype(int) - wanted).max() <= 1
    assert (mapped != wanted).mean() < 1e-3


def test_a_turned_patch_gives_the_turned_result(network):
    """As augmentation needs it: the planes are turned along."""
    batch = guided(network, random_photo(24, 24))
    with torch.inference_mode():
        turned = network.map_colours(torch.rot90(batch, 1, (2, 3)))
        assert torch.allclose(turned, torch.rot90(network.map_colours(batch), 1, (2, 3)))


def test_the_map_keeps_its_precision_under_autocast(network):
    batch = guided(network, random_photo(24, 24))
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        mapped = network.map_colours(batch)
    with torch.inference_mode():
        assert torch.equal(mapped, network.map_colours(batch))


def test_a_file_holds_the_map(network, tmp_path):
    save_model(tmp_path / "a.safetensors", network, {})
    loaded = load_model(tmp_path / "a.safetensors")
    batch = guided(network, random_photo(20, 30))
    with torch.inference_mode():
        assert torch.equal(loaded(batch), network(batch))
    for name in PhotoMap.names():
        np.testing.assert_allclose(
            getattr(loaded.photo_map, name), getattr(random_map(), name), 1e-6
        )


# --------------------------------------------------------------------------- training, evaluation


def settings_of_a_run(**changes) -> TrainConfig:
    return TrainConfig(
        **{
            **{"generator": "photo-aware", "steps": 4, "batch": 4, "content": "msssim-l1"},
            **{"texture_weight": 0.0, "colour_weight": 0.0, "tv_weight": 0.0, "pixel_weight": 1.0},
            **{"evaluate_every": 2, "device": "cpu", "learning_rate": 1e-6, "augment": True},
            **changes,
        }
    )


def test_training_and_evaluation_look_at_the_photos(shards, tmp_path):
    train(shards, settings_of_a_run(), runs=tmp_path, name="run")
    (split,) = evaluate(tmp_path / "run", shards, EvaluateConfig(split="test", device="cpu")).splits
    network, polynomial = (split.scores[name].psnr for name in (NETWORK, POLYNOMIAL))
    assert network > polynomial + 5  # dB
    rows = read_jsonl(tmp_path / "run" / "log.jsonl")
    assert rows[-1]["psnr"] > polynomial + 5  # the validation looks too
    train(shards, settings_of_a_run(generator="colour-residual"), runs=tmp_path, name="other")
    loss, other = (
        read_jsonl(tmp_path / name / "log.jsonl")[-1]["generator_loss_train"]
        for name in ("run", "other")
    )
    assert loss < other / 2  # and so does training


def test_a_run_with_a_discriminator(shards, tmp_path):
    config = settings_of_a_run(
        texture_weight=1.0, discriminator_pretraining=1, losses="authors", separate_batches=True
    )
    train(shards, config, runs=tmp_path, name="run")
    assert read_jsonl(tmp_path / "run" / "log.jsonl")[-1]["step"] == 4


def test_without_thumbnails_it_says_so_and_trains(tmp_path, caplog):
    folder = exposed_shards(tmp_path / "shards", with_thumbnails=False)
    train(folder, settings_of_a_run(), runs=tmp_path, name="run")
    said = [text for text in caplog.messages if "one colour map for every photo" in text]
    assert len(said) == 1
    assert "train split" in said[0]
    caplog.clear()
    evaluate(tmp_path / "run", folder, EvaluateConfig(split="test", device="cpu"))
    assert sum("one colour map for every photo" in text for text in caplog.messages) == 1


def test_without_thumbnails_it_learns_what_colour_residual_learns(tmp_path):
    """To the last bit: published patches lose nothing by it."""
    folder = exposed_shards(tmp_path / "shards", with_thumbnails=False)
    names = ("photo-aware", "colour-residual")
    for name in names:
        train(
            folder, settings_of_a_run(generator=name, learning_rate=1e-3), runs=tmp_path, name=name
        )
    aware, plain = (load_model(tmp_path / name).state_dict() for name in names)
    assert plain.keys() < aware.keys()
    for name, value in plain.items():
        assert torch.equal(value, aware[name]), name


# ------------------------------------------------------------------------------------- benchmark


def test_the_benchmark_compares_maps_on_photos_left_out(shards, monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))
    import photo_map

    monkeypatch.setattr(sys, "argv", ["photo_map.py", str(shards), "--folds", "8"])
    photo_map.main()
    printed = capsys.readouterr().out.splitlines()
    rows = {line[:18].strip(): line[18:].split() for line in printed}
    one, seen, oracle = (
        float(rows[name][0]) for name in ("one polynomial", "photo map", "oracle polynomial")
    )
    assert one + 10 < seen < oracle
    assert rows["oracle polynomial"][5:] == ["100%", "0", "of", f"{TRAIN + 2 + TEST}"]
