"""The graph inside of results, where ComfyUI's page looks for it when a file is dropped on its canvas.

As core writes it: text chunks of a PNG, EXIF of a WebP (``comfy_api/latest/_ui.py``), ``asset.extras`` of a GLB
(``comfy_extras/nodes_save_3d.py``).  Of a JSON file the page takes the whole for a graph, so that a manifest has the
graph's fields beside its own.  Nothing is kept where ComfyUI runs with ``--disable-metadata``.
"""

from __future__ import annotations

import json

PROMPT, WORKFLOW = "prompt", "workflow"
MODEL, MAKE = 0x0110, 0x010F  # EXIF tags: core puts the prompt into the first, and counts down from the second


def kept(hidden) -> dict[str, dict]:
    """What the page handed over with a run: ``prompt``, and ``workflow`` where it was queued from a canvas.

    hidden: of the node, None outside the server.  Where the canvas was scrolled to is left out, so that looking around
    changes no file.
    """
    from comfy.cli_args import args

    if hidden is None or args.disable_metadata:
        return {}
    found = {PROMPT: _as_queued(getattr(hidden, "prompt", None))}
    found |= getattr(hidden, "extra_pnginfo", None) or {}
    workflow = found.get(WORKFLOW)
    if isinstance(workflow, dict):
        found[WORKFLOW] = _unscrolled(workflow)
    return {name: value for name, value in found.items() if value is not None}


def _as_queued(prompt):
    """Without the fingerprints that ComfyUI notes in it while it runs: some are new every time, and files shall not be."""
    if not isinstance(prompt, dict):
        return prompt
    return {key: {name: value for name, value in node.items() if name != "is_changed"} if isinstance(node, dict) else node
            for key, node in prompt.items()}


def _unscrolled(workflow: dict) -> dict:
    extra = workflow.get("extra")
    return workflow | {"extra": {k: v for k, v in extra.items() if k != "ds"}} if isinstance(extra, dict) else workflow


def texts(hidden) -> dict[str, str]:
    """:func:`kept` as JSON texts: for ``asset.extras``."""
    return {name: json.dumps(value) for name, value in kept(hidden).items()}


def png_info(hidden):
    """Text chunks for ``PIL.Image.save(..., pnginfo=)``."""
    from PIL.PngImagePlugin import PngInfo

    made = PngInfo()
    for name, text in texts(hidden).items():
        made.add_text(name, text)
    return made


def exif(hidden):
    """EXIF for ``PIL.Image.save(..., exif=)``."""
    from PIL.Image import Exif

    made, tag = Exif(), MAKE
    for name, text in texts(hidden).items():
        if name == PROMPT:
            made[MODEL] = f"{name}:{text}"
        else:
            made[tag] = f"{name}:{text}"
            tag -= 1
    return made


def in_manifest(manifest: dict, hidden) -> dict:
    """The manifest with the graph's own fields (``nodes``, ``links``, ``version`` ...) beside its own, which come first."""
    workflow = kept(hidden).get(WORKFLOW)
    return {**workflow, **manifest} if isinstance(workflow, dict) else manifest
