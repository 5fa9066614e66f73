"""The toybox's second version: closed parts, letters, gloss, fronts unlike backs, and the fixed benchmark sets."""

import math
from collections import Counter

import numpy as np
import pytest
import torch
from lift123.pipelines.core.cameras import HOME
from lift123.pipelines.metrics.protocol import eighteen_views
from lift123.pipelines.toybox import glyphs
from lift123.pipelines.toybox.objects import HELD_OUT_OFFSET, VERSIONS, make_object
from lift123.pipelines.toybox.patterns import HIGHLIGHTS, bake_gloss
from lift123.pipelines.toybox.render import reference_camera, render_toy
from lift123.pipelines.toybox.shapes import prism
from lift123.pipelines.toybox.things import umbrella
from lift123.pipelines.toybox.workbench import SecondWorkbench, bent, disc, outwards
from lift123.verification import toy_sets

NOUNS = [recipe.__name__ for recipe in VERSIONS[2][2]]
QUICK_HASH = "04c62d20e3cf"


@pytest.fixture(scope="module")
def toys():
    """The first 90 training objects."""
    return [make_object(seed, 2) for seed in range(90)]


def edges_balance(mesh) -> bool:
    """Every edge is met as often from one side as from the other: the surface is closed."""
    _, index = np.unique(np.round(mesh.vertices.numpy(), 6), axis=0, return_inverse=True)
    faces = index.ravel()[mesh.faces.numpy()].astype(np.int64)
    faces = faces[(faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2]) & (faces[:, 2] != faces[:, 0])]
    start, stop = faces.ravel(), faces[:, [1, 2, 0]].ravel()
    n = index.max() + 1
    return np.array_equal(np.sort(start * n + stop), np.sort(stop * n + start))


def test_versions_are_streams_of_their_own():
    one, two, again = make_object(7), make_object(7, 2), make_object(7, version=2)
    assert (one.version, two.version) == (1, 2) and one.caption != two.caption
    assert torch.equal(two.mesh.vertices, again.mesh.vertices) and torch.equal(two.mesh.vertex_colors, again.mesh.vertex_colors)
    assert two.caption == again.caption and torch.equal(two.mesh.faces, again.mesh.faces)
    with pytest.raises(ValueError, match="version must be one of"):
        make_object(7, 3)


def test_objects_of_the_first_version_are_what_they_were():
    """Held-out benchmarks of the first version were published by seed."""
    found = {seed: toy_sets.geometry_hash(make_object(seed)) for seed in FIRST_VERSION}
    assert found == FIRST_VERSION


def test_parts_are_closed_and_outward(toys):
    for toy in toys:
        for part in toy.parts:
            assert float(part.signed_volume()) > 0, (toy.seed, toy.name)
            assert edges_balance(part), (toy.seed, toy.name)


def test_an_open_part_would_be_noticed(toys):
    part = toys[0].parts[0]
    assert not edges_balance(type(part)(part.vertices, part.faces[1:]))


def test_captions_name_what_is_there(toys):
    assert {toy.name for toy in toys} <= set(NOUNS) and len({toy.name for toy in toys}) >= 30
    assert len({toy.caption for toy in toys}) >= 0.9 * len(toys), "hardly two objects are called the same"
    for toy in toys:
        words = toy.caption.split()
        assert len(words) <= 12 and toy.name in words and words[0] in ("a", "an")
        assert (words[0] == "an") == (words[1][0] in "aeiou")
        assert "lettered" not in words or words[-1] in glyphs.STROKES
    assert 0.25 < sum("glossy" in toy.caption for toy in toys) / len(toys) < 0.55
    assert 0.1 < sum("lettered" in toy.caption for toy in toys) / len(toys) < 0.5


def test_framed_like_a_prepared_reference(toys):
    for toy in toys[:25]:
        alpha = render_toy(toy, HOME.orbit([0.0, math.pi], [0.0, 0.0], 64), 1).alpha > 0.5
        rows, columns = torch.nonzero(alpha[0].any(1)), torch.nonzero(alpha[0].any(0))
        longer = max(int(rows.max() - rows.min()), int(columns.max() - columns.min())) + 1
        assert 0.25 * 64 < longer < 0.92 * 64, (toy.seed, toy.name)
        rim = torch.cat([alpha[:, 0], alpha[:, -1], alpha[:, :, 0], alpha[:, :, -1]], 1)
        assert not rim.any(), (toy.seed, toy.name)


