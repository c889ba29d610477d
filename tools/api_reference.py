"""Write the API reference of the documentation from the docstrings."""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

from dpedkit.core.config import Config, options_of

# What a program may build on, in the order in which a reader needs it; each with its module.
_CONTENTS: dict[str, dict[str, tuple[str, ...]]] = {
    "Photos": {
        "dpedkit": ("read_photo",),
        "dpedkit.images": (
            "read_photo_and_metadata",
            "write_photo",
            "list_photos",
            "Metadata",
            "PhotoLimits",
        ),
    },
    "Pairs": {
        "dpedkit.pairing": ("pair_photos", "Pairing", "ClockOffset", "PairingConfig"),
    },
    "Alignment": {
        "dpedkit": ("align_pair", "Alignment", "AlignConfig", "PairMap"),
        "dpedkit.surfaces": ("Surfaces", "Layer"),
        "dpedkit.align": ("align_folders", "AlignSummary", "AlignFoldersConfig"),
        "dpedkit.resample": ("crop_phone", "resample_dslr"),
        "dpedkit.core.records": ("PairRecord", "SourcePhoto", "WrittenFile"),
    },
    "Patches": {
        "dpedkit": ("match_windows", "Patches", "PatchConfig"),
        "dpedkit.patches": ("cut_patches", "PatchSummary"),
    },
    "Shards": {
        "dpedkit": ("open_split", "DpedShards"),
        "dpedkit.shards": (
            "SplitReader",
            "read_index",
            "ShardIndex",
            "ShardEntry",
            "verify",
            "Verification",
            "describe",
            "Description",
            "SplitDescription",
            "filter_shards",
            "FilterConfig",
            "merge_shards",
            "MergeConfig",
            "export_patches",
            "ExportConfig",
            "ExportSummary",
        ),
    },
    "Training": {
        "dpedkit.training.loop": ("train",),
        "dpedkit": ("train", "TrainConfig"),
        "dpedkit.training.run_folder": ("TrainSummary",),
        "dpedkit.losses": (
            "ContentLoss",
            "ColourLoss",
            "TextureLoss",
            "TVLoss",
            "MSSSIML1Loss",
            "ms_ssim_loss",
            "discriminator_loss",
        ),
        "dpedkit.training.data": ("StepSampler", "FullShuffle", "BlockShuffle", "Stream"),
    },
    "Networks": {
        "dpedkit": ("build_generator", "load_model"),
        "dpedkit.models": (
            "Generator",
            "ConvLayer",
            "ResidualBlock",
            "Discriminator",
            "VGG19",
            "VGG19Weights",
            "find_weights",
            "read_weights",
            "save_model",
            "read_card",
        ),
    },
    "Evaluation": {
        "dpedkit": ("evaluate", "EvaluateConfig"),
        "dpedkit.evaluation": ("Evaluation", "SplitScores", "Scores", "Limitations"),
        "dpedkit.metrics": ("psnr", "ssim", "ms_ssim"),
    },
    "Enhancement": {
        "dpedkit": ("enhance", "EnhanceConfig"),
        "dpedkit.enhancement": ("EnhanceSummary", "enhance_photo", "Placement"),
    },
    "Reports": {
        "dpedkit.report": ("write_report", "ReportSummary"),
    },
    "Errors": {
        "dpedkit": (
            "DpedkitError",
            "UsageError",
            "PhotoError",
            "OutputExistsError",
            "FolderInUseError",
            "TooManyRejectedError",
        ),
    },
}
_HEAD = """# API reference

Written by `./dev docs` from the docstrings; the tests check that it is up to date. Images are
`(H, W, 3) uint8` RGB arrays, see [conventions](conventions.md). `Points` are `(N, 2) float64`
arrays of `(x, y)`, a `Rectangle` is `(x, y, width, height)`, both in pixels. A `Shuffle` is a
`FullShuffle` or a `BlockShuffle`, a `Group` is `(epoch, number)`, a `Pair` is two tensors, the
phone's first, `Convolutions` is a list of kernels and biases. Paths are `str` or
`Path`.

What is on this page keeps its meaning as [versions](versions.md) says; what is not may change with
any version.
"""
_UNDERLINE = re.compile(r"^-{3,}$")
_ENTRY_SECTIONS = ("Parameters", "Returns", "Raises", "Attributes", "Yields")


