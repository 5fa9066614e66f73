"""Pictures of a scene or a mesh from chosen cameras."""

from __future__ import annotations

import math

from comfy_api.latest import io, ui

from ..host import types
from ..host.base import CATEGORY, Node, comfy_device
from ..host.convert import any_mesh, depth_picture, from_cameras, normal_picture, to_cameras, to_image, to_mask, told_ui
from ..host.memory import require_pictures
from ..pipelines.core.cameras import HOME, turntable


class RenderViews(Node):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="Lift123_RenderViews", display_name="Render Views", category=f"{CATEGORY}/output",
            description="Pictures of a scene or a mesh: color, depth or normals, on a turntable or through the 3D "
                        "viewer's camera.",
            search_aliases=["turntable", "depth map", "normal map", "orbit"],
            inputs=[
                io.MultiType.Input("source", types=[types.Scene, *types.MESHES],
                                   tooltip="A scene from any stage, a MESH, or a .glb, .gltf, .obj, .ply or .stl file."),
                io.Int.Input("size", default=256, min=16, max=1024, step=8, tooltip="Side of the pictures, pixels."),
                io.Int.Input("frames", default=12, min=1, max=120,
                             tooltip="Pictures around the object, starting at the front. Ignored with a camera."),
                io.Float.Input("elevation", default=10.0, min=-80.0, max=80.0, step=1.0,
                               tooltip="Height of the turntable's camera, degrees above the horizon."),
                io.Float.Input("radius", default=HOME.radius, min=1.2, max=20.0, step=0.1, advanced=True,
                               tooltip="Distance of the turntable's camera, scene units."),
                io.Float.Input("fovy", default=HOME.degrees, min=5.0, max=90.0, step=1.0, advanced=True,
                               tooltip="Vertical field of view of the turntable's camera, degrees."),
                io.Combo.Input("what", options=["rgb", "depth", "normal"], default="rgb",
                               tooltip="Colors; inverse depth (bright = near, one scale for all frames); world "
                                       "normals as (n + 1) / 2."),
                io.Load3DCamera.Input("camera", optional=True,
                                      tooltip="From Load 3D or another viewer node: one picture through this camera."),
            ],
            outputs=[
                io.Image.Output("images", display_name="images", tooltip="One picture per camera, on white."),
                io.Mask.Output("mask", display_name="mask", tooltip="Coverage, 1 = object."),
                io.Load3DCamera.Output("camera", display_name="camera",
                                       tooltip="The first camera, for Preview 3D and other viewers."),
            ],
        )

    @classmethod
    def run(cls, source, size, frames, elevation, radius, fovy, what, camera=None):
        cameras = (turntable(frames, math.radians(elevation), radius, math.radians(fovy), size)
                   if camera is None else to_cameras(camera, size, size))
        require_pictures(len(cameras), size, "frames" if camera is None else None)
        told: list[str] = []
        buffers = render_any(source, cameras, told)
        alpha = buffers.alpha
        if what == "depth":
            images = depth_picture(buffers.depth / alpha.clamp_min(1e-3), alpha)
        elif what == "normal":
            assert buffers.normal is not None, "render_any asks for them"
            images = normal_picture(buffers.normal, alpha)
        else:
            images = to_image(buffers.composite(1.0))
        return io.NodeOutput(images, to_mask(alpha), from_cameras(cameras),
                             ui={**ui.PreviewImage(images, cls=cls).as_dict(), **told_ui(told)})


def render_any(source, cameras, told: list[str] | None = None):
    """RenderBuffers on the CPU of a scene, MESH or 3D file; ``told`` hears what a file's reader left out."""
    from ..pipelines.stages.results.render_views import render_mesh, render_scene

    if hasattr(source, "meta") and hasattr(source, "tensors"):
        return render_scene(source, cameras, device=comfy_device())
    return render_mesh(any_mesh(source, "source", told), cameras)
