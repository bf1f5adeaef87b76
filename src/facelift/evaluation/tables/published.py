"""Numbers of others, printed beside measured ones and marked as such. Percent and degrees as in the papers.

Published ones, and those of peers that were measured earlier, whose source says so: no run makes them again.
"""

from collections.abc import Sequence
from dataclasses import replace

from facelift.evaluation.tables.table import Row

FACELIFT = "Ferman et al., CVPR 2024"
SYNERGY = "Wu et al., 3DV 2021"
EARLIER = "measured earlier, not reproduced here"
REGIONS = ("full", "contours", "brows", "nose", "eyes", "mouth")
YAW = ("yaw 0-30", "yaw 30-60", "yaw 60+", "mean of bins")


def _rows(source: str, columns: Sequence[str], table: str) -> tuple[Row, ...]:
    """Lines "system: numbers" as rows; a number without a point is a count."""
    rows = []
    for line in table.strip().splitlines():
        system, numbers = line.rsplit(":", 1)
        cells = [float(number) if "." in number else int(number) for number in numbers.split()]
        values = dict(zip(columns, cells, strict=True))
        rows.append(Row(system.strip(), values, source=source))
    return tuple(rows)


NMLC_DAD3DHEADS = _rows(
    FACELIFT,
    (
        *REGIONS,
        *("pose front", "pose sided", "pose atypical", "expression true", "expression false"),
        *("occlusions true", "occlusions false"),
    ),
    """
    SynergyNet: 2.81 4.17 2.87 1.96 2.19 2.39 2.59 2.91 3.27 2.52 2.99 3.65 2.68
    3DDFA: 3.45 4.79 3.51 2.76 2.78 2.99 3.21 3.48 4.33 2.98 3.73 4.62 3.26
    3DDFA+: 3.21 4.50 3.26 2.60 2.56 2.75 2.98 3.26 3.95 2.86 3.42 4.06 3.07
    3DDFA_V2: 2.45 3.76 2.37 1.77 1.92 2.01 2.33 2.49 2.77 2.22 2.59 2.81 2.39
    DAD-3DNet (trained on test samples): 2.08 2.91 2.27 1.54 1.68 1.77 1.87 2.19 2.45 1.95 2.17 2.21 2.06
    DAD-3DNet+ (trained on test samples): 2.06 2.86 2.26 1.54 1.68 1.75 1.87 2.16 2.37 1.93 2.14 2.19 2.04
    FAN3D: 2.46 4.24 2.34 1.58 1.77 1.82 2.35 2.52 2.64 2.26 2.58 2.77 2.41
    FaceLift: 1.91 3.13 2.02 1.28 1.33 1.45 1.76 2.00 2.07 1.77 1.99 2.07 1.88
    FaceLift ResNet-50: 2.23 3.71 2.23 1.59 1.51 1.71 2.05 2.36 2.38 2.05 2.35 2.68 2.16
    FaceLift ResNet-152: 2.06 3.46 2.11 1.36 1.45 1.53 1.89 2.17 2.18 1.88 2.17 2.51 1.99
    FaceLift, multi-frame only: 2.06 3.62 2.10 1.31 1.40 1.45 1.76 2.26 2.26 1.88 2.17 2.17 2.04
    FaceLift, multi-view only: 2.33 3.46 2.31 1.70 1.83 1.95 2.14 2.43 2.56 2.13 2.44 2.85 2.24
    FaceLift, 100 samples: 2.12 3.27 2.21 1.47 1.59 1.71 1.96 2.22 2.26 1.96 2.22 2.50 2.06
    FaceLift, 1k samples: 2.00 3.17 2.09 1.40 1.47 1.57 1.85 2.09 2.13 1.86 2.09 2.24 1.96
    """,
)
NMLC_DAD3DHEADS_MORE = _rows(
    FACELIFT,
    (
        *("quality hq", "quality lq", "standard light true", "standard light false"),
        *("gender female", "gender male", "gender undefined"),
        *("age child", "age young", "age middle_aged", "age senior"),
    ),
    """
    SynergyNet: 2.27 3.70 2.55 3.29 2.35 2.78 6.15 2.44 2.74 2.95 2.67
    3DDFA_V2: 2.13 2.97 2.33 2.67 2.17 2.51 3.77 2.23 2.45 2.49 2.43
    DAD-3DNet: 1.84 2.48 1.99 2.26 1.87 2.15 2.88 1.83 2.05 2.16 1.96
    FAN3D: 1.99 3.22 2.21 2.91 2.08 2.51 4.46 2.02 2.32 2.67 2.36
    FaceLift: 1.68 2.28 1.81 2.07 1.72 1.95 2.72 1.70 1.90 1.95 1.85
    """,
)
NMLC_MULTIFACE = _rows(
    FACELIFT,
    REGIONS,
    """
    SynergyNet: 3.59 4.59 3.16 3.05 2.66 3.74
    3DDFA: 5.06 7.31 4.29 4.36 3.70 4.66
    3DDFA_V2: 3.25 4.46 2.63 2.57 2.34 3.39
    DAD-3DNet: 3.30 4.33 3.21 2.80 2.54 3.16
    FAN3D: 3.13 5.04 2.58 2.14 2.18 2.80
    FaceLift: 2.52 3.49 2.27 2.11 1.57 2.56
    FaceLift ResNet-50: 2.87 4.13 2.61 1.79 2.13 2.86
    FaceLift ResNet-152: 2.62 3.75 2.38 2.14 1.60 2.60
    FaceLift, multi-frame only: 3.51 6.21 2.94 2.44 2.24 2.75
    FaceLift, multi-view only: 2.98 3.70 2.81 2.46 2.07 3.22
    FaceLift, 100 samples: 2.84 3.82 2.49 1.84 2.37 3.00
    FaceLift, 1k samples: 2.73 3.69 2.49 2.31 1.72 2.84
    """,
) + _rows(
    FACELIFT,
    REGIONS[:1],
    """
    FaceLift, L1 loss: 2.82
    FaceLift, MSE loss: 3.01
    """,
)
NME_AFLW2000_ORIGINAL = _rows(
    SYNERGY,
    YAW,
    """
    M3-LRN baseline: 2.99 3.80 4.86 3.88
    M3-LRN + M2FA: 2.68 3.32 4.35 3.49
    M3-LRN + LGS: 2.69 3.57 4.69 3.65
    M3-LRN: 2.66 3.30 4.27 3.41
    3DDFA_V2: 2.63 3.42 4.48 3.51
    """,
) + _rows(
    SYNERGY,
    YAW[-1:],
    """
    2DASL: 3.55
    PRNet: 3.62
    3D-FAN: 3.76
    3DDFA: 4.94
    """,
)
NME_AFLW2000_REANNOTATED = _rows(
    SYNERGY,
    YAW,
    """
    M3-LRN baseline: 2.34 2.99 4.27 3.20
    M3-LRN + M2FA: 2.24 2.67 3.76 2.89
    M3-LRN + LGS: 2.23 2.69 3.90 2.94
    M3-LRN: 2.16 2.61 3.66 2.81
    """,
) + _rows(
    FACELIFT,
    ("all",),
    """
    FAN3D: 2.85
    SynergyNet: 2.65
    3DDFA_V2: 3.33
    DAD-3DNet: 5.10
    FaceLift: 3.51
    """,
)
POSE_AFLW2000 = _rows(
    SYNERGY,
    ("yaw", "pitch", "roll", "mean"),
    """
    M3-LRN: 3.42 4.09 2.55 3.35
    3DDFA_V2: 4.06 5.26 3.48 4.27
    """,
) + _rows(
    SYNERGY,
    ("mean",),
    """
    FSA-Net: 5.07
    HopeNet: 6.16
    """,
)
POSE_BIWI = _rows(
    SYNERGY,
    ("yaw", "pitch", "roll", "mean"),
    """
    M3-LRN: 3.99 4.78 2.93 3.90
    """,
)
NME_AFLW21 = _rows(
    SYNERGY,
    YAW,
    """
    M3-LRN: 3.76 3.92 4.48 4.06
    """,
) + _rows(
    SYNERGY,
    YAW[-1:],
    """
    3DDFA_V2: 4.43
    M3-LRN, MobileNet: 4.20
    M3-LRN, ResNet-50: 4.06
    M3-LRN, ResNeSt-50: 4.07
    M3-LRN, ResNet-101: 4.38
    M3-LRN, ResNeSt-101: 4.15
    """,
)
EARLIER_AFLW2000_ORIGINAL = _rows(
    EARLIER,
    YAW[-1:],
    """
    3DDFA_V2 mb05: 3.81
    OpenSeeFace: 5.28
    PFLD-GhostOne 98: 7.53
    dlib: 20.9
    """,
) + _rows(EARLIER, (*YAW[-1:], "not found"), "MediaPipe face mesh: 7.80 144")
EARLIER_AFLW2000_REANNOTATED = _rows(
    EARLIER,
    YAW[-1:],
    """
    3DDFA_V2 mb05: 3.00
    OpenSeeFace: 4.51
    PFLD-GhostOne 98: 7.37
    dlib: 20.8
    """,
) + _rows(EARLIER, (*YAW[-1:], "not found"), "MediaPipe face mesh: 7.73 144")
EARLIER_MERL_TEST = _rows(
    EARLIER,
    (*YAW[:-1], "all"),
    """
    PFLD-GhostOne 98: 3.21 3.91 5.64 3.78
    3DDFA_V2 mb05: 3.83 4.94 4.55 4.21
    OpenSeeFace: 3.75 5.08 5.48 4.35
    MobileFaceNet: 4.02 4.91 6.93 4.72
    """,
) + _rows(EARLIER, (*YAW[:-1], "all", "not found"), "MediaPipe face mesh: 3.57 4.90 8.25 4.47 137")
EARLIER_POSE_AFLW2000 = _rows(
    EARLIER,
    ("mean",),
    """
    3DDFA_V2 mb05: 3.91
    MediaPipe face mesh: 3.93
    FSA-Net: 4.61
    OpenSeeFace: 6.02
    """,
)
FLORENCE = _rows(SYNERGY, ("RMSE",), "M3-LRN: 1.87")

