"""FaRL's file on synthetic copies: the exact 152 names and shapes, what is dropped, what is refused."""

import pytest
import torch

from facelift.checkpoints.farl import load_farl
from facelift.models.vit import VisionTransformer, resize_position_embedding, vit_b16

SMALL = {"image_size": 64, "patch": 16, "width": 32, "layers": 2, "heads": 4}


def farl_shapes(*, width=768, layers=12, patch=16, grid=14, text=512) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the file's visual tower, as published; written out, not taken from our model."""
    shapes = {
        "conv1.weight": (width, 3, patch, patch),
        "class_embedding": (width,),
        "positional_embedding": (grid**2 + 1, width),
        "ln_pre.weight": (width,),
        "ln_pre.bias": (width,),
        "ln_post.weight": (width,),
        "ln_post.bias": (width,),
        "proj": (width, text),
    }
    for i in range(layers):
        block = f"transformer.resblocks.{i}."
        shapes |= {
            block + "attn.in_proj_weight": (3 * width, width),
            block + "attn.in_proj_bias": (3 * width,),
            block + "attn.out_proj.weight": (width, width),
            block + "attn.out_proj.bias": (width,),
            block + "ln_1.weight": (width,),
            block + "ln_1.bias": (width,),
            block + "mlp.c_fc.weight": (4 * width, width),
            block + "mlp.c_fc.bias": (4 * width,),
            block + "mlp.c_proj.weight": (width, 4 * width),
            block + "mlp.c_proj.bias": (width,),
            block + "ln_2.weight": (width,),
            block + "ln_2.bias": (width,),
        }
    return shapes


def write(path, visual: dict[str, torch.Tensor]) -> None:
    """A file with the text tower and the training branch that the real one has, too."""
    others = {
        "positional_embedding": torch.zeros(77, 512),
        "text_projection": torch.zeros(512, 512),
        "logit_scale": torch.zeros(()),
        "token_embedding.weight": torch.zeros(9, 512),
        "transformer.resblocks.0.attn.in_proj_weight": torch.zeros(6, 2),
        "ln_final.weight": torch.zeros(512),
        "visual.mask_token": torch.zeros(1, 1, 768),
        "visual.lm_transformer.resblocks.0.ln_1.weight": torch.zeros(768),
        "visual.ln_lm.weight": torch.zeros(768),
        "visual.lm_head.weight": torch.zeros(8, 768),
    }
    torch.save({"state_dict": others | {f"visual.{name}": value for name, value in visual.items()}}, path)


def small_visual(seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes = farl_shapes(width=32, layers=2, grid=4, text=8)
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}


@pytest.mark.slow
def test_the_published_names_and_shapes_fill_vit_b16(tmp_path):
    """Each tensor is one number repeated (stored once), so that the file of 345 MB stays small."""
    shapes = farl_shapes()
    assert len(shapes) == 152
    visual = {name: torch.tensor(float(i)).expand(shape) for i, (name, shape) in enumerate(shapes.items())}
    write(tmp_path / "FaRL-Base-Patch16-LAIONFace20M-ep64.pth", visual)
    encoder = vit_b16()
    load_farl(encoder, tmp_path / "FaRL-Base-Patch16-LAIONFace20M-ep64.pth")
    state = encoder.state_dict()
    assert set(state) == set(shapes) - {"proj"}
    assert all((tensor == visual[name]).all() for name, tensor in state.items())
    assert (encoder.width, encoder.image_size) == (768, 224)


def test_projection_is_kept_where_the_encoder_has_one(tmp_path):
    visual = small_visual()
    write(tmp_path / "farl.pth", visual)
    encoder = VisionTransformer(**SMALL, projection=8)
    load_farl(encoder, tmp_path / "farl.pth")
    assert torch.equal(encoder.proj, visual["proj"]) and encoder.width == 8
    assert encoder(torch.rand(1, 3, 64, 64)).shape == (1, 16, 8)


def test_half_precision_files_are_read_as_float32(tmp_path):
    write(tmp_path / "half.pth", {name: tensor.half() for name, tensor in small_visual().items()})
    encoder = VisionTransformer(**SMALL)
    load_farl(encoder, tmp_path / "half.pth")
    assert encoder.conv1.weight.dtype == torch.float32
    assert torch.equal(encoder.conv1.weight, small_visual()["conv1.weight"].half().float())


def test_another_input_size_interpolates_positions_and_nothing_else(tmp_path):
    visual = small_visual()
    write(tmp_path / "farl.pth", visual)
    encoder = VisionTransformer(**SMALL | {"image_size": 96})
    load_farl(encoder, tmp_path / "farl.pth")
    assert torch.equal(encoder.positional_embedding, resize_position_embedding(visual["positional_embedding"], 6))
    assert torch.equal(encoder.conv1.weight, visual["conv1.weight"])
    assert encoder(torch.rand(2, 3, 96, 96)).shape == (2, 36, 32)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v.pop("ln_post.bias"), "missing: ln_post.bias; unknown: none"),
        (lambda v: v.update(surprise=torch.zeros(1)), "unknown: surprise"),
        (
            lambda v: v.update({"conv1.weight": torch.zeros(32, 3, 32, 32)}),
            r"16, 16\), found \(32, 3, 32, 32",
        ),
        (lambda v: v.update(positional_embedding=torch.zeros(7, 32)), r"\(17, 32\), found \(7, 32\)"),
        (lambda v: v.clear(), "missing: class_embedding, conv1.weight, ln_post.bias and 28 more"),
    ],
)
def test_other_contents_are_refused(tmp_path, change, message):
    visual = small_visual()
    change(visual)
    write(tmp_path / "wrong.pth", visual)
    with pytest.raises(ValueError, match=rf"wrong\.pth: expected .*{message}"):
        load_farl(VisionTransformer(**SMALL), tmp_path / "wrong.pth")


def test_a_file_without_state_dict_is_refused(tmp_path):
    torch.save({"model": {}}, tmp_path / "wrong.pth")
    with pytest.raises(ValueError, match=r"wrong\.pth: expected a dictionary with 'state_dict'"):
        load_farl(VisionTransformer(**SMALL), tmp_path / "wrong.pth")
