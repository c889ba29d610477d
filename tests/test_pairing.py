"""Which photos belong together: names, order, lists, and clocks that are wrong by any amount."""

import datetime as dt
import itertools
import json
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image

from dpedkit.cli import execute
from dpedkit.core.errors import DpedkitError, UsageError
from dpedkit.images import read_capture
from dpedkit.pairing.clocks import find_offset, measure_jitter
from dpedkit.pairing.config import PairingConfig
from dpedkit.pairing.examination import examine
from dpedkit.pairing.sequences import closest_of_bursts, match_times
from dpedkit.pairing.ways import pair_photos
from dpedkit.pairing.words import describe_seconds

PIXELS = Image.fromarray(np.full((8, 8, 3), 90, np.uint8))


def touch(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def save(
    path: Path, time: dt.datetime | None, camera: str = "", *, subseconds: bool = True
) -> None:
    """A photo that says when and with what it was taken."""
    exif = Image.Exif()
    if camera:
        exif[ExifTags.Base.Make], exif[ExifTags.Base.Model] = camera.split(maxsplit=1)
    details = exif.get_ifd(ExifTags.IFD.Exif)
    if time is not None:
        details[ExifTags.Base.DateTimeOriginal] = time.strftime("%Y:%m:%d %H:%M:%S")
        if subseconds:
            details[ExifTags.Base.SubsecTimeOriginal] = f"{time.microsecond // 1000:03d}"
        if time.tzinfo is not None:
            zone = time.strftime("%z")
            details[ExifTags.Base.OffsetTimeOriginal] = f"{zone[:3]}:{zone[3:]}"
    path.parent.mkdir(parents=True, exist_ok=True)
    PIXELS.save(path, exif=exif)


def paired(folder: Path, **settings):
    return pair_photos(folder / "phone", folder / "dslr", PairingConfig(**settings))


def names(pairing) -> list[tuple[str, str]]:
    return [(phone.name, dslr.name) for _, phone, dslr in pairing.pairs]


class TestNames:
    def test_case_and_suffix_do_not_count_and_the_rest_is_told(self, tmp_path):
        touch(
            tmp_path, "phone/A1.JPG", "phone/b2.png", "phone/c3.jpg", "dslr/a1.jpg", "dslr/B2.TIF"
        )
        pairing = paired(tmp_path)
        assert [(name, p.name, d.name) for name, p, d in pairing.pairs] == [
            ("a1", "A1.JPG", "a1.jpg"),
            ("B2", "b2.png", "B2.TIF"),
        ]
        assert [path.name for path in pairing.unpaired_phone] == ["c3.jpg"]

    def test_two_photos_of_one_name_in_a_folder_are_an_error(self, tmp_path):
        touch(tmp_path, "phone/a.jpg", "phone/a.png", "dslr/a.jpg")
        with pytest.raises(DpedkitError, match=r"a\.jpg and a\.png.*same name"):
            paired(tmp_path)

    def test_prefixes_and_leading_zeros(self, tmp_path):
        touch(tmp_path, "phone/IMG_0042.jpg", "phone/IMG_0043.jpg", "phone/selfie.jpg")
        touch(tmp_path, "dslr/_MG_0042.jpg", "dslr/DSC00043.jpg", "dslr/_MG_4200.jpg")
        with pytest.raises(DpedkitError, match="--strip-prefix"):
            paired(tmp_path)
        pairing = paired(tmp_path, strip_prefix=True)
        assert names(pairing) == [
            ("IMG_0042.jpg", "_MG_0042.jpg"),
            ("IMG_0043.jpg", "DSC00043.jpg"),
        ]
        assert [path.name for path in pairing.unpaired_phone] == ["selfie.jpg"]
        assert [path.name for path in pairing.unpaired_dslr] == ["_MG_4200.jpg"]

    @pytest.mark.parametrize("pattern", [r"scene(\d+)", r"(?<=scene)\d+"])
    def test_a_pattern_names_the_part_that_counts(self, tmp_path, pattern):
        touch(tmp_path, "phone/a-scene7-x.jpg", "phone/none.jpg", "dslr/scene7_0001.jpg")
        pairing = paired(tmp_path, name_pattern=pattern)
        assert names(pairing) == [("a-scene7-x.jpg", "scene7_0001.jpg")]
        assert [path.name for path in pairing.unpaired_phone] == ["none.jpg"]

    def test_raw_files_beside_developed_photos_are_set_aside(self, tmp_path):
        touch(tmp_path, "phone/1.jpg", "phone/2.jpg", "dslr/1.CR2", "dslr/1.JPG", "dslr/2.nef")
        pairing = paired(tmp_path)
        assert names(pairing) == [("1.jpg", "1.JPG"), ("2.jpg", "2.nef")]
        assert [path.name for path in pairing.set_aside] == ["1.CR2"]
        assert pairing.unpaired_dslr == []

    def test_settings_that_do_not_go_together(self):
        for wrong, said in (
            ({"strip_prefix": True, "pair_by": "time"}, "can only be used with pair_by 'name'"),
            ({"clock_offset": 3.0}, "can only be used with pair_by 'time'"),
            ({"pair_by": "csv"}, "needs the setting csv"),
            ({"strip_prefix": True, "name_pattern": "x"}, "cannot be used together"),
            ({"name_pattern": "("}, "not a valid regular expression"),
        ):
            with pytest.raises(UsageError, match=said):
                PairingConfig(**wrong)


class TestOrder:
    def test_numbers_count_as_numbers(self, tmp_path):
        touch(tmp_path, "phone/p10.jpg", "phone/p9.jpg", "dslr/a.jpg", "dslr/b.jpg")
        assert names(paired(tmp_path, pair_by="order")) == [
            ("p9.jpg", "a.jpg"),
            ("p10.jpg", "b.jpg"),
        ]

    def test_a_missing_photo_is_refused(self, tmp_path):
        touch(tmp_path, "phone/1.jpg", "phone/2.jpg", "dslr/1.jpg")
        with pytest.raises(DpedkitError, match=r"holds 2 photos and .* 1"):
            paired(tmp_path, pair_by="order")


@pytest.mark.parametrize("pair_by", ["name", "order"])
@pytest.mark.parametrize("linked", [False, True])
def test_the_photos_of_one_camera_given_twice_are_refused(tmp_path, pair_by, linked):
    touch(tmp_path, "phone/1.jpg", "phone/2.jpg")
    other = tmp_path / "phone"
    if linked:
        other = tmp_path / "dslr"
        other.symlink_to(tmp_path / "phone")
    with pytest.raises(DpedkitError, match=r"1\.jpg would be a pair, but are the same photo"):
        pair_photos(tmp_path / "phone", other, PairingConfig(pair_by=pair_by))


class TestList:
    @pytest.fixture
    def raw(self, tmp_path):
        touch(tmp_path, "phone/a.jpg", "phone/b, c.jpg", "phone/d.jpg", "dslr/1.jpg", "dslr/2.jpg")
        return tmp_path

    def by_list(self, raw, text: str):
        file = raw / "pairs.csv"
        file.write_bytes(text.encode())
        return paired(raw, pair_by="csv", csv=str(file))

    @pytest.mark.parametrize(
        "text",
        [
            'phone,dslr\na.jpg,2.jpg\n"b, c.jpg",1.jpg\n',
            '\ufeffPhone,DSLR\r\na.jpg, 2.jpg\r\n\r\n# d.jpg,1.jpg\r\n"b, c.jpg",1.jpg\r\n',
        ],
    )
    def test_what_spreadsheets_write(self, raw, text):
        pairing = self.by_list(raw, text)
        assert names(pairing) == [("a.jpg", "2.jpg"), ("b, c.jpg", "1.jpg")]
        assert [path.name for path in pairing.unpaired_phone] == ["d.jpg"]

    def test_semicolons(self, raw):
        assert names(self.by_list(raw, "phone;dslr\nd.jpg;1.jpg")) == [("d.jpg", "1.jpg")]

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("a.jpg,1.jpg\nx.jpg,2.jpg", "line 2: there is no photo x.jpg"),
            ("a.jpg,1.jpg\nd.jpg,1.jpg", "line 2: 1.jpg is already listed"),
            ("a.jpg", "line 1: 'a.jpg' does not name two photos"),
            ("phone,dslr\n", "lists no pair"),
        ],
    )
    def test_mistakes_are_named(self, raw, text, said):
        with pytest.raises(DpedkitError, match=said):
            self.by_list(raw, text)

    def test_a_missing_list(self, raw):
        with pytest.raises(DpedkitError, match="no such file"):
            paired(raw, pair_by="csv", csv=str(raw / "none.csv"))


