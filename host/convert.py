"""ComfyUI's values <-> ours.  Translation only: shapes, conventions and names, with errors for people."""

from __future__ import annotations

import copy
import math
from io import BytesIO
from pathlib import Path

import torch
from comfy_api.latest import Types
from torch import Tensor

from ..pipelines.core.cameras import Cameras
from ..pipelines.core.errors import InputError
from ..pipelines.core.mesh import Mesh
from ..pipelines.io.assemble import FARTHEST_UV
from ..pipelines.io.text_numbers import number as decimal
from .plain import BRIGHTEST, DARKEST, check_plain

LARGEST_COORDINATE = 1e9  # of a mesh: its square still has 32-bit numbers to spare
SMALLEST_EXTENT = 1e-9
SMALLEST_AREA = 1e-9  # of a mesh of extent 1
SMALLEST_FOV, LARGEST_FOV, SMALLEST_ZOOM = 0.5, 170.0, 1e-3
FARTHEST = 1e4  # of a camera from the origin, scene units
MOST_ANGLES, LARGEST_ANGLE = 120, 3600.0


def to_image(pixels: Tensor) -> Tensor:
    """[B, H, W, 3] or [H, W, 3] -> an IMAGE: CPU, float32, finite, inside [0, 1]."""
    pixels = pixels if pixels.ndim == 4 else pixels[None]
    return torch.nan_to_num(pixels.detach().float().cpu()).clamp(0, 1).contiguous()


def to_mask(alpha: Tensor) -> Tensor:
    """[B, H, W] or [H, W] -> a MASK, 1 = object."""
    alpha = alpha if alpha.ndim == 3 else alpha[None]
    return torch.nan_to_num(alpha.detach().float().cpu()).clamp(0, 1).contiguous()


def depth_picture(depth: Tensor, alpha: Tensor) -> Tensor:
    """[B, H, W] distances -> IMAGE of inverse depth: nearest 1, farthest seen .05, outside 0.

    This is the convention of ComfyUI's depth nodes, so it feeds ReferenceView's "inverse-depth".
    """
    seen = (alpha > 0.5) & (depth > 0)
    if not bool(seen.any()):
        return to_image(torch.zeros(*depth.shape, 3))
    inverse = torch.where(seen, 1 / depth.clamp_min(1e-6), torch.zeros_like(depth))
    low, high = inverse[seen].min(), inverse[seen].max()
    shade = 0.05 + 0.95 * (inverse - low) / (high - low).clamp_min(1e-9)
    return to_image((shade * seen)[..., None].expand(*depth.shape, 3))


def normal_picture(normal: Tensor, alpha: Tensor) -> Tensor:
    """[B, H, W, 3] world normals -> IMAGE with (n + 1) / 2 as colors, outside mid gray."""
    return to_image(torch.where(alpha[..., None] > 0, (torch.nn.functional.normalize(normal, dim=-1) + 1) / 2, 0.5))


def to_comfy_mesh(mesh: Mesh) -> Types.MESH:
    """Our mesh -> MESH.  Per-corner UVs become per-vertex ones: vertices on a seam are doubled."""
    mesh = mesh.detach().to("cpu")
    vertices, faces, uvs, colors = mesh.vertices, mesh.faces, None, mesh.vertex_colors
    if mesh.uvs is not None and mesh.face_uvs is not None:
        pairs = torch.stack([mesh.faces.reshape(-1), mesh.face_uvs.reshape(-1)], dim=1)
        unique, index = torch.unique(pairs, dim=0, return_inverse=True)
        vertices, uvs, faces = vertices[unique[:, 0]], mesh.uvs[unique[:, 1]], index.reshape(-1, 3)
        colors = None if colors is None else colors[unique[:, 0]]
    uvs, colors, texture = (None if value is None else value.float()[None] for value in (uvs, colors, mesh.texture))
    return Types.MESH(vertices.float()[None], faces.long()[None], uvs=uvs, vertex_colors=colors, texture=texture)


