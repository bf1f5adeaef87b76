"""FaRL's checkpoint, `FaRL-Base-Patch16-LAIONFace20M-ep64.pth` (Zheng et al. 2022), as encoder."""

from pathlib import Path

from facelift.checkpoints.safe_load import fill, read_state
from facelift.models.vit import VisionTransformer, resize_position_embedding

_VISUAL = "visual."
_TRAINING_ONLY = ("mask_token", "lm_transformer.", "ln_lm.", "lm_head.")
"""The branch of FaRL's masked image modelling, under `visual.`."""


def load_farl(encoder: VisionTransformer, path: Path | str) -> None:
    """Copies the image tower of a FaRL file into `encoder`; text tower and training branch are dropped.

    The position embedding is interpolated where `encoder.image_size` is not that of the file. The file's map
    into the text space is used if the encoder was built with a `projection`. Raises FileNotFoundError, or
    ValueError naming file, expected and found.
    """
    state = {
        name.removeprefix(_VISUAL): tensor
        for name, tensor in read_state(path, inside="state_dict").items()
        if name.startswith(_VISUAL)
    }
    state = {name: tensor for name, tensor in state.items() if not name.startswith(_TRAINING_ONLY)}
    if encoder.proj is None:
        state.pop("proj", None)
    position = state.get("positional_embedding")
    if position is not None and position.ndim == 2 and (len(position) - 1) ** 0.5 % 1 == 0:
        state["positional_embedding"] = resize_position_embedding(position.float(), encoder.grid)
    fill(encoder, state, path=path)
