"""Meshes on their way to other programs: cleaned, with a material, in the format that is wanted."""

from __future__ import annotations

from comfy_api.latest import Types, io

from ..host import kept_graph, types
from ..host.base import CATEGORY, Node, node_key
from ..host.convert import any_mesh, to_comfy_mesh, told_ui
from ..host.memory import require_grid, require_texture
from ..host.outputs import check_before_work, claim
from ..host.runner import say
from ..host.wires import crossed
from ..pipelines.core.errors import InputError
from ..pipelines.io.material import Material
from ..pipelines.io.mesh_formats import FORMATS, PRINTED, check_libraries, turned_up, write_mesh

SHOWN = ("glb", "obj", "ply", "stl")  # what ComfyUI's viewer opens


class CleanMesh(Node):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="Lift123_CleanMesh", display_name="Clean Mesh", category=f"{CATEGORY}/convert",
            description="Decimates a mesh, drops loose parts, fills its holes or builds it anew as one watertight surface, and "
                        "says what was wrong with it.",
            search_aliases=["decimate", "remesh", "simplify", "repair", "watertight", "fill holes", "reduce polygons"],
            inputs=[
                io.MultiType.Input("mesh", types=types.MESHES,
                                   tooltip="A MESH or a .glb, .gltf, .obj, .ply or .stl file of one object."),
                io.Int.Input("face_budget", default=20000, min=0, max=1_000_000, step=100,
                             tooltip="Triangles kept at most; 0 keeps all."),
                io.Combo.Input("parts", options=["all", "no crumbs", "largest"], default="no crumbs",
                               tooltip="Which connected parts stay. no crumbs: drops parts smaller than a twentieth of the whole "
                                       "and hollows that nobody sees. largest: the one with the largest surface."),
                io.Combo.Input("holes", options=["leave", "fill", "rebuild"], default="fill",
                               tooltip="fill: closes each hole with a fan of faces. rebuild: a new watertight surface around "
                                       "what is inside, for meshes that cannot be repaired; parts thinner than a cell are lost."),
                io.Int.Input("grid", default=48, min=8, max=128, advanced=True,
                             tooltip="rebuild: cells along the longest side; more keeps finer detail and takes longer."),
                io.Int.Input("texture_size", default=0, min=0, max=4096, step=64,
                             tooltip="Side of a new texture that takes the old colors; 0 keeps colors at the vertices."),
            ],
            outputs=[
                io.Mesh.Output("mesh", display_name="mesh", tooltip="The cleaned mesh; one that needs nothing is as it was."),
                io.String.Output("report", display_name="report",
                                 tooltip="Faces, parts, holes and whether it is watertight, before and after."),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def run(cls, mesh, face_budget, parts, holes, grid, texture_size):
        from ..pipelines.stages.results.clean_mesh import CleanConfig, clean_mesh

        if 0 < face_budget < 4:
            raise InputError("face_budget", "0 (all) or at least 4", f"{face_budget}", "No solid has fewer than four faces.")
        if 0 < texture_size < 64:
            raise InputError("texture_size", "0 (colors at vertices) or at least 64", f"{texture_size}", "Use 1024 for example.")
        if holes == "rebuild":
            require_grid(grid)
        if texture_size:
            require_texture(texture_size)
        told: list[str] = []
        given = any_mesh(mesh, "mesh", told)
        made, lines = clean_mesh(given, CleanConfig(face_budget or None, parts, holes, grid, texture_size))
        lines = [*told, *lines]
        say(lines[-1], node_key(cls))
        return io.NodeOutput(to_comfy_mesh(made), "\n".join(lines), ui=told_ui(lines))


class ExportMesh(Node):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="Lift123_ExportMesh", display_name="Export Mesh", category=f"{CATEGORY}/output",
            description="Writes a mesh as GLB, OBJ, PLY, STL or 3MF, with roughness, metal and normal maps where the format has "
                        "them.",
            search_aliases=["save mesh", "save obj", "save stl", "save ply", "3mf", "pbr", "normal map", "roughness", "metallic",
                            "3d print"],
            is_output_node=True, not_idempotent=True,
            inputs=[
                io.MultiType.Input("mesh", types=types.MESHES,
                                   tooltip="A MESH, for example from Bake and Export or Clean Mesh, or a 3D file."),
                io.String.Input("filename_prefix", default="lift123/mesh",
                                tooltip="Where in ComfyUI's output folder; a number is added."),
                io.Combo.Input("format", options=list(FORMATS), default="glb",
                               tooltip="glb: everything in one file. obj: with mtl and pictures beside it. ply: colors at the "
                                       "vertices. stl, 3mf: shape only, for printing (3mf counts in millimeters)."),
                io.Float.Input("roughness", default=1.0, min=0.0, max=1.0, step=0.05,
                               tooltip="How matt the surface is: 1 plaster, 0.5 plastic, 0.1 polished. Unused with a map."),
                io.Float.Input("metallic", default=0.0, min=0.0, max=1.0, step=0.05,
                               tooltip="1 for metal, 0 for everything else. Unused with a map."),
                io.Combo.Input("up", options=["y", "z"], default="y",
                               tooltip="The file's up axis: y for glTF and most viewers, z for CAD and printing."),
                io.Float.Input("longest_side", default=0.0, min=0.0, max=100_000.0, step=1.0,
                               tooltip="Scales the mesh to this length in the file's units and stands it on the ground; 0 leaves "
                                       "it. Printing: millimeters."),
                io.Int.Input("map_size", default=1024, min=64, max=4096, step=64, advanced=True,
                             tooltip="Side of a normal map baked from 'fine', pixels."),
                io.Image.Input("roughness_map", optional=True, tooltip="Roughness over the texture's area, white = matt."),
                io.Image.Input("metallic_map", optional=True, tooltip="Metal over the texture's area, white = metal."),
                io.Image.Input("normal_map", optional=True,
                               tooltip="Normals in tangent space, green up, as (n + 1) / 2. Instead of 'fine'."),
                io.MultiType.Input("fine", types=types.MESHES, optional=True,
                                   tooltip="The same object with more faces, in the same place: its relief becomes a map."),
            ],
            outputs=[
                io.File3DAny.Output("file", display_name="file", tooltip="The written file, for Preview 3D."),
                io.String.Output("report", display_name="report", tooltip="The file's name, faces, size and maps."),
            ],
            hidden=[io.Hidden.unique_id, io.Hidden.prompt, io.Hidden.extra_pnginfo],
        )

    @classmethod
    def validate_inputs(cls, filename_prefix):
        found = crossed()
        return found if found is not True or filename_prefix is None else check_before_work(filename_prefix)

    @classmethod
    def run(cls, mesh, filename_prefix, format, roughness, metallic, up, longest_side, map_size, roughness_map=None,
            metallic_map=None, normal_map=None, fine=None):
        check_libraries(format)
        told: list[str] = []
        shape = any_mesh(mesh, "mesh", told)
        if fine is not None and normal_map is not None:
            raise InputError("normal_map", "a map or a fine mesh", "both", "Disconnect one of them.")
        shape, baked = (shape, None) if fine is None else with_normals(shape, any_mesh(fine, "fine", told), map_size)
        look = Material(plane(roughness_map, "roughness_map") if roughness_map is not None else roughness,
                        plane(metallic_map, "metallic_map") if metallic_map is not None else metallic,
                        baked if normal_map is None else one(normal_map, "normal_map"))
        if look.has_maps and format in (*PRINTED, "ply"):
            told.append(f"{format} holds no maps: they were left out")
        if format not in (*PRINTED, "ply") and look.has_maps and shape.uvs is None:
            raise InputError("mesh", "texture coordinates for its maps", "a mesh without any",
                             "Give it some with Clean Mesh (texture_size), or leave the maps out.")
        slot = claim(filename_prefix, need=400 * len(shape.faces))
        written = write_mesh(slot.path(format), turned_up(shape, up, longest_side), format, look, kept_graph.texts(cls.hidden))
        size = (shape.vertices.amax(0) - shape.vertices.amin(0)) if not longest_side else None
        across = f"{longest_side:g}" if size is None else f"{float(size.max()):.3g}"
        told.append(f"{slot.relative(format)} | {len(shape.faces)} faces | longest side {across}")
        say(told[-1], node_key(cls))
        files = {format: slot.result(format)} | {path.stem + path.suffix: {**slot.result(format), "filename": path.name}
                                                 for path in written[1:]}
        shown = {"3d": [files[format]]} if format in SHOWN else {}
        return io.NodeOutput(Types.File3D(str(written[0]), format), "\n".join(told),
                             ui={**shown, "lift123_files": [files], **told_ui(told)})


def one(picture, name: str):
    """[H, W, 3] of an IMAGE of one picture."""
    if len(picture) != 1 or picture.shape[-1] not in (3, 4):
        raise InputError(name, "one picture in color", f"{list(picture.shape)}", "Pick one from the batch.")
    return picture[0, ..., :3].float().cpu()


def plane(picture, name: str):
    """[H, W] of an IMAGE of one picture: the mean of its channels."""
    if len(picture) != 1:
        raise InputError(name, "one picture", f"{len(picture)}", "Pick one from the batch.")
    return picture[0, ..., :3].float().mean(-1).cpu()


def with_normals(shape, fine, size: int):
    """(the mesh, with texture coordinates where it had none; its normal map from ``fine`` [size, size, 3])."""
    from ..pipelines.io.unwrap import unwrap
    from ..pipelines.stages.objects.import_mesh import bakeable
    from ..pipelines.stages.results.normal_map import bake_normal_map

    require_texture(size)
    if shape.uvs is None:
        shape = unwrap(shape, None, size)
    elif not bakeable(shape):
        raise InputError("mesh", "texture coordinates that do not tile or overlap, for a normal map", "some that do",
                         "Make new ones with Clean Mesh (texture_size).")
    return shape, bake_normal_map(shape, fine, size)
