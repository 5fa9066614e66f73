"""Multi-layer refinement on a nested figure in closed form, with true normals."""

import dataclasses

import pytest
import torch
import trimesh
from helpers import layer_toys
from lift123.pipelines import stdgen
from lift123.pipelines.core.character_views import CharacterViews
from lift123.pipelines.core.errors import InputError, StopStage
from lift123.pipelines.core.layers import LayeredMesh
from lift123.pipelines.core.mesh import Mesh
from lift123.pipelines.core.ortho import six_views
from lift123.pipelines.metrics.geometry import mesh_facts, sample_surface
from lift123.pipelines.metrics.layers import penetration
from lift123.pipelines.ops.closest import closest_point
from lift123.pipelines.ops.dilate import carried, dilate
from lift123.pipelines.stages.characters import layer_clean, layer_masks
from lift123.pipelines.stages.characters.handedness import handedness, mirrored, mirrored_layers
from lift123.pipelines.stages.characters.multiview import views_from_pictures
from lift123.pipelines.stages.characters.refine_layers import (
    refine_layers,
    refine_whole,
    replace_layers,
    replaced,
    report,
)
from lift123.pipelines.stages.characters.refined_layers import RefinedLayers
from lift123.pipelines.stages.characters.refining import Refining

SIZE = 64
SMALL, PAPER = stdgen.TOY.refine, stdgen.PAPER.refine


def short(steps=1, detail=0, **more):
    """The small refinement with few steps."""
    fits = {
        n: dataclasses.replace(getattr(SMALL, n), steps=steps if n != "detail" else detail)
        for n in ("body", "outer", "detail")
    }
    return dataclasses.replace(SMALL, size=SIZE, **fits, **more)


def ball(radius: float, level=3) -> Mesh:
    made = trimesh.creation.icosphere(level, radius)
    return Mesh(torch.tensor(made.vertices, dtype=torch.float32), torch.tensor(made.faces, dtype=torch.int64))


def distance(a: Mesh, b: Mesh, count=4000) -> float:
    """Mean distance between surfaces, both ways: points of one to the nearest place of the other."""
    rng = torch.Generator().manual_seed(0)
    there = closest_point(sample_surface(a, count, rng), b.vertices, b.faces).distance.mean()
    return float(there + closest_point(sample_surface(b, count, rng), a.vertices, a.faces).distance.mean()) / 2


@pytest.fixture(scope="module")
def truth():
    return layer_toys.figure(cells=48)


@pytest.fixture(scope="module")
def views(truth):
    return layer_toys.views_of(truth, SIZE)


@pytest.fixture(scope="module")
def coarse(truth):
    return layer_toys.degraded(truth, edge=0.08)


@pytest.fixture(scope="module")
def refined(coarse, views):
    steps = []
    result = refine_layers(coarse, views, short(40, 6), on_step=steps.append)
    return result, steps


def test_refinement_halves_the_distance_of_every_layer(truth, coarse, refined):
    result, _ = refined
    for name in truth:
        before, after = distance(truth[name], coarse[name]), distance(truth[name], result.layers[name])
        assert after < 0.5 * before, f"{name}: {before:.4f} -> {after:.4f}, {after / before:.2f}"
        facts = mesh_facts(result.layers[name])
        assert facts["watertight"] and facts["consistent_winding"], name
        assert facts["euler"] == mesh_facts(truth[name])["euler"], name


def test_no_outer_layer_reaches_into_an_inner_one(refined):
    result, _ = refined
    assert set(result.reach) == {"clothing in body", "hair in body", "hair in clothing"}
    for pair, found in result.reach.items():
        assert found["share"] == 0, (pair, found)
    for outer, inner in (("clothing", "body"), ("hair", "body")):
        assert penetration(result.layers[outer], result.layers[inner], SMALL.tolerance)["share"] == 0


def test_progress_counts_every_step_of_every_layer(refined):
    result, steps = refined
    assert [s.index for s in steps] == list(range(1, 139)) and {s.total for s in steps} == {138}
    assert [s.stage for s in steps[::46]] == ["Refine body", "Refine clothing", "Refine hair"]
    shown = [s.preview for s in steps if s.preview is not None]
    assert len(shown) == 13 and shown[0].shape == (SIZE, SIZE, 3)
    assert result.complete and any("Handedness" in n for n in result.notes)
    assert any("hair mask" in n for n in result.notes)
    assert "hair in body: nowhere." in report(result)