class Outing:
    """Two cameras at the same scenes, minutes apart, and what their clocks showed."""

    def __init__(self, seed: int, offset: float, scenes: int = 25, jitter: float = 0.7) -> None:
        rng = np.random.default_rng(seed)
        starts = np.cumsum(30 * jitter + rng.exponential(60, scenes))
        self.offset, self.jitter = offset, jitter
        self.phone, self.dslr = [], []
        self.phone_scenes, self.dslr_scenes = [], []
        for scene, start in enumerate(starts):
            for times, of, delay in (
                (self.phone, self.phone_scenes, 0.0),
                (self.dslr, self.dslr_scenes, offset + rng.laplace(0, jitter)),
            ):
                if rng.random() < 0.12:
                    continue
                shots = rng.integers(2, 5) if rng.random() < 0.1 else 1
                times += [start + delay + 0.3 * shot for shot in range(shots)]
                of += [scene] * shots

    def scenes_shot_once(self) -> set[int]:
        once = [
            {scene for scene in of if of.count(scene) == 1}
            for of in (self.phone_scenes, self.dslr_scenes)
        ]
        return once[0] & once[1]


OFFSETS = st.one_of(st.floats(-5, 5), st.floats(-9e4, 9e4), st.floats(-2e8, 2e8))


class TestClocks:
    @settings(max_examples=60, deadline=None, derandomize=True)
    @given(st.integers(0, 2**31), OFFSETS)
    def test_any_offset_is_found_and_no_pair_is_wrong(self, seed, offset):
        outing = Outing(seed, offset)
        phone, dslr = np.array(outing.phone), np.array(outing.dslr)
        clock = find_offset(phone, dslr, resolution=0.01)
        assert clock is not None
        assert abs(clock.seconds - offset) < 1.5 * outing.jitter
        assert 0.2 < clock.jitter / outing.jitter < 4
        matching = match_times(phone, dslr, clock.seconds, clock.jitter)
        scenes = [(outing.phone_scenes[i], outing.dslr_scenes[j]) for i, j in matching.pairs]
        assert all(here == there for here, there in scenes)
        found = {scene for scene, _ in scenes}
        once = outing.scenes_shot_once()
        assert len(once - found) <= 2 + 0.1 * len(once)  # the rest is open, not wrong
        # What is open is about one scene, too: nothing else was near. So any of its pairs is right.
        for group in matching.open:
            closest = closest_of_bursts(phone, dslr, group, clock.seconds, clock.jitter)
            if closest is not None:
                found.add(outing.phone_scenes[closest[0]])
                assert outing.phone_scenes[closest[0]] == outing.dslr_scenes[closest[1]]
            phones, dslrs = group
            assert {outing.phone_scenes[i] for i in phones} == {
                outing.dslr_scenes[j] for j in dslrs
            }

    @settings(max_examples=20, deadline=None, derandomize=True)
    @given(st.integers(0, 2**31), st.floats(-1e5, 1e5))
    def test_exchanging_the_cameras_changes_the_sign(self, seed, offset):
        outing = Outing(seed, offset)
        phone, dslr = np.array(outing.phone), np.array(outing.dslr)
        there, back = find_offset(phone, dslr, 0.01), find_offset(dslr, phone, 0.01)
        assert there is not None and back is not None
        assert there.seconds == pytest.approx(-back.seconds, abs=0.5 * outing.jitter)

    @settings(max_examples=20, deadline=None, derandomize=True)
    @given(st.integers(0, 2**31))
    def test_photos_of_different_outings_have_no_offset(self, seed):
        phone = np.array(Outing(seed, 0.0).phone)
        dslr = np.array(Outing(seed + 1, 0.0).dslr)
        assert find_offset(phone, dslr, 0.01) is None

    def test_photos_at_regular_intervals_do_not_tell(self):
        times = 10.0 * np.arange(40)
        assert find_offset(times, times + 5000, 0.01) is None
        assert find_offset(times[1:], times[:-1] + 5000, 0.01) is None

    def test_two_photos_do_not_tell(self):
        assert find_offset(np.array([0.0, 70.0]), np.array([1000.0, 1070.0]), 0.01) is None

    def test_many_photos_are_quick(self):
        outing = Outing(3, -7200.0, scenes=3000)
        clock = find_offset(np.array(outing.phone), np.array(outing.dslr), 0.01)
        assert clock is not None and abs(clock.seconds + 7200) < 0.3

    def test_the_jitter_at_a_given_offset(self):
        outing = Outing(4, 100.0, scenes=200)
        clock = measure_jitter(np.array(outing.phone), np.array(outing.dslr), 100.0, 0.01)
        assert clock.seconds == 100.0 and clock.given
        assert clock.jitter == pytest.approx(outing.jitter, rel=0.4)
        assert measure_jitter(np.array([5.0]), np.array([105.0]), 100.0, 1.0).jitter == 1.0


