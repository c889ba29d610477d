"""The settings of `dpedkit simulate`."""

from __future__ import annotations

from dataclasses import dataclass

from dpedkit.core.config import Config, option
from dpedkit.core.errors import UsageError


@dataclass(frozen=True)
class SimulateConfig(Config):
    """The number of scenes, the two cameras, and their positions."""

    pairs: int = option(10, "Number of scenes, each photographed once by both cameras.", minimum=1)
    seed: int = option(
        0, "Seed of scenes, camera positions and noise. Same seed, same photos.", minimum=0
    )
    phone_megapixels: float = option(
        2.0, "Size of the phone photos (4:3).", minimum=0.01, maximum=50, metavar="MP"
    )
    dslr_megapixels: float = option(
        6.0, "Size of the DSLR photos (3:2).", minimum=0.01, maximum=50, metavar="MP"
    )
    min_overlap: float = option(
        0.7, "Minimum fraction of the phone photo that the DSLR also sees.", minimum=0.2, maximum=1
    )
    max_overlap: float = option(
        0.92, "Maximum fraction of the phone photo that the DSLR also sees.", minimum=0.2, maximum=1
    )
    rotation: float = option(
        3.0,
        "Maximum roll of one camera relative to the other.",
        minimum=0,
        maximum=180,
        metavar="DEG",
    )
    perspective: float = option(
        0.03,
        "Maximum change of scale from one edge of the phone photo to the other, because the two "
        "cameras point in slightly different directions.",
        minimum=0,
        maximum=0.5,
    )
    k1: float = option(
        0.01,
        "Radial distortion of the phone's lens: the fraction of its radius by which a point at "
        "half the diagonal is moved. The same in all photos.",
        minimum=-0.2,
        maximum=0.2,
    )
    parallax: float = option(
        0.0,
        "Maximum displacement by a smooth parallax field, as if the scene had depth.",
        minimum=0,
        maximum=50,
        metavar="PX",
    )
    disparity: float = option(
        0.0,
        "Disparity between the nearest and the farthest object, in pixels of the phone photo. "
        "Above 0, objects stand in front of the scene and occlude parts of it in each camera.",
        minimum=0,
        maximum=200,
        metavar="PX",
    )
    objects: int = option(
        3,
        "Number of objects in front of the scene, if there is a disparity.",
        minimum=1,
        maximum=20,
    )
    exposure: float = option(
        0.2, "Maximum error of the phone's exposure, per photo.", minimum=0, maximum=3, metavar="EV"
    )
    white_balance: float = option(
        0.04, "Maximum error of the phone's red and blue gain, per photo.", minimum=0, maximum=0.5
    )
    vignetting: float = option(
        0.35,
        "Fraction of the light that the phone's lens loses in the corners.",
        minimum=0,
        maximum=0.9,
    )
    blur: float = option(
        0.7, "Sigma of the phone's blur; +-40% from photo to photo.", minimum=0, metavar="PX"
    )
    noise: float = option(
        4.0,
        "Standard deviation of the phone's noise in 8-bit levels; +-45% from photo to photo.",
        minimum=0,
        maximum=50,
    )
    jpeg_quality: int = option(85, "JPEG quality of the phone photos.", minimum=1, maximum=100)
    new_phone_each_pair: bool = option(
        False,
        "Draw a new tone curve and new colour gains for every pair. No network can learn that; it "
        "tests the alignment.",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.min_overlap > self.max_overlap:
            raise UsageError(
                f"min_overlap is {self.min_overlap}, but must not exceed max_overlap "
                f"({self.max_overlap})."
            )
