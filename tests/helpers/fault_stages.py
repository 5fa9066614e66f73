"""The long stages as nodes on tiny settings, for tests that end them in the middle: name -> what to queue."""

import os
from functools import lru_cache
from pathlib import Path

import torch
from lift123.host.specs import BoundarySpec, DynamicSpec, Network, PriorSpec
from lift123.nodes import characters, hifi123, inversion, layers, magic123, stages
from lift123.pipelines.core.schedules import Constant
from lift123.pipelines.fields.hash_nerf import HashNerfConfig
from lift123.pipelines.ops.hashgrid import HashGridConfig
from lift123.pipelines.priors.sds import SdsSettings
from lift123.pipelines.stages.loop.scene import Scene
from lift123.pipelines.stages.objects.boundary import ClipBoundary

from helpers.tiny_stages import reference

SIZE = 16
SETTINGS = {"preset": "quickstart", "render_size": SIZE, "reference_size": SIZE, "novel_batch": 1, "preview_every": 3}
FIELD = HashNerfConfig(HashGridConfig(levels=4, log2_table=9, base=6, finest=24), hidden=16, layers=1)
SMALL = magic123.StageOptions((("field", FIELD), ("grid_resolution", 16), ("grid_every", 4), ("ema_every", 2)))
CLIP = ClipBoundary(interval=2, views=2, window=2, threshold=1e-9, floor=0.2, ceiling=0.5, size=SIZE)
VIEW = PriorSpec(Network("view"), SdsSettings((0.2, 0.6), weight=Constant(0.1)))
TEXT = PriorSpec(Network("text"), SdsSettings((0.2, 0.6), weight=Constant(0.1)), prompt="a red box")


@lru_cache
def given():
    """A reference view whose prompt is known."""
    return reference().with_prompt("a red box")


def half_nerf():
    """A NeRF scene at its boundary."""
    return made_once("half", lambda: nerf_stage_1()[0])


def whole_nerf():
    """A finished NeRF scene."""
    return made_once("whole", lambda: stages.NerfStage1.execute(
        reference=given(), iterations=8, seed=3, options=SMALL, **SETTINGS).result[0])


def made_once(name, make):
    """A scene by name, in a folder of its own, so that no child process makes it again."""
    path = Path(os.environ["LIFT123_GIVEN"]) / f"{name}.safetensors"
    return Scene.load(path if path.is_file() else make().save(path))


def nerf_stage_1():
    """10 steps of at most 20, until the boundary's ceiling."""
    return stages.NerfStage1.execute(
        reference=given(), iterations=20, seed=3, options=SMALL, prior=VIEW, boundary=BoundarySpec(Network("clip"), CLIP),
        **SETTINGS).result


def nerf_stage_2():
    """The rest, under the ramp."""
    return stages.DynamicStage2.execute(scene=half_nerf(), prior_3d=VIEW, prior_2d=TEXT, mesh_iterations=6,
                                        form="exponential", clock="phase_local").result


def dmtet():
    """Shape and texture."""
    return stages.DMTetRefine.execute(scene=whole_nerf(), iterations=12, what="both", grid=8,
                                      prior=DynamicSpec(VIEW, TEXT), **SETTINGS).result


def rgsd():
    """Texture alone, towards a guide's targets."""
    from lift123.pipelines.methods.rgnv import RgnvSettings
    from lift123.pipelines.priors.rgsd import RgsdSettings

    spec = hifi123.RgsdSpec(Network("depth_text"), RgsdSettings(slots=2, reuse=2), RgnvSettings(steps=6, rungs=2))
    return stages.DMTetRefine.execute(scene=whole_nerf(), iterations=12, what="texture", grid=8, prior=spec,
                                      **SETTINGS).result


def textual_inversion():
    """A word and two pictures drawn with it."""
    return inversion.TextualInversion.execute(
        reference=given(), text_network=Network("text"), name="lift123_fault", start="box", sentence="a {}", steps=12, batch=1,
        learning_rate=0.0, vectors=1, samples=1, resume=True, seed=3, preset="quickstart").result