def from_comfy_mesh(mesh, name: str = "mesh") -> Mesh:
    """MESH -> our mesh.  Tolerates packs that send float faces or an older MESH without some fields."""
    if not isinstance(getattr(mesh, "vertices", None), Tensor) or not isinstance(getattr(mesh, "faces", None), Tensor):
        raise InputError(name, "ComfyUI's MESH", type(mesh).__name__, "Connect a core MESH output or a 3D file.")
    for part in ("vertices", "faces"):
        check_plain(f"{name}'s {part}", getattr(mesh, part), "numbers")
        if getattr(mesh, part).is_complex():
            raise InputError(f"{name}'s {part}", "real numbers", "complex ones", "Check the node that made the mesh.")
    if mesh.vertices.ndim != 3 or mesh.faces.ndim != 3 or len(mesh.vertices) != 1 or len(mesh.faces) != 1:
        raise InputError(name, "one mesh", f"vertices of shape {tuple(mesh.vertices.shape)}", "Give one mesh.")
    if mesh.vertices.shape[2] != 3 or mesh.faces.shape[2] != 3:
        got = f"points of {mesh.vertices.shape[2]} numbers and faces of {mesh.faces.shape[2]} corners"
        raise InputError(name, "triangles in space", got, "Triangulate the mesh first.")
    vertices = mesh.vertices[0, : _count(mesh, "vertex_counts", mesh.vertices, name)].detach().clone().float().cpu()
    faces = mesh.faces[0, : _count(mesh, "face_counts", mesh.faces, name)].detach().clone()
    if faces.is_floating_point() and not bool((faces == faces.floor()).all() & torch.isfinite(faces).all()):
        raise InputError(name, "face indices", "fractions, NaN or infinity", "The mesh is damaged; export it again.")
    faces = faces.long().cpu()
    if len(faces) and (int(faces.min()) < 0 or int(faces.max()) >= len(vertices)):
        raise InputError(name, f"face indices below {len(vertices)}", f"indices {int(faces.min())}..{int(faces.max())}",
                         "The mesh is damaged; export it again.")
    check_shape(vertices, faces, name)
    colors, uvs, texture = (_field(mesh, f, mesh.vertices.shape[1], name) for f in ("vertex_colors", "uvs", "texture"))
    colors, uvs = (None if field is None else field[: len(vertices)] for field in (colors, uvs))
    return Mesh(vertices, faces, colors, uvs, None if uvs is None else faces.clone(), texture if uvs is not None else None)


def _count(mesh, field: str, rows: Tensor, name: str) -> int:
    """How many of ``rows`` [1, N, 3] count: those of a batch are filled up to the longest."""
    counts = getattr(mesh, field, None)
    if counts is None:
        return rows.shape[1]
    try:
        return max(int(counts[0]), 0)
    except (TypeError, ValueError, IndexError, RuntimeError, OverflowError) as problem:
        raise InputError(f"{name}'s {field}", "a number for each mesh", str(problem)[:80], "Check its source.") from None


def check_shape(vertices: Tensor, faces: Tensor, name: str) -> None:
    """InputError for a mesh without a surface, or of a size in which 32-bit numbers cannot tell its points apart."""
    if not len(vertices) or not len(faces):
        raise InputError(name, "a mesh with faces", f"{len(vertices)} vertices and {len(faces)} faces", "Check its source.")
    if not bool(torch.isfinite(vertices).all()):
        raise InputError(name, "finite vertices", "NaN or infinite coordinates", "Repair the mesh first.")
    used = vertices[faces.unique()]
    if float(used.abs().max()) > LARGEST_COORDINATE:
        raise InputError(name, f"coordinates up to {LARGEST_COORDINATE:g}", f"{float(used.abs().max()):.3g}",
                         "Scale the mesh to about 1, as ComfyUI's meshes are.")
    if float((used.amax(0) - used.amin(0)).max()) < SMALLEST_EXTENT:
        raise InputError(name, "a mesh with an extent", "one whose points all lie in one place", "Check its source.")
    if not _has_area(vertices, faces, float((used.amax(0) - used.amin(0)).max())):
        raise InputError(name, "a mesh with a surface", "faces without an area: its points lie on a line", "Check its source.")


