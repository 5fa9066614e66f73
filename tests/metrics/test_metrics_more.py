"""Set scores, perceptual distances, soundness and the multi-face score against closed forms and other code."""

import itertools
import math

import numpy as np
import pytest
import torch
from helpers.shapes import ball, body, box, painted
from lift123.pipelines.catalog import registry
from lift123.pipelines.core.cameras import HOME
from lift123.pipelines.core.errors import InputError
from lift123.pipelines.core.mesh import Mesh, merge
from lift123.pipelines.metrics import perceptual
from lift123.pipelines.metrics.geometry import mesh_facts, normal_consistency, sample_oriented
from lift123.pipelines.metrics.multiface import VIEWS, multi_face
from lift123.pipelines.metrics.protocol import VIEW_SETS, view_set
from lift123.pipelines.metrics.sets import clip_similarity, frechet_distance, frechet_gaussians, set_table
from lift123.pipelines.metrics.soundness import self_intersections, texel_density
from lift123.pipelines.render.surface import render_surface
from lift123.pipelines.toybox.objects import heldout_seed, make_object


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def random_covariance(size, seed):
    root = torch.randn(size, size + 2, generator=seeded(seed), dtype=torch.float64)
    return root @ root.T / size


# Frechet distance and similarity

def test_frechet_distance_of_commuting_gaussians():
    """With a common eigenbasis it is |dm|^2 + sum (sqrt a - sqrt b)^2."""
    a, b = torch.tensor([1.0, 4.0, 9.0]).double(), torch.tensor([4.0, 0.25, 0.0]).double()
    basis = torch.linalg.qr(torch.randn(3, 3, generator=seeded(), dtype=torch.float64)).Q
    mean = torch.tensor([1.0, 2.0, 2.0]).double()
    got = frechet_gaussians(mean, basis * a @ basis.T, mean * 0, basis * b @ basis.T)
    assert got == pytest.approx(9 + (1 - 2) ** 2 + (2 - 0.5) ** 2 + 9, rel=1e-9)


def test_frechet_distance_matches_the_matrix_root():
    from scipy.linalg import sqrtm

    a, b = random_covariance(6, 1), random_covariance(6, 2)
    expected = np.trace(a.numpy() + b.numpy() - 2 * np.real(sqrtm(a.numpy() @ b.numpy())))
    zero = torch.zeros(6)
    assert frechet_gaussians(zero, a, zero, b) == pytest.approx(expected, rel=1e-6)
    assert frechet_gaussians(zero, a, zero, a) == pytest.approx(0, abs=1e-9)


def test_frechet_distance_of_samples():
    a = torch.randn(40_000, 2, generator=seeded())
    b = torch.randn(40_000, 2, generator=seeded(1)) * torch.tensor([3.0, 1.0]) + torch.tensor([0.0, 5.0])
    assert frechet_distance(a, b) == pytest.approx(25 + 4, rel=0.02)
    assert frechet_distance(a[:1000], a[:1000] + 2) == pytest.approx(8, rel=1e-5)  # singular differences allowed
    few = torch.randn(4, 30, generator=seeded(2))
    assert frechet_distance(few, few) == pytest.approx(0, abs=1e-5)
    with pytest.raises(ValueError, match="N >= 2"):
        frechet_distance(few[:1], few)


def test_clip_similarity_and_set_table():
    views = torch.tensor([[2.0, 0.0], [3.0, 3.0], [0.0, -1.0]])
    assert clip_similarity(torch.tensor([5.0, 0.0]), views).tolist() == pytest.approx([1, math.sqrt(0.5), 0])
    table = set_table(views, views * 3)
    assert table["count"] == 3 and table["similarity"] == pytest.approx(1) and table["similarity_error"] < 1e-7
    assert set_table(views, views + 1)["frechet"] == pytest.approx(2, rel=1e-5)
    with pytest.raises(ValueError, match="one shape"):
        set_table(views, views[:2])


