"""The vision transformer: equal to the CLIP vision model of `transformers`; positions interpolate well."""

import os

import pytest
import torch

from facelift.models.vit import MEAN, STD, VisionTransformer, resize_position_embedding

SMALL = {"image_size": 48, "patch": 16, "width": 48, "layers": 3, "heads": 4}


def renamed(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Our (OpenAI's) names -> those of `transformers`; the stacked projection is cut in three."""
    names = {
        "conv1.weight": "embeddings.patch_embedding.weight",
        "class_embedding": "embeddings.class_embedding",
        "positional_embedding": "embeddings.position_embedding.weight",
        "ln_pre": "pre_layrnorm",
        "ln_post": "post_layernorm",
        "transformer.resblocks.": "encoder.layers.",
        ".attn.out_proj": ".self_attn.out_proj",
        ".ln_1": ".layer_norm1",
        ".ln_2": ".layer_norm2",
        ".mlp.c_fc": ".mlp.fc1",
        ".mlp.c_proj": ".mlp.fc2",
    }
    out = {}
    for name, tensor in state.items():
        for ours, theirs in names.items():
            name = name.replace(ours, theirs)
        if ".attn.in_proj_" in name:
            stem, _, kind = name.partition(".attn.in_proj_")
            for part, piece in zip("qkv", tensor.chunk(3), strict=True):
                out[f"{stem}.self_attn.{part}_proj.{kind}"] = piece
        else:
            out[name] = tensor
    return out


@pytest.fixture
def encoder() -> VisionTransformer:
    """Random everywhere, norms and biases too, so that no term hides behind 0 or 1."""
    torch.manual_seed(0)
    encoder = VisionTransformer(**SMALL).eval()
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return encoder


def test_tokens_equal_those_of_transformers_clip(encoder, monkeypatch):
    monkeypatch.setitem(os.environ, "HF_HUB_OFFLINE", "1")
    transformers = pytest.importorskip("transformers")
    config = transformers.CLIPVisionConfig(
        hidden_size=48,
        intermediate_size=192,
        num_hidden_layers=3,
        num_attention_heads=4,
        image_size=48,
        patch_size=16,
        hidden_act="quick_gelu",
        layer_norm_eps=1e-5,
    )
    reference = transformers.CLIPVisionModel(config).eval()
    theirs = reference.state_dict()
    prefix = "vision_model." if any(name.startswith("vision_model.") for name in theirs) else ""
    state = {prefix + name: tensor for name, tensor in renamed(encoder.state_dict()).items()}
    result = reference.load_state_dict(state, strict=False)
    assert not result.unexpected_keys and all("position_ids" in name for name in result.missing_keys)
    image = torch.rand(2, 3, 48, 48)
    pixels = (image - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    with torch.no_grad():
        expected = reference(pixel_values=pixels)
        raw, tokens = encoder.all_tokens(image), encoder(image)
        post_layernorm = reference.get_submodule(prefix + "post_layernorm")
        torch.testing.assert_close(raw, expected.last_hidden_state, atol=1e-5, rtol=0)
        torch.testing.assert_close(encoder.ln_post(raw[:, 0]), expected.pooler_output, atol=1e-5, rtol=0)
        torch.testing.assert_close(tokens, post_layernorm(expected.last_hidden_state)[:, 1:], atol=1e-5, rtol=0)
    assert expected.last_hidden_state.std() > 0.1  # a parity of zeros would prove nothing


def test_tokens_run_row_by_row_over_the_patches(encoder):
    """Changed pixels of the patch in row 0, column 2 move token 2 the most."""
    image = torch.rand(1, 3, 48, 48)
    changed = image.clone()
    changed[:, :, :16, 32:] = 1 - changed[:, :, :16, 32:]
    with torch.no_grad():
        difference = (encoder(changed) - encoder(image)).norm(dim=-1)[0]
    assert int(difference.argmax()) == 2 and len(difference) == 9


def test_input_is_normalised_inside(encoder):
    """An image of the mean colour is zero to the patch embedding: only classes and positions remain."""
    mean = encoder.mean.expand(1, 3, 48, 48)
    with torch.no_grad():
        embedded = torch.cat([encoder.class_embedding[None], torch.zeros(9, 48)]) + encoder.positional_embedding
        expected = encoder.transformer(encoder.ln_pre(embedded[None]))
        torch.testing.assert_close(encoder.all_tokens(mean), expected)
    assert "mean" not in encoder.state_dict()


def test_gradient_reaches_every_parameter_that_shapes_the_tokens(encoder):
    encoder(torch.rand(1, 3, 48, 48)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in encoder.parameters())


def test_image_size_that_patches_do_not_fill_is_refused():
    with pytest.raises(ValueError, match="multiple of the patch 16, found 100"):
        VisionTransformer(**SMALL | {"image_size": 100})


def planted(grid: int) -> torch.Tensor:
    """A class row, then for each patch its column and row position in [0, 1] and a constant."""
    centres = (torch.arange(grid, dtype=torch.float64) + 0.5) / grid
    rows, columns = torch.meshgrid(centres, centres, indexing="ij")
    positions = torch.stack([columns, rows, torch.full_like(rows, 7)], -1).flatten(0, 1)
    return torch.cat([torch.tensor([[1.0, 2.0, 3.0]], dtype=torch.float64), positions])


@pytest.mark.parametrize("target", [7, 14, 28])
def test_positions_keep_their_place_in_the_image(target):
    """A linear ramp stays that ramp away from the border; the class row does not move."""
    resized, expected = resize_position_embedding(planted(14), target), planted(target)
    assert torch.equal(resized[0], expected[0])
    torch.testing.assert_close(resized[:, 2], expected[:, 2])
    inner = slice((target + 2) // 4, -((target + 2) // 4))
    ours = resized[1:, :2].unflatten(0, (target, target))[inner, inner]
    theirs = expected[1:, :2].unflatten(0, (target, target))[inner, inner]
    torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=0)


def test_positions_of_the_same_grid_are_untouched_and_others_than_squares_refused():
    embedding = planted(5)
    assert torch.equal(resize_position_embedding(embedding, 5), embedding)
    with pytest.raises(ValueError, match=r"1 \+ n\^2 rows, found 25"):
        resize_position_embedding(embedding[:-1], 4)