def api_reference() -> str:
    """The reference as Markdown."""
    parts = [_HEAD]
    for title, modules in _CONTENTS.items():
        parts.append(f"## {title}\n")
        for module, names in modules.items():
            parts += [_described(f"{module}.{name}", _find(module, name)) for name in names]
    return "\n".join(parts)


def _find(module: str, name: str) -> Any:
    return getattr(importlib.import_module(module), name)


def _described(path: str, thing: Any) -> str:
    """One class or function: its heading, its call, its docstring."""
    parts = [f"### `{path}`\n"]
    if inspect.isclass(thing):
        if issubclass(thing, Config):
            parts += [*_prose(thing), _settings(thing)]
        else:
            if not issubclass(thing, Exception):
                parts.append(_call(thing.__name__, thing))
            parts += _prose(thing)
            methods = [_method(name, member) for name, member in _members(thing)]
            parts += ["**Methods and properties**", "", *methods, ""] if methods else []
    else:
        parts += [_call(thing.__name__, thing), *_prose(thing)]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(parts)).rstrip() + "\n"


def _call(name: str, thing: Any) -> str:
    return f"```python\n{name}{_signature(thing)}\n```\n"


def _signature(thing: Any) -> str:
    """Parameters with their types and defaults, broken into lines where they are long."""
    signature = inspect.signature(thing)
    shown = [_as_written(str(one)) for one in signature.parameters.values() if one.name != "self"]
    kinds = [one.kind for one in signature.parameters.values() if one.name != "self"]
    if inspect.Parameter.KEYWORD_ONLY in kinds and inspect.Parameter.VAR_POSITIONAL not in kinds:
        shown.insert(kinds.index(inspect.Parameter.KEYWORD_ONLY), "*")
    returned = signature.return_annotation
    is_told = returned is not inspect.Signature.empty and not inspect.isclass(thing)
    result = f" -> {_as_written(str(returned))}" if is_told else ""
    line = f"({', '.join(shown)}){result}"
    if len(line) <= 80:
        return line
    return "(\n" + "".join(f"    {one},\n" for one in shown) + f"){result}"


def _as_written(text: str) -> str:
    """A parameter as it is written in code; annotations are kept as strings, in quotation marks."""
    text = re.sub(r"(^|: |-> )'([^']*)'", r"\1\2", text)
    return re.sub(r"= <.*>$", "= ...", text)  # a default that has no short form


def _members(thing: type) -> Iterator[tuple[str, Any]]:
    for name, member in vars(thing).items():
        if not name.startswith("_") and (inspect.isroutine(member) or _is_property(member)):
            yield name, member


def _is_property(member: Any) -> bool:
    return isinstance(member, property | cached_property)


def _method(name: str, member: Any) -> str:
    function = getattr(member, "__func__", member)
    call = "" if _is_property(member) else re.sub(r"\s+", " ", _signature(function))
    text = (inspect.getdoc(member) or "").split("\n\n")[0].replace("\n", " ")
    call = call.replace("( ", "(").replace(", )", ")")
    return f"- `.{name}{call}`" + (f": {text}" if text else "")


def _prose(thing: Any) -> list[str]:
    """A numpydoc docstring as Markdown: sections in bold, their entries as lists."""
    lines = (inspect.getdoc(thing) or "").splitlines()
    parts: list[str] = []
    section = ""
    for number, line in enumerate(lines):
        following = lines[number + 1] if number + 1 < len(lines) else ""
        if _UNDERLINE.match(line):
            continue
        if _UNDERLINE.match(following):
            section = line
            parts += [f"**{line}**", ""]
        elif section in _ENTRY_SECTIONS and line and not line.startswith(" "):
            parts.append(_entry(line))
        elif section in _ENTRY_SECTIONS and line:
            parts.append(f"  {line.strip()}")
        else:
            parts.append(line.replace("::", ":") if line.endswith("::") else line)
    return [*parts, ""]


def _entry(line: str) -> str:
    names, colon, kind = line.partition(" : ")
    shown = ", ".join(f"`{name.strip()}`" for name in names.split(","))
    return f"- {shown} : {kind}  " if colon else f"- {line}  "


def _settings(config: type[Config]) -> str:
    rows = ["| setting | default | |", "| --- | --- | --- |"]
    for field in options_of(config):
        text = field.metadata["help"].replace("|", "\\|")
        rows.append(f"| `{field.name}` | `{field.default!r}` | {text} |")
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(api_reference(), encoding="utf-8")
