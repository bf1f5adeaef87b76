"""Peak memory of a process that predicts: a fresh one per row, from its start to the faces of a photo.

    python benchmarks/bench_memory.py [--model FILE.onnx] [--photo examples/astronaut.jpg] [--limit-mb 300]

Prints the peak resident set after importing, after loading and after predicting, in MB (10^6 bytes), and the same of
the whole command `facelift predict`. Ends with 1 where a process exceeds the limit. Linux and macOS.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

from facelift.onnx_models.lifter import DEFAULT

# On Linux ru_maxrss of a new process starts at what the process that started it had.
_PEAK = """
import re, resource, sys
def peak():
    if sys.platform == "darwin":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1]) * 1024 / 1e6
"""
_LIBRARY = """
from facelift import Predictor
imported = peak()
predictor = Predictor({model!r}, finder={finder!r})
predictor.finder
loaded = peak()
faces = predictor.predict({photo!r})
print(imported, loaded, peak(), len(faces))
"""
_COMMAND = """
import contextlib, io
from facelift.cli import main
with contextlib.redirect_stdout(io.StringIO()) as said:
    assert main(["predict", {photo!r}, "--out", {out!r}, "--finder", {finder!r}, "--draw", "--model", {model!r}]) == 0
print("nan", "nan", peak(), said.getvalue().count(": face "))
"""


def measure(program: str) -> tuple[float, float, float, int]:
    """Peak MB after importing, loading, predicting, and the number of faces, of a fresh process."""
    done = subprocess.run([sys.executable, "-c", _PEAK + program], capture_output=True, text=True, check=False)
    if done.returncode:
        raise ValueError(f"expected the process to predict, found exit code {done.returncode}:\n{done.stderr}")
    imported, loaded, predicted, faces = done.stdout.split()
    return float(imported), float(loaded), float(predicted), int(faces)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=DEFAULT, help="a shipped model's name, or an .onnx file")
    parser.add_argument("--photo", type=Path, default=Path(__file__).parents[1] / "examples" / "astronaut.jpg")
    parser.add_argument("--finders", nargs="+", help="names; without it, those that are installed")
    parser.add_argument("--limit-mb", type=float, default=300)
    arguments = parser.parse_args()
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    finders = arguments.finders or ["auto", *["mediapipe"] * bool(find_spec("mediapipe"))]
    print("| process | imported, MB | loaded | after predicting | faces |\n|---|---|---|---|---|")
    worst = 0.0
    with tempfile.TemporaryDirectory() as out:
        for finder in finders:
            values = {"model": arguments.model, "finder": finder, "photo": str(arguments.photo), "out": out}
            for name, program in (("Predictor", _LIBRARY), ("facelift predict --draw", _COMMAND)):
                imported, loaded, peak, faces = measure(program.format(**values))
                worst = max(worst, peak)
                print(f"| {name}, finder {finder} | {imported:.0f} | {loaded:.0f} | {peak:.0f} | {faces} |")
    print(f"\nlargest: {worst:.0f} MB, {'under' if worst < arguments.limit_mb else 'over'} {arguments.limit_mb:.0f} MB")
    return int(worst >= arguments.limit_mb)


if __name__ == "__main__":
    sys.exit(main())