def _has_area(vertices: Tensor, faces: Tensor, extent: float) -> bool:
    area = 0.0
    for some in faces.split(1 << 18):  # the first part settles it, but for meshes that are made of needles
        a, b, c = (vertices[some].double() / extent).unbind(1)
        area += float(torch.linalg.cross(b - a, c - a).norm(dim=-1).sum())
        if area >= SMALLEST_AREA:
            return True
    return False


def _field(mesh, name: str, vertices: int, whose: str) -> Tensor | None:
    """Vertex colors [V, 3], UVs [V, 2] or a texture [H, W, 3] of a MESH; without an alpha channel."""
    value, texture, width = getattr(mesh, name, None), name == "texture", 2 if name == "uvs" else 3
    if value is None:
        return None
    field, first = f"{whose}'s {name.replace('_', ' ')}", value[0] if isinstance(value, Tensor) and value.ndim else value
    if not isinstance(first, Tensor) or first.ndim != (3 if texture else 2) or not first.numel() or first.is_complex():
        shape = list(value.shape) if isinstance(value, Tensor) else type(value).__name__
        raise InputError(field, f"a tensor [1, {'H, W' if texture else 'V'}, {width}]", str(shape), "Check the mesh's source.")
    check_plain(field, first, "numbers")
    found = (first.detach().clone().float() if width == 2 else _shades(field, first)).cpu()
    if not texture and len(found) != vertices:
        raise InputError(field, f"{vertices}, one per vertex", f"{len(found)}", "Export the mesh again.")
    if not bool(torch.isfinite(found).all()):
        raise InputError(field, "finite numbers", "NaN or infinity", "Check the node that made the mesh.")
    if name == "uvs" and float(found.abs().max()) > FARTHEST_UV:
        raise InputError(field, f"texture coordinates up to {FARTHEST_UV:g}", f"{float(found.abs().max()):.3g}",
                         "Export the mesh again.")
    found = found[..., :3] if width == 3 and found.shape[-1] == 4 else found
    if found.shape[-1] != width:
        raise InputError(field, f"{width} numbers each", f"{found.shape[-1]}", "Check the mesh's source.")
    return found.contiguous()


def _shades(name: str, value: Tensor) -> Tensor:
    """Colors of a MESH as float32 in [0, 1]: those of 8 bits scaled; InputError for others that are clearly not."""
    found = value.detach().clone().float()
    if not value.is_floating_point():
        if value.dtype != torch.uint8:
            raise InputError(name, "colors in [0, 1]", f"whole numbers ({str(value.dtype)[6:]})", "Divide 8-bit colors by 255.")
        return found / 255
    low, high = float(torch.nan_to_num(found).min()), float(torch.nan_to_num(found).max())
    if low < DARKEST or high > BRIGHTEST:
        raise InputError(name, "colors in [0, 1]", f"values from {low:.4g} to {high:.4g}", "Divide 8-bit colors by 255.")
    return found


def mesh_to_file(mesh: Mesh, name: str = "lift123") -> Types.File3D:
    """Our mesh -> an in-memory GLB."""
    from ..pipelines.io.glb import write_glb

    return Types.File3D(BytesIO(write_glb(None, mesh, None, name)), "glb")


def file_to_mesh(file: Types.File3D, name: str = "file", told: list[str] | None = None) -> Mesh:
    """A GLB, glTF, OBJ, PLY or STL file -> our mesh; ``told`` hears what was changed or left out."""
    from ..pipelines.io.mesh_files import read_mesh_file
    from ..pipelines.io.mesh_notes import Notes

    source = file.get_source()  # files beside it are read where it lies on the disk
    notes = Notes()
    mesh = read_mesh_file(Path(source) if isinstance(source, str) else file.get_bytes(), file.format, notes, name)
    if told is not None:
        told += notes.lines
    return mesh