_NME = {
    "aflw2000": NME_AFLW2000_REANNOTATED + EARLIER_AFLW2000_REANNOTATED,
    "aflw2000_original": NME_AFLW2000_ORIGINAL + EARLIER_AFLW2000_ORIGINAL,
    "aflw": NME_AFLW21,
    "merl_test": EARLIER_MERL_TEST,
}
_POSE = {
    **dict.fromkeys(("aflw2000", "aflw2000_original"), POSE_AFLW2000 + EARLIER_POSE_AFLW2000),
    "biwi": POSE_BIWI,
}
_NMLC = {"dad3dheads_val": NMLC_DAD3DHEADS + NMLC_DAD3DHEADS_MORE, "multiface": NMLC_MULTIFACE}
_SAMPLES = {"aflw2000_sample": "aflw2000", "aflw2000_sample_original": "aflw2000_original"}
"""Samples, and the full set that their published rows are on."""


def nme_rows(benchmark: str) -> tuple[Row, ...]:
    """Published NME of a benchmark; those of the full set, which their source says, for a sample."""
    return _of(_NME, benchmark)


def pose_rows(benchmark: str) -> tuple[Row, ...]:
    """Published pose errors, as `nme_rows`."""
    return _of(_POSE, benchmark)


def nmlc_rows(benchmark: str, category: str | None = None) -> tuple[Row, ...]:
    """Published NMLC of a benchmark by region, or by the values of a category (`dad3dheads.ATTRIBUTES`)."""
    prefix = "" if category is None else f"{category} "
    rows = []
    for row in _NMLC.get(benchmark, ()):
        cells = {
            name.removeprefix(prefix): value
            for name, value in row.cells.items()
            if (name in REGIONS if category is None else name.startswith(prefix))
        }
        if cells:
            rows.append(replace(row, cells=cells))
    return tuple(rows)


def _of(tables: dict[str, tuple[Row, ...]], benchmark: str) -> tuple[Row, ...]:
    rows = tables.get(_SAMPLES.get(benchmark, benchmark), ())
    if benchmark in _SAMPLES:
        return tuple(replace(row, source=f"{row.source}, on the full set") for row in rows)
    return rows
