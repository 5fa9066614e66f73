"""GLB files as other programs write them; every kind with inputs made here, against colors and places that are known."""

import base64
import json
import math

import numpy as np
import pytest
import torch
from helpers.gltf_tiny import HIGH, LOW, SIDE_COLORS, Tiny, box, encoded, pack, shown_colors, six_colors, textured_box
from lift123.pipelines.core.errors import InputError
from lift123.pipelines.io.color import linear_to_srgb
from lift123.pipelines.io.glb_reader import read_glb
from lift123.pipelines.io.mesh_notes import Notes

FACE_COLORS = np.repeat(SIDE_COLORS, 2, 0)  # two triangles per side


def read(tiny, **options):
    notes = Notes()
    mesh = read_glb(tiny if isinstance(tiny, bytes) else tiny.packed(), notes=notes, **options)
    return mesh, "\n".join(notes.lines)


def assert_is_the_box(mesh, tolerance=3.0, colors=FACE_COLORS):
    assert np.allclose(mesh.vertices.min(0).values, LOW, atol=1e-4), mesh.vertices.min(0).values
    assert np.allclose(mesh.vertices.max(0).values, HIGH, atol=1e-4), mesh.vertices.max(0).values
    assert mesh.signed_volume().item() == pytest.approx(1.0, abs=1e-3)
    assert np.abs(shown_colors(mesh) - colors).max() <= tolerance, shown_colors(mesh) - colors


def test_the_plain_box():
    mesh, report = read(textured_box())
    assert_is_the_box(mesh, 0)
    assert report == ""


# Textures whose picture sits in an extension, and pictures of other kinds

def in_extension(name, kind, fallback=False, **options):
    tiny = textured_box()
    tiny.gltf["images"].append({"bufferView": tiny.view(encoded(six_colors(), kind, **options))})
    tiny.gltf["textures"][0] = {"extensions": {name: {"source": 1}}, **({"source": 0} if fallback else {})}
    tiny.gltf["extensionsRequired"] = [] if fallback else [name]
    return tiny


def gray_box(pixels, kind="PNG"):
    tiny = textured_box()
    tiny.gltf["images"][0] = {"bufferView": tiny.view(encoded(pixels, kind))}
    return tiny


@pytest.mark.parametrize("tiny", [
    in_extension("EXT_texture_webp", "WEBP", lossless=True), in_extension("EXT_texture_webp", "WEBP", fallback=True, quality=95),
    in_extension("EXT_texture_avif", "AVIF", quality=95), in_extension("EXT_texture_avif", "AVIF", fallback=True, quality=95),
    in_extension("EXT_texture_webp", "PNG"),
], ids=["webp", "webp, fallback", "avif", "avif, fallback", "png in the extension"])
def test_pictures_in_extensions(tiny):
    assert_is_the_box(read(tiny)[0], 16)


def test_pictures_that_cannot_be_read_are_named():
    tiny = textured_box()
    tiny.gltf["textures"][0] = {"extensions": {"KHR_texture_basisu": {"source": 0}}}
    mesh, report = read(tiny)
    assert mesh.texture is None and "KHR_texture_basisu" in report
    tiny.gltf["extensionsRequired"] = ["KHR_texture_basisu", "KHR_texture_transform"]
    with pytest.raises(InputError, match="needs KHR_texture_basisu, which"):
        read(tiny)


@pytest.mark.parametrize("bits", [8, 16])
def test_gray_pictures_of_any_depth(bits):
    """A ramp of 16 bits is the same ramp as one of 8."""
    ramp = np.linspace(0, 2**bits - 1, 48).round().astype(f"uint{bits}")
    mesh, _ = read(gray_box(np.tile(ramp, (32, 1))))
    assert np.allclose(mesh.texture[:, :, 0].numpy(), np.linspace(0, 1, 48), atol=2.0**-7)
    assert torch.equal(mesh.texture[..., 0], mesh.texture[..., 2])


