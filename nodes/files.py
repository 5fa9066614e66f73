"""Converters between core's MESH and 3D files, and scenes on disk."""

from __future__ import annotations

from pathlib import Path

from comfy_api.latest import io

from ..host import types
from ..host.base import CATEGORY, Node, node_key
from ..host.convert import any_mesh, mesh_to_file, to_comfy_mesh, told_ui
from ..host.outputs import check_before_work, claim, inside
from ..host.runner import say
from ..pipelines.core.errors import InputError


class MeshToFile3D(Node):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="Lift123_MeshToFile3D", display_name="Mesh to GLB File", category=f"{CATEGORY}/convert",
            description="Packs a MESH (with texture or vertex colors) into a GLB in memory, for Preview 3D and other "
                        "nodes that take files.",
            search_aliases=["mesh to glb", "file3d"],
            inputs=[io.Mesh.Input("mesh", tooltip="One MESH, not a batch of several.")],
            outputs=[io.File3DGLB.Output("glb", display_name="glb", tooltip="The mesh as a GLB file.")],
        )

    @classmethod
    def run(cls, mesh):
        told: list[str] = []
        return io.NodeOutput(mesh_to_file(any_mesh(mesh, "mesh", told)), ui=told_ui(told))


class File3DToMesh(Node):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="Lift123_File3DToMesh", display_name="GLB File to Mesh", category=f"{CATEGORY}/convert",
            description="Reads a .glb, .gltf, .obj, .ply or .stl file into a MESH; all its parts are merged into one.",
            search_aliases=["glb to mesh", "load obj", "load ply", "load stl"],
            inputs=[io.MultiType.Input("file", types=types.FILES,
                                       tooltip="A .glb, .gltf, .obj, .ply or .stl file, for example from Load 3D.")],
            outputs=[
                io.Mesh.Output("mesh", display_name="mesh", tooltip="Vertices, faces, UVs, colors and texture."),
                io.String.Output("report", display_name="report",
                                 tooltip="What was changed or left out: textures, materials, skins, instances, animations."),
            ],
        )

    @classmethod
    def run(cls, file):
        told: list[str] = []
        mesh = to_comfy_mesh(any_mesh(file, "file", told))
        return io.NodeOutput(mesh, "\n".join(told), ui=told_ui(told))


class SaveScene(Node):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="Lift123_SaveScene", display_name="Save Scene", category=f"{CATEGORY}/output",
            description="Writes a scene (NeRF or mesh, with everything needed to go on) as safetensors into "
                        "ComfyUI's output folder.",
            search_aliases=["save", "checkpoint", "state"],
            is_output_node=True, not_idempotent=True,
            inputs=[
                types.Scene.Input("scene", tooltip="From any stage."),
                io.String.Input("filename_prefix", default="lift123/scene",
                                tooltip="Where in ComfyUI's output folder; a number is added."),
            ],
            outputs=[io.String.Output("file", display_name="file",
                                      tooltip="The written file's name, for Load Scene.")],
        )

    @classmethod
    def validate_inputs(cls, filename_prefix):
        return True if filename_prefix is None else check_before_work(filename_prefix)

    @classmethod
    def run(cls, scene, filename_prefix):
        slot = claim(filename_prefix, need=sum(value.nbytes for value in scene.tensors.values()))
        scene.save(slot.path("safetensors"))
        name = slot.relative("safetensors")
        return io.NodeOutput(name, ui={"text": (name,), "lift123_files": [{"scene": slot.result("safetensors")}]})


class LoadScene(Node):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="Lift123_LoadScene", display_name="Load Scene", category=f"{CATEGORY}/output",
            description="Reads a scene that Save Scene wrote, or the partial scene of an interrupted stage.",
            search_aliases=["checkpoint", "resume", "state"],
            inputs=[io.String.Input("file", default="lift123/scene_00001_.safetensors",
                                    tooltip="Relative to ComfyUI's output folder; add ' [input]' for the input "
                                            "folder.")],
            outputs=[types.Scene.Output("scene", display_name="scene", tooltip="For any stage, render or export.")],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def validate_inputs(cls, file):
        if file is None:
            return True
        try:
            scene_path(file)
            return True
        except InputError as problem:
            return str(problem)

    @classmethod
    def fingerprint_inputs(cls, file):
        """Read again when the file has changed."""
        try:
            path = scene_path(file)
            return f"{path.stat().st_mtime_ns} {path.stat().st_size}"
        except (InputError, OSError):
            return "absent"

    @classmethod
    def run(cls, file):
        from ..pipelines.stages.loop.scene import Scene

        return io.NodeOutput(Scene.load(scene_path(file), lambda text: say(text, node_key(cls))))


def scene_path(file: str) -> Path:
    """The scene file a user named, inside ComfyUI's folders; InputError otherwise."""
    import folder_paths

    name, folder = folder_paths.annotated_filepath(file.strip())
    folder = folder or folder_paths.get_output_directory()
    path = inside(folder, name)
    if path is None:
        raise InputError("file", "a file inside ComfyUI's output or input folder", repr(file[:60]),
                         "Name it relative to that folder.")
    if not path.is_file():
        raise InputError("file", "an existing scene file", repr(file[:60]), f"Save Scene writes them below {folder}.")
    return path