def front_back_distance(toy) -> float:
    """Mean absolute color difference between the front view and the mirrored back view, inside both outlines."""
    views = render_toy(toy, HOME.orbit([0.0, math.pi], [0.0, 0.0], 48), 1)
    front, back = views.rgb[0], views.rgb[1].flip(1)
    inside = (views.alpha[0] > 0.5) & (views.alpha[1].flip(1) > 0.5)
    return float((front - back).abs()[inside].mean())


def test_fronts_differ_from_backs_more_than_the_first_versions(toys):
    """Light from the front alone makes a difference of 0.06 (a plain ball); conventions of the recipes add to it."""
    ball = next(t for t in map(make_object, range(400)) if t.name == "ball" and t.caption.count(" ") == 2)
    light = front_back_distance(ball)
    second = sorted(front_back_distance(toy) for toy in toys[:40])
    first = sorted(front_back_distance(make_object(seed)) for seed in range(40))
    assert light < 0.08 and second[20] > 2 * light and second[20] > 1.15 * first[20]
    assert sum(d > 1.2 * light for d in second) > 32, "nearly all differ by more than their light"


def test_thin_parts_and_hollows(toys):
    """Thin: a part's smallest extent under a twentieth of the object's size.  Hollow: a part far from its convex hull."""
    from scipy.spatial import ConvexHull

    toys = toys[:45]

    def extent(mesh):
        return (mesh.vertices.max(0).values - mesh.vertices.min(0).values).numpy()

    thin = sum(any(extent(p).min() < extent(t.mesh).max() / 20 for p in t.parts) for t in toys)
    hollow = 0
    for toy in toys:
        hull = ConvexHull(toy.mesh.vertices[::3].numpy().astype(np.float64)).volume
        hollow += sum(float(p.signed_volume()) for p in toy.parts) < 0.5 * hull
    assert thin > 0.5 * len(toys) and hollow > 0.2 * len(toys)


def test_umbrellas_are_open_from_below():
    """Along the stick, the canopy's lowest points are its rim: near the stick all of it lies high above."""
    bench = SecondWorkbench(np.random.default_rng(3))
    umbrella(bench)
    canopy, stick = (shape.vertices for shape, _ in bench.parts[:2])
    axis = np.linalg.svd(stick - stick.mean(0))[2][0]
    axis *= np.sign(axis[1])
    height = (canopy - stick.mean(0)) @ axis
    away = np.linalg.norm(canopy - stick.mean(0) - height[:, None] * axis, axis=1)
    unit = (height - height.min()) / np.ptp(height)
    assert away.max() > 0.7 and unit[away < 0.5 * away.max()].min() > 0.7
    assert unit[away > 0.99 * away.max()].max() < 0.3


@pytest.mark.parametrize("letter", glyphs.STROKES)
def test_letters_have_their_outline(letter):
    """Rendered from the front, a letter covers its strokes' middle lines and no more than the capsules around them."""
    radius, height = 0.06, 1.0
    points = np.concatenate([s.vertices for s in glyphs.letter_shapes(letter, height, radius)])
    lines = [(np.asarray(line) - [1, 2]) / 4 for line in glyphs.STROKES[letter]]
    t = np.linspace(0, 1, 50)[:, None]
    samples = np.concatenate([a + (b - a) * t for line in lines for a, b in zip(line[:-1], line[1:])])
    gap = np.linalg.norm(points[:, None, :2] - samples[None], axis=-1)
    assert gap.min(1).max() <= radius * 1.02, "nothing lies outside the capsules"
    assert np.abs(points[:, 2]).max() <= radius * 1.001
    high = samples[:, 1].max() - samples[:, 1].min()
    assert high == pytest.approx(height) and samples[:, 0].max() - samples[:, 0].min() <= height / 2 + 1e-9


def test_letters_follow_a_surface_and_others_are_refused():
    bumpy = glyphs.letter_shapes("k", 0.8, 0.02, lambda x, y: 0.3 * x - 0.2 * y + 1)
    points = np.concatenate([s.vertices for s in bumpy])
    away = points[:, 2] - (0.3 * points[:, 0] - 0.2 * points[:, 1] + 1)
    assert np.abs(away).max() <= 0.02 * math.sqrt(1 + 0.13) * 1.02, "a tube of that radius about a line on the plane"
    with pytest.raises(ValueError, match="letter must be one of"):
        glyphs.letter_shapes("q", 1, 0.1)