VIEWS = ("color", "normal", "alpha")
SAMPLER = {"guidance": -1.0, "seed": 3}


def figure():
    """(image, mask, a-pose, views, layers) of a toy character as the node gives them, made once as well."""
    from lift123.pipelines.core.character_views import CharacterViews
    from lift123.pipelines.stages.characters.refined_layers import RefinedLayers, load_layers
    from safetensors.torch import load_file, save_file

    pictures, meshes = (Path(os.environ["LIFT123_GIVEN"]) / f"{name}.safetensors" for name in ("figure", "layers"))
    if not meshes.is_file():
        made = characters.ToyCharacter.execute(size=64, pose=0, cells=16, seed=10000003).result
        kept = dict(zip(("image", "mask", "pose"), made[:3], strict=True)) | {n: getattr(made[3], n) for n in VIEWS}
        save_file({name: value.contiguous() for name, value in kept.items()}, pictures)
        RefinedLayers(made[4].layers.select(("body", "hair"))).save(meshes)
    kept = load_file(pictures)
    return kept["image"], kept["mask"], kept["pose"], CharacterViews(*(kept[n] for n in VIEWS)), load_layers(meshes)


def canonicalize():
    """8 steps."""
    return characters.Canonicalize.execute(image=figure()[0], mask=figure()[1], canonical=Network("canonical"), steps=8,
                                           mask_marks="object", complete=False, **SAMPLER).result


def multi_view():
    """Two levels of 5 steps."""
    return characters.CharacterMultiView.execute(image=figure()[2], multiview=Network("multiview"), steps=5,
                                                 levels="complete + no hair", **SAMPLER).result


def refine():
    """Two layers, two fits each."""
    return layers.RefineLayers.execute(layers=figure()[4], views=figure()[3], preset="stdgen toy", steps=3, again=False,
                                       seed=3).result


def rgnv():
    """Three views in one batch, depth estimated."""
    views, mask = (torch.cat([v, v.flip(2), v.flip(1)]) for v in (given().views.on_background(0.9), given().views.alpha))
    return hifi123.RgnvEnhance.execute(
        reference=given(), depth_text_network=Network("depth_text"), views=views, steps=12, rungs=3, guidance=3.0,
        ablation="all", words="orbit", layers="", keep_background=False, object_only=False, corrections=0, background="auto",
        azimuths="", mask_marks="object", mask=mask, depth_network=Network("depth")).result


def one_prompt():
    """NeRF stage 1 and DMTet as two nodes of one prompt that a server runs, until it has ended well."""
    import server

    from helpers.fake_server import FakeServer

    server.PromptServer.instance = running = FakeServer()  # pyright: ignore[reportAttributeAccessIssue]
    graph = {"nerf": {"class_type": "Lift123_NerfStage1", "inputs": {}},
             "mesh": {"class_type": "Lift123_DMTetRefine", "inputs": {"scene": ["nerf", 0]}}}
    with running.prompt("a prompt", graph):
        with running.node("nerf"):
            scene = nerf_stage_1()[0]
        with running.node("mesh"):
            return stages.DMTetRefine.execute(scene=scene, iterations=8, what="both", grid=8, **SETTINGS).result


STAGES = {
    "NeRF stage 1": nerf_stage_1, "NeRF stage 2": nerf_stage_2, "DMTet": dmtet, "RGSD": rgsd,
    "Textual inversion": textual_inversion, "Canonicalize": canonicalize, "Multi-view": multi_view, "Refine Layers": refine,
    "RGNV": rgnv, "One prompt": one_prompt,
}
# What comes before a stage is made before it is ended, not by it.
BEFORE = {"NeRF stage 2": half_nerf, "DMTet": whole_nerf, "RGSD": whole_nerf, "Canonicalize": figure, "Multi-view": figure,
          "Refine Layers": figure}
