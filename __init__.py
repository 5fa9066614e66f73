"""Lift123: one picture becomes a 3D asset, as ComfyUI nodes.  Importing this does nothing else."""

WEB_DIRECTORY = "./web"


async def comfy_entrypoint():
    """ComfyUI's hook: nodes are imported only when the host asks for them."""
    from .nodes import Lift123Extension

    return Lift123Extension()