def any_mesh(value, name: str, told: list[str] | None = None) -> Mesh:
    """MESH or 3D file -> our mesh; ``told`` hears what was changed or left out."""
    if not isinstance(value, Types.File3D):
        return from_comfy_mesh(opaque(value, told), name)
    mesh = file_to_mesh(value, name, told)
    check_shape(mesh.vertices, mesh.faces, name)
    return mesh


def opaque(mesh, told: list[str] | None = None):
    """A MESH whose texture and vertex colors have three channels; ``told`` hears where transparency was dropped."""
    texture, colors = getattr(mesh, "texture", None), getattr(mesh, "vertex_colors", None)
    changed = {}
    for field, value in (("texture", texture), ("vertex_colors", colors)):
        if not isinstance(value, Tensor) or value.ndim < 3 or value.shape[-1] not in (1, 2, 4):
            continue
        check_plain(f"the mesh's {field.replace('_', ' ')}", value, "numbers")
        gray = value.shape[-1] < 3
        changed[field] = value[..., :1].expand(*value.shape[:-1], 3) if gray else value[..., :3]
        if told is not None and value.shape[-1] != 1 and bool((value[..., -1] < 0.999).any()):
            told.append(f"transparency of the {field.replace('_', ' ')} was dropped")
    if not changed:
        return mesh
    copied = copy.copy(mesh)
    for field, value in changed.items():
        setattr(copied, field, value)
    return copied


def told_mesh(value, name: str, told: list[str]) -> Mesh:
    """:func:`any_mesh` of one of several inputs: what ``told`` hears begins with its ``name``."""
    lines: list[str] = []
    mesh = any_mesh(value, name, lines)
    told += [f"{name}: {line}" for line in lines]
    return mesh


def told_ui(lines: list[str]) -> dict:
    """What a reader changed or left out, as text under a node; {} where there is nothing to tell."""
    return {"text": tuple(lines)} if lines else {}


def to_cameras(info: dict, height: int, width: int) -> Cameras:
    """LOAD3D_CAMERA (three.js: Y up, looks down -Z, vertical degrees) -> one camera of ours.

    InputError for one that is not perspective, lies out of reach, or sees less than 0.5 or more than 170 degrees.
    """
    if not isinstance(info, dict) or not isinstance(info.get("position"), dict):
        raise InputError("camera", "a position", "none", "Connect the camera of Load 3D or of another viewer.")
    if info.get("cameraType", "perspective") != "perspective":
        raise InputError("camera", "a perspective camera", f"a {info['cameraType']} one", "Switch the viewer's camera.")
    position, target = _xyz(info["position"], "position"), _xyz(info.get("target") or {}, "target")
    c2w = torch.eye(4)
    quaternion = info.get("quaternion")
    c2w[:3, :3] = _rotation(quaternion) if quaternion else _look_at(position, target)
    c2w[:3, 3] = position
    fov, zoom = _number(info.get("fov", 35.0), "fov"), _number(info.get("zoom", 1) or 1, "zoom")
    if not SMALLEST_FOV <= fov <= LARGEST_FOV or not SMALLEST_ZOOM <= zoom <= 1 / SMALLEST_ZOOM:
        raise InputError("camera", f"a field of view from {SMALLEST_FOV:g} to {LARGEST_FOV:g} degrees and a zoom above 0",
                         f"{fov:g} degrees, zoom {zoom:g}", "Reset the viewer's camera.")
    half = math.tan(math.radians(fov) / 2) / zoom
    return Cameras(c2w[None], torch.tensor([2 * math.atan(half)]), height, width)


def lens_of(info: dict) -> tuple[float, float, float]:
    """LOAD3D_CAMERA -> its height above the horizon (radians), distance (scene units) and vertical field of view (radians),
    all as seen from its target.  From which side it looks is not in them.  InputError as in :func:`to_cameras`.
    """
    camera = to_cameras(info, 1, 1)
    away = camera.positions[0] - _xyz(info.get("target") or {}, "target")
    radius = float(away.norm())
    if radius < SMALLEST_EXTENT:
        raise InputError("camera", "a position beside its target", "one at it", "Move the viewer's camera away.")
    return math.asin(max(-1.0, min(1.0, float(away[1]) / radius))), radius, float(camera.fovy[0])