@pytest.mark.parametrize("make", [
    lambda: np.dstack([six_colors(), np.full((32, 48), 128, np.uint8)]),  # alpha is dropped, colors stay
    lambda: np.dstack([six_colors()[..., 0], np.full((32, 48), 9, np.uint8)]),
    lambda: (six_colors()[..., 0] > 128), lambda: six_colors()[..., 0], lambda: six_colors().astype(np.uint16)[..., 0] * 257,
], ids=["RGBA", "gray and alpha", "one bit", "gray", "gray of 16 bits"])
def test_pictures_of_other_modes(make):
    pixels = make()
    mesh, _ = read(gray_box(pixels))
    wanted = pixels if pixels.ndim == 3 else pixels[..., None]
    wanted = wanted[..., :3] if wanted.shape[2] > 2 else wanted[..., :1]
    scale = {np.dtype(bool): 255, np.dtype(np.uint8): 1, np.dtype(np.uint16): 1 / 257}[pixels.dtype]
    assert np.allclose(mesh.texture.numpy() * 255, np.broadcast_to(wanted * scale, (32, 48, 3)), atol=0.51)


# KHR_texture_transform

TRANSFORMS = {
    "offset": {"offset": [0.25, -0.5]}, "scale": {"scale": [2.0, 0.5]}, "rotation": {"rotation": 0.7},
    "all": {"offset": [0.1, 0.2], "rotation": -1.1, "scale": [3.0, 0.25]}, "second coordinates": {"texCoord": 1, "scale": [2, 2]},
    "quarter": {"rotation": math.pi / 2},
}


@pytest.mark.parametrize("name", TRANSFORMS)
def test_moved_coordinates(name):
    """Coordinates that the extension takes back to where they belong; the formula of its text, v downwards."""
    moved = TRANSFORMS[name]
    points, uvs, faces = box()
    (x, y), (across, down), angle = moved.get("offset", (0, 0)), moved.get("scale", (1, 1)), moved.get("rotation", 0)
    turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    stored = np.linalg.solve(turn, (uvs - (x, y)).T).T / (across, down)
    tiny = Tiny()
    texture = tiny.picture(encoded(six_colors()))
    coordinates = {f"TEXCOORD_{moved.get('texCoord', 0)}": tiny.accessor(stored)}
    if "texCoord" in moved:
        coordinates["TEXCOORD_0"] = tiny.accessor(np.zeros((24, 2)))
    tiny.primitive(faces, tiny.material(texture), POSITION=tiny.accessor(points), **coordinates)
    tiny.gltf["materials"][0]["pbrMetallicRoughness"]["baseColorTexture"]["extensions"] = {"KHR_texture_transform": moved}
    mesh, _ = read(tiny)
    assert_is_the_box(mesh, 0)
    assert torch.allclose(mesh.uvs[mesh.face_uvs], torch.from_numpy(uvs)[torch.from_numpy(faces)], atol=1e-5)


def test_a_positive_rotation_is_counter_clockwise():
    """As three.js and Blender show it: the right of the picture (1, 0) comes from coordinates that pointed down (0, 1)."""
    tiny = Tiny()
    texture = tiny.picture(encoded(six_colors()))
    points, uvs, faces = box()
    tiny.primitive(faces, tiny.material(texture), POSITION=tiny.accessor(points), TEXCOORD_0=tiny.accessor(uvs * 0 + (0, 1)))
    tiny.gltf["materials"][0]["pbrMetallicRoughness"]["baseColorTexture"]["extensions"] = {
        "KHR_texture_transform": {"rotation": math.pi / 2}}
    assert torch.allclose(read(tiny)[0].uvs, torch.tensor([1.0, 0.0]), atol=1e-6)


# Quantized and strided data

@pytest.mark.parametrize("dtype, normalized", [("uint16", False), ("int16", True), ("uint8", False), ("int8", True),
                                               ("uint16", True)])
def test_quantized_positions(dtype, normalized):
    points, uvs, faces = box()
    top = np.iinfo(dtype).max
    unit = (points - LOW) / (HIGH - LOW)
    tiny = Tiny()
    texture = tiny.picture(encoded(six_colors()))
    tiny.primitive(faces, tiny.material(texture), POSITION=tiny.accessor((unit * top).round(), dtype, normalized=normalized),
                   TEXCOORD_0=tiny.accessor((uvs * 65535).round(), "uint16", normalized=True))
    scale = (HIGH - LOW) / (1 if normalized else top)
    tiny.gltf["nodes"][0] |= {"scale": scale.tolist(), "translation": LOW.tolist()}
    tiny.gltf["extensionsRequired"] = ["KHR_mesh_quantization"]
    assert_is_the_box(read(tiny)[0], 0)