def test_a_stopped_refinement_keeps_what_it_has_and_goes_on(coarse, views):
    def stop(step):
        if step.index == 2:
            raise StopStage

    heard = []
    config = short(1)
    first = refine_layers(coarse, views, config, on_step=stop, on_layer=heard.append)
    assert first.finished == ("body",) and not first.complete and len(heard) == 1
    assert torch.equal(first.layers["hair"].vertices, coarse["hair"].vertices)
    assert "Not refined yet: clothing, hair." in report(first)
    rest = refine_layers(coarse, views, config, resume=first)
    whole = refine_layers(coarse, views, config)
    assert rest.complete
    for name in coarse:
        assert torch.equal(rest.layers[name].vertices, whole.layers[name].vertices), name


def test_kept_layers_stay_as_they_are_and_absent_ones_absent(coarse, views):
    bald = LayeredMesh({n: coarse[n] for n in ("body", "clothing")})
    result = refine_layers(bald, views, short(), keep=("body",))
    assert result.layers.names == ("body", "clothing")
    assert result.layers["body"] is bald["body"] and not torch.equal(
        result.layers["clothing"].vertices[:1], bald["clothing"].vertices[:1]
    )


def test_replacing_layers(coarse, truth, views):
    layers, keep = replace_layers(truth, coarse, ("hair",))
    assert keep == ("body", "clothing") and layers["hair"] is coarse["hair"] and layers["body"] is truth["body"]
    without, keep = replace_layers(truth, LayeredMesh({"body": coarse["body"]}), ("hair",))
    assert without.names == ("body", "clothing")
    for names in ((), ("hat",)):
        with pytest.raises(InputError, match="layers to replace"):
            replace_layers(truth, coarse, names)
    old = RefinedLayers(truth, truth, truth.names, was_mirrored=True)
    mixed = replaced(old, RefinedLayers(mirrored_layers(coarse)), ("hair",))
    assert mixed.finished == ("body", "clothing") and torch.allclose(
        mixed.layers["hair"].vertices, coarse["hair"].vertices
    )
    done = refine_layers(mixed.layers, views, short(), resume=mixed)
    assert done.layers["body"] is truth["body"] and done.complete
    assert len(done.layers["hair"].vertices) != len(coarse["hair"].vertices)


def test_bad_input_is_named_before_any_work(coarse, views):
    calls = []
    with pytest.raises(InputError, match="peel level that shows the clothing"):
        refine_layers(coarse, CharacterViews(views.color[::2], views.normal[::2], views.alpha[::2], ("complete", "body")),
                      short(), on_step=calls.append)
    with pytest.raises(InputError, match="at least one layer"):
        refine_layers(LayeredMesh({}), views, short())
    with pytest.raises(InputError, match="layers to keep"):
        refine_layers(coarse, views, short(), keep=("hat",))
    body = coarse["body"]
    fan = Mesh(body.vertices, torch.cat([body.faces, torch.cat([body.faces[:1, :2], body.faces[100:101, :1]], 1)]))
    with pytest.raises(InputError, match="1 edges of three or more"):
        refine_layers(coarse.replaced("body", fan), views, short(), on_step=calls.append)
    assert not calls


def test_a_layer_that_vanishes_keeps_its_input_and_says_so(coarse, views, monkeypatch):
    crumb = ball(0.05)
    from lift123.pipelines.stages.characters import refine_layers as stage

    monkeypatch.setattr(stage.clean, "merged_faces", lambda mesh, area: crumb)
    result = stage.refine_layers(coarse.select(("body",)), views, short())
    assert any("body: vanished" in n for n in result.notes)
    assert torch.equal(result.layers["body"].vertices, coarse["body"].vertices)


def test_an_undivided_character(coarse, views):
    result = refine_whole(coarse["body"], views, short())
    assert result.layers.names == ("body",) and result.complete


def test_four_views_refine_a_mesh_of_one_piece(coarse, views):
    """CharacterGen's: what the two absent views show has no say, and S-LRM wants all six."""
    from lift123.pipelines.stages.characters.lift_layers import level_zero

    kept = [0, 2, 3, 4]
    normals = views.encoded_normal()[0]
    four = views_from_pictures([views.color[0, k] for k in kept], [normals[k] for k in kept], 1)
    one = refine_whole(coarse["body"], four, short(detail=1))
    spoilt = dataclasses.replace(four, color=four.color.clone(), alpha=four.alpha.clone())
    spoilt.alpha[:, [1, 5]] = 1.0
    other = refine_whole(coarse["body"], spoilt, short(detail=1))
    assert torch.equal(one.layers["body"].vertices, other.layers["body"].vertices)
    six = refine_whole(coarse["body"], views, short(detail=1))
    assert not torch.equal(one.layers["body"].vertices, six.layers["body"].vertices)
    with pytest.raises(InputError, match="all six views, got front, right, back, left"):
        level_zero(four)


