"""Layers on disk: what is written is what is read; other files are refused by name."""

import pytest
import torch
from lift123.pipelines.core.errors import InputError
from lift123.pipelines.core.layers import LayeredMesh
from lift123.pipelines.core.mesh import Mesh
from lift123.pipelines.stages.characters.refined_layers import RefinedLayers, load_layers, save_layers


def tetrahedron(size: float, colors=None) -> Mesh:
    points = size * torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
    return Mesh(points, torch.tensor([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]]), colors)


@pytest.fixture
def unfinished():
    layers = LayeredMesh({"body": tetrahedron(1.0, torch.rand(4, 3, generator=torch.Generator().manual_seed(0))),
                          "hair": tetrahedron(0.5)})
    return RefinedLayers(layers, LayeredMesh({"body": tetrahedron(0.9)}), ("body",), ("body: done.",),
                         {"hair in body": {"deepest": 0.1, "share": 0.5}}, was_mirrored=True)


def test_read_back_equals_written(unfinished, tmp_path):
    back = load_layers(save_layers(tmp_path / "a.safetensors", unfinished))
    assert back.layers.names == ("body", "hair") and back.inner.names == ("body",)
    for group in ("layers", "inner"):
        for name in getattr(unfinished, group):
            before, after = getattr(unfinished, group)[name], getattr(back, group)[name]
            assert torch.equal(before.vertices, after.vertices) and torch.equal(before.faces, after.faces)
    assert torch.equal(back.layers["body"].vertex_colors, unfinished.layers["body"].vertex_colors)
    assert back.layers["hair"].vertex_colors is None
    assert (back.finished, back.notes, back.reach, back.was_mirrored) == (
        unfinished.finished, unfinished.notes, unfinished.reach, True)
    assert not list(tmp_path.glob("*.partial"))


def test_other_files_are_refused(unfinished, tmp_path):
    from safetensors.torch import save_file

    save_file({"x": torch.zeros(1)}, str(tmp_path / "other.safetensors"))
    (tmp_path / "text.safetensors").write_text("no tensors")
    path = save_layers(tmp_path / "cut.safetensors", unfinished)
    path.write_bytes(path.read_bytes()[:-40])
    for name in ("other", "text", "cut", "absent"):
        with pytest.raises(InputError, match="layers file"):
            load_layers(tmp_path / f"{name}.safetensors")