# Skins

def skinned(pose, bind, weights=None, joints=None, **more):
    """The box held by two joints: ``pose`` are their nodes' matrices, ``bind`` the inverse bind matrices."""
    tiny = textured_box()
    attributes = tiny.gltf["meshes"][0]["primitives"][0]["attributes"]
    weights = np.tile([0.5, 0.5, 0, 0], (24, 1)) if weights is None else weights
    attributes["JOINTS_0"] = tiny.accessor(np.tile([0, 1, 0, 0], (24, 1)) if joints is None else joints, "uint8")
    attributes["WEIGHTS_0"] = tiny.accessor(weights, **more) if not more else tiny.accessor(weights * 255, "uint8", **more)
    matrices = tiny.accessor(np.stack([np.asarray(m, float).T.reshape(16) for m in bind]))
    tiny.gltf["nodes"] = [{"mesh": 0, "skin": 0, "scale": [7, 7, 7], "translation": [1, 2, 3]}] + [
        {"matrix": np.asarray(m, float).T.reshape(16).tolist()} for m in pose]
    tiny.gltf["scenes"] = [{"nodes": [0, 1, 2]}]
    tiny.gltf["skins"] = [{"joints": [1, 2], "inverseBindMatrices": matrices}]
    return tiny


def placed(scale=1.0, angle=0.0, move=(0, 0, 0)):
    c, s = math.cos(angle), math.sin(angle)
    matrix = np.diag([scale] * 3 + [1.0]) @ [[1, 0, 0, 0], [0, c, -s, 0], [0, s, c, 0], [0, 0, 0, 1]]
    matrix[:3, 3] = move
    return matrix


SKINS = [placed(), placed(0.01, -math.pi / 2), placed(3, 1.0, (5, 0, 0)), placed(1, 0.3), placed(100, 0, (0, 0, 9))]


@pytest.mark.parametrize("joint", SKINS, ids=range(len(SKINS)))
def test_skins_in_bind_pose(joint):
    """The mesh node's own transform is ignored; joints that stand where they were bound leave the mesh as it was."""
    mesh, report = read(skinned([joint, joint @ placed(1, 0.4)], [np.linalg.inv(joint), np.linalg.inv(joint @ placed(1, 0.4))]))
    assert_is_the_box(mesh, 0)
    assert "skin of 2 joints" in report and "skeleton was dropped" in report


def test_skins_in_another_pose():
    """Half of the vertices follow each joint; weights in bytes, and weights that do not sum to one."""
    points = box()[0]
    upper = points[:, 1] > 0
    weights = np.where(upper[:, None], [0, 1.0, 0, 0], [1.0, 0, 0, 0])
    pose = [placed(), placed(1, 0, (0, 2, 0))]
    expected = points + np.where(upper[:, None], [0, 2.0, 0], 0)
    for tiny in (skinned(pose, [np.eye(4)] * 2, weights), skinned(pose, [np.eye(4)] * 2, weights * 0.5),
                 skinned(pose, [np.eye(4)] * 2, weights, normalized=True)):
        assert torch.allclose(read(tiny, weld=False)[0].vertices, torch.from_numpy(expected).float(), atol=1e-6)
    astray = skinned(pose, [np.eye(4)] * 2, weights, joints=np.tile([0, 2, 0, 0], (24, 1)))
    with pytest.raises(InputError, match="joint 2 of 2"):
        read(astray)
    mirrored = skinned([np.diag([-1.0, 1, 1, 1])] * 2, [np.eye(4)] * 2)
    assert read(mirrored)[0].signed_volume().item() == pytest.approx(1.0, abs=1e-5)
    loose = skinned(pose, [np.eye(4)] * 2)
    del loose.gltf["meshes"][0]["primitives"][0]["attributes"]["WEIGHTS_0"]
    assert "a skin without joints or weights" in read(loose)[1]


# Instances, animations, morph targets, scenes

@pytest.mark.parametrize("lists", [("TRANSLATION",), ("SCALE",), ("ROTATION",), ("TRANSLATION", "ROTATION", "SCALE"),
                                   ("TRANSLATION", "SCALE")])
