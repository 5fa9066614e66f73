"""A mesh from elsewhere becomes a scene that the mesh stage can refine."""

from __future__ import annotations

import torch
from comfy_api.latest import io, ui

from ..host import types
from ..host.base import CATEGORY, Node, device_with_room, node_key
from ..host.convert import any_mesh, to_image
from ..host.memory import require_grid
from ..host.runner import run_stage


class MeshToScene(Node):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="Lift123_MeshToScene", display_name="Mesh to Scene", category=f"{CATEGORY}/stages",
            description="Takes a mesh made elsewhere (TRELLIS, Hunyuan3D, a file) and places it under a reference "
                        "picture, so that DMTet Refine can improve its texture, or its texture and shape.",
            search_aliases=["import mesh", "retexture", "refine texture", "trellis", "hunyuan3d", "glb"],
            inputs=[
                io.MultiType.Input("mesh", types=types.MESHES,
                                   tooltip="A MESH or a .glb, .gltf, .obj, .ply or .stl file of one object."),
                types.Reference.Input("reference", tooltip="The picture that the mesh is to look like, from Reference "
                                                           "View."),
                io.Float.Input("turn", default=0.0, min=-180.0, max=180.0, step=5.0,
                               tooltip="Degrees about the up axis; positive turns the front to the picture's right."),
                io.Int.Input("grid", default=40, min=8, max=128, advanced=True,
                             tooltip="Refinable surfaces: cells per side of the tetrahedral grid. Parts thinner than a "
                                     "cell are lost."),
                io.Int.Input("detail", default=512, min=64, max=2048, step=64, advanced=True,
                             tooltip="Finest color detail, in cells across the scene."),
                io.Boolean.Input("find_turn", default=False,
                                 tooltip="Try turns in steps of 15 degrees and keep the one most like the picture."),
                io.Boolean.Input("fit", default=True,
                                 tooltip="Scale and move the mesh until it fills the same box of the picture as the "
                                         "object. Off: it is already in scene units."),
                io.Int.Input("seed", default=0, min=0, max=0xFFFFFFFF, control_after_generate=True,
                             tooltip="Same seed, same machine: same result."),
                io.Combo.Input("up", options=["y", "-y", "z", "-z", "x", "-x"], default="y",
                               tooltip="The mesh's own axis that points up; GLB files and ComfyUI's meshes use y."),
                io.Combo.Input("surface", options=["untouched", "refinable"], default="untouched",
                               tooltip="untouched: vertices and faces stay exactly as they are, only colors are learned. "
                                       "refinable: the mesh is rebuilt on a grid and its shape may change, too."),
                io.Combo.Input("colors", options=["mesh", "picture"], default="mesh",
                               tooltip="Start from the mesh's texture or vertex colors, or ignore them and start from "
                                       "the picture's mean color."),
            ],
            outputs=[
                types.Scene.Output("scene", display_name="scene",
                                   tooltip="For DMTet Refine ('texture' for an untouched surface), Render Views or "
                                           "Bake and Export."),
                io.Image.Output("preview", display_name="preview",
                                tooltip="The picture, the placed mesh, and both on top of each other: orange = "
                                        "picture only, blue = mesh only."),
                io.String.Output("report", display_name="report",
                                 tooltip="What of the file was left out, how the mesh was placed and how much of the "
                                         "picture's object it covers."),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def run(cls, mesh, reference, turn, grid, detail, find_turn, fit, seed, up, surface, colors):
        from ..pipelines.stages.objects.import_mesh import ImportConfig, import_mesh
        from ..pipelines.stages.objects.place_mesh import Placement

        placement = Placement(up, turn, find_turn, fit)
        config = ImportConfig(placement, surface, colors, grid).with_detail(detail)
        told: list[str] = []
        source, device = any_mesh(mesh, "mesh", told), device_with_room()
        if surface == "refinable":
            require_grid(grid)
        scene = run_stage("Mesh import", lambda hooks: import_mesh(
            source, reference, config, seed=seed, device=device, on_step=hooks["on_step"], told=told), node_key(cls))
        picture = comparison(scene, device)
        return io.NodeOutput(scene, picture, "\n".join(scene.meta["imported"]["report"]),
                             ui=ui.PreviewImage(picture, cls=cls))


def comparison(scene, device: torch.device):
    """IMAGE of three pictures: the reference, the scene from there, and where their outlines differ."""
    from ..pipelines.stages.results.render_views import render_scene

    reference = scene.reference
    seen = render_scene(scene, reference.camera, want_normal=False, device=device)
    ours, theirs = seen.alpha[0, ..., None], reference.views.alpha[0, ..., None]
    marks = 1 - torch.cat([ours, (ours + theirs) / 2, theirs], -1) * 0.8
    return to_image(torch.cat([reference.on_background(), seen.composite(1.0)[0], marks], 1))
