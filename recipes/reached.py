"""Fails unless the last evaluation of a training reached its bounds: reached.py RUN metric=bound ...

Prints every metric with its bound. Exit code 1 where one is above its bound, not finite or not in RUN/metrics.csv.
"""

import csv
import math
import sys
from pathlib import Path


def failures(run: Path, bounds: dict[str, float]) -> list[str]:
    """What was expected and found, of each metric that is not within its bound. Raises FileNotFoundError."""
    with (run / "metrics.csv").open(newline="") as file:
        last = list(csv.DictReader(file))[-1]
    failed = []
    for name, bound in bounds.items():
        value = float(last.get(name) or "nan")
        print(f"{run.name}, step {last['step']}: {name} {value:.3f}, bound {bound:g}")
        if not value <= bound or math.isinf(value):
            failed.append(f"{run / 'metrics.csv'}: expected {name} of at most {bound:g}, found {value:g}")
    return failed


if __name__ == "__main__":
    given = (word.split("=") for word in sys.argv[2:])
    sys.exit("\n".join(failures(Path(sys.argv[1]), {name: float(bound) for name, bound in given})) or 0)
