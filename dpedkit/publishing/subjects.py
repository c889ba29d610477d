"""What has a card: a shards folder, a run, or a model file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dpedkit.core import lock
from dpedkit.core.atomic import write_json
from dpedkit.core.errors import DpedkitError
from dpedkit.core.evaluations import ON_PATCHES, read_evaluations
from dpedkit.core.publication import statements_of
from dpedkit.core.records import RUN_CONFIG
from dpedkit.models.files import DATA, PUBLICATION, STATISTICS, find_model, model_hash, read_card
from dpedkit.models.model_card import model_card, photos_of_data
from dpedkit.photostatistics import statistics_of_training
from dpedkit.shards.card import CARD_FILE, dataset_card
from dpedkit.shards.index import INDEX_FILE, read_index, read_pairs
from dpedkit.shards.origin import Photos, origin_of, photos_of


@dataclass(frozen=True)
class ShardsSubject:
    """A shards folder; what is stated is in its index."""

    path: Path
    kind = "dataset"

    @property
    def file(self) -> Path:
        return self.path / CARD_FILE

    def statements(self) -> dict[str, str]:
        return statements_of(read_index(self.path).content["patch_config"])

    def state(self, statements: Mapping[str, str]) -> None:
        with lock.locked(self.path):
            content = read_index(self.path).content
            settings = {**content["patch_config"], **statements}
            write_json(self.path / INDEX_FILE, {**content, "patch_config": settings})

    def photos(self) -> dict[str, Photos]:
        return photos_of(read_pairs(self.path))

    def text(self) -> str:
        return dataset_card(self.path)

    def has_thumbnails(self) -> bool:
        """Whether whole photos can be seen in it."""
        index = read_index(self.path)
        return any(index.thumbnails(split) for split in index.shards)


@dataclass(frozen=True)
class ModelSubject:
    """A model file; what is stated is in its metadata."""

    path: Path
    kind = "model"

    @property
    def file(self) -> Path:
        return self.path.parent / CARD_FILE

    @property
    def run(self) -> Path | None:
        """The folder of the run that the file lies in."""
        folder = self.path.parent
        return folder if (folder / RUN_CONFIG).is_file() else None

    def card(self) -> dict[str, Any]:
        """What the file says of the network."""
        return read_card(self.path)

    def statements(self) -> dict[str, str]:
        return statements_of(self.card().get(PUBLICATION, {}))

    def entries(self, statements: Mapping[str, str], data: Path | None) -> dict[str, Any]:
        """What changes in the card of the network by new statements and, of `data`, by the shards.

        Raises
        ------
        DpedkitError
            If the network was not trained on these shards.
        """
        entries: dict[str, Any] = {}
        if statements:
            entries[PUBLICATION] = {**self.statements(), **statements}
        if data is not None:
            entries[DATA] = self._origin(data)
            entries[STATISTICS] = statistics_of_training(data).to_dict()
        return entries

    def _origin(self, data: Path) -> dict[str, Any]:
        origin = origin_of(data)
        trained_on = self.card().get("training", {}).get("shards", [])
        if origin["shards"] not in trained_on:
            raise DpedkitError(
                f"{self.path} was not trained on the patches in {data}; give the shards that it "
                "was trained on."
            )
        return origin

    def photos(self) -> dict[str, Photos]:
        return photos_of_data(self.card())

    def evaluations(self) -> list[dict[str, Any]]:
        """What `dpedkit evaluate` found of this very network on patches, the newest last."""
        if self.run is None:
            return []
        kept = read_evaluations(self.run, ON_PATCHES)
        own = model_hash(self.path)
        return [
            kept[file]
            for file in sorted(kept, key=lambda file: file.stat().st_mtime)
            if kept[file].get("model_hash") == own
        ]

    def text(self) -> str:
        return model_card(self.card(), self.path.name, self.evaluations())


def subject_of(path: Path) -> ShardsSubject | ModelSubject:
    """The shards folder, run or model file at a path.

    Raises
    ------
    DpedkitError
        If it is none of them, or damaged.
    """
    if (path / INDEX_FILE).is_file():
        read_index(path)
        return ShardsSubject(path)
    if path.is_dir() and not (path / RUN_CONFIG).is_file():
        raise DpedkitError(
            f"{path} holds neither shards nor a run; give the folder of one of them, or a model "
            "file."
        )
    model = ModelSubject(find_model(path))
    model.card()
    return model