def test_view_sets_have_their_counts_and_start_at_the_front():
    for name, (count, who) in VIEW_SETS.items():
        cameras = view_set(name, 32)
        assert len(cameras) == count and who
        assert abs(float(cameras.azimuth[0])) < 1e-5 and abs(float(cameras.elevation[0])) < 1e-5
    with pytest.raises(ValueError, match="view set"):
        view_set("all")


# perceptual distances

def naive_contextual(x, y, h=0.5):
    """Mechrez et al. word by word."""
    mean = y.mean(0)
    cx = torch.zeros(len(x), len(y), dtype=torch.float64)
    for i in range(len(x)):
        d = [1 - float((x[i] - mean) @ (yj - mean) / ((x[i] - mean).norm() * (yj - mean).norm())) for yj in y]
        w = [math.exp((1 - dj / (min(d) + 1e-5)) / h) for dj in d]
        cx[i] = torch.tensor([wj / sum(w) for wj in w])
    return -math.log(float(cx.max(0).values.mean()))


def test_contextual_distance_equals_the_definition():
    x = torch.randn(9, 5, generator=seeded(), dtype=torch.float64)
    y = torch.randn(7, 5, generator=seeded(1), dtype=torch.float64)
    assert float(perceptual.contextual_distance(x, y)) == pytest.approx(naive_contextual(x, y), rel=1e-7)
    same = float(perceptual.contextual_distance(y[torch.randperm(7, generator=seeded())], y))
    assert same == pytest.approx(0, abs=1e-3)  # order does not matter: it has no positions
    assert float(perceptual.contextual_distance(x, y)) > 0.1


def test_absent_backbones_are_named_and_nothing_is_downloaded(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))

    def refused(*_, **__):
        raise AssertionError("a download")

    monkeypatch.setattr(torch.hub, "download_url_to_file", refused)
    pytest.importorskip("lpips")
    for load, file in ((lambda: perceptual.load_lpips("alex"), "alexnet"), (lambda: perceptual.load_lpips("vgg"), "vgg16"),
                       (perceptual.load_contextual, "vgg19")):
        with pytest.raises(InputError, match=f"{file}.*Download Weights.*lift123_metrics"):
            load()


def test_download_weights_knows_every_backbone():
    """torch's convention: the name ends in the first digits of the file's SHA-256."""
    for name in perceptual.BACKBONES.values():
        weights = registry.BY_NAME[name]
        (file,) = weights.files
        assert weights.location == "models/lift123_metrics/" and weights.missing(None) == [file]
        assert weights.urls(file) == [(f"https://download.pytorch.org/models/{name}", name)]
        assert file.size and file.sha256 and name.removesuffix(".pth").endswith("-" + file.sha256[:8])


def test_lpips_with_a_local_backbone_is_the_packages(tmp_path):
    """With random AlexNet weights in torchvision's file layout; oracle: the package told the same weights itself."""
    lpips = pytest.importorskip("lpips")
    oracle = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False).eval()
    slices = [oracle.net.slice1, oracle.net.slice2, oracle.net.slice3, oracle.net.slice4, oracle.net.slice5]
    layers = [layer for part in slices for layer in part]  # in order of execution, which is torchvision's
    state = {f"features.{n}.{k}": v for n, layer in enumerate(layers) for k, v in layer.state_dict().items()}
    torch.save(state, tmp_path / perceptual.BACKBONES["alex"])
    ours = perceptual.load_lpips("alex", [tmp_path])
    a, b = torch.rand(2, 2, 64, 64, 3, generator=seeded())
    with torch.no_grad():
        expected = oracle(a.movedim(-1, 1), b.movedim(-1, 1), normalize=True).reshape(-1)
    assert torch.allclose(ours(a, b), expected, rtol=1e-5, atol=1e-7) and float(expected.min()) > 0
    assert ours(a, a).abs().max() < 1e-7