def test_instances(lists):
    """Three copies, one of them mirrored; their volumes add up."""
    tiny = textured_box()
    turn = np.array([[0, 0, 0, 1], [0, math.sin(0.3), 0, math.cos(0.3)], [1, 0, 0, 0]])
    values = {"TRANSLATION": [[0, 0, 0], [3, 0, 0], [0, 3, 0]], "ROTATION": turn, "SCALE": [[1, 1, 1], [2, 1, 1], [1, -3, 1]]}
    tiny.gltf["nodes"][0]["extensions"] = {"EXT_mesh_gpu_instancing": {
        "attributes": {name: tiny.accessor(values[name]) for name in lists}}}
    mesh, report = read(tiny)
    assert len(mesh.faces) == 36 and "3 instances" in report
    assert mesh.signed_volume().item() == pytest.approx(1 + 2 + 3 if "SCALE" in lists else 3, abs=1e-4)


def test_what_is_dropped_is_told():
    tiny = textured_box()
    tiny.gltf |= {"animations": [{}, {}], "scenes": [{"nodes": [0]}, {"nodes": []}]}
    tiny.gltf["materials"][0] |= {"normalTexture": {"index": 0}, "alphaMode": "BLEND", "occlusionTexture": {"index": 0},
                                  "emissiveFactor": [1, 0, 0]}
    tiny.gltf["meshes"][0]["primitives"].append({"attributes": {"POSITION": 0}, "mode": 1})
    mesh, report = read(tiny)
    assert_is_the_box(mesh, 0)
    for words in ("2 animations were dropped", "2 scenes", "normal map", "transparency", "occlusion map", "points and lines",
                  "emission"):
        assert words in report, words


@pytest.mark.parametrize("weights, moved", [(None, 0.0), ([0.0], 0.0), ([1.0], 1.0), ([0.25], 0.25), ([-1.0], -1.0)])
def test_morph_targets(weights, moved):
    tiny = textured_box()
    tiny.gltf["meshes"][0]["primitives"][0]["targets"] = [{"POSITION": tiny.accessor(np.tile([1.0, 0, 0], (24, 1)))}]
    if weights is not None:
        tiny.gltf["nodes"][0]["weights"] = weights
    mesh, report = read(tiny)
    assert mesh.vertices.min(0).values.tolist() == pytest.approx((LOW + (moved, 0, 0)).tolist(), abs=1e-6)
    assert "morph targets" in report


def test_hidden_nodes():
    tiny = textured_box()
    hidden = {"mesh": 0, "translation": [9, 0, 0], "extensions": {"KHR_node_visibility": {"visible": False}}, "children": [2]}
    tiny.gltf |= {"nodes": [{"mesh": 0, "extensions": {"KHR_node_visibility": {"visible": True}}}, hidden, {"mesh": 0}],
                  "scenes": [{"nodes": [0, 1]}], "extensionsRequired": ["KHR_node_visibility"]}
    mesh, report = read(tiny)
    assert_is_the_box(mesh, 0)
    assert "hidden nodes were dropped" in report


def test_text_files_with_embedded_data():
    """A .gltf: a byte order mark, data URIs with line breaks, a picture that is not encoded as base64."""
    tiny = textured_box()
    data = base64.encodebytes(bytes(tiny.data)).decode()
    tiny.gltf["images"][0] = {"uri": "data:image/png," + "".join(f"%{b:02x}" for b in encoded(six_colors()))}
    text = json.dumps({**tiny.gltf, "buffers": [{"byteLength": len(tiny.data), "uri": "data:;base64," + data}]}).encode()
    for whole in (text, b"\xef\xbb\xbf" + text, b"\n  " + text, pack(text + b"\0\0\0", None)):
        assert_is_the_box(read(whole)[0], 0)


# Required extensions

@pytest.mark.parametrize("name", ["KHR_draco_mesh_compression", "EXT_meshopt_compression", "KHR_texture_basisu", "VENDOR_thing",
                                  "KHR_gaussian_splatting"])
def test_unknown_required_extensions(name):
    tiny = textured_box()
    tiny.gltf["extensionsRequired"] = ["KHR_texture_transform", name]
    with pytest.raises(InputError, match=name):
        read(tiny)
    tiny.gltf |= {"extensionsRequired": [], "extensionsUsed": [name]}
    assert_is_the_box(read(tiny)[0], 0)


