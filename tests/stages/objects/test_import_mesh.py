"""Meshes from elsewhere: placed under the picture, kept or rebuilt, and refined until they look like it."""

import math
from dataclasses import replace

import pytest
import torch
from helpers.wedge import IMPORT, MESH, SIZE, short_imports
from helpers.wedge import likeness as _likeness
from helpers.wedge import reference as _reference
from helpers.wedge import views as _views
from helpers.wedge import wedge as _wedge
from lift123.pipelines.core.cameras import HOME, Cameras
from lift123.pipelines.core.errors import InputError, StopStage
from lift123.pipelines.core.mesh import Mesh, merge
from lift123.pipelines.fields.hash_nerf import HashNerfConfig
from lift123.pipelines.io.unwrap import unwrap
from lift123.pipelines.ops.hashgrid import HashGridConfig
from lift123.pipelines.render.surface import render_surface
from lift123.pipelines.stages.inputs.reference import ReferenceView
from lift123.pipelines.stages.loop.scene import Scene
from lift123.pipelines.stages.objects.import_mesh import bakeable, import_mesh, tet_surface
from lift123.pipelines.stages.objects.place_mesh import UPS, Placement, coverage, place_mesh
from lift123.pipelines.stages.objects.refine_mesh import refine_mesh
from lift123.pipelines.stages.results.asset import BakeSettings, textured_mesh
from lift123.pipelines.stages.results.bake import bake
from lift123.pipelines.stages.results.render_views import render_scene, scene_albedo, scene_mesh
from lift123.pipelines.toybox.objects import make_object
from lift123.pipelines.toybox.render import reference_camera, render_toy


def _sphere(radius=0.4, rings=14, center=(0.0, 0.0, 0.0)) -> Mesh:
    """Closed, wound outwards."""
    rows = [(math.pi * i / rings, 2 * math.pi * j / (2 * rings)) for i in range(1, rings) for j in range(2 * rings)]
    ring = [(math.sin(t) * math.sin(p), math.cos(t), math.sin(t) * math.cos(p)) for t, p in rows]
    vertices = torch.tensor([(0.0, 1.0, 0.0), *ring, (0.0, -1.0, 0.0)])
    width, last, faces = 2 * rings, len(ring) + 1, []
    for j in range(width):
        k = (j + 1) % width
        faces += [(0, 1 + j, 1 + k), (last, last - width + k, last - width + j)]
        for i in range(rings - 2):
            a, b, c, d = (1 + i * width + j, 1 + i * width + k, 1 + (i + 1) * width + j, 1 + (i + 1) * width + k)
            faces += [(a, c, b), (b, c, d)]
    return Mesh(vertices * radius + torch.tensor(center), torch.tensor(faces))


def _bare(mesh: Mesh) -> Mesh:
    return Mesh(mesh.vertices, mesh.faces)


def test_a_large_mesh_is_told_how_it_will_be_unwrapped(monkeypatch):
    from lift123.pipelines.io import unwrap as unwrapping

    told = []
    for limit in (10, 10**6):
        monkeypatch.setattr(unwrapping, "ATLAS_FACES", limit)
        scene = import_mesh(_bare(_wedge()), _reference(), replace(IMPORT, iterations=1))
        told.append(any("quick ones" in line for line in scene.meta["imported"]["report"]))
    assert told == [True, False]


# -------------------------------------------------------------------------------------- placing


# Where the three axes of the upright object lie in a file whose named axis is up; written out by hand.
STORED = {
    "y": lambda x, y, z: (x, y, z), "-y": lambda x, y, z: (x, -y, -z), "z": lambda x, y, z: (x, -z, y),
    "-z": lambda x, y, z: (x, z, -y), "x": lambda x, y, z: (y, -x, z), "-x": lambda x, y, z: (-y, x, z),
}


@pytest.mark.parametrize("up", UPS)
def test_a_mesh_of_any_unit_and_up_axis_goes_where_the_picture_says(up):
    truth = _wedge()
    stored = torch.stack(STORED[up](*truth.vertices.unbind(-1)), -1) * 37.0 + torch.tensor([5.0, -80.0, 11.0])
    placed, _ = place_mesh(replace(truth, vertices=stored), _views(256), Placement(up))
    assert float((placed.vertices - truth.vertices).abs().max()) < 1e-3  # a quarter of a pixel
    assert float(placed.signed_volume()) == pytest.approx(float(truth.signed_volume()), rel=0.03)  # never a mirror
    assert coverage(placed, _views(256)).iou > 0.97


