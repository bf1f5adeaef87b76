"""Stages for the tests."""

import os
import signal
import time
from functools import partial
from pathlib import Path

from facelift.scale.stages import Stage

WORK_S = 0.02


def load_double(loads: Path | None):
    if loads:
        (loads / f"{os.getpid()}-{time.monotonic_ns()}").touch()

    def double(number, clock):
        if number == 13:
            raise ValueError("thirteen: expected another number")
        time.sleep(WORK_S)
        return 2 * number

    return double


def load_text():
    def text(number, clock):
        with clock.time("ink"):
            time.sleep(WORK_S / 4)
        return f"<{number}>"

    return text


def load_fatal(folder: Path, always: bool):
    """Kills its own process at item 3, the first time or each."""

    def fatal(number, clock):
        mark = folder / "died"
        if number == 3 and (always or not mark.exists()):
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return number

    return fatal


def load_nothing():
    raise FileNotFoundError("weights.onnx: expected weights, found nothing")


def double(loads=None):
    return Stage("double", partial(load_double, loads))


TEXT = Stage("text", load_text)
