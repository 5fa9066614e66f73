"""The case files that people's packs fail at, each with the result that is right."""

from pathlib import Path

import numpy as np
import pytest
from conftest import DATA
from helpers.gltf_tiny import HIGH, LOW
from lift123.pipelines.core.errors import InputError
from lift123.pipelines.io.mesh_files import read_mesh_file
from lift123.pipelines.io.mesh_notes import Notes

CASES = DATA.parent / "cases" / "meshes"
STILL = (LOW, HIGH)

# file -> (bounds, area, the picture's texture coordinates or None, words of the report)
BOXES = {
    "01_webp_texture.glb": (STILL, 7.0, True, ""),
    "02_gltfpack_default.glb": (STILL, 7.0, True, ""),
    "02_texture_transform.glb": (STILL, 7.0, True, ""),
    "06_skinned_armature.glb": (STILL, 7.0, True, "skin of 1 joint:"),
    "07_two_textures.glb": (STILL, 7.0, False, "2 textures and 2 materials"),
    "07_texture_and_plain.glb": (STILL, 7.0, False, "1 texture and 2 materials"),
    "17_gpu_instancing.glb": ((LOW, HIGH + (5, 0, 0)), 14.0, True, "2 instances"),
    "18_texture_without_source.glb": (STILL, 7.0, None, "a texture without a picture"),
}
OBJECTS = {"11_bom.obj": 1.0, "12_concave.obj": 9.0, "13_comment.obj": 1.0, "13_continuation.obj": 1.0, "08_obj_mtl.obj": 1.0}
REFUSED = {"15_khr_meshopt.glb": "KHR_meshopt_compression", "17_unknown_required.glb": "KHR_gaussian_splatting"}


@pytest.fixture(scope="module", autouse=True)
def cases() -> Path:
    if not CASES.is_dir():
        pytest.skip(f"the case files are not here ({CASES})")
    return CASES


def read(name: str):
    notes = Notes()
    return read_mesh_file(CASES / name, Path(name).suffix, notes), "\n".join(notes.lines)


def area(mesh) -> float:
    return float(mesh.face_normals().norm(dim=-1).sum()) / 2


def test_every_case_is_here():
    assert {f.name for f in CASES.iterdir() if f.suffix in (".glb", ".obj")} == {*BOXES, *OBJECTS, *REFUSED}


@pytest.mark.parametrize("name", BOXES)
def test_boxes(name):
    (low, high), size, whole, words = BOXES[name]
    mesh, report = read(name)
    assert np.allclose(mesh.vertices.min(0).values, low, atol=1e-4) and np.allclose(mesh.vertices.max(0).values, high, atol=1e-4)
    assert area(mesh) == pytest.approx(size, rel=1e-3) and words in report and bool(words) == bool(report)
    assert (mesh.texture is None) == (whole is None)
    if whole:  # the coordinates as the undamaged box has them
        assert mesh.uvs.min(0).values.tolist() == pytest.approx([1 / 15, 0.1], abs=1e-5)
        assert mesh.uvs.max(0).values.tolist() == pytest.approx([14 / 15, 0.9], abs=1e-5)
        colors = mesh.texture[tuple((mesh.uvs[mesh.face_uvs].mean(1) * mesh.texture.new_tensor([48, 32])).long().T[[1, 0]])]
        assert len(np.unique((colors.numpy() * 255).round(-1), axis=0)) == 6  # six sides, six colors


@pytest.mark.parametrize("name", OBJECTS)
def test_objects(name):
    mesh, report = read(name)
    assert area(mesh) == pytest.approx(OBJECTS[name], rel=1e-6)
    assert ("08_a.png is not beside the file" in report) == name.startswith("08") == bool(report)


@pytest.mark.parametrize("name", REFUSED)
def test_refused_by_name(name):
    with pytest.raises(InputError, match=REFUSED[name]):
        read(name)


def test_many_materials_keep_their_patterns():
    """The halves with one texture each: every texel that a face shows is the one of its own picture."""
    both, _ = read("07_two_textures.glb")
    assert both.texture.shape[0] * both.texture.shape[1] > 64 * 64  # not colors at corners
    plain, _ = read("07_texture_and_plain.glb")
    spots = (plain.uvs[plain.face_uvs].mean(1) * plain.texture.new_tensor(plain.texture.shape[1::-1])).long()
    gray = plain.texture[spots[6:, 1], spots[6:, 0]] * 255
    assert gray.round().tolist() == [[188, 188, 188]] * 6  # half of linear light
