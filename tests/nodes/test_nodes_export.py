"""Bake and Export with the picture's own pixels: what is told, what is recorded, and that off is what it was."""

import json

import pytest
import torch
from helpers.comfy_modules import prepare
from helpers.tiny_stages import MESH, nerf

prepare()
import folder_paths
from lift123.nodes import export
from lift123.pipelines.stages.objects.refine_mesh import refine_mesh

GIVEN = dict(filename_prefix="a/b", texture_size=64, face_budget=500, supersample=1, frames=4, turntable_size=64, elevation=10.0)


@pytest.fixture(scope="module")
def scene():
    return refine_mesh(None, nerf(), MESH)


@pytest.fixture
def made(tmp_path, monkeypatch, scene):
    """(results, GLB bytes, manifest) of the node with further inputs."""
    monkeypatch.setattr(folder_paths, "output_directory", str(tmp_path))

    def run(**more):
        got = export.BakeExport.execute(scene=scene, **GIVEN, **more)
        (files,) = got.ui["lift123_files"]
        paths = {kind: tmp_path / file["subfolder"] / file["filename"] for kind, file in files.items()}
        return got.result, paths["glb"].read_bytes(), json.loads(paths["manifest"].read_text(encoding="utf-8"))

    return run


def test_off_is_what_it_was_before_there_was_a_switch(made):
    old, off = made(), made(picture_texels=False)
    assert old[1] == off[1] and "picture_texels" not in old[2]["results"]
    assert "texture 64 x 64" in old[0][4] and "texels" not in old[0][4]


def test_on_takes_the_picture_and_says_how_much(made):
    off, on = made(), made(picture_texels=True)
    told = on[2]["results"]["picture_texels"]
    assert 0 < told["mostly"] < told["texels"] and f"{told['mostly']} of {told['texels']} texels" in on[0][4]
    assert off[1] != on[1] and not torch.equal(off[0][2], on[0][2]), "another texture"
    assert torch.equal(off[0][1].vertices, on[0][1].vertices), "the same shape"
    assert made(picture_texels=True)[1] == on[1], "the same bytes again"
