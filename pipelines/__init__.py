"""The map of Lift123's algorithms: conventions, layers, and where to start reading.

A file is a paper and a folder is a layer.  Start with ``consistent123.py``: a paper is a page.
Labels such as (M-C.5) are sections of ``docs/method``: what paper, released code and this pack do there.

Conventions (every module relies on them; ``tests/core`` and ``tests/render`` pin them)
--------------------------------------------------------------------------------------
World              right-handed, +Y up, the object faces +Z, inside [-1, 1]^3 "scene units"
                   (the frame of glTF and of ComfyUI).
Camera             OpenGL: looks down -Z, +X right, +Y up; ``c2w`` is rigid with determinant +1;
                   ``fovy`` is the vertical field of view in radians.
Azimuth            0 = +Z (front), positive towards +X: the camera moves to its own right.  Radians.
Elevation          0 = horizon, positive up.  Radians.
Image              row 0 is the top; [B, H, W, C] float32; the center of pixel (row i, column j)
                   lies at (x, y) = (j + 0.5, i + 0.5) in pixels.
Color              sRGB in [0, 1]; linearized only where a file format demands it.
Depth              positive distance along the camera's -Z, scene units; 0 where alpha is 0.
Normals            world space, unit length, 0 where alpha is 0; colored only for display.
SDF                negative inside.  Tetrahedra are positively oriented; faces are
                   counter-clockwise seen from outside.
UV                 glTF: origin top left, v grows downwards, texel row 0 at v = 0.
Progress           in [0, 1], drives every schedule; step counts appear only in presets.
Randomness         a ``torch.Generator`` argument; the global generator is never read or seeded.
Waiting            a step asks a far device (``core/far.py``) for two sizes at most: no ``item``, ``nonzero``, boolean
                   index or copy that waits.  ``tests/project/test_host_cost.py`` counts.

Plugs (documented members and defaults; a contract test runs over all that exist)
---------------------------------------------------------------------------------
Prior              ``core/prior.py``: a loss on pictures.  ``tests/priors/test_prior_contract.py``
Distillation       ``distill/plug.py``: how a prior's network teaches.  ``tests/distill/test_distillation.py``
Denoiser           ``core/protocols.py``: a diffusion network, told a picture or a prompt.
                   ``tests/networks/test_denoiser_contract.py``
Fields             ``core/protocols.py``: density and color in space, a surface.

Layers (imports run downwards only; ``tests/project/test_architecture.py`` executes this table)
----------------------------------------------------------------------------------------
papers             magic123, consistent123, hifi123, stdgen: presets and compositions, siblings
presets            settings that several papers share
stages.characters  a figure becomes layers: canonicalize, multiview, lift, refine, paint, rig, export
stages.results     bake, render, evaluate
stages.objects     NeRF, boundary, mesh, meshes from elsewhere, priors of one picture, words
stages.loop        the one loop and its step, cameras, optimizers, scenes
stages.inputs      pictures and reference views
L2                 render, fields, distill, priors, networks, loaders, catalog, methods, metrics, toybox, rigging
L1                 ops, losses, io
L0                 core: cameras, meshes, schedules, errors, randomness, plugs

Where to start
--------------
a prior              ``core/prior.py``, then ``priors/view.py``
a stage              ``stages/loop/optimize.py``, then ``stages/objects/fit_nerf.py``
a node               ``host/base.py``, ``host/runner.py``, then ``nodes/render.py``
a checkpoint layout  ``loaders/public.py`` and ``loaders/ldm.py``; kinds: ``catalog/kinds.py``,
                     published names: ``catalog/registry.py``
a metric             ``metrics/image.py``, then ``stages/results/evaluate.py``
a language           ``sync/languages.py``; ``locales/en`` is what ``launch.py sync`` writes
Recipes with the files of each: ``CONTRIBUTING.md``.
"""
