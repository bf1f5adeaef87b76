"""The texture GAN: shapes, what a fresh one returns, where gradients go, and that it can learn."""

import pytest
import torch

from facelift.losses.least_squares_gan import critic_loss, generator_loss
from facelift.losses.seen_texels import seen_texels_loss
from facelift.models.uv_gan import TextureCritic, TextureGenerator


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize(("picture", "side"), [((120, 120), 128), ((32, 48), 64), ((224, 224), 96)])
def test_shapes(picture, side):
    texture = TextureGenerator()(torch.rand(2, 3, *picture), torch.rand(2, 3, side, side))
    assert texture.shape == (2, 3, side, side)
    assert TextureCritic()(texture).shape == (2, 1, side // 8 - 1, side // 8 - 1)


def test_sizes():
    count = lambda module: sum(p.numel() for p in module.parameters()) / 1e6  # noqa: E731
    assert 1.7 < count(TextureGenerator()) < 1.8 and count(TextureCritic()) < 0.2


def test_a_fresh_generator_returns_the_template():
    template = torch.rand(2, 3, 64, 64)
    texture = TextureGenerator()(torch.rand(2, 3, 64, 64), template)
    assert 0 < (texture - template).abs().max() < 0.05


def test_faces_of_a_batch_do_not_mix():
    generator, critic = TextureGenerator(), TextureCritic()
    image, template = torch.rand(3, 3, 64, 64), torch.rand(3, 3, 64, 64)
    together = generator(image, template)
    torch.testing.assert_close(together[1:2], generator(image[1:2], template[1:2]))
    torch.testing.assert_close(critic(together)[1:2], critic(together[1:2]))


def test_a_patch_s_score_looks_at_46_texels():
    critic = TextureCritic()
    texture = torch.rand(1, 3, 128, 128, requires_grad=True)
    critic(texture)[0, 0, 7, 7].backward()
    rows = texture.grad[0].abs().sum(0).sum(1).nonzero()[:, 0]
    assert rows.max() - rows.min() + 1 == 46


def test_the_picture_reaches_every_texel():
    generator = TextureGenerator()
    for layer in generator.residuals:
        torch.nn.init.normal_(layer.weight)
    image, template = torch.rand(1, 3, 64, 64), torch.rand(1, 3, 64, 64)
    other = image.clone()
    other[:, :, 40:44, 20:24] = 0
    assert (generator(image, template) != generator(other, template)).any(1).all()


def test_gradients_of_both_sides_reach_all_their_parameters_and_only_these():
    generator, critic = TextureGenerator(), TextureCritic()
    image, template, real = torch.rand(2, 3, 64, 64), torch.rand(2, 3, 64, 64), torch.rand(2, 3, 64, 64)
    texture = generator(image, template)
    critic_loss(critic(real), critic(texture.detach())).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in critic.parameters())
    assert all(p.grad is None for p in generator.parameters())
    seen = torch.rand(2, 64, 64) < 0.5
    (generator_loss(critic(texture)) + seen_texels_loss(texture, real, seen)).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in generator.parameters())


@pytest.mark.slow
def test_it_learns_to_paint_a_texture_in_the_colour_of_the_picture():
    """Eight faces of one colour each, on one template: the texture's colour is that of the picture."""
    colours = torch.rand(8, 3, 1, 1)
    image, template = colours.expand(8, 3, 32, 32) * 1.0, torch.full((8, 3, 32, 32), 0.5)
    generator, seen = TextureGenerator(), torch.ones(8, 32, 32, dtype=torch.bool)
    optimizer = torch.optim.Adam(generator.parameters(), 1e-3)
    for _ in range(60):
        optimizer.zero_grad()
        loss = seen_texels_loss(generator(image, template), colours.expand(8, 3, 32, 32), seen)
        loss.backward()
        optimizer.step()
    assert loss < 0.3 * (colours - 0.5).abs().mean()
