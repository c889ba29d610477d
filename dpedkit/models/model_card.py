"""The card of a network: `README.md` for people, with a header for Hugging Face.

It says only what the model file and the evaluations beside it hold.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dpedkit.core import markdown
from dpedkit.core.hub import licence_lines, quoted
from dpedkit.core.publication import STATEMENTS, UNKNOWN_LICENCE, statements_of
from dpedkit.core.wording import counted, decibel
from dpedkit.intervals import Interval, caution_on_validation, too_few
from dpedkit.models.files import DATA, PUBLICATION
from dpedkit.shards.origin import SIDES, Photos

_NETWORK = "network"  # the row of an evaluation that is the network itself
_METRICS = {"psnr": "PSNR", "ssim": "SSIM", "ms_ssim": "MS-SSIM"}
_BODY = """\
# {title}

A network ({architecture}) that enhances phone photos, after DPED (Ignatov et al., ICCV 2017).
{seen} Made by dpedkit {version}.

## Use
```sh
pip install dpedkit
dpedkit diagnose {file} my-photos/
dpedkit enhance {file} my-photos/ -o enhanced/
```

```python
import dpedkit

network = dpedkit.load_model("{file}")  # (N, 3, H, W) float32 in [0, 1] -> the same
```

{planes}It corrects the colours, noise and blur of the phone that it was trained on; on photos of
another phone it can do harm. `dpedkit diagnose` compares your photos with those of the training.

{statements}
## Training data
{data}

## Scores
{scores}
"""

_PLANES = """\
`dpedkit enhance` chooses a colour map for each photo. In Python, the network does so only if it is
also given the planes of `dpedkit.photomap`; without them, it uses one colour map for all photos.

