"""What the small networks take from the given picture itself."""

import dataclasses

import pytest
import torch
from lift123.pipelines.core.errors import InputError
from lift123.pipelines.loaders import embedded
from lift123.pipelines.loaders import embedded_characters as small
from lift123.pipelines.networks.stdgen.codec import PixelCodec
from lift123.pipelines.networks.stdgen.copying import PictureCopy, RowCopy, look_up

SHRINK, CHANNELS = 2, 12
HEIGHT, WIDTH = 8, 6
CODEC = PixelCodec(SHRINK)


def numbers(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def pictures(count, seed=0):
    return torch.rand(count, HEIGHT, WIDTH, 3, generator=torch.Generator().manual_seed(seed))


def clean(v, noisy, alpha):
    """Pictures that a v means."""
    return CODEC.decode(alpha**0.5 * noisy - (1 - alpha) ** 0.5 * v)


def test_looking_up_is_a_softmax_of_likeness_and_nearness():
    query, key, value = numbers(2, 5, 4), numbers(2, 7, 4, seed=1), numbers(2, 7, 3, seed=2)
    place, there, sharpness = 2 * numbers(2, 5, 2, seed=3), 2 * numbers(1, 7, 2, seed=4), torch.rand(2, 5, 1) + 0.2
    found = look_up(query, place, key, there, value, sharpness)
    score = query @ key.transpose(1, 2) - sharpness * torch.cdist(place, there.expand(2, -1, -1)).square() / 2
    assert torch.allclose(found, score.softmax(-1) @ value, atol=1e-5)


def row_copy(sharp, share):
    """RowCopy, and an answer of nothing but these shares."""
    copy = RowCopy(CHANNELS, SHRINK, 6, small.SCHEDULE, dims=4)
    with torch.no_grad():
        copy.sharpness.fill_(sharp)
    answer = numbers(24, CHANNELS + copy.extra, HEIGHT // SHRINK, WIDTH // SHRINK, seed=5)
    answer[:, CHANNELS:] = 0
    answer[:, CHANNELS : CHANNELS + SHRINK**2] = share
    return copy, answer


@pytest.mark.parametrize("t", [999, 499])
@torch.no_grad()
def test_each_view_can_take_the_front_as_it_is_and_the_back_its_mirror_image(t):
    copy, answer = row_copy(6.0, 50.0)
    fronts = pictures(2)
    x = torch.cat([numbers(24, CHANNELS, HEIGHT // SHRINK, WIDTH // SHRINK, seed=6),
                   CODEC.encode(fronts)[None, :, None].expand(2, -1, 6, -1, -1, -1).flatten(0, 2)], 1)
    v = copy(answer, x, torch.full((24,), t))
    assert torch.equal(v, copy(answer, x, t))
    assert torch.equal(v[:12], answer[:12, :CHANNELS]), "normals are the network's own"
    colors = clean(v[12:], x[12:, :CHANNELS], copy.alphas[t]).unflatten(0, (2, 6))
    for view in range(6):
        wanted = fronts.flip(2) if view == 3 else fronts
        assert torch.allclose(colors[:, view], wanted, atol=1e-3), view


@torch.no_grad()
def test_without_a_share_the_answer_is_the_networks():
    copy, answer = row_copy(0.0, -100.0)
    x = numbers(24, 2 * CHANNELS, HEIGHT // SHRINK, WIDTH // SHRINK, seed=6)
    assert torch.allclose(copy(answer, x, 999), answer[:, :CHANNELS], atol=1e-6)


@torch.no_grad()
def test_a_row_is_searched_for_what_is_alike():
    """A query finds its key anywhere in its row, and nowhere else."""
    copy = RowCopy(CHANNELS, SHRINK, 6, small.SCHEDULE, dims=4)
    copy.sharpness.fill_(-20.0)
    key, none = torch.zeros(1, 4, HEIGHT, WIDTH), torch.zeros(1, 6, HEIGHT, WIDTH)
    key[0, 0, :, 1], key[0, 1, :, 4] = 30.0, 30.0
    query = torch.zeros(1, 6, 4, HEIGHT, WIDTH)
    query[:, :, 0, :4], query[:, :, 1, 4:] = 1.0, 1.0
    front = pictures(1).permute(0, 3, 1, 2)
    found = copy.rows(query, none, none, key, front)
    for view in range(6):
        assert torch.allclose(found[0, view, :, :4], front[0, :, :4, 1:2].expand(-1, -1, WIDTH), atol=1e-4)
        assert torch.allclose(found[0, view, :, 4:], front[0, :, 4:, 4:5].expand(-1, -1, WIDTH), atol=1e-4)


@torch.no_grad()
def test_a_row_is_shifted_by_the_answered_offset_and_blurred_where_it_is_not_sharp():
    copy = RowCopy(CHANNELS, SHRINK, 6, small.SCHEDULE, dims=4)
    copy.sharpness.fill_(-20.0)
    front, blank = pictures(1).permute(0, 3, 1, 2), torch.zeros(1, 6, 4, HEIGHT, WIDTH)
    offset, sharp = torch.ones(1, 6, HEIGHT, WIDTH), torch.full((1, 6, HEIGHT, WIDTH), 25.0)
    sharp[:, :, :4] = 0.0
    found = copy.rows(blank, offset, sharp, blank[:, 0], front)
    assert torch.allclose(found[0, 1, :, 4:, :-1], front[0, :, 4:, 1:], atol=1e-4)
    mirrored = front.flip(3)  # from behind, looking one column on is one to the left in the mirror image
    assert torch.allclose(found[0, 3, :, 4:, 1:], mirrored[0, :, 4:, :-1], atol=1e-4)
    assert torch.allclose(found[0, :, :, :4], front[0, :, :4].mean(-1, keepdim=True).expand(6, -1, -1, WIDTH), atol=1e-4)


@torch.no_grad()
def test_the_canonicalizer_can_take_its_picture_as_it_is_or_from_elsewhere():
    copy = PictureCopy(CHANNELS, SHRINK, 3, small.SCHEDULE, dims=4)
    copy.sharpness.fill_(5.0)
    copy.to_key.weight.zero_(), copy.to_key.bias.zero_()
    answer = torch.zeros(2, CHANNELS + copy.extra, HEIGHT // SHRINK, WIDTH // SHRINK)
    answer[:, CHANNELS : CHANNELS + SHRINK**2] = 50.0
    noisy, shown = numbers(*answer[:, :CHANNELS].shape), pictures(2)
    tokens = torch.zeros(2, HEIGHT * WIDTH // SHRINK**2, 3)
    v = copy(answer, noisy, 749, CODEC.encode(shown), tokens)
    assert torch.allclose(clean(v, noisy, copy.alphas[749]), shown, atol=1e-3)
    answer[:, CHANNELS + SHRINK**2 * 5 : CHANNELS + SHRINK**2 * 6] = 1 / 8  # one row down
    v = copy(answer, noisy, 749, CODEC.encode(shown), tokens)
    assert torch.allclose(clean(v, noisy, copy.alphas[749])[:, :-1], shown[:, 1:], atol=1e-3)
    copy.sharpness.fill_(-20.0)  # no place is near any more: one cell is asked for by its token
    copy.to_key.weight[: SHRINK**2, 0] = 1.0  # the first number of each pixel's key
    tokens[:, 4] = 40.0
    answer[:, CHANNELS + SHRINK**2 : CHANNELS + 2 * SHRINK**2] = 1.0  # and of each query
    v = copy(answer, noisy, 999, CODEC.encode(shown), tokens)
    cell = shown[:, 2:4, 2:4].mean((1, 2))[:, None, None].expand_as(shown)  # token 4 is the second of the second row of three
    assert torch.allclose(clean(v, noisy, copy.alphas[999]), cell, atol=1e-3)


def test_files_of_before_networks_copied_still_load(tmp_path):
    embedded.save_module(small.SmallMultiView(copies=False), tmp_path / small.MULTIVIEW_FILE)
    embedded.save_module(small.build_small_pair(copies=False), tmp_path / small.CANONICAL_FILE)
    assert small.load_small_multiview(folder=tmp_path).copy is None
    assert small.load_small_canonical(folder=tmp_path).copy is None
    embedded.save_module(small.SmallMultiView(), tmp_path / small.CANONICAL_FILE)
    with pytest.raises(InputError, match="stdgen_canonical"):
        small.load_small_canonical(folder=tmp_path)


@pytest.mark.parametrize("guidance", [1.0, 2.5])
def test_the_small_canonicalizer_answers_the_mirrored_picture_with_the_mirrored_a_pose(tmp_path, guidance):
    pair = small.build_small_pair((16, 8))
    embedded.save_module(pair, tmp_path / small.CANONICAL_FILE)
    network = small.load_small_canonical(folder=tmp_path, size=(16, 8))
    picture = torch.rand(16, 8, 3, generator=torch.Generator().manual_seed(1))
    noisy = numbers(1, *network.latent_shape, seed=2)
    one = network.predict(noisy, 499, network.see(picture), guidance)
    other = network.predict(network.mirror(noisy), 499, network.see(picture.flip(1)), guidance)
    assert torch.allclose(network.mirror(other), one, atol=1e-4) and not torch.allclose(other, one, atol=1e-2)
    plain = dataclasses.replace(network, mirror=None)
    both = (noisy, picture), (network.mirror(noisy), picture.flip(1))
    ways = [plain.predict(x, 499, plain.see(p), guidance) for x, p in both]
    assert torch.allclose(one, (ways[0] + network.mirror(ways[1])) / 2, atol=1e-4)
    assert torch.equal(CODEC.decode(CODEC.mirrored(CODEC.encode(pictures(2)))), CODEC.decode(CODEC.encode(pictures(2).flip(2))))
