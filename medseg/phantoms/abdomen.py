"""An abdominal CT patient by formula: organs, their truth and how a scanner would see them.

The patient lies supine at the origin of RAS+ mm: x grows to the right, so the liver has x > 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from medseg.phantoms.shapes import (
    Clipped,
    Column,
    Field,
    Points,
    Solid,
    Superellipsoid,
    Union,
    Vessel,
    rotation,
    voxel_centres,
    waves,
)
from medseg.volume.conventions import flip_lps_ras
from medseg.volume.grid import Grid
from medseg.volume.label_map import LabelMap
from medseg.volume.label_table import Code, Label, LabelTable
from medseg.volume.scan import Provenance, Scan

ABDOMEN_LABELS = LabelTable(
    tuple(
        Label(value=value, name=name, color=color, code=Code(snomed, "SCT", meaning))
        for value, name, meaning, snomed, color in (
            (1, "liver", "Liver", "10200004", (221, 130, 101)),
            (2, "spleen", "Spleen", "78961009", (157, 108, 162)),
            (3, "left_kidney", "Left kidney", "18639004", (230, 190, 60)),
            (4, "right_kidney", "Right kidney", "9846003", (240, 228, 66)),
            (5, "stomach", "Stomach", "69695003", (86, 180, 233)),
            (6, "aorta", "Aorta", "15825003", (213, 64, 50)),
        )
    )
)
"""The structures of the phantom, with SNOMED CT codes."""

_PAINT_ORDER = ("stomach", "spleen", "liver", "left_kidney", "right_kidney", "aorta")
"""From the one that gives way to the one that stays whole where two would overlap."""

_EDGE_MM = 1.2
"""Width of the blur at every surface, standing for the partial volume effect."""


@dataclass(frozen=True)
class Anatomy:
    """One patient: where everything is and how bright.

    Parameters
    ----------
    surroundings : tuple of (Solid, float)
        Unlabelled tissue with its CT number in HU, painted in this order.
    organs : dict of str to Solid
    details : tuple of (str, Solid, float)
        What an organ holds: label name, place, HU. It stays inside that organ.
    hu : dict of str to float
        CT number of each organ.
    texture_seed : int
        Of the smooth random fields.
    """

    surroundings: tuple[tuple[Solid, float], ...]
    organs: dict[str, Solid]
    details: tuple[tuple[str, Solid, float], ...]
    hu: dict[str, float]
    texture_seed: int


def default_grid() -> Grid:
    """An axial CT grid around the phantom: 128 x 128 x 48 voxels of 3 x 3 x 5 mm, axes L, P, S."""
    spacing = np.array([3.0, 3.0, 5.0])
    shape = (128, 128, 48)
    lps = np.diag([*spacing, 1.0])
    lps[:3, 3] = -spacing * (np.array(shape) - 1) / 2
    return Grid(shape, flip_lps_ras(lps))


def abdominal_ct(
    seed: int, grid: Grid | None = None, *, noise_hu: float = 14.0
) -> tuple[Scan, LabelMap]:
    """A CT scan of the `seed`-th patient on `grid`, and the truth.

    Parameters
    ----------
    seed : int
        Which patient. The anatomy depends on it alone: two grids show the same patient.
    grid : Grid, optional
        Any grid, oblique and anisotropic ones too; :func:`default_grid` when not given.
    noise_hu : float, default 14
        Standard deviation of the noise.

    Returns
    -------
    scan : Scan
        int16 CT numbers (HU), shape (1, I, J, K).
    truth : LabelMap
        uint8, shape (I, J, K), with :data:`ABDOMEN_LABELS`.
    """
    grid = grid or default_grid()
    points = voxel_centres(grid)
    anatomy = make_anatomy(seed)
    values = _truth(anatomy, points)
    voxels = _attenuation(anatomy, points)
    voxels += waves(points, count=4, wavelength_mm=420, amplitude=6, seed=anatomy.texture_seed + 1)
    random = np.random.default_rng([seed, *grid.shape])
    voxels += random.standard_normal(grid.shape, np.float32) * np.float32(noise_hu)
    hounsfield = np.clip(np.rint(voxels), -1024, 3071).astype(np.int16)
    provenance = Provenance(format="phantom")
    return (
        Scan(hounsfield[None], grid, "CT", provenance),
        LabelMap(values, grid, ABDOMEN_LABELS, provenance),
    )


def make_anatomy(seed: int) -> Anatomy:
    """The `seed`-th patient: sizes, places, turns and brightness all vary, the sides never do."""
    random = _Variation(seed)
    body_mm = (random.around(158, 8), random.around(106, 6))
    cavity = Column((0.0, 4.0), (body_mm[0] - 26, body_mm[1] - 26))
    organs = _organs(random, cavity)
    return Anatomy(
        surroundings=(
            *_wall(body_mm),
            *_lungs_and_bowel(random, cavity),
            *_skeleton(random, body_mm),
        ),
        organs=organs,
        details=_details(random, organs),
        hu={
            "liver": random.around(98, 7),
            "spleen": random.around(138, 7),
            "left_kidney": random.around(195, 10),
            "right_kidney": random.around(195, 10),
            "stomach": random.around(45, 6),
            "aorta": random.around(260, 20),
        },
        texture_seed=seed * 7919 + 17,
    )


class _Variation:
    """Random numbers of one patient."""

    def __init__(self, seed: int) -> None:
        self._random = np.random.default_rng([seed, 2024])

    def around(self, middle: float, reach: float) -> float:
        """A number within `reach` of `middle`."""
        return float(middle + self._random.uniform(-reach, reach))

    def ellipsoid(
        self,
        centre_mm: tuple[float, float, float],
        radii_mm: tuple[float, float, float],
        *,
        turn: tuple[float, float, float] = (0.0, 0.0, 0.0),
        exponent: float = 2.0,
    ) -> Superellipsoid:
        """A superellipsoid of about this place (7 mm), size (10 %) and turn (10 degrees)."""
        x, y, z = (self.around(value, 7) for value in centre_mm)
        a, b, c = (value * self.around(1.0, 0.1) for value in radii_mm)
        matrix = rotation([self.around(value, 10) for value in turn])
        return Superellipsoid((x, y, z), (a, b, c), matrix, exponent)


def _organs(random: _Variation, cavity: Solid) -> dict[str, Solid]:
    liver = Union(
        (
            random.ellipsoid((68, 6, 48), (66, 66, 56), turn=(0, 8, 20), exponent=2.4),
            random.ellipsoid((4, 44, 74), (50, 26, 26), turn=(0, 10, -8)),
        )
    )
    return {
        "liver": Clipped(liver, cavity),
        "spleen": Clipped(
            random.ellipsoid((-96, -32, 56), (26, 42, 44), turn=(-14, 0, -18)), cavity
        ),
        "stomach": Clipped(
            random.ellipsoid((-52, 34, 40), (42, 34, 38), turn=(0, 20, 0), exponent=2.3), cavity
        ),
        "left_kidney": random.ellipsoid((-56, -44, -12), (25, 23, 50), turn=(8, -10, 25)),
        "right_kidney": random.ellipsoid((56, -44, -26), (25, 23, 50), turn=(8, 10, -25)),
        "aorta": Vessel(
            (random.around(-9, 3), random.around(-34, 3)),
            random.around(11.5, 1.5),
            phase=random.around(0, 3),
        ),
    }


def _details(random: _Variation, organs: dict[str, Solid]) -> tuple[tuple[str, Solid, float], ...]:
    pelves = []
    for side, medial in (("left_kidney", 1.0), ("right_kidney", -1.0)):
        kidney = organs[side]
        assert isinstance(kidney, Superellipsoid)
        x, y, z = kidney.centre_mm
        middle = (x + medial * 10, y + 3, z)
        sinus = Superellipsoid(middle, (11, 8, 20), kidney.rotation)
        pelves.append((side, sinus, random.around(60, 10)))
    level = random.around(44, 6)
    lumen = random.ellipsoid((-52, 34, 40), (38, 30, 34))
    gas = Superellipsoid((-52, level + 60, 40), (80, 60, 80), np.eye(3), 8.0)
    return (
        *pelves,
        ("stomach", lumen, random.around(15, 10)),
        ("stomach", Clipped(lumen, gas), -900.0),
    )


def _wall(body_mm: tuple[float, float]) -> tuple[tuple[Solid, float], ...]:
    """Skin, fat and muscle, each drawn over the one before."""
    depths = ((0.0, 20.0), (2.5, -105.0), (16.0, 55.0), (26.0, -95.0))
    return tuple(
        (Column((0.0, 4.0 if depth > 20 else 0.0), (body_mm[0] - depth, body_mm[1] - depth)), hu)
        for depth, hu in depths
    )


def _lungs_and_bowel(random: _Variation, cavity: Solid) -> list[tuple[Solid, float]]:
    """Lungs above and bowel below: things that look like organs and are not."""
    lungs = [random.ellipsoid((side * 74, -8, 128), (58, 66, 40), exponent=2.5) for side in (-1, 1)]
    tissue: list[tuple[Solid, float]] = [(Clipped(lung, cavity), -830.0) for lung in lungs]
    for _ in range(16):
        middle = (random.around(0, 95), random.around(28, 34), random.around(-72, 46))
        loop = random.ellipsoid(
            middle, (19, 17, 21), turn=(random.around(0, 60), 0, random.around(0, 60))
        )
        tissue.append((Clipped(loop, cavity), random.around(48, 28)))
        if random.around(0, 1) > 0.4:
            gas = Superellipsoid(loop.centre_mm, (9, 8, 10), loop.rotation)
            tissue.append((Clipped(gas, cavity), -700.0))
    return tissue


def _skeleton(random: _Variation, body_mm: tuple[float, float]) -> list[tuple[Solid, float]]:
    """Spine with discs, canal and processes, and oblique ribs in the wall."""
    bones: list[tuple[Solid, float]] = []
    for side in (-1.0, 1.0):
        psoas = Superellipsoid((side * 34, -60, -70), (17, 19, 75), np.eye(3))
        bones.append((psoas, 58.0))
    back = -body_mm[1] + 36
    bones.append((Column((0.0, back), (19.0, 16.0)), 90.0))
    start = random.around(0, 17)
    for number in range(-5, 6):
        middle = start + number * 34.0
        bones.append((Superellipsoid((0, back, middle), (22, 18, 13.5), np.eye(3), 5.0), 230.0))
        process = Superellipsoid((0, back - 29, middle - 8), (5, 15, 8), np.eye(3), 2.5)
        bones.append((process, 300.0))
    bones.append((Column((0.0, back - 22), (8.5, 7.0)), 25.0))
    ribs = [_Rib(body_mm, 110.0 - 27 * number + start) for number in range(5)]
    return bones + [(rib, 330.0) for rib in ribs]


@dataclass(frozen=True)
class _Rib:
    """A pair of ribs: a ring in the wall that falls from back to front, open in front."""

    body_mm: tuple[float, float]
    height_mm: float

    def distance_mm(self, points: Points) -> Field:
        """Approximate signed distance of `points` to the surface, mm; negative inside."""
        x, y, z = points
        ring = np.abs(
            Column((0, 0), (self.body_mm[0] - 21, self.body_mm[1] - 21)).distance_mm(points)
        )
        fall = np.abs(z - np.float32(self.height_mm) - y * np.float32(0.45))
        tube = np.hypot(ring, fall * np.float32(0.8)) - np.float32(4.5)
        return np.maximum(tube, (y - np.float32(30)) - np.abs(x) * np.float32(0.35))


def _truth(anatomy: Anatomy, points: Points) -> npt.NDArray[np.uint8]:
    """Label values, shape (I, J, K): what contains the voxel's centre."""
    values = np.zeros(points[0].shape, np.uint8)
    value_of = {label.name: label.value for label in ABDOMEN_LABELS}
    for name in _PAINT_ORDER:
        values[anatomy.organs[name].distance_mm(points) <= 0] = value_of[name]
    return values


def _attenuation(anatomy: Anatomy, points: Points) -> Field:
    """Noise-free CT numbers in HU, shape (I, J, K)."""
    image = np.full(points[0].shape, -1000.0, np.float32)
    for solid, hu in anatomy.surroundings:
        _paint(image, solid.distance_mm(points), hu)
    texture = waves(points, count=6, wavelength_mm=22, amplitude=5, seed=anatomy.texture_seed)
    for name in _PAINT_ORDER:
        solid = anatomy.organs[name]
        distance = solid.distance_mm(points)
        _paint(image, distance, texture + np.float32(anatomy.hu[name]))
        for organ, detail, hu in anatomy.details:
            if organ == name:
                _paint(image, np.maximum(detail.distance_mm(points), distance + 2), hu)
    return image


def _paint(image: Field, distance_mm: Field, hu: float | Field) -> None:
    """Blend `hu` into `image` (in place) where the distance is negative, softly at the edge."""
    share = np.clip(np.float32(0.5) - distance_mm / np.float32(2 * _EDGE_MM), 0, 1)
    image += share * (np.asarray(hu, np.float32) - image)