"""


def model_card(
    card: Mapping[str, Any], file: str, evaluations: Sequence[Mapping[str, Any]] = ()
) -> str:
    """The card of a network as Markdown.

    Parameters
    ----------
    card : mapping
        From `read_card`.
    file : str
        Name of the model file.
    evaluations : sequence of mapping
        Results of `dpedkit evaluate` for this network, as they are kept with its run.
    """
    told = statements_of(card.get(PUBLICATION, {}))
    photos = photos_of_data(card)
    phone, dslr = (photos[side].most_frequent_camera() for side in SIDES)
    architecture = str(card["architecture"])
    title = f"Photo enhancement with {architecture}"
    if phone and dslr:
        title = f"{phone} photos with the look of the {dslr}"
    body = _BODY.format(
        title=title,
        architecture=architecture,
        seen=_seen(phone, dslr),
        version=card.get("tool_version", ""),
        file=file,
        planes=_PLANES if architecture == "photo-aware" else "",
        statements=markdown.statements(
            "Network", told, "Ask those who trained it before you use it."
        ),
        data=_data(card, photos),
        scores=_scores(card, evaluations),
    )
    header = _header(told, title, architecture, evaluations)
    settings = markdown.settings_table(
        "Settings of the training", card.get("training", {}).get("config")
    )
    return "\n".join([*header, body, *filter(None, [settings])])


def photos_of_data(card: Mapping[str, Any]) -> dict[str, Photos]:
    """The photos that a network was trained on, by side; empty where its file does not say."""
    told = card.get(DATA, {}).get("photos", {})
    return {side: Photos.from_dict(told.get(side, {})) for side in SIDES}


def scores_least_seen(evaluations: Sequence[Mapping[str, Any]]) -> Any:
    """The test split of the last evaluation that has it, or else the val split, or else None.

    `trained_here` of that evaluation is added.
    """
    for split in ("test", "val"):
        for evaluation in reversed(evaluations):
            for found in evaluation["splits"]:
                if found["split"] == split:
                    return {**found, "trained_here": evaluation.get("trained_here", False)}
    return None


def _seen(phone: str, dslr: str) -> str:
    if phone and dslr:
        return f"It was trained on pairs of photos, one by a {phone}, one by a {dslr}."
    return "Which cameras it was trained for is not recorded."


def _header(
    told: Mapping[str, str],
    title: str,
    architecture: str,
    evaluations: Sequence[Mapping[str, Any]],
) -> Iterator[str]:
    """The YAML block at the top, which ends in an empty line."""
    yield from ("---", *licence_lines(told.get("licence", UNKNOWN_LICENCE)))
    yield from ('library_name: "dpedkit"', 'pipeline_tag: "image-to-image"')
    yield from ("tags:", '- "dpedkit"', '- "photo-enhancement"', f"- {quoted(architecture)}")
    measured = scores_least_seen(evaluations)
    network = measured["scores"].get(_NETWORK, {}) if measured else {}
    values = {name: network[key] for key, name in _METRICS.items() if network.get(key) is not None}
    if measured and values:
        yield from ("model-index:", f"- name: {quoted(title)}", "  results:")
        yield from ("  - task:", '      type: "image-to-image"', "    dataset:")
        split = f"{counted(measured['patches'], 'patch pair')} of the {measured['split']} split"
        yield from ('      type: "dpedkit-shards"', f"      name: {quoted(split)}", "    metrics:")
        for name, value in values.items():
            yield from (f"    - type: {quoted(name.lower())}", f"      value: {value:.6g}")
    yield from ("---", "")


def _data(card: Mapping[str, Any], photos: Mapping[str, Photos]) -> str:
    data = card.get(DATA)
    if not data:
        return "Not recorded."
    train = data["splits"]["train"]
    lines = [
        f"{counted(train['patches'], 'patch pair')} to train on, of "
        f"{counted(train['pairs'], 'photo pair')} (shards {data['shards']}, made by dpedkit "
        f"{data['tool_version']}).",
        "",
        markdown.camera_lines({side: photos[side].cameras for side in SIDES}),
    ]
    folders = {side: photos[side].folders for side in SIDES if photos[side].folders}
    if folders:
        counts = [
            f"{photos[side].count} from {', '.join(names)}" for side, names in folders.items()
        ]
        lines.append(f"- photos: {'; '.join(counts)}")
    told = statements_of(data)
    lines.append(f"- licence of the photos: {told.get('licence', UNKNOWN_LICENCE)}")
    names = {"authors": "authors of the photos", "citation": "to be cited as", "doi": "DOI"}
    lines += [
        f"- {names[name]}: {told[name]}" for name in STATEMENTS if name in told.keys() & names
    ]
    if min_corr := data.get("patch_config", {}).get("min_corr"):
        lines.append(f"- NCC of the patch pairs: above {min_corr}")
    return "\n".join(lines)


def _scores(card: Mapping[str, Any], evaluations: Sequence[Mapping[str, Any]]) -> str:
    measured = scores_least_seen(evaluations)
    if measured is None:
        training = card.get("training", {})
        if training.get("ms_ssim") is None:
            return "Not measured."
        return (
            f"PSNR {decibel(training['psnr'])} dB, MS-SSIM {training['ms_ssim']:.4f} in the "
            "validation during training; not measured on a test split. "
            f"{_about_validation(training)}"
        )
    seen = "; it is not known whether training saw them"
    if measured["trained_here"]:
        seen = (
            ", which training never saw" if measured["split"] == "test" else ", used to choose it"
        )
    return (
        f"{measured['split']} split ({counted(measured['patches'], 'patch pair')}){seen}; each "
        f"image separately, then averaged:\n\n"
        + markdown.table(("", "PSNR dB", "SSIM", "MS-SSIM"), _rows(measured["scores"]))
        + f"\n\n{_over_scenes(measured.get('by_scene'))}"
    )


def _rows(scores: Mapping[str, Mapping[str, float | None]]) -> list[tuple[str, ...]]:
    return [
        (
            name,
            decibel(found.get("psnr")),
            *(f"{found[key]:.4f}" if key in found else "" for key in ("ssim", "ms_ssim")),
        )
        for name, found in scores.items()
    ]


def _about_validation(training: Mapping[str, Any]) -> str:
    """What the scores of the validation say about other scenes."""
    known = training.get("over_scenes", {}).values()
    scenes = max((found["scenes"] for found in known), default=None)
    return caution_on_validation(training.get("validated_on", "val"), scenes)


def _over_scenes(found: Mapping[str, Any] | None) -> str:
    """The means over the scenes, and what they say about others."""
    if not found:
        return "It is not known which of these patches show the same scene."
    scenes = len(found["scenes"])
    rows = [
        (name, *(_interval(means, key) for key in _METRICS))
        for name, means in found["means"].items()
    ]
    return (
        f"The mean of the {counted(scenes, 'scene')}, with the 95% bootstrap interval over them. "
        f"{too_few(scenes)}".rstrip()
        + "\n\n"
        + markdown.table(("", "PSNR dB", "SSIM", "MS-SSIM"), rows)
    )


def _interval(means: Mapping[str, Any], key: str) -> str:
    form = ".2f" if key == "psnr" else ".4f"
    return Interval(**means[key]).text(form) if key in means else ""