def test_contextual_distance_with_a_local_backbone(tmp_path):
    vgg = pytest.importorskip("torchvision.models.vgg")
    network = vgg.make_layers(vgg.cfgs["E"])
    torch.save({f"features.{k}": v for k, v in network.state_dict().items()}, tmp_path / perceptual.BACKBONES["vgg19"])
    distance = perceptual.load_contextual([tmp_path])
    picture = torch.rand(1, 128, 128, 3, generator=seeded())
    noise = torch.rand(1, 128, 128, 3, generator=seeded(1))
    near, far = distance(torch.cat([picture, noise]), picture).tolist()
    assert near == pytest.approx(0, abs=0.05) and far > near + 0.1


# soundness

def brute_intersections(mesh):
    """Every pair of faces without a common corner, by linear programming: do two convex sets have a common point?"""
    from scipy.optimize import linprog

    corners = mesh.vertices.double().numpy()[mesh.faces.numpy()]
    found = set()
    for i, j in itertools.combinations(range(len(corners)), 2):
        if (corners[i].max(0) < corners[j].min(0)).any() or (corners[j].max(0) < corners[i].min(0)).any():
            continue
        if any(np.allclose(p, q) for p in corners[i] for q in corners[j]):
            continue
        equal = np.vstack([np.hstack([corners[i].T, -corners[j].T]), [[1, 1, 1, 0, 0, 0], [0, 0, 0, 1, 1, 1]]])
        solved = linprog(np.zeros(6), A_eq=equal, b_eq=[0, 0, 0, 1, 1], bounds=(0, None))
        if solved.status == 0:
            found.add((i, j))
    return found


def test_self_intersections_of_random_triangles_match_linear_programming():
    vertices = torch.rand(90, 3, generator=seeded())
    mesh = Mesh(vertices, torch.arange(90).reshape(30, 3))
    expected = brute_intersections(mesh)
    assert len(expected) > 10
    assert {tuple(p) for p in self_intersections(mesh).tolist()} == expected


def test_sound_meshes_have_no_self_intersections():
    sphere = ball(0.5, 16)
    assert not len(self_intersections(sphere)) and not len(self_intersections(box([0.0] * 3, [1.0] * 3)))
    corners = Mesh(sphere.vertices[sphere.faces].reshape(-1, 3), torch.arange(3 * len(sphere.faces)).reshape(-1, 3))
    assert not len(self_intersections(corners))  # every face on its own, as texture seams split them
    nested = merge([sphere, sphere.transformed(0.5)])
    assert not len(self_intersections(nested))
    touching = merge([box([0.0] * 3, [1.0] * 3), box([1.0, 0.25, 0.25], [2.0, 0.75, 0.75])])
    assert not len(self_intersections(touching))
    assert not len(self_intersections(Mesh(torch.rand(3, 3), torch.tensor([[0, 1, 2]]))))


def test_overlapping_parts_intersect():
    for scale in (1.0, 1e-3, 1e3):
        pair = merge([ball(0.5, 12), ball(0.5, 12).transformed(1.0, torch.tensor([0.63, 0.04, 0.02]))])
        pair = pair.transformed(scale)
        found = self_intersections(pair)
        assert len(found) > 10
        half = len(pair.faces) // 2
        assert bool(((found < half).sum(1) == 1).all())  # one face of each ball
    assert mesh_facts(pair, intersections=True)["self_intersections"] == len(found)


def test_texel_density_of_a_square():
    vertices = torch.tensor([[0.0, 0, 0], [2, 0, 0], [2, 2, 0], [0, 2, 0]])
    faces = torch.tensor([[0, 1, 2], [0, 2, 3]])
    uvs = torch.tensor([[0.0, 1], [0.5, 1], [0.5, 0.5], [0, 0.5]])
    mesh = Mesh(vertices, faces, None, uvs, faces, torch.rand(64, 64, 3))
    facts = texel_density(mesh)
    assert facts["per_unit"] == pytest.approx(16) and facts["spread"] == pytest.approx(1)
    assert facts["used"] == pytest.approx(0.25) and facts["texels"] == 4096
    uneven = Mesh(vertices, faces, None, torch.tensor([[0.0, 1], [0.5, 1], [0.5, 0.5], [0, 0.9]]), faces, mesh.texture)
    assert texel_density(uneven)["spread"] > 1.5
    assert texel_density(Mesh(vertices, faces)) is None and mesh_facts(mesh)["texture"] == facts