def test_fit_follows_the_reference_camera():
    truth, views = _sphere(0.3), None
    camera = Cameras.orbit(0.9, 0.5, 2.5, math.radians(35), 200, 200)
    views = render_toy(truth, camera, 2)
    placed, _ = place_mesh(truth.transformed(9.0, torch.tensor([1.0, 2.0, 3.0])), views, Placement())
    assert float((placed.vertices - truth.vertices).abs().max()) < 5e-3


def test_search_finds_the_turn():
    truth = _wedge()
    angle = math.radians(-105)  # the file's object is turned by -105 degrees; 105 brings it back
    c, s = math.cos(angle), math.sin(angle)
    x, y, z = truth.vertices.unbind(-1)
    turned = replace(truth, vertices=torch.stack([c * x + s * z, y, c * z - s * x], -1) * 3)
    placed, report = place_mesh(turned, _views(), Placement(search=True))
    assert "turned by 105 degrees" in report[0]
    assert float((placed.vertices - truth.vertices).abs().max()) < 0.03
    given, _ = place_mesh(turned, _views(), Placement(turn=105.0))
    assert torch.allclose(given.vertices, placed.vertices, atol=1e-5)
    wrong, _ = place_mesh(turned, _views(), Placement())
    assert coverage(placed, _views()).iou > coverage(wrong, _views()).iou


def test_coverage_counts_both_ways():
    views = _views(96)
    half = replace(_wedge(), vertices=_wedge().vertices * torch.tensor([0.5, 1.0, 1.0]))
    seen = coverage(half, views)
    assert seen.inside > 0.9 and seen.covered == pytest.approx(0.5, abs=0.06)
    assert seen.iou == pytest.approx(1 / (1 / seen.inside + 1 / seen.covered - 1), abs=0.02)
    assert "50" in str(replace(seen, covered=0.5))


# ---------------------------------------------------------------------------------- untouched


def test_colors_return_and_the_surface_stays():
    """The bar: a mesh whose colors were removed regains its reference view, bit for bit the same surface."""
    scene = import_mesh(_bare(_wedge()), _reference(), IMPORT)
    before = _likeness(scene)
    done = refine_mesh(None, scene, replace(MESH, iterations=160))
    assert before < 22 and _likeness(done) > 30, (before, _likeness(done))
    assert _likeness(done) > before + 10
    for name in ("surface/vertices", "surface/faces"):
        assert torch.equal(done.tensors[name], scene.tensors[name])
    mesh = scene_mesh(done)
    assert torch.equal(mesh.faces, _wedge().faces) and torch.equal(mesh.vertices, scene.tensors["surface/vertices"])
    assert done.meta["imported"] == scene.meta["imported"] and done.step == 160


@pytest.mark.parametrize("kind", ["vertices", "texture"])
def test_the_meshs_own_colors_are_the_start(kind):
    mesh = _wedge()
    if kind == "texture":
        mesh = bake(unwrap(mesh, None, 256), lambda x: (x + 0.5).clamp(0, 1), 256, 4, 1)
        assert mesh.texture is not None and mesh.vertex_colors is None
    sides = _views(SIZE, 2.5, 0.3)
    kept = import_mesh(mesh, _reference(), replace(IMPORT, iterations=250))
    dropped = import_mesh(mesh, _reference(), replace(IMPORT, colors="picture"))
    assert _likeness(kept, sides) > 27 > _likeness(dropped, sides) + 4
    # Refining the front does not undo the back: no gradient reaches most of it.
    assert _likeness(refine_mesh(None, kept, MESH), sides) > _likeness(dropped, sides) + 4


def test_background_is_not_painted_onto_a_mesh_that_is_too_large():
    """Where the mesh sticks out of the picture's object, white must not be learned."""
    large = _bare(_wedge()).transformed(1.15)
    scene = import_mesh(large, _reference(), replace(IMPORT, placement=Placement(fit=False)))
    assert "outlines differ" in " ".join(scene.meta["imported"]["report"])
    done = refine_mesh(None, scene, MESH)
    seen = render_scene(done, _reference().camera)
    outside = (seen.alpha > 0.99) & (_reference().views.alpha < 0.01)
    assert int(outside.sum()) > 20
    assert float(seen.rgb[outside].min(-1).values.mean()) < 0.6  # white would be 1


