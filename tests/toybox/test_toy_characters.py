"""Toy characters: distances by brute force, disjoint closed layers, views that show what they should."""

import math

import numpy as np
import pytest
import torch
from lift123.pipelines.core.ortho import six_views
from lift123.pipelines.toybox import characters
from lift123.pipelines.toybox.characters.field import GAP, SEMANTICS, light
from lift123.pipelines.toybox.characters.mesher import mesh_field, split_edges
from lift123.pipelines.toybox.characters.paint import mark_distance
from lift123.pipelines.toybox.characters.parts import Part, pack
from lift123.pipelines.toybox.characters.skeleton import A_POSE, PARENTS, random_pose, rotation_matrix
from lift123.pipelines.toybox.objects import HELD_OUT_OFFSET

STILL = {"head": np.concatenate([np.eye(3), np.zeros((3, 1))], axis=1)}


def first_seed(wanted) -> int:
    return next(s for s in range(400) if wanted(characters.make_character(s)))


@pytest.fixture(scope="module")
def dressed():
    """A character with a ponytail on its left, its layers and its views."""
    seed = first_seed(lambda c: "side ponytail" in c.caption and c.side > 0 and "skirt" in c.caption)
    character = characters.make_character(seed)
    layers = character.layers
    return character, layers, characters.render_levels(layers, 64)


