"""Our own wire types.  Everything else uses ComfyUI's: IMAGE, MASK, MESH, FILE_3D, LOAD3D_CAMERA.

What travels on each wire (always on the CPU, ComfyUI's own models excepted; never pickled):

LIFT123_REFERENCE      ``pipelines.stages.inputs.reference.ReferenceView``
LIFT123_VIEW_NETWORK   ``specs.Network`` of kind "view": a description, loaded where it is used;
                       or ``comfy_networks.ComfyNetwork``: ComfyUI's own MODEL, VAE and CLIP_VISION
LIFT123_TEXT_NETWORK   ``specs.Network`` of kind "text", or ``ComfyNetwork``: ComfyUI's MODEL, CLIP and VAE
LIFT123_CLIP           ``specs.Network`` of kind "clip"
LIFT123_DEPTH          ``specs.Network`` of kind "depth"
LIFT123_DEPTH_TEXT     ``specs.Network`` of kind "depth_text": a text network that is shown depth
LIFT123_PRIOR          ``specs.PriorSpec``: networks with guidance, timestep range and weight
LIFT123_DISTILLATION   ``specs.DistillSpec``: how a prior's network teaches
LIFT123_LOSSES         ``extra_specs.Losses``: further losses of a stage
LIFT123_SCHEDULE       a frozen schedule of ``pipelines.core.schedules``
LIFT123_BOUNDARY       ``specs.BoundarySpec``: the CLIP network and the rule
LIFT123_OPTIONS        ``magic123.StageOptions``: settings that replace a preset's
LIFT123_CANONICAL      ``specs.Network`` of kind "canonical": any pose -> A-pose
LIFT123_MULTIVIEW      ``specs.Network`` of kind "multiview": A-pose -> six views per peel level
LIFT123_SLRM           ``specs.Network`` of kind "slrm": views -> layers
LIFT123_CHARACTER_VIEWS ``pipelines.core.character_views.CharacterViews``
LIFT123_LAYERS         ``pipelines.stages.characters.refined_layers.RefinedLayers``
LIFT123_RIG            ``pipelines.core.rig.Rig``, or ``Refused``
LIFT123_RIGGED         ``pipelines.core.rig.RiggedLayers``
LIFT123_MOTION         ``pipelines.core.rig.Motion``
LIFT123_SCENE          ``pipelines.stages.loop.scene.Scene``
"""

from comfy_api.latest import io

Reference = io.Custom("LIFT123_REFERENCE")
ViewNetwork = io.Custom("LIFT123_VIEW_NETWORK")
TextNetwork = io.Custom("LIFT123_TEXT_NETWORK")
Clip = io.Custom("LIFT123_CLIP")
Depth = io.Custom("LIFT123_DEPTH")
DepthText = io.Custom("LIFT123_DEPTH_TEXT")
Prior = io.Custom("LIFT123_PRIOR")
Distillation = io.Custom("LIFT123_DISTILLATION")
Losses = io.Custom("LIFT123_LOSSES")
Schedule = io.Custom("LIFT123_SCHEDULE")
Boundary = io.Custom("LIFT123_BOUNDARY")
Scene = io.Custom("LIFT123_SCENE")
Options = io.Custom("LIFT123_OPTIONS")
Canonical = io.Custom("LIFT123_CANONICAL")
MultiView = io.Custom("LIFT123_MULTIVIEW")
Slrm = io.Custom("LIFT123_SLRM")
CharacterViews = io.Custom("LIFT123_CHARACTER_VIEWS")
Layers = io.Custom("LIFT123_LAYERS")
Rig = io.Custom("LIFT123_RIG")
Rigged = io.Custom("LIFT123_RIGGED")
Motion = io.Custom("LIFT123_MOTION")

# What ``host.convert.any_mesh`` reads.
FILES = [io.File3DGLB, io.File3DGLTF, io.File3DOBJ, io.File3DPLY, io.File3DSTL, io.File3DAny]
MESHES = [io.Mesh, *FILES]

# What the browser calls a wire, where that is not its name without prefix and underscores (``launch.py sync``).
SHOWN = {
    "LIFT123_CLIP": "CLIP SCORER", "LIFT123_DEPTH": "DEPTH NETWORK", "LIFT123_DEPTH_TEXT": "DEPTH-TEXT NETWORK",
    "LIFT123_OPTIONS": "STAGE OPTIONS", "LIFT123_CANONICAL": "CANONICALIZER",
    "LIFT123_MULTIVIEW": "MULTI-VIEW NETWORK", "LIFT123_SLRM": "S-LRM",
    "LIFT123_RIG": "SKELETON", "LIFT123_RIGGED": "RIGGED LAYERS",
}