def test_handedness_of_an_asymmetric_figure(truth, views, coarse):
    """The figure's tail is on the viewer's right: its mirror image fits the outlines worse."""
    mesh, masks = truth.merged(), views.alpha[0]
    found = handedness(mesh, masks)
    assert found.as_given > 0.97 and found.as_given - found.mirrored > 0.02 and not found.is_mirrored
    assert handedness(mirrored(mesh), masks).is_mirrored
    assert float(mirrored(mesh).signed_volume()) == pytest.approx(float(mesh.signed_volume()), rel=1e-4)
    assert not handedness(ball(0.5), masks).decided, "a ball is its own mirror image"
    result = refine_layers(mirrored_layers(coarse), views, short())
    assert result.was_mirrored and "mirrored to fit" in result.notes[0]
    assert float(result.layers["hair"].vertices[:, 0].max()) > 0.55, "the tail is on the right again"


def test_masks_come_from_the_coarse_layer_the_difference_or_a_segmenter(truth, coarse, views):
    true_mask = layer_masks.visible_layer(truth, "hair", views)
    found = layer_masks.layer_mask(truth, "hair", views, 0, front_only=False)
    assert "the coarse layer" in found.note and bool(found.known.all())
    overlap = (found.mask & true_mask).sum() / (found.mask | true_mask).sum()
    assert float(overlap) > 0.9
    tiny = truth.replaced("hair", truth["hair"].transformed(0.05))
    assert "difference of the pictures" in layer_masks.layer_mask(tiny, "hair", views, 0).note
    segments = torch.stack([true_mask[0], torch.ones_like(true_mask[0])])
    given = layer_masks.layer_mask(tiny, "hair", views, 0, segments=segments)
    assert "the given masks" in given.note and torch.equal(given.mask[0], true_mask[0])
    same = CharacterViews(*(getattr(views, n)[[1, 1, 2]] for n in ("color", "normal", "alpha")))
    assert layer_masks.layer_mask(truth, "hair", same, 0) is None
    assert layer_masks.layer_mask(truth, "hair", views.level(0), 0) is None


def test_best_shift_finds_a_cyclic_shift_and_prefers_none():
    background = torch.ones(8, 32, dtype=torch.bool)
    background[2:6, 10:18] = False
    assert layer_masks.best_shift(background.roll(-3, 1), background, 6) == 3
    assert layer_masks.best_shift(background.roll(5, 1), background, 6) == -5
    assert layer_masks.best_shift(torch.ones_like(background), background, 6) == 0


def test_dilation_moves_points_out_along_the_inner_normals():
    """Inside by 0.03 comes up to the surface and 0.01 above it; everyone else moves 0.01; with a falloff far ones stay."""
    points = ball(1.0, 4).vertices
    out = dilate(points * 0.47, points * 0.5, points)
    assert torch.allclose(out.norm(dim=-1), torch.tensor(0.51), atol=2e-3)
    out = dilate(points * 0.6, points * 0.5, points)
    assert torch.allclose(out.norm(dim=-1), torch.tensor(0.61), atol=2e-3)
    out = dilate(points * 0.8, points * 0.5, points, falloff=0.02)
    assert torch.allclose(out, points * 0.8, atol=1e-5)


def test_outer_points_follow_the_surface_inside_them():
    points, faces = ball(1.0, 4).vertices, ball(1.0, 4).faces
    out = carried(points * 0.52, (points * 0.5, faces), (points * 0.55, faces), falloff=0.2)
    assert torch.allclose(out.norm(dim=-1), torch.tensor(0.57), atol=4e-3)
    assert torch.allclose(
        carried(points * 1.5, (points * 0.5, faces), (points * 0.55, faces), 0.1), points * 1.5, atol=1e-5
    )