def is_closed_manifold(faces: torch.Tensor) -> bool:
    edges = torch.cat([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    count = int(faces.max()) + 1
    forth, back = edges[:, 0] * count + edges[:, 1], edges[:, 1] * count + edges[:, 0]
    once = len(torch.unique(forth)) == len(forth)  # every directed edge belongs to one face
    return once and torch.equal(forth.sort().values, back.sort().values)


# ---------------------------------------------------------------- parts


@pytest.mark.parametrize("ra,rb,length", [(0.3, 0.1, 0.5), (0.1, 0.25, 0.4), (0.2, 0.2, 0.6), (0.3, 0.3, 0.0)])
def test_distance_to_a_rounded_cone_is_that_to_the_nearest_of_its_balls(ra, rb, length):
    start = np.array([0.1, -0.2, 0.05])
    direction = np.array([0.6, 0.64, 0.48])
    part = Part("head", start, start + direction * length, ra, rb)
    points = torch.rand(200, 3, generator=torch.Generator().manual_seed(0)) * 2 - 1
    ours = pack([part], STILL, 1.0, np.zeros(3)).distances(points)[0]
    t = torch.linspace(0, 1, 2001).double()
    centers = torch.from_numpy(start) + t[:, None] * torch.from_numpy(direction * length)
    brute = (torch.cdist(points.double(), centers) - (ra + (rb - ra) * t)).amin(1)
    torch.testing.assert_close(ours.double(), brute, rtol=0, atol=2e-4)


def test_squashed_parts_have_the_right_sign_and_unit_slope_at_the_surface():
    part = Part("head", np.zeros(3), np.zeros(3), 1.0, 1.0, (0.5, 0.3, 0.8))
    packed = pack([part], STILL, 0.7, np.array([0.1, 0.0, -0.1]))
    unit = torch.nn.functional.normalize(torch.randn(300, 3, generator=torch.Generator().manual_seed(1)), dim=-1)
    axes = torch.tensor([0.5, 0.3, 0.8])
    surface = unit * axes * 0.7 + torch.tensor([0.1, 0.0, -0.1])
    normal = torch.nn.functional.normalize(unit / axes, dim=-1)
    for step in (-0.004, 0.0, 0.004):
        value = packed.distances(surface + step * normal)[0]
        assert (value - step).abs().max() < 5e-4


def test_cuts_take_away_what_lies_beyond():
    part = Part("head", np.zeros(3), np.array([0, 1.0, 0]), 0.2, 0.2, low=0.1, high=0.6)
    value = pack([part], STILL, 1.0, np.zeros(3)).distances(torch.tensor([[0, 0.05, 0], [0, 0.35, 0], [0, 0.65, 0]]))[0]
    assert value[0] == pytest.approx(0.05, abs=1e-3) and value[1] < -0.15 and value[2] == pytest.approx(0.05, abs=1e-3)


def test_meshes_of_a_field_are_closed_round_and_of_the_right_volume():
    vertices, faces = mesh_field(lambda p: p.norm(dim=-1) - 0.6, 32)
    assert is_closed_manifold(faces)
    torch.testing.assert_close(vertices.norm(dim=-1), torch.full((len(vertices),), 0.6), rtol=0, atol=1e-3)
    a, b, c = vertices[faces].unbind(1)
    volume = float((a * torch.linalg.cross(b, c)).sum() / 6)
    assert volume == pytest.approx(4 / 3 * math.pi * 0.6**3, rel=0.01)
    shell = mesh_field(lambda p: (p.norm(dim=-1) - 0.5).abs() - 0.06, 32)
    a, b, c = shell[0][shell[1]].unbind(1)
    expected = 4 / 3 * math.pi * (0.56**3 - 0.44**3)
    assert float((a * torch.linalg.cross(b, c)).sum() / 6) == pytest.approx(expected, rel=0.02)
    assert len(mesh_field(lambda p: p.norm(dim=-1) + 1, 16)[0]) == 0


def test_halving_edges_keeps_a_surface_closed_and_its_area():
    vertices, faces = mesh_field(lambda p: p.norm(dim=-1) - 0.5, 8)
    start, end = faces[:, [0, 1, 2]].reshape(-1), faces[:, [1, 2, 0]].reshape(-1)
    every = torch.unique(torch.minimum(start, end) * len(vertices) + torch.maximum(start, end))
    for share in (0.1, 0.5, 1.0):
        chosen = torch.rand(len(every), generator=torch.Generator().manual_seed(2)) < share
        keys = every[chosen]
        middle = (vertices[keys // len(vertices)] + vertices[keys % len(vertices)]) / 2
        finer, points = split_edges(faces, keys, len(vertices)), torch.cat([vertices, middle])
        assert is_closed_manifold(finer) and len(finer) == len(faces) + 2 * len(keys)

        def area(v, f):
            return torch.linalg.cross(v[f[:, 1]] - v[f[:, 0]], v[f[:, 2]] - v[f[:, 0]]).norm(dim=-1).sum() / 2

        torch.testing.assert_close(area(points, finer), area(vertices, faces))


def test_marks_are_positive_inside_only():
    u, v = torch.tensor([0.0, 0.5]), torch.zeros(2)
    for kind, size in (("disc", 0.05), ("strip", (0.02, 0.1)), ("tie", (0.03, 0.1)), ("heart", 0.07), ("star", 0.07)):
        inside, outside = mark_distance(kind, u, v, size).tolist()
        assert inside > 0 > outside
    with pytest.raises(ValueError, match="disc"):
        mark_distance("moon", u, v, 0.1)


# ---------------------------------------------------------------- skeleton


def test_bones_turn_about_their_joints_and_keep_their_lengths():
    skeleton = characters.make_character(3).skeleton
    pose = random_pose(np.random.Generator(np.random.PCG64(5)))
    bones = skeleton.posed(pose)

    def at(bone, point):
        return bones[bone][:, :3] @ point + bones[bone][:, 3]

    for name, parent in PARENTS.items():
        assert np.allclose(bones[name][:, :3] @ bones[name][:, :3].T, np.eye(3), atol=1e-9)
        if parent:
            joint = skeleton.joint(name)
            assert np.allclose(at(name, joint), at(parent, joint), atol=1e-9)
            length = np.linalg.norm(joint - skeleton.joint(parent))
            assert np.linalg.norm(at(name, joint) - at(parent, skeleton.joint(parent))) == pytest.approx(length)
    still = skeleton.posed(A_POSE)
    assert all(np.allclose(b, np.eye(3, 4)) for b in still.values())
    arm = skeleton.joint("hand_l") - skeleton.joint("arm_l")
    assert arm[0] == pytest.approx(-arm[1]) and arm[0] > 0.1  # 45 degrees down, on +X
    raised = skeleton.posed({"arm_l": [0, 0, math.pi / 2]})["hand_l"]
    hand = raised[:, :3] @ skeleton.joint("hand_l") + raised[:, 3] - skeleton.joint("arm_l")
    assert np.allclose(hand, [arm[0], arm[0], 0])
    with pytest.raises(KeyError, match="tail"):
        skeleton.posed({"tail": [0, 0, 1]})


def test_layers_and_colors_move_with_the_bones():
    """A character turned as a whole is the turned character: distances, layers and colors."""
    character = characters.make_character(first_seed(lambda c: len(c.solids) == 3))
    pose = {"pelvis": np.array([0.2, 0.9, -0.1])}
    frames = [character._framing(character.skeleton.posed(p)) for p in (A_POSE, pose)]
    bone = character.skeleton.posed(pose)["pelvis"]
    generator = torch.Generator().manual_seed(3)
    points = torch.cat([mesh.vertices[::40] for mesh in character.posed(A_POSE, 32).layers.values()])
    points = points + torch.randn(points.shape, generator=generator) * 0.02
    unframed = (points.double().numpy() - frames[0][1]) / frames[0][0]
    turned = (unframed @ rotation_matrix(pose["pelvis"]).T + bone[:, 3]) * frames[1][0] + frames[1][1]
    turned = torch.from_numpy(turned).float()
    still, moved = character.field(A_POSE), character.field(pose)
    for name in still.names:
        ours, theirs = still.outer(name, points) / frames[0][0], moved.outer(name, turned) / frames[1][0]
        assert (ours - theirs).abs().max() < 3e-3
        assert (still.color(name, points) - moved.color(name, turned)).abs().amax(1).median() < 1e-3


# ---------------------------------------------------------------- characters


def test_the_same_seed_gives_the_same_character(dressed):
    character, layers, _ = dressed
    again = characters.make_character(character.seed)
    assert again.caption == character.caption
    once, twice = again.posed(A_POSE, 32), character.posed(A_POSE, 32)
    for name in once:
        assert torch.equal(once[name].vertices, twice[name].vertices)
        assert torch.equal(once[name].vertex_colors, twice[name].vertex_colors)
    assert len({characters.make_character(s).caption for s in range(12)}) > 8
    assert np.array_equal(again.pose(1)["arm_l"], character.pose(1)["arm_l"])
    assert not np.array_equal(again.pose(0)["arm_l"], character.pose(1)["arm_l"])


def test_held_out_characters_are_never_trained_on():
    assert characters.heldout_character(2).seed == HELD_OUT_OFFSET + 2
    assert characters.train_character(7).caption == characters.make_character(7).caption
    with pytest.raises(ValueError, match="training index"):
        characters.train_character(HELD_OUT_OFFSET)


def test_layers_are_closed_outward_and_framed(dressed):
    _, layers, _ = dressed
    assert layers.names == ("body", "clothing", "hair")
    for name in layers:
        assert is_closed_manifold(layers[name].faces), name
        assert float(layers[name].signed_volume()) > 0
        assert 0 <= float(layers[name].vertex_colors.min()) and float(layers[name].vertex_colors.max()) <= 1
    vertices = layers.merged().vertices
    assert float((vertices.amax(0) - vertices.amin(0)).max()) == pytest.approx(2, rel=0.02)
    assert float(vertices.abs().max()) < 1.02
    lowest = {name: float(layers[name].vertices[:, 1].min()) for name in layers}
    assert lowest["body"] == min(lowest.values())  # shoes belong to the body


def test_figures_stand_upright_within_the_boxes_of_the_networks():
    for seed in range(15):
        character = characters.make_character(seed)
        scale, offset = character._framing(character.skeleton.posed(A_POSE))
        parts = [part for solids in character.solids.values() for solid in solids for part in solid.parts]
        points = np.concatenate([part.surface_points() for part in parts]) * scale + offset
        assert np.abs(points[:, 0]).max() < 0.675 and np.abs(points[:, 2]).max() < 0.675
        assert np.abs(points[:, 1]).max() == pytest.approx(1.0)


def test_layers_are_disjoint_and_nested(dressed):
    character, layers, _ = dressed
    field = character.field()
    points = torch.rand(60_000, 3, generator=torch.Generator().manual_seed(4)) * 2 - 1
    values = torch.stack(list(field.layers(points * torch.tensor([0.7, 1.0, 0.5])).values()))
    assert int((values < 0).sum(0).max()) == 1  # no point lies in two layers
    tolerance = 0.004
    clothing, hair = layers["clothing"].vertices, layers["hair"].vertices
    assert float(field.outer("body", clothing).min()) > GAP - tolerance
    assert float(torch.minimum(field.outer("body", hair), field.outer("clothing", hair)).min()) > GAP - tolerance
    # hollow: a good part of the clothing faces the body at the gap's distance
    assert float((field.outer("body", clothing) < 2 * GAP).float().mean()) > 0.15


def test_volumes_of_meshes_equal_those_counted_in_the_field(dressed):
    character, layers, _ = dressed
    step = 0.02
    axes = [torch.arange(-h, h, step) + step / 2 for h in (0.7, 1.02, 0.5)]
    points = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
    values = character.field().layers(points)
    for name in layers:
        counted = float((0.5 - values[name] / step).clamp(0, 1).sum()) * step**3
        assert float(layers[name].signed_volume()) == pytest.approx(counted, rel=0.025), name


def test_normals_of_meshes_are_the_gradients_of_the_field(dressed):
    character, layers, _ = dressed
    for name in layers:
        mesh = layers[name]
        some = torch.arange(0, len(mesh.vertices), 7)
        assert float(character.field().sdf(name, mesh.vertices[some]).abs().quantile(0.98)) < 0.004
        cosine = (character.field().normal(name, mesh.vertices[some]) * mesh.vertex_normals()[some]).sum(-1)
        assert float(cosine.median()) > math.cos(math.radians(4))
        assert float(cosine.quantile(0.1)) > math.cos(math.radians(25))


def test_semantics_name_the_layer_that_a_point_is_in(dressed):
    character, layers, _ = dressed
    field = character.field()
    for name in layers:
        mesh = layers[name]
        inside = mesh.vertices[::50] - 0.008 * mesh.vertex_normals()[::50]
        inside = inside[field.sdf(name, inside) < 0]
        classes = {SEMANTICS[i] for i in field.semantics(inside).tolist()}
        assert classes == ({"face", "body"} if name == "body" else {name})
    high = layers["body"].vertices[:, 1] > 0.6
    assert SEMANTICS.index("face") == int(field.semantics(layers["body"].vertices[high]).mode().values)


def test_vertex_colors_are_those_of_the_field(dressed):
    character, layers, _ = dressed
    field = character.field()
    mesh = layers["body"]
    expected = field.color("body", mesh.vertices, mesh.vertex_normals())
    assert (expected - mesh.vertex_colors).abs().max() < 1e-4
    assert float(light(torch.tensor([[0.0, 0.8, 0.6]]))) == pytest.approx(1.0)


# ---------------------------------------------------------------- pictures


def test_levels_remove_layers(dressed):
    character, layers, views = dressed
    assert views.levels == ("complete", "no hair", "body") and views.color.shape == (3, 6, 64, 64, 3)
    areas = views.alpha.sum(dim=(2, 3))
    assert (areas[0] > areas[1] + 5).all() and (areas[1] > areas[2] + 5).all()
    assert ((views.alpha[0] - views.alpha[1]) > -1e-5).all() and ((views.alpha[1] - views.alpha[2]) > -1e-5).all()
    field = character.field()
    seen = characters.render_semantics(field, layers, six_views(48), levels=(0, 1, 2))
    classes = [{SEMANTICS[k] for k in torch.unique(s).tolist() if k >= 0} for s in seen]
    assert classes == [set(SEMANTICS), {"face", "body", "clothing"}, {"face", "body"}]
    assert (seen[0] < 0).sum() < (seen[2] < 0).sum()
    length = views.normal.norm(dim=-1)
    assert (
        torch.allclose(length[views.alpha > 0.01], torch.ones(()), atol=1e-3) and (length[views.alpha == 0] == 0).all()
    )


def test_empty_layers_stay_empty():
    bald = characters.make_character(first_seed(lambda c: "bald" in c.caption and "clothing" in c.solids))
    views = characters.render_levels(bald.posed(A_POSE, 32), 24)
    assert "hair" not in bald.field().names and torch.equal(views.color[0], views.color[1])
    assert not torch.equal(views.color[1], views.color[2])
    bare = characters.make_character(first_seed(lambda c: "without clothes" in c.caption and "hair" in c.solids))
    assert "clothing" not in bare.posed(A_POSE, 32)
    with pytest.raises(ValueError, match="no layer 'clothing'"):
        bare.field().sdf("clothing", torch.zeros(1, 3))


def test_a_ponytail_on_the_characters_left_appears_on_its_side_of_every_view(dressed):
    """The character's left is +X: right of the middle from the front, left from behind, near in view "right"."""
    character, layers, _ = dressed
    size = 96
    seen = characters.render_semantics(character.field(), layers, six_views(size))[0] == SEMANTICS.index("hair")
    columns = (torch.arange(size) + 0.5 - size / 2).expand(size, size)

    def lean(view):  # columns of the hair's mean from the middle, positive to the right
        return float(columns[seen[view]].mean())

    assert lean(0) > 0.8 and lean(3) < -0.8  # front, back
    low = slice(int(size * (0.5 - 0.2 / 2.4)), size)  # below the head
    tail = seen[:, low].sum(dim=(1, 2)).float() if seen[0, low].any() else seen.sum(dim=(1, 2)).float()
    assert tail[2] > tail[4] and tail[1] >= tail[5] * 0.8  # right against left, front_right against front_left


def test_faces_look_forward(dressed):
    """Eyes are dark, and only seen from the front half."""
    character, layers, _ = dressed
    views = characters.render_levels(layers, 96, levels=(2,))
    head = slice(8, 36)
    ink = (views.color[0, :, head] < 0.3).all(-1).sum(dim=(1, 2))
    assert ink[0] >= 6 and ink[1] >= 2 and ink[5] >= 2 and ink[3] == 0
    assert views.normal[0, 0, 30, 48, 2] > 0.7 and views.normal[0, 3, 30, 48, 2] < -0.7  # one frame for all views


def test_input_pictures_show_the_whole_posed_figure(dressed):
    character, _, _ = dressed
    layers = character.posed(character.pose(0), 32)
    picture = characters.input_picture(character, 0, 64, layers=layers)
    assert picture.shape == (64, 64, 4) and torch.equal(
        picture, characters.input_picture(character, 0, 64, layers=layers)
    )
    for wide in (1.0, 0.625):
        for index in range(4):  # pinhole and orthographic cameras
            alpha = characters.input_picture(character, index, 64, wide, layers)[..., 3]
            assert alpha.shape == (64, round(64 * wide))
            rows, columns = (torch.nonzero(alpha.amax(k) > 0.4).reshape(-1) for k in (1, 0))
            height, width = int(rows.max() - rows.min()) + 1, int(columns.max() - columns.min()) + 1
            assert max(height, width / wide) == pytest.approx(64 / 1.2, abs=2.1)
            assert float(rows.min() + rows.max()) / 2 == pytest.approx(31.5, abs=1.1)
            assert float(columns.min() + columns.max()) / 2 == pytest.approx(32 * wide - 0.5, abs=1.1)
    for name in layers:
        assert is_closed_manifold(layers[name].faces)
