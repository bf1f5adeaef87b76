"""A process that predicts loads nothing that only training, drawing of figures or a finder need."""

import os
import subprocess
import sys

HEAVY = ("torch", "matplotlib", "mediapipe", "scipy", "onnx", "numba", "tyro", "rich", "jax", "facelift.generators")


def test_predicting_imports_nothing_heavy(weights):
    """Nor do import, loading and a prediction in a given box look for a finder."""
    program = (
        "import sys; import numpy as np; from facelift import Predictor; from facelift.tracking import Tracker\n"
        f"predictor = Predictor({str(weights)!r}, threads=1)\n"
        "assert len(predictor.predict(np.zeros((40, 40), np.uint8), [[5, 5, 30, 30]])) == 1\n"
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
