"""3D facial landmarks with uncertainty, visibility and head pose from one ordinary photo."""

__version__ = "0.1.0"
