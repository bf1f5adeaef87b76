"""An exported texture GAN through ONNX Runtime: crops in, textures of faces out."""

from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from facelift.onnx_models.session import open_session


class OnnxTexture:
    """A file written by `facelift export` of a texture GAN.

    Raises FileNotFoundError, or ValueError for another network.
    """

    def __init__(self, path: Path, *, threads: int = 1):
        self._session = open_session(path, threads=threads)
        metadata = self._session.get_modelmeta().custom_metadata_map
        if metadata.get("task") != "texture":
            raise ValueError(f"{path}: expected an exported texture GAN, found task {metadata.get('task')!r}")
        self.input_size = int(metadata["input_size"])

    def run(self, crops: UInt8[np.ndarray, "n s s 3"]) -> UInt8[np.ndarray, "n t t 3"]:
        """The textures of RGB crops, laid out as those of the mesh that it learned."""
        image = np.ascontiguousarray(crops.transpose(0, 3, 1, 2), dtype=np.float32) / 255
        (texture,) = self._session.run(["texture"], {"image": image})
        return np.rint(255 * texture.transpose(0, 2, 3, 1)).clip(0, 255).astype(np.uint8)
