"""Meshes as files that viewers open: Wavefront OBJ with its picture, PLY, and glTF in one file (GLB)."""

from facelift.meshes.coloured_mesh import ColouredMesh, y_up
from facelift.meshes.glb import write_glb
from facelift.meshes.obj import write_obj
from facelift.meshes.ply import write_ply

__all__ = ["ColouredMesh", "write_glb", "write_obj", "write_ply", "y_up"]