def test_interrupted_refinement_resumes_exactly(tmp_path):
    scene = import_mesh(_bare(_wedge()), _reference(), IMPORT, seed=5)
    short = replace(MESH, iterations=6)
    half = Scene.load(refine_mesh(None, scene, short, until=2).save(tmp_path / "half.safetensors"))
    whole, resumed = refine_mesh(None, scene, short), refine_mesh(None, half, short)
    assert whole.seed == 5 and set(whole.tensors) == set(resumed.tensors)
    assert all(torch.equal(v, resumed.tensors[k]) for k, v in whole.tensors.items())


def test_geometry_of_an_untouched_surface_cannot_be_asked_for():
    scene = import_mesh(_bare(_wedge()), _reference(), replace(IMPORT, iterations=1))
    for what in ("both", "geometry"):
        with pytest.raises(InputError, match="untouched.*refinable"):
            refine_mesh(None, scene, replace(MESH, optimize=what))


def test_stopping_the_import_keeps_what_there_is():
    def stop(step):
        if step.index == 3:
            raise StopStage()

    scene = import_mesh(_wedge(), _reference(), IMPORT, on_step=stop)
    assert scene.finished and scene.kind == "mesh"


# --------------------------------------------------------------------------------------- export


def test_export_keeps_faces_and_good_uvs():
    mesh = unwrap(_bare(_wedge()), None, 128)
    scene = import_mesh(mesh, _reference(), replace(IMPORT, iterations=20))
    out = textured_mesh(scene, BakeSettings(faces=8, size=128, padding=2, supersample=1))
    assert torch.equal(out.faces, mesh.faces) and torch.equal(out.face_uvs, mesh.face_uvs)
    assert torch.equal(out.uvs, mesh.uvs) and out.texture.shape == (128, 128, 3)
    face = mesh.face_normals().norm(dim=-1).argmax()
    point = out.vertices[out.faces[face]].mean(0, keepdim=True)
    u, v = (out.uvs[out.face_uvs[face]].mean(0) * 128).long().tolist()
    assert torch.allclose(out.texture[v, u], scene_albedo(scene)(point)[0], atol=0.1)


def test_tiling_and_overlapping_uvs_are_replaced():
    good = unwrap(_bare(_wedge()), None, 256)
    assert bakeable(good)
    corner = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    stacked = replace(good, uvs=corner, face_uvs=torch.arange(3).expand(len(good.faces), 3).contiguous())
    assert not bakeable(stacked) and not bakeable(replace(good, uvs=good.uvs * 3)) and not bakeable(_bare(good))
    assert not bakeable(replace(good, uvs=torch.zeros_like(good.uvs)))
    scene = import_mesh(stacked, _reference(), replace(IMPORT, iterations=1))
    assert "surface/uvs" not in scene.tensors and "new ones" in " ".join(scene.meta["imported"]["report"])
    out = textured_mesh(scene, BakeSettings(size=64, padding=1, supersample=1))
    assert torch.equal(out.faces, good.faces) and bakeable(out)


# ------------------------------------------------------------------------------------ refinable


@pytest.mark.parametrize("flip", [False, True])
def test_signed_distances_follow_the_mesh(flip):
    """Against the closed form of a ball; reversed faces and an overlapping second ball change nothing."""
    ball = merge([_sphere(0.4, 24), _sphere(0.2, 12, (0.15, 0.0, 0.0))])
    ball = replace(ball, faces=ball.faces.flip(1)) if flip else ball
    n = 16
    mesh = tet_surface(ball, n).extract().detach()
    assert float((mesh.vertices.norm(dim=-1) - 0.4).abs().max()) < 0.25 * 0.5 / n  # of a cell in the fitted box
    assert float(mesh.signed_volume()) == pytest.approx(4 / 3 * math.pi * 0.4**3, rel=0.02)


def test_refinable_meshes_change_shape_and_color():
    wrong = replace(_sphere(0.35), vertices=_sphere(0.35).vertices * torch.tensor([0.9, 1.1, 0.7]))
    placement = Placement(fit=False)
    scene = import_mesh(wrong, _reference(), replace(IMPORT, surface="refinable", placement=placement))
    before = coverage(scene_mesh(scene), _reference().views)
    done = refine_mesh(None, scene, replace(MESH, optimize="both", iterations=120))
    after = coverage(scene_mesh(done), _reference().views)
    assert before.iou < 0.85 and after.iou > before.iou + 0.08, (before.iou, after.iou)
    assert _likeness(done) > _likeness(scene) + 5
    assert done.meta["tets"] == 10 and "surface/vertices" not in done.tensors


