"""The folders in which the DPED dataset keeps its patches, and every program that reads it.

PHONE/training_data/{PHONE,canon}/0.jpg ...       the train split
PHONE/test_data/patches/{PHONE,canon}/0.jpg ...   the test split
"""

from __future__ import annotations

DSLR_FOLDER = "canon"  # whatever DSLR it is
# Below PHONE/; DPED itself has no val split.
SPLIT_FOLDERS = {
    "train": "training_data",
    "val": "val_data/patches",
    "test": "test_data/patches",
}
