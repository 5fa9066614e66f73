"""Everything between ComfyUI and the pipelines that is no node: what all nodes share.

Start with ``base.py`` (what every node does first) and ``runner.py`` (how a long stage runs).  Networks on the wires:
``specs.py``; their files: ``checkpoints.py``; ComfyUI's own networks as ours: ``comfy_denoiser.py``.  Imports pipelines,
never nodes.
"""