def test_gloss_has_its_peaks_at_the_lamps_and_is_the_same_from_everywhere():
    sphere = np.random.default_rng(0).normal(size=(4000, 3))
    sphere /= np.linalg.norm(sphere, axis=1, keepdims=True)
    shown = bake_gloss(np.full((4000, 3), 0.3), sphere)
    assert shown.min() >= 0 and shown.max() <= 1 and shown.max() - np.median(shown) > 0.4
    brightest = sphere[shown[:, 0].argmax()]
    axis = np.asarray(HIGHLIGHTS[0][0]) / np.linalg.norm(HIGHLIGHTS[0][0])
    assert brightest @ axis > math.cos(math.radians(5)), "the strongest lamp is the first"
    behind = sphere[:, 2] < -0.3
    axis = np.asarray(HIGHLIGHTS[1][0]) / np.linalg.norm(HIGHLIGHTS[1][0])
    assert sphere[behind][shown[behind, 0].argmax()] @ axis > math.cos(math.radians(8)), "the back has one of its own"


def test_helpers_against_closed_forms():
    coin = disc(0.5, 0.1, 120)
    a, b, c = (coin.vertices[coin.faces[:, k]] for k in range(3))
    assert (a * np.cross(b, c)).sum() / 6 == pytest.approx(math.pi * 0.25 * 0.2, rel=0.05)
    assert np.ptp(coin.vertices[:, 2]) == pytest.approx(0.2) and np.ptp(coin.vertices[:, 0]) == pytest.approx(1.0, abs=1e-3)
    sheared = bent(coin, lambda v: v + np.stack([0.4 * v[:, 1], 0 * v[:, 1], 0 * v[:, 1]], -1))
    a, b, c = (sheared.vertices[sheared.faces[:, k]] for k in range(3))
    assert (a * np.cross(b, c)).sum() / 6 == pytest.approx(math.pi * 0.25 * 0.2, rel=0.05), "shear keeps volumes"
    wrong = prism([(0, 0), (0, 1), (1, 0)], 0.5)
    right = outwards(wrong)
    a, b, c = (right.vertices[right.faces[:, k]] for k in range(3))
    assert (a * np.cross(b, c)).sum() / 6 == pytest.approx(0.25)
    assert outwards(right) is right and np.allclose(right.normals, -wrong.normals)


def test_benchmark_sets_are_fixed():
    """A change of any recipe that moves a benchmark object changes the hash: results of before cannot be compared."""
    assert len(toy_sets.QUICK) == 20 and len(toy_sets.FULL) == 100 and set(toy_sets.QUICK) < set(toy_sets.FULL)
    assert len(set(toy_sets.FULL)) == 100 and min(toy_sets.FULL) >= HELD_OUT_OFFSET
    assert toy_sets.set_hash("quick") == QUICK_HASH
    objects = [toy_sets.benchmark_object(seed) for seed in toy_sets.QUICK]
    assert len({toy.name for toy in objects}) == 20
    moved = toy_sets.geometry_hash(objects[0])
    assert moved != toy_sets.geometry_hash(objects[1]) and moved == toy_sets.geometry_hash(make_object(toy_sets.QUICK[0], 2))


def test_full_set_has_every_noun_at_most_three_times():
    counts = Counter(toy_sets.benchmark_object(seed).name for seed in toy_sets.FULL)
    assert set(counts) == set(NOUNS) and max(counts.values()) == 3


def test_references_and_truth_of_a_benchmark_object():
    seed = toy_sets.QUICK[3]
    cameras = eighteen_views(32)
    reference, truth = toy_sets.benchmark_reference(seed, 32), toy_sets.benchmark_views(seed, cameras)
    assert len(truth.rgb) == 18 and torch.allclose(reference.rgb[0], truth.rgb[0], atol=1e-5), "view 0 is the reference"
    assert torch.equal(reference.alpha, render_toy(toy_sets.benchmark_object(seed), reference_camera(32)).alpha)
    assert not torch.allclose(truth.rgb[0], truth.rgb[9], atol=0.05)


FIRST_VERSION = {0: "2679c13d", 17: "ed03df39", 4711: "e9413dfd", 10000000: "eeda3fc9", 10000108: "40e28a0a"}
