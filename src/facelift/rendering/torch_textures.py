"""Pictures of different sizes side by side in the memory of a device, looked up by number."""

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

GAMMA = 2.2
"""Of the bytes: they hold linear values as the eye spaces them, scale * (byte / 255)^GAMMA."""


class Atlas:
    """Textures of equally many channels in one run of memory, which doubles when it is full; equal ones once."""

    def __init__(self, device: torch.device, channels: int):
        self._texels = torch.zeros((0, channels), dtype=torch.uint8, device=device)
        self._places: list[tuple[int, int, int]] = []
        self._scales: list[float] = []
        self._numbers: dict[int, int] = {}
        self._used = 0
        self._linear = (torch.arange(256, device=device) / 255) ** GAMMA
        self._table = torch.zeros((0, 3), dtype=torch.int64, device=device)
        self._scale = torch.zeros(0, device=device)

    def add(self, picture: Float[np.ndarray, "h w c"]) -> int:
        """Keeps linear values of 0 or more, to half a step of a byte; returns the texture's number."""
        key = hash((picture.shape, picture.tobytes()))
        if key not in self._numbers:
            self._numbers[key] = len(self._places)
            self._append(picture)
        return self._numbers[key]

    def _append(self, picture: np.ndarray) -> None:
        scale = max(float(picture.max()), 1e-6)
        coded = np.rint(255 * (np.clip(picture, 0, None) / scale) ** (1 / GAMMA)).astype(np.uint8)
        rows = torch.as_tensor(coded.reshape(-1, picture.shape[2]))
        if self._used + len(rows) > len(self._texels):
            room = self._texels.new_zeros((max(2 * len(self._texels), self._used + len(rows)), rows.shape[1]))
            room[: self._used] = self._texels[: self._used]
            self._texels = room
        self._texels[self._used : self._used + len(rows)] = rows.to(self._texels.device)
        self._places.append((self._used, *picture.shape[:2]))
        self._scales.append(scale)
        self._used += len(rows)
        self._table = torch.tensor(self._places, device=self._texels.device)
        self._scale = torch.tensor(self._scales, device=self._texels.device)

    def nearest(self, index: Int[Tensor, "n"], uv: Float[Tensor, "n 2"]) -> Float[Tensor, "n c"]:
        """The texel at u (right), v (up), both repeating."""
        height, width = self._table[index, 1], self._table[index, 2]
        u, v = (uv - uv.floor()).unbind(-1)
        row = torch.minimum(((1 - v) * height).long(), height - 1)
        column = torch.minimum((u * width).long(), width - 1)
        return self._at(index, row, column)

    def bilinear(self, index: Int[Tensor, "n"], uv: Float[Tensor, "n 2"], wide: Tensor) -> Float[Tensor, "n c"]:
        """u (right) and v (up) repeat; where `wide`, u counts heights of the picture and both clamp."""
        height, width = self._table[index, 1], self._table[index, 2]
        u, v = torch.where(wide[:, None], uv, uv - uv.floor()).unbind(-1)
        x = (u * torch.where(wide, height, width) - 0.5).clamp_min(0).minimum(width - 1.001)
        y = ((1 - v) * height - 0.5).clamp_min(0).minimum(height - 1.001)
        column, row = x.long(), y.long()
        right, down = (x - column)[:, None], (y - row)[:, None]
        top = self._at(index, row, column) * (1 - right) + self._at(index, row, column + 1) * right
        bottom = self._at(index, row + 1, column) * (1 - right) + self._at(index, row + 1, column + 1) * right
        return top * (1 - down) + bottom * down

    def _at(self, index: Tensor, row: Tensor, column: Tensor) -> Tensor:
        place = self._table[index, 0] + row * self._table[index, 2] + column
        return self._linear[self._texels[place].long()] * self._scale[index, None]
