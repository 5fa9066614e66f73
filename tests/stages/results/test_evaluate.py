"""Evaluate: the table of a truth against itself and against known offsets, left-out networks, pictures of tables."""

import json
import math

import pytest
import torch
from helpers.comfy_modules import prepare

prepare()
from helpers.shapes import ball, body, box, painted
from lift123.host.specs import Network
from lift123.nodes import evaluate as node_file
from lift123.pipelines.core.cameras import HOME
from lift123.pipelines.core.errors import InputError
from lift123.pipelines.core.mesh import Mesh
from lift123.pipelines.core.views import Views
from lift123.pipelines.io import table_picture as tables
from lift123.pipelines.io.manifest import plain
from lift123.pipelines.metrics.geometry import mesh_facts
from lift123.pipelines.stages.inputs.reference import ReferenceView
from lift123.pipelines.stages.results.evaluate import (
    EvaluateSettings,
    Networks,
    compare_sets,
    evaluate,
    subject_of_mesh,
)

SMALL = EvaluateSettings(size=64, views="turntable-8")


def reference_of(mesh, size=64):
    camera = HOME.orbit(0.0, 0.0, size)
    buffers = subject_of_mesh(mesh).draw(camera)
    straight = buffers.rgb / buffers.alpha[..., None].clamp(min=1e-6)
    return ReferenceView(Views(camera, straight.clamp(0, 1), buffers.alpha))


@pytest.fixture(scope="module")
def doll():
    return painted(*body("egg"), [0])


def test_the_truth_against_itself_is_perfect(doll):
    embed = lambda x: x.mean((1, 2))  # noqa: E731
    networks = Networks(clip=embed, clip_name="mean color")
    steps = []
    result = evaluate(subject_of_mesh(doll), reference_of(doll), doll, networks, SMALL, steps.append)
    got = result.to_json()["metrics"]
    assert got["reference_psnr"] > 50 and got["reference_ssim"] > 0.999 and got["reference_mask_iou"] == 1
    assert got["iou"] == got["iou_placed"] == 1 and got["f_score"] > 0.999 and got["normal_consistency"] > 0.98
    assert got["chamfer_plain"] < 0.025 and got["chamfer_squared"] < 2e-3
    assert got["views_psnr"] == got["novel_psnr"] == 100 and got["views_ssim"] == pytest.approx(1)
    assert got["sides_like_front"] == got["sides_like_front_truth"] == 1 and got["janus"] < 0.3
    assert got["mesh_watertight"] and got["mesh_self_intersections"] == 0 and got["mesh_components"] == 1
    assert 0.99 < got["clip_similarity"] <= 1
    assert [s.index for s in steps] == list(range(1, steps[-1].total + 1))
    assert set(result.to_json()["left_out"]) == {"contextual distance", "reference LPIPS (alex)", "multi-view LPIPS (alex)"}
    text = result.to_text()
    assert "mean color; turntable-8" in text and "left out: contextual distance: not asked for" in text


def test_known_offsets_show_up():
    a, b = box([-0.25] * 3, [0.25] * 3), box([-0.125, -0.25, -0.25], [0.375, 0.25, 0.25])
    got = evaluate(subject_of_mesh(b), None, a, Networks(), SMALL).to_json()
    metrics = got["metrics"]
    assert metrics["iou"] == 1 and metrics["iou_placed"] == pytest.approx(0.375 / 0.625, rel=1e-6)
    assert metrics["novel_psnr"] < 25 and metrics["novel_psnr_worst"] <= metrics["novel_psnr"]
    assert {"reference view", "CLIP similarity", "contextual distance"} <= set(got["left_out"])
    assert "reference_psnr" not in metrics and "clip_similarity" not in metrics


def test_registration_takes_the_place_out_of_the_pixels_and_leaves_the_outline():
    """A ball one pixel column group to the side: as good as in place once its mask is laid over, and still displaced."""
    there = ball(0.4, 16)
    aside = Mesh(there.vertices + torch.tensor([0.2, 0.0, 0.0]), there.faces, there.vertex_colors)
    found = {how: evaluate(subject_of_mesh(aside), reference_of(there), settings=EvaluateSettings(
        64, "turntable-8", intersections=False, registration=how)) for how in ("off", "horizontal", "similarity")}
    values = {how: made.to_json()["metrics"] for how, made in found.items()}
    assert values["horizontal"]["reference_psnr"] > values["off"]["reference_psnr"] + 6
    assert values["similarity"]["reference_psnr"] > values["off"]["reference_psnr"] + 6
    assert len({v["reference_mask_iou"] for v in values.values()}) == 1 and values["off"]["reference_mask_iou"] < 0.9
    assert "horizontal registration of masks" in found["horizontal"].to_text()


