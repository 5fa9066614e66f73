"""The nodes: each a schema with a tooltip on everything, a conversion, a call into ``pipelines``.

What they share (running a long stage, wires, files, checkpoints) stands in ``host``; these two are the only rooms that
import comfy, folder_paths or server.  A new node is listed in :func:`all_nodes`.
"""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

from comfy_api.latest import ComfyExtension, io

log = logging.getLogger(__name__)
SAMPLES = tuple(f"lift123_{name}.png" for name in
                ("sample", "owl", "teapot", "robot", "turtle", "character", "posed_character"))


class Lift123Extension(ComfyExtension):
    """What ComfyUI asks for at start-up."""

    async def on_load(self) -> None:
        """Adds the pack's model folders, old names, routes and the templates' sample pictures."""
        from server import PromptServer

        from ..host import checkpoints, finish, open_folder, renamed, turns, wires
        from ..pipelines.ops import accelerators
        from . import to_cluster

        checkpoints.register_folders()
        if getattr(PromptServer, "instance", None) is not None:
            log.info("Lift123: %s", accelerators.told())
            finish.register_route(PromptServer.instance.routes)
            open_folder.register_route(PromptServer.instance.routes)
            turns.register_routes(PromptServer.instance)
            to_cluster.register_routes(PromptServer.instance.routes)
            await renamed.register()
            PromptServer.instance.add_on_prompt_handler(wires.on_prompt)  # behind renamed's: it knows today's names only
            offer_samples()

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return all_nodes()


def _character_nodes() -> list[type[io.ComfyNode]]:
    from . import character_in, characters, layers, layers_out, rig, rig_out

    return [
        characters.LoadCharacterEmbedded, characters.LoadCanonicalizer, characters.LoadMultiView, characters.LoadSlrm,
        characters.ToyCharacter, characters.Canonicalize, characters.CharacterMultiView, characters.ViewsToImages,
        characters.ImagesToViews, characters.LiftLayers,
        layers.RefineLayers, layers.ReplaceLayers, layers.SplitLayers, layers.JoinLayers, layers.SaveLayers, layers.LoadLayers,
        layers_out.ProjectColors, layers_out.TextureLayers, layers_out.PreviewLayers, layers_out.ExportCharacter,
        character_in.LoadCharacterFile, rig.FitSkeleton, rig.BindLayers, rig.MotionNode, rig.LoadMotion, rig.Pose,
        rig.PoseLayers, rig.PreviewMotion, rig_out.ExportRigged,
    ]


def all_nodes() -> list[type[io.ComfyNode]]:
    """Every node of the pack, in menu order."""
    from . import (
        batch,
        caption,
        comfy_networks,
        compare,
        cut_out,
        distillation,
        estimate,
        evaluate,
        export,
        files,
        hifi123,
        inversion,
        losses,
        magic123,
        mesh_in,
        mesh_out,
        networks,
        picture_priors,
        priors,
        reconstruct,
        reference,
        render,
        results,
        sources,
        stages,
        weights,
        words,
    )

    return [
        reference.ReferenceView, cut_out.CutOut, reference.DepthPicture, reference.EstimateDepth, caption.ProposePrompt,
        reference.ToyObject,
        networks.LoadEmbedded, networks.LoadViewPrior, networks.LoadTextPrior, networks.LoadClip,
        networks.LoadDepth, hifi123.LoadDepthText, hifi123.LoadDepthControl, weights.DownloadWeights,
        comfy_networks.ModelAsText, comfy_networks.ModelAsView,
        inversion.TextualInversion, magic123.SampleViews,
        hifi123.RgnvEnhance, reconstruct.InvertReconstruct,
        priors.ViewPrior, priors.TextPrior, distillation.Distillation, priors.CombinePriors, magic123.TradeOffPrior,
        hifi123.RgsdPrior, picture_priors.PicturesPrior, picture_priors.ClipImagePrior, priors.PriorSchedule,
        stages.ClipBoundary, stages.NerfStage1, stages.DynamicStage2, stages.DMTetRefine, stages.DynamicPrior,
        words.WordsOnly, words.InitialShape, words.EditScene,
        losses.PhotoLoss, losses.SilhouetteLoss, losses.SymmetryLoss, losses.DepthOrderLoss, losses.ClipLoss,
        losses.PaletteLoss, losses.UntouchedLoss,
        estimate.Estimate,
        mesh_in.MeshToScene,
        magic123.StageOptionsNode, sources.Magic123Settings, sources.Consistent123Settings,
        *_character_nodes(),
        render.RenderViews, evaluate.Evaluate, evaluate.CompareSets, export.BakeExport, mesh_out.CleanMesh, mesh_out.ExportMesh,
        batch.BatchList, results.Results, compare.CompareRuns,
        files.MeshToFile3D, files.File3DToMesh, files.SaveScene, files.LoadScene,
    ]


def offer_samples() -> None:
    """Puts the templates' pictures where Load Image looks, unless files of those names are there."""
    import folder_paths

    folder, inputs = Path(__file__).resolve().parent.parent / "workflows" / "sample", Path(folder_paths.get_input_directory())
    try:
        for name in SAMPLES:
            if (folder / name).is_file() and not (inputs / name).exists():
                shutil.copyfile(folder / name, inputs / name)
    except OSError as problem:  # a read-only input folder must not hide the nodes
        log.warning("Lift123: a sample picture was not copied: %s", problem)