def test_sheets_have_no_inside():
    sheet = Mesh(torch.tensor([[-0.4, -0.4, 0.0], [0.4, -0.4, 0.0], [0.0, 0.4, 0.0]]), torch.tensor([[0, 1, 2]]))
    with pytest.raises(InputError, match="nothing inside.*untouched"):
        import_mesh(sheet, _reference(), replace(IMPORT, surface="refinable", iterations=1))
    assert import_mesh(sheet, _reference(), replace(IMPORT, iterations=1)).kind == "mesh"


# ---------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize("mesh, words", [
    (Mesh(torch.zeros(3, 3), torch.tensor([[0, 1, 2]])), "area"),
    (Mesh(torch.zeros(0, 3), torch.zeros(0, 3, dtype=torch.int64)), "faces"),
    (Mesh(torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [float("nan"), 0, 0]]), torch.tensor([[0, 1, 2]])), "finite"),
])
def test_unusable_meshes_are_refused(mesh, words):
    with pytest.raises(InputError, match=words):
        import_mesh(mesh, _reference(), IMPORT)


def test_a_mesh_outside_the_scene_is_refused():
    far = _wedge().transformed(1.0, torch.tensor([0.0, 0.0, 3.0]))
    with pytest.raises(InputError, match="cube"):
        import_mesh(far, _reference(), replace(IMPORT, placement=Placement(fit=False)))
    long = replace(_wedge(), vertices=_wedge().vertices * torch.tensor([1.0, 1.0, 9.0]))
    with pytest.raises(InputError, match="cube|in front"):
        import_mesh(long, _reference(), IMPORT)


# -------------------------------------------------------------------------------------- toy, node


def test_a_toys_bare_mesh_regains_its_picture():
    toy = make_object(10000108)
    views = render_toy(toy, reference_camera(96), 2)
    field = HashNerfConfig(HashGridConfig(levels=8, log2_table=15, base=8, finest=192), hidden=16, layers=1)
    config = replace(IMPORT, color_field=field, iterations=20)
    scene = import_mesh(_bare(toy.mesh).transformed(8.0, torch.ones(3)), ReferenceView(views), config)
    assert scene.meta["imported"]["coverage"]["iou"] > 0.97
    done = refine_mesh(None, scene, replace(MESH, iterations=150, reference_size=96))
    assert _likeness(done, views) > 28 > _likeness(scene, views) + 5, _likeness(done, views)


def test_node_takes_meshes_and_files(monkeypatch):
    from helpers.comfy_modules import prepare

    prepare()
    short_imports(monkeypatch)
    from lift123.host.convert import mesh_to_file, to_comfy_mesh
    from lift123.nodes.mesh_in import MeshToScene

    settings = {"turn": 0.0, "grid": 8, "detail": 64, "find_turn": False, "fit": True, "seed": 3, "up": "y",
                "surface": "untouched", "colors": "picture"}
    with torch.inference_mode():
        results = [MeshToScene.execute(mesh=given, reference=_reference(), **settings).result
                   for given in (to_comfy_mesh(_wedge()), mesh_to_file(_wedge()))]
    for scene, preview, report in results:
        assert scene.seed == 3 and preview.shape == (1, SIZE, 3 * SIZE, 3) and "covers" in report
        overlay = preview[0, :, 2 * SIZE:]
        assert float(overlay[0, 0].min()) == 1.0 and float(overlay[SIZE // 2, SIZE // 2].max()) < 0.25
        done = refine_mesh(None, scene, replace(MESH, iterations=2))
        assert done.step == 2


def test_rendering_the_imported_scene_equals_rendering_the_mesh():
    """The scene's silhouette is the placed mesh's, pixel for pixel."""
    scene = import_mesh(_wedge(), _reference(), replace(IMPORT, iterations=1, placement=Placement(fit=False)))
    camera = HOME.orbit(0.7, 0.2, 40)
    assert torch.equal(render_scene(scene, camera).alpha, render_surface(_wedge(), camera, grad=False).alpha)