@pytest.mark.parametrize("name", ["KHR_materials_unlit", "KHR_materials_specular", "KHR_lights_punctual", "KHR_materials_ior",
                                  "KHR_materials_variants"])
def test_harmless_required_extensions(name):
    tiny = textured_box()
    tiny.gltf["extensionsRequired"] = [name]
    assert_is_the_box(read(tiny)[0], 0)


def test_compression_that_is_only_used_is_named_where_data_lacks():
    tiny = textured_box()
    tiny.gltf["meshes"][0]["primitives"][0]["extensions"] = {"KHR_draco_mesh_compression": {"bufferView": 0}}
    assert_is_the_box(read(tiny)[0], 0)  # uncompressed data stands beside it
    for entry in tiny.gltf["accessors"]:
        del entry["bufferView"]
    with pytest.raises(InputError, match="KHR_draco_mesh_compression"):
        read(tiny)


# Materials

def material_box(material):
    tiny = textured_box()
    tiny.gltf["materials"] = [material]
    return tiny


TEXTURE, RED = {"index": 0}, [0.5, 0.0, 0.0]
MATERIALS = {
    "gloss, textured": ({"extensions": {"KHR_materials_pbrSpecularGlossiness": {"diffuseTexture": TEXTURE}}}, FACE_COLORS),
    "gloss, plain": ({"extensions": {"KHR_materials_pbrSpecularGlossiness": {"diffuseFactor": [*RED, 1]}}}, RED),
    "gloss, metal": ({"extensions": {"KHR_materials_pbrSpecularGlossiness": {
        "diffuseFactor": [0, 0, 0, 1], "specularFactor": RED}}}, RED),
    "gloss beside metal and roughness": ({"pbrMetallicRoughness": {"baseColorFactor": [0, 1, 0, 1]}, "extensions": {
        "KHR_materials_pbrSpecularGlossiness": {"diffuseTexture": TEXTURE}}}, FACE_COLORS),
    "gloss, metal with a picture": ({"extensions": {"KHR_materials_pbrSpecularGlossiness": {
        "diffuseFactor": [0, 0, 0, 1], "specularGlossinessTexture": TEXTURE}}}, FACE_COLORS),
    "emission on black": ({"pbrMetallicRoughness": {"baseColorFactor": [0, 0, 0, 1]}, "emissiveFactor": [1, 1, 1],
                           "emissiveTexture": TEXTURE}, FACE_COLORS),
    "emission alone": ({"emissiveFactor": [1, 1, 1], "emissiveTexture": TEXTURE}, FACE_COLORS),
    "emission without a picture": ({"pbrMetallicRoughness": {"baseColorFactor": [0, 0, 0, 1]}, "emissiveFactor": RED}, RED),
    "emission beyond one": ({"pbrMetallicRoughness": {"baseColorFactor": [0, 0, 0, 1]}, "emissiveFactor": [0.5, 0, 0],
                             "extensions": {"KHR_materials_emissive_strength": {"emissiveStrength": 9}}}, RED),
    "a lamp on a textured thing": ({"pbrMetallicRoughness": {"baseColorTexture": TEXTURE}, "emissiveFactor": [0, 0, 1]},
                                   FACE_COLORS),
    "no material at all": (None, [1.0, 1.0, 1.0]),
    "black": ({"pbrMetallicRoughness": {"baseColorFactor": [0, 0, 0, 1]}}, [0.0, 0.0, 0.0]),
}


@pytest.mark.parametrize("name", MATERIALS)
def test_materials_of_other_kinds(name):
    material, color = MATERIALS[name]
    tiny = material_box(material)
    if material is None:
        del tiny.gltf["meshes"][0]["primitives"][0]["material"]
    mesh, report = read(tiny)
    if isinstance(color, list):
        linear = linear_to_srgb(torch.tensor(color)).numpy() * 255
        shown = np.full((12, 3), 255.0) if mesh.vertex_colors is None else shown_colors(mesh)
        assert np.allclose(shown, linear, atol=0.01) and mesh.texture is None
    else:
        assert_is_the_box(mesh, 0)
    assert ("gloss" in name) == ("specular-glossiness" in report)
    assert ("emission" in name or "lamp" in name) == ("emission" in report)