def test_normal_consistency_limits():
    sphere = ball(0.5, 16)
    assert normal_consistency(sphere, sphere) > 0.99
    flipped = Mesh(sphere.vertices, sphere.faces.flip(1))
    assert normal_consistency(sphere, flipped) > 0.99  # absolute value
    cube = box([-0.5] * 3, [0.5] * 3)
    # from the ball: the nearest cube point's normal is the axis of the largest component; mean max |n_i| = closed form
    n = torch.nn.functional.normalize(torch.randn(200_000, 3, generator=seeded()), dim=-1)
    expected = float(n.abs().max(-1).values.mean())
    assert normal_consistency(sphere, cube) == pytest.approx(expected, abs=0.06)
    points, normals = sample_oriented(sphere, 2000, seeded())
    assert torch.nn.functional.cosine_similarity(points, normals, dim=-1).min() > 0.98


# the multi-face score


def judged(mesh, size=96):
    views = render_surface(mesh, HOME.turntable(VIEWS, 0.0, size), grad=False, want_normal=False)
    return multi_face(views.composite(1.0), views.alpha)


@pytest.mark.parametrize("kind", ["ball", "egg", "crate"])
def test_multi_face_counts_painted_faces(kind):
    one = judged(painted(*body(kind), [0]))
    two = judged(painted(*body(kind), [0, 180]))
    three = judged(painted(*body(kind), [0, 120, 240])) if kind != "crate" else None  # corners distort a crate's third
    four = judged(painted(*body(kind), [0, 90, 180, 270]))
    assert one.faces == 1 and one.score < 0.25, one
    assert two.faces == 2 and two.score > 0.8, two
    assert three is None or three.faces == 3, three
    assert four.faces == 4 and four.score > 0.8, four
    assert float(one.profile[0]) == pytest.approx(1)


def test_multi_face_is_blind_to_what_all_sides_share():
    vertices, faces = body("ball")
    plain = Mesh(vertices, faces, torch.full_like(vertices, 0.6))
    bands = Mesh(vertices, faces, (torch.sin(25 * vertices[:, 1:2]) * 0.4 + 0.5).expand(-1, 3).contiguous())
    lit = Mesh(vertices, faces, (0.5 + 0.6 * vertices[:, 1:2]).clamp(0, 1).expand(-1, 3).contiguous())
    for mesh in (plain, bands, lit):
        result = judged(mesh)
        assert result.faces == 1 and result.score == 0 and result.profile is None
    with pytest.raises(ValueError, match="at least 8"):
        multi_face(torch.rand(4, 8, 8, 3), torch.ones(4, 8, 8))


def test_multi_face_survives_noise_and_light():
    mesh = painted(*body("ball"), [0])
    noisy = Mesh(mesh.vertices, mesh.faces, (mesh.vertex_colors + 0.05 * torch.randn(
        mesh.vertex_colors.shape, generator=seeded())).clamp(0, 1))
    assert judged(noisy).faces == 1
    side = (0.75 + 0.5 * mesh.vertices[:, :1]).clamp(0, 1)  # light from one side, baked into the colors
    assert judged(Mesh(mesh.vertices, mesh.faces, mesh.vertex_colors * side)).faces == 1


def test_multi_face_on_true_toys():
    """Toys with a front count 1; repeated decoration is counted, which is why the truth's count stands beside it."""
    toys = [make_object(heldout_seed(k)) for k in range(40)]
    counts = [judged(toy.mesh).faces for toy in toys]
    assert all(count == 1 for toy, count in zip(toys, counts, strict=True) if toy.name in ("bear", "house", "fish", "mug"))
    assert sum(count == 1 for count in counts) >= 30  # 31 on the machine where the help page was written
    vase = body("egg")
    around = torch.atan2(vase[0][:, :1], vase[0][:, 2:])
    stripes = Mesh(*vase, (0.5 + 0.4 * torch.cos(4 * around)).expand(-1, 3).contiguous())
    assert judged(stripes).faces == 4