def from_cameras(camera: Cameras) -> dict:
    """The first of our cameras as LOAD3D_CAMERA."""
    position = [float(v) for v in camera.positions[0]]
    ahead = [p - float(camera.radius[0]) * float(b) for p, b in zip(position, camera.c2w[0, :3, 2], strict=True)]
    return {
        "position": dict(zip("xyz", position, strict=True)), "target": dict(zip("xyz", ahead, strict=True)),
        "zoom": 1.0, "cameraType": "perspective", "fov": math.degrees(float(camera.fovy[0])),
        "aspect": camera.width / camera.height, "near": camera.near, "far": camera.far,
    }


def parse_angles(text: str, name: str) -> tuple[float, ...]:
    """"120, -120" -> (120.0, -120.0), from the input ``name``; InputError for what is no angle, or for too many."""
    parts = [part for part in text.split(",") if part.strip()]
    if len(parts) > MOST_ANGLES:
        raise InputError(name, f"at most {MOST_ANGLES} numbers", f"{len(parts)}", "Leave some out.")
    try:
        angles = tuple(decimal(part.strip()) for part in parts)
    except ValueError:
        angles = (math.nan,)
    if not all(abs(angle) <= LARGEST_ANGLE for angle in angles):  # NaN is not, either
        raise InputError(name, "numbers separated by commas, degrees", repr(text[:60]), "Write for example '120, -120'.")
    return angles


def angles_of(cameras: Cameras, home: Cameras) -> str:
    """The cameras' azimuths from ``home``'s as :func:`parse_angles` reads them, degrees in (-180, 180]."""
    turns = [round(math.degrees(float(angle - home.azimuth[0])), 3) for angle in cameras.azimuth.cpu()]
    return ", ".join(f"{-((180 - turn) % 360) + 180:.4g}" for turn in turns)


def _number(value, what: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not abs(number) <= LARGEST_COORDINATE:  # NaN is not, either
        raise InputError("camera", f"a number for its {what}", repr(value)[:60], "Reset the viewer's camera.")
    return number


def _numbers(point, axes: str, what: str, default: float = 0.0) -> Tensor:
    if not isinstance(point, dict):
        raise InputError("camera", f"numbers by axis for its {what}", repr(point)[:60], "Reset the viewer's camera.")
    return torch.tensor([_number(point.get(axis, default), what) for axis in axes])


def _xyz(point: dict, what: str) -> Tensor:
    found = _numbers(point, "xyz", what)
    if float(found.abs().max()) > FARTHEST:
        raise InputError("camera", f"a {what} within {FARTHEST:g} scene units", f"{float(found.abs().max()):.3g}",
                         "Move the viewer's camera to the object.")
    return found


def _rotation(quaternion: dict) -> Tensor:
    found = _numbers(quaternion, "xyzw", "quaternion")
    if not 1e-3 < float(found.norm()) < 1e3:
        raise InputError("camera", "a rotation", f"a quaternion of length {float(found.norm()):.3g}", "Reset the camera.")
    x, y, z, w = torch.nn.functional.normalize(found, dim=0).tolist()
    return torch.tensor([
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ])


def _look_at(position: Tensor, target: Tensor) -> Tensor:
    backward = torch.nn.functional.normalize(position - target, dim=0)
    if float(backward.norm()) < 0.5 or float(backward[1].abs()) > 0.9999:
        raise InputError("camera", "a position beside its target", "one at or straight above it", "Move the camera.")
    right = torch.nn.functional.normalize(torch.linalg.cross(torch.tensor([0.0, 1.0, 0.0]), backward), dim=0)
    return torch.stack([right, torch.linalg.cross(backward, right), backward], dim=1)
