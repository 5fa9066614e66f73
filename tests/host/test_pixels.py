"""What comes by wire as a picture, a mask or a mesh in other numbers than ComfyUI's."""

import io as std_io
import math

import pytest
import torch
from helpers.comfy_modules import prepare

prepare()
from comfy_api.latest import Types
from helpers import good_inputs
from helpers.gltf_tiny import textured_box
from helpers.good_inputs import NODES, good
from lift123.host import convert
from lift123.host.inputs import checked, pixels
from lift123.pipelines.core.errors import InputError

IMAGES = [(name, entry.id) for name, node in NODES.items() for entry in node.define_schema().inputs
          if entry.get_io_type() == "IMAGE"]
MASKS = [(name, entry.id) for name, node in NODES.items() for entry in node.define_schema().inputs
         if entry.get_io_type() == "MASK"]


def tensors(shape) -> dict:
    """Pictures that are none: in another range, type or kind of storage."""
    zeros = torch.zeros(shape)
    sparse, nested = zeros.to_sparse(), torch.nested.nested_tensor([zeros[0], zeros[0]], layout=torch.jagged)
    return {"0..255": zeros + 255.0, "-1..1": zeros - 1, "int64": zeros.long() + 200, "int32": zeros.int() - 1,
            "huge": zeros.double() + 1e300, "sparse": sparse, "meta": zeros.to("meta"), "nested": nested}


@pytest.mark.parametrize("name, entry", IMAGES + MASKS)
def test_no_node_takes_them(name, entry):
    shape = (1, 64, 64, 3) if (name, entry) in IMAGES else (1, 64, 64)
    for what, value in tensors(shape).items():
        if entry in NODES[name].ANY_RANGE and what in ("0..255", "-1..1", "huge"):
            continue
        with pytest.raises(InputError) as error:
            NODES[name].execute(**good(NODES[name], **{entry: value}))
        assert error.value.name == entry, f"{what}: {error.value}"


def test_eight_and_sixteen_bits_and_half_precision_are_scaled():
    ramp = torch.arange(256)
    picture = ramp.to(torch.uint8).reshape(1, 16, 16, 1)
    assert torch.equal(pixels("a", picture, True), picture.float() / 255)
    assert torch.equal(pixels("a", picture[..., 0], False), picture[..., 0].float() / 255)
    deep = (ramp * 257).to(torch.uint16).reshape(1, 16, 16, 1)
    assert torch.allclose(pixels("a", deep, True), picture.float() / 255)
    for kind in (torch.bool, torch.uint8, torch.int64):
        assert pixels("a", torch.eye(8)[None].to(kind), False).tolist() == torch.eye(8)[None].tolist()
    for kind in (torch.float16, torch.bfloat16, torch.float64):
        assert pixels("a", torch.full((1, 2, 2, 3), 0.5, dtype=kind), True).dtype == torch.float32
    plain = torch.rand(1, 4, 4, 3)
    assert torch.equal(pixels("a", plain, True), plain) and torch.equal(pixels("a", plain * 1.2 - 0.1, True), plain * 1.2 - 0.1)
    schema = NODES["Lift123_ReferenceView"].define_schema()
    far = torch.full((1, 64, 64, 3), 800.0)
    assert torch.equal(checked(schema, {"depth": far}, (), ("depth",))["depth"], far)


def test_colors_of_a_mesh():
    mesh = good_inputs.box()
    count = mesh.vertices.shape[1]
    mesh.vertex_colors = torch.full((1, count, 3), 51, dtype=torch.uint8)
    assert torch.allclose(convert.from_comfy_mesh(mesh).vertex_colors, torch.tensor(0.2))
    mesh.uvs, mesh.texture = torch.rand(1, count, 2), torch.full((1, 4, 4, 4), 255, dtype=torch.uint8)
    assert float(convert.any_mesh(mesh, "mesh").texture.min()) == 1
    bad = {"vertex_colors": [torch.full((1, count, 3), 255.0), torch.full((1, count, 3), 99), torch.full((1, count, 3), -1.0)],
           "texture": [torch.full((1, 4, 4, 3), 255.0), torch.zeros(1, 4, 4, 4).to_sparse(),
                       torch.zeros(1, 4, 4, 3, device="meta"), torch.zeros(1, 4, 4, 3, dtype=torch.complex64)],
           "vertices": [mesh.vertices.to_sparse(), mesh.vertices.to("meta"), mesh.vertices + 0j],
           "faces": [mesh.faces.to_sparse(), mesh.faces.to("meta"), mesh.faces.float() * math.nan],
           "vertex_counts": [torch.tensor([math.nan]), [], "x", [None]]}
    for field, values in bad.items():
        for value in values:
            mesh = good_inputs.box()
            mesh.uvs = torch.rand(1, count, 2)
            setattr(mesh, field, value)
            with pytest.raises(InputError):
                convert.any_mesh(mesh, "mesh")


@pytest.mark.parametrize("scale, words", [([0, 0, 0], "all lie in one place"), ([1e-12] * 3, "all lie in one place"),
                                          ([1, 0, 0], "lie on a line"), ([1e20] * 3, "coordinates up to"), ([1, 0, 1], "")])
def test_the_converter_of_files_looks_at_the_shape(scale, words):
    tiny = textured_box()
    tiny.gltf["nodes"][0]["scale"] = scale
    file = Types.File3D(std_io.BytesIO(tiny.packed()), "glb")
    if not words:
        assert NODES["Lift123_File3DToMesh"].execute(file=file).result[0].faces.shape[1] == 12
        return
    with pytest.raises(InputError, match=words) as error:
        NODES["Lift123_File3DToMesh"].execute(file=file)
    assert error.value.name == "file"
