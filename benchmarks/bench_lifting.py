"""Error of lifted landmarks against the exact ones of unseen heads: masks, losses and rigs, in mm and % of the eyes.

    python benchmarks/bench_lifting.py --out DIR [--detector mediapipe|FILE.onnx] [--faces 50] [--generator procedural]

The same as `facelift lift --report` on seeds from 1,000,000 on, which no training uses. Writes DIR/report.md and .json;
the detections stay in DIR/observations.npz, so that a second run solves them anew in a second.
"""

import argparse
from pathlib import Path

from facelift.lifting.stage import LiftConfig, lifting_report

UNSEEN = 1_000_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--detector", default="mediapipe")
    parser.add_argument("--generator", default="morphable", choices=("morphable", "procedural"))
    parser.add_argument("--assets", type=Path)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--faces", type=int, default=50)
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    path = lifting_report(LiftConfig(**vars(arguments), first_seed=UNSEEN))
    print(path.read_text())
    print(path)


if __name__ == "__main__":
    main()