def test_gray_reference_psnr_in_closed_form():
    """A gray 0.7 ball against a picture in which the ball is 0.2 darker: 0.04 over the covered share."""
    mesh = ball(0.4, 16)
    reference = reference_of(mesh)
    darker = ReferenceView(Views(reference.camera, reference.views.rgb - 0.2 * (reference.views.alpha[..., None] > 0),
                                 reference.views.alpha))
    got = evaluate(subject_of_mesh(mesh), darker, settings=SMALL).to_json()["metrics"]
    mse = float((0.2 * reference.views.alpha).square().mean())
    assert got["reference_psnr"] == pytest.approx(-10 * math.log10(mse), abs=0.05)


def test_janus_and_faults_reach_the_table():
    four = painted(*body("ball"), [0, 90, 180, 270])
    shell = Mesh(four.vertices, four.faces[50:], four.vertex_colors)
    got = evaluate(subject_of_mesh(shell), settings=SMALL).to_json()
    assert got["metrics"]["sides_like_front"] == 4 and got["metrics"]["janus"] > 0.8 and not got["metrics"]["mesh_watertight"]
    assert len(got["multi_face_profile"]) == 24
    assert "comparison with the true mesh" in got["left_out"]


def test_tables_as_text_and_pictures():
    rows = [["a|b", 1.23456789], ["=1+1", None], ["flag", True]]
    text = tables.markdown(["k", "v"], rows)
    assert text.splitlines()[2] == "| a/b | 1.235 |" and "| =1+1 | - |" in text and "| flag | yes |" in text
    assert tables.comma_separated(["k", "v"], rows).splitlines() == ["k,v", "a|b,1.23456789", "'=1+1,", "flag,True"]
    small = tables.table_picture("t", ["k", "v"], rows)
    large = tables.table_picture("t", ["k", "v"], rows * 2, ("left out: everything",))
    assert small.ndim == 3 and small.shape[2] == 3 and large.shape[0] > small.shape[0]
    assert small.min() < 0.3 and small.max() == 1 and bool((small[-4:] == 1).all())
    tile = tables.labeled(torch.zeros(40, 50, 3), "a very long name that does not fit")
    assert tile.shape == (40 + tables.TEXT + 10, 50, 3) and bool((tile[:40] == 0).all()) and tile[40:].max() == 1


def test_the_node_with_the_embedded_clip(doll, monkeypatch, tmp_path):
    from lift123.host.convert import to_comfy_mesh

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    out = node_file.Evaluate.execute(source=to_comfy_mesh(doll), size=64, intersections=False, seed=0, views="turntable-8",
                                     lpips="alex", reference=reference_of(doll), truth=to_comfy_mesh(doll),
                                     clip=Network("clip"))
    table, picture, metrics = out.args
    told = json.loads(metrics)
    assert told["settings"]["clip"] == "CLIP 'embedded'" and told["metrics"]["clip_similarity"] > 0.5
    assert "alexnet-owt-7be5be79.pth" in told["left_out"]["reference LPIPS (alex)"]
    assert "vgg19" in told["left_out"]["contextual distance"] and "mesh_self_intersections" not in told["metrics"]
    assert picture.ndim == 4 and picture.shape[-1] == 3 and "CLIP 'embedded'; turntable-8" in table
    assert plain({"x": float("inf"), "y": torch.tensor(2)}) == {"x": None, "y": 2}


def test_sets_of_pictures():
    a = torch.rand(5, 32, 32, 3, generator=torch.Generator().manual_seed(0)) * 0.8
    networks = Networks(clip=lambda x: x.mean((1, 2)), clip_name="mean color")
    found = compare_sets(a, a + 0.1, networks).to_json()
    assert found["metrics"]["set_psnr"] == pytest.approx(20, abs=1e-3)
    assert found["metrics"]["set_frechet_clip"] == pytest.approx(3 * 0.1**2, rel=1e-3)  # a shift of every embedding
    assert set(found["left_out"]) == {"FID", "set LPIPS (alex)"}
    b = a.clone()
    b[3] += 0.2
    worst = next(r for r in compare_sets(a, b, networks).rows if r.key == "set_psnr_worst")
    assert worst.value == pytest.approx(-20 * math.log10(0.2), abs=1e-3) and worst.note == "pair 4"
    with pytest.raises(InputError, match="same size"):
        compare_sets(a, a[:4])
    table, picture, metrics = node_file.CompareSets.execute(pictures=a, truth=a, lpips="off", clip=Network("clip")).args
    assert json.loads(metrics)["metrics"]["set_clip"] == pytest.approx(1) and "switched off" in table


def test_facts_match_trimesh(doll):
    trimesh = pytest.importorskip("trimesh", reason="the oracle of this test")
    for mesh in (doll, Mesh(doll.vertices, doll.faces[7:])):
        ours = mesh_facts(mesh)
        other = trimesh.Trimesh(mesh.vertices.double().numpy(), mesh.faces.numpy(), process=False)
        assert ours["watertight"] == other.is_watertight and ours["consistent_winding"] == other.is_winding_consistent
        assert ours["area"] == pytest.approx(other.area, rel=1e-4) and ours["volume"] == pytest.approx(other.volume, rel=1e-3)
        assert ours["euler"] == other.euler_number and ours["components"] == other.body_count