def test_the_hidden_side_of_a_shell_follows_the_seen_one_unless_an_inner_layer_holds_it():
    def shell(inner, outer):
        return Mesh(torch.cat([ball(outer).vertices, ball(inner).vertices]),
                    torch.cat([ball(outer).faces, ball(inner).faces.flip(1) + len(ball(outer).vertices)]))

    before, after, count = shell(0.45, 0.5), shell(0.45, 0.55), len(ball(1.0).vertices)
    moved = layer_clean.followed(before, after, None, six_views(64), 0.3)
    assert torch.equal(moved.vertices[:count], after.vertices[:count]), "what is seen stays"
    assert torch.allclose(moved.vertices[count:].norm(dim=-1), torch.tensor(0.5), atol=6e-3)
    held = layer_clean.followed(before, after, ball(0.44), six_views(64), 0.3)
    assert torch.allclose(held.vertices[count:].norm(dim=-1), torch.tensor(0.45), atol=6e-3)


def test_cleaning_up():
    solid, crumb = ball(0.5), ball(0.05, 1)
    both = Mesh(
        torch.cat([solid.vertices, crumb.vertices + 0.9]), torch.cat([solid.faces, crumb.faces + len(solid.vertices)])
    )
    kept, note = layer_clean.large_parts(both, 100)
    assert len(kept.vertices) == len(solid.vertices) and "1 loose parts" in note
    alone, note = layer_clean.large_parts(solid, 10**6)
    assert len(alone.faces) == len(solid.faces) and not note, "the largest part always stays"
    small = ball(0.5, 2)
    volume = lambda m: float(m.signed_volume())  # noqa: E731
    assert volume(layer_clean.smoothed(small, 2, True)) < 0.97 * volume(small)
    assert volume(layer_clean.smoothed(small, 2, False)) == pytest.approx(volume(small), rel=0.01)
    area = solid.face_normals().norm(dim=-1) / 2
    merged = layer_clean.merged_faces(solid, float(area.median()))
    assert len(merged.faces) < 0.8 * len(solid.faces) and mesh_facts(merged)["watertight"]
    assert layer_clean.merged_faces(solid, 0.0) is solid
    freed = layer_clean.pushed_out(Mesh(solid.vertices * 0.9, solid.faces), [solid], 0.01)
    assert penetration(freed, solid, 0.003)["share"] == 0
    assert float((freed.vertices.norm(dim=-1) - 0.51).abs().max()) < 0.01
    evened = layer_clean.evened(solid, 0.2, 30)
    assert len(evened.vertices) < 0.5 * len(solid.vertices) and mesh_facts(evened)["euler"] == 2


@pytest.fixture(scope="module")
def papers_way(coarse, views):
    """(config, views that stand aside, result, states): registration, dilation, front mask; two steps a fit at 64 pixels."""
    fits = {n: dataclasses.replace(getattr(PAPER, n), steps=2, optimizer=dataclasses.replace(
        getattr(PAPER, n).optimizer, shortest=0.04, longest=0.08)) for n in ("body", "outer", "detail")}
    config = dataclasses.replace(PAPER, size=SIZE, least_area=1e-4, **fits)
    aside, states = CharacterViews(*(getattr(views, n).roll(3, 3) for n in ("color", "normal", "alpha"))), []
    result = refine_layers(coarse, aside, config, autosave=lambda make, now=False: states.append(make().pack()))
    return config, aside, result, states


def test_the_papers_way_runs_with_views_that_stand_aside(papers_way):
    _, _, result, _ = papers_way
    assert result.complete and any("shifted sideways by [-3, " in n for n in result.notes), result.notes
    assert penetration(result.layers["clothing"], result.layers["body"], 0.02)["share"] == 0


@pytest.mark.parametrize("index", [0, 3, 4, 7, 12])
def test_a_state_leads_to_the_same_layers_bit_for_bit(coarse, papers_way, index):
    """In the first fit of the body, at the end of its second, between layers, in the clothing's second, in the hair's."""
    config, aside, whole, states = papers_way
    assert len(states) == 15, "four steps and one end for each layer"
    left, steps = Refining.unpack(*states[index]), []
    again = refine_layers(coarse, aside, config, left=left, on_step=steps.append)
    assert [s.index for s in steps] == list(range(left.step + 1, 13)) and {s.total for s in steps} <= {12}
    assert again.notes == whole.notes and again.reach == whole.reach and again.complete
    for name in coarse:
        for part in ("layers", "inner"):
            a, b = getattr(again, part)[name], getattr(whole, part)[name]
            assert torch.equal(a.vertices, b.vertices) and torch.equal(a.faces, b.faces), (name, part)