def best_cost(phone, dslr, offset, jitter, forbidden=None) -> float:
    """The cost of the best matching in the order of time, by trying all of them."""
    best = np.inf
    for count in range(min(len(phone), len(dslr)) + 1):
        for here in itertools.combinations(range(len(phone)), count):
            for there in itertools.combinations(range(len(dslr)), count):
                pairs = list(zip(here, there, strict=True))
                gaps = [abs(dslr[j] - phone[i] - offset) / jitter for i, j in pairs]
                if forbidden in pairs or any(gap > 12 for gap in gaps):
                    continue
                alone = len(phone) + len(dslr) - 2 * count
                best = min(best, sum(gaps) + 6 * alone)
    return best


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.lists(st.integers(0, 400), max_size=4, unique=True),
    st.lists(st.integers(0, 400), max_size=4, unique=True),
)
def test_a_pair_is_sure_exactly_if_every_matching_without_it_costs_more(phone, dslr):
    """Times in tenths of a second, the DSLR's clock 7 seconds ahead, a jitter of one second."""
    here, there = np.sort(np.array(phone, float)) / 10, np.sort(np.array(dslr, float)) / 10
    matching = match_times(here, there, 7.0, 1.0)
    best = best_cost(here, there, 7.0, 1.0)
    for pair in itertools.product(range(len(here)), range(len(there))):
        margin = best_cost(here, there, 7.0, 1.0, forbidden=pair) - best
        if abs(margin - 4) > 1e-6:
            assert (pair in matching.pairs) == (margin > 4), (pair, margin)


