"""MediaPipe's graphs of faces, started without the noise that its native code writes to stderr.

Package mediapipe 0.10.21, the last that carries its models. It is imported here alone, and only when a graph is built.
"""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

_FACE_MESH = "mediapipe/modules/face_landmark/face_landmark_front_cpu.binarypb"
_SHORT_RANGE = "facedetectionshortrangecpu__facedetectionshortrange__facedetection__TensorsToDetectionsCalculator"


def face_detection(*, full_range: bool) -> Any:
    """BlazeFace; `process(image).detections` of score 0.5 on (full range 0.6): its own option for that does nothing.

    Raises ImportError if MediaPipe does not import.
    """
    with _native_stderr_held_back():
        try:
            from mediapipe.python.solutions.face_detection import FaceDetection
        except ImportError as error:
            raise _missing(error) from error
        graph = FaceDetection(model_selection=int(full_range))
        return _started(graph)


def face_mesh(*, min_score: float, max_faces: int = 4) -> Any:
    """The attention mesh for single pictures; `process(image)` gives `multi_face_landmarks` and `face_detections`.

    `mediapipe.solutions.face_mesh.FaceMesh` is this graph without the detections' scores. Raises ImportError if
    MediaPipe does not import.
    """
    with _native_stderr_held_back():
        try:
            from mediapipe.python.solution_base import SolutionBase
            from mediapipe.python.solutions import face_mesh as _  # noqa: F401 (registers the calculators)
        except ImportError as error:
            raise _missing(error) from error
        graph = SolutionBase(
            binary_graph_path=_FACE_MESH,
            side_inputs={"num_faces": max_faces, "with_attention": True, "use_prev_landmarks": False},
            calculator_params={f"{_SHORT_RANGE}.min_score_thresh": min_score},
            outputs=["multi_face_landmarks", "face_detections"],
        )
        return _started(graph)


def _started(graph: Any) -> Any:
    """The graph after a first picture: its models are loaded, and have said what they say when they are."""
    graph.process(np.zeros((32, 32, 3), np.uint8))
    return graph


def _missing(error: ImportError) -> ImportError:
    return ImportError(f"MediaPipe does not import (docs/install.md tells how to install it): {error}", name=error.name)


@contextmanager
def _native_stderr_held_back() -> Iterator[None]:
    """Holds back what is written to the process's stderr in the block; after an error it is shown."""
    sys.stderr.flush()
    try:
        stderr = os.dup(2)
    except OSError:  # there is no stderr
        yield
        return
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            held.seek(0)
            os.write(stderr, held.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