START = dt.datetime(2026, 5, 1, 14, 0, 0)
GAPS = [0, 41, 95, 170, 201, 290, 333, 420, 466, 590]  # seconds from the first scene


@pytest.fixture
def raw(tmp_path):
    """Ten scenes; the DSLR's clock is 1 h 2 min 3 s ahead; one photo missing on each side."""
    late = dt.timedelta(hours=1, minutes=2, seconds=3)
    rng = np.random.default_rng(0)
    for number, gap in enumerate(GAPS):
        time = START + dt.timedelta(seconds=gap)
        if number != 3:
            save(tmp_path / "phone" / f"IMG_{number}.jpg", time, "Apple iPhone X")
        if number != 6:
            delay = dt.timedelta(seconds=float(rng.laplace(0, 0.2)))
            save(tmp_path / "dslr" / f"DSC{900 + number}.jpg", time + late + delay, "Nikon D5500")
    return tmp_path


class TestTimes:
    def test_pairs_offset_and_what_is_missing(self, raw):
        pairing = paired(raw, pair_by="time")
        expected = [(f"IMG_{n}.jpg", f"DSC{900 + n}.jpg") for n in range(10) if n not in (3, 6)]
        assert names(pairing) == expected
        assert pairing.clock is not None
        assert pairing.clock.seconds == pytest.approx(3723, abs=0.5)
        assert [path.name for path in pairing.unpaired_phone] == ["IMG_6.jpg"]
        assert [path.name for path in pairing.unpaired_dslr] == ["DSC903.jpg"]

    def test_a_burst_that_fits_one_photo_is_left_open(self, raw):
        burst = START + dt.timedelta(seconds=GAPS[2] + 0.3)
        save(raw / "phone" / "IMG_2b.jpg", burst)
        pairing = paired(raw, pair_by="time")
        assert [
            ([path.name for path in phones], [path.name for path in dslrs])
            for phones, dslrs in pairing.undecided
        ] == [(["IMG_2.jpg", "IMG_2b.jpg"], ["DSC902.jpg"])]
        assert ("IMG_2.jpg", "DSC902.jpg") not in names(pairing)
        assert ("IMG_2.jpg", "DSC902.jpg") in names(paired(raw, pair_by="time", bursts="closest"))
        summary = examine(raw / "phone", raw / "dslr", "time", pairing, None)
        assert [[path.name for path in burst] for burst in summary.bursts["phone"]] == [
            ["IMG_2.jpg", "IMG_2b.jpg"]
        ]

    def test_a_zone_that_changes_on_the_way_is_followed(self, tmp_path):
        """The phone moves to another zone after the fifth scene; the DSLR's clock stays."""
        for number, gap in enumerate(GAPS):
            time = START + dt.timedelta(seconds=gap)
            zone = dt.timezone(dt.timedelta(hours=2 if number < 5 else 1))
            moved = time.replace(tzinfo=dt.timezone(dt.timedelta(hours=2))).astimezone(zone)
            save(tmp_path / "phone" / f"{number}.jpg", moved)
            save(tmp_path / "dslr" / f"{number}.jpg", time + dt.timedelta(seconds=30))
        pairing = paired(tmp_path, pair_by="time")
        assert len(pairing.pairs) == 10
        assert pairing.clock is not None
        assert pairing.clock.seconds == pytest.approx(30, abs=0.1)

    def test_photos_without_a_time(self, raw):
        save(raw / "phone" / "screenshot.png", None)
        pairing = paired(raw, pair_by="time")
        assert [path.name for path in pairing.untimed] == ["screenshot.png"]
        assert len(pairing.pairs) == 8
        for path in (raw / "dslr").iterdir():
            save(path, None)
        with pytest.raises(DpedkitError, match=r"No photo in .*dslr records when it was taken"):
            paired(raw, pair_by="time")

    def test_whole_seconds(self, raw):
        for side in ("phone", "dslr"):
            for path in (raw / side).iterdir():
                with Image.open(path) as image:
                    taken = image.getexif().get_ifd(ExifTags.IFD.Exif)[36867]
                save(path, dt.datetime.strptime(taken, "%Y:%m:%d %H:%M:%S"), subseconds=False)
        assert len(paired(raw, pair_by="time").pairs) == 8

    def test_a_given_offset_and_gap(self, raw):
        pairing = paired(raw, pair_by="time", clock_offset=3723.0, max_gap=0.25)
        assert pairing.clock is not None and pairing.clock.given
        assert 3 <= len(pairing.pairs) < 8
        with pytest.raises(DpedkitError, match="--clock-offset"):
            paired(raw, pair_by="time", clock_offset=10_000.0)

    def test_too_few_photos_to_tell(self, raw):
        for number in range(2, 10):
            (raw / "phone" / f"IMG_{number}.jpg").unlink(missing_ok=True)
        with pytest.raises(DpedkitError, match="do not reveal how the cameras' clocks differ"):
            paired(raw, pair_by="time")


class TestCommand:
    def test_a_list_to_correct_and_to_use(self, raw, capsys):
        save(raw / "phone" / "IMG_2b.jpg", START + dt.timedelta(seconds=GAPS[2] + 0.3))
        folders = [str(raw / "phone"), str(raw / "dslr")]
        file = raw / "pairs.csv"
        assert execute(["pairs", *folders, "--pair-by", "time", "-o", str(file)]) == 0
        text = capsys.readouterr().out
        assert "phone: 10 photos (Apple iPhone X)" in text
        assert "7 pairs by time" in text
        assert "1 h 2 min 3." in text and "ahead of the phone's" in text
        assert "undecided:\n  IMG_2.jpg, IMG_2b.jpg with DSC902.jpg\n" in text
        assert "phone photos without a partner (1): IMG_6.jpg" in text
        assert "bursts:\n  phone: IMG_2.jpg, IMG_2b.jpg\n" in text

        assert "# IMG_2b.jpg,DSC902.jpg" in file.read_text()
        file.write_text(file.read_text().replace("# IMG_2b.jpg", "IMG_2b.jpg"))
        by_list = ["--pair-by", "csv", "--csv", str(file), "--json"]
        assert execute(["pairs", *folders, *by_list]) == 0
        answer = json.loads(capsys.readouterr().out)
        assert len(answer["pairs"]) == 8
        (pair,) = (pair for pair in answer["pairs"] if pair["phone"] == "IMG_2b.jpg")
        assert (pair["name"], pair["dslr"]) == ("DSC902", "DSC902.jpg")
        assert answer["unpaired"] == {"phone": ["IMG_2.jpg", "IMG_6.jpg"], "dslr": ["DSC903.jpg"]}
        assert answer["cameras"]["dslr"] == {"Nikon D5500": 9}

        assert execute(["pairs", *folders, "--pair-by", "time", "-o", str(file)]) == 1
        assert "--overwrite" in capsys.readouterr().err

    def test_a_pair_whose_times_do_not_fit_is_doubted(self, raw, capsys):
        (raw / "dslr" / "DSC903.jpg").unlink()
        (raw / "phone" / "IMG_7.jpg").unlink()  # all from the fifth on are one off
        folders = [str(raw / "phone"), str(raw / "dslr")]
        assert execute(["pairs", *folders, "--pair-by", "order"]) == 0
        assert (
            "further apart in time than the other pairs:\n  DSC907 by 1 min"
            in capsys.readouterr().out
        )


@pytest.mark.parametrize(
    ("length", "words"),
    [(0.04, "0.0 s"), (59.96, "1 min 0.0 s"), (3723.2, "1 h 2 min 3.2 s"),
     (90_000, "1 d 1 h 0 min 0.0 s")],
)  # fmt: skip
def test_lengths_of_time_in_words(length, words):
    assert describe_seconds(length) == words


def test_the_page_shows_every_photo_and_what_cannot_be_read(raw, capsys):
    save(raw / "phone" / "IMG_2b.jpg", START + dt.timedelta(seconds=GAPS[2] + 0.3))
    broken = raw / "phone" / "IMG_4.jpg"
    broken.write_bytes(broken.read_bytes()[:-4])
    folders = [str(raw / "phone"), str(raw / "dslr")]
    report = raw / "pairs.html"
    assert execute(["pairs", *folders, "--pair-by", "time", "--report", str(report)]) == 0
    text = report.read_text()
    for folder in ("phone", "dslr"):
        for path in (raw / folder).iterdir():
            assert f"<small>{path.name}</small>" in text
    assert "IMG_4.jpg is damaged: it is cut short; copy it again." in text
    assert text.count("data:image/jpeg;base64,") == 10 + 9 - 1 + 2  # the burst stands there twice
    assert text.index("<h2>Undecided (1)</h2>") < text.index("<h2>Pairs (7)</h2>")
    assert "http" not in text.replace("http-equiv", "")


def test_the_page_has_the_counts_of_the_command_line_and_the_gap_of_each_pair(raw, capsys):
    save(raw / "phone" / "IMG_2b.jpg", START + dt.timedelta(seconds=GAPS[2] + 0.3))
    save(raw / "phone" / "untimed.jpg", None)
    report = raw / "pairs.html"
    command = ["pairs", str(raw / "phone"), str(raw / "dslr"), "--pair-by", "time"]
    assert execute([*command, "--report", str(report)]) == 0
    told, text = capsys.readouterr().out, report.read_text()
    facts = {what: int(count) for count, what in re.findall(r"<b>(\d+)</b><span>([^<]*)<", text)}
    assert facts == {
        "phone photos": 11, "DSLR photos": 9, "paired by time": 7, "undecided groups": 1,
        "phone photos without a partner": 2, "DSLR photos without a partner": 1,
        "photos without a time": 1, "bursts": 1,
    }  # fmt: skip
    assert f"phone: {facts['phone photos']} photos" in told
    assert f"{facts['paired by time']} pairs by time" in told
    for what, count in facts.items():
        if "without" in what:
            assert f"{what} ({count}): " in told
            assert f"<h2>{what[0].upper()}{what[1:]} ({count})</h2>" in text

    assert execute([*command, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    offset = answer["clock"]["offset_s"]
    for pair in answer["pairs"]:
        taken = [read_capture(raw / side / pair[side]).time for side in ("phone", "dslr")]
        gap = (taken[1] - taken[0]).total_seconds() - offset
        assert pair["gap_s"] == pytest.approx(gap, abs=2e-3)
        (figure,) = (part for part in text.split("</figure>") if f">{pair['dslr']}<" in part)
        side = "later" if gap > 0 else "earlier"
        words = "at the same time" if abs(gap) < 0.05 else f"DSLR {abs(gap):.1f} s {side}"
        assert words in figure


def test_photos_without_times_have_no_gap(raw, capsys):
    save(raw / "phone" / "IMG_4.jpg", None)
    for number in (3, 6):
        (raw / "dslr" / f"DSC90{number}.jpg").unlink(missing_ok=True)
        (raw / "phone" / f"IMG_{number}.jpg").unlink(missing_ok=True)
    command = ["pairs", str(raw / "phone"), str(raw / "dslr"), "--pair-by", "order", "--json"]
    assert execute(command) == 0
    gaps = [pair["gap_s"] for pair in json.loads(capsys.readouterr().out)["pairs"]]
    assert [gap is None for gap in gaps] == [n == 3 for n in range(8)]
    assert np.median([gap for gap in gaps if gap is not None]) == pytest.approx(0, abs=1e-3)
