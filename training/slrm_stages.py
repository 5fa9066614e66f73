"""The three training stages of S-LRM in the paper: pictures only, no truth inside (StdGEN, Sec. 3.2; S-C.14, S-C.15).

  stage 1  NeRF variant, everything together: ``nerf_terms`` with all classes
  stage 2  NeRF variant, layer by layer from outside to inside: ``nerf_terms`` with one of ``KEPT_SETS``
  stage 3  mesh variant, layer by layer: ``mesh_terms``

A checkpoint is fine-tuned with its LoRA updates apart (``load_slrm(..., merge=False)``), of which ``trainable`` picks the
parameters that the paper trains.  From stage 2 to stage 3 ``mesh_from_nerf`` carries the decoders over.
"""

import pack  # noqa: F401  (makes ``lift123`` importable)
import torch
from lift123.pipelines.core.mesh import Mesh
from lift123.pipelines.core.ortho import OrthoCameras
from lift123.pipelines.networks.stdgen.slrm import Slrm
from lift123.pipelines.networks.stdgen.slrm_decoder import on_points
from lift123.pipelines.networks.stdgen.slrm_frames import scene_to_slrm, slrm_to_scene
from lift123.pipelines.networks.stdgen.slrm_surface import cube_weights, grid_values, layer_surface
from lift123.pipelines.ops.flexicubes import find_patches
from lift123.pipelines.ops.semantic_field import CODES, KEPT, equivalent_sdf
from lift123.pipelines.render.surface import render_surface
from slrm_losses import Truth, picture_terms, sign_entropy, surface_terms
from slrm_volume import render_rays

RATE, SIZES = 4e-5, (192, 144, 512)  # the paper's learning rate, and picture sizes of the stages
KEPT_SETS = tuple(KEPT[CODES[name]] for name in ("full", "no hair", "body"))  # from outside to inside
ISO_DENSITY = 10.0  # raw density at which stage 3 starts its surface (InstantMesh)
TRAINED = ("_lora_", "pos_embed", "deconv", "synthesizer.")


def trainable(network: Slrm) -> list:
    """The parameters that the paper trains: LoRA, plane tokens, upsampling, decoders.  The others are frozen."""
    chosen = []
    for name, parameter in network.named_parameters():
        wanted = any(part in name for part in TRAINED)
        parameter.requires_grad_(wanted)
        if wanted:
            chosen.append(parameter)
    return chosen


def optimizer_for(network: Slrm) -> torch.optim.Optimizer:
    """AdamW as in InstantMesh's training, at the paper's rate."""
    return torch.optim.AdamW(trainable(network), lr=RATE, betas=(0.9, 0.95), weight_decay=0.01)


def noisy_cameras(rows: torch.Tensor, generator: torch.Generator, amount: float = 0.02) -> torch.Tensor:
    """Camera numbers with uniform noise, so that the network does not rely on their last digit."""
    return rows + amount * (2 * torch.rand(rows.shape, generator=generator) - 1)


def nerf_terms(
    network: Slrm,
    planes,
    cameras: OrthoCameras,
    truth: Truth,
    keep=KEPT_SETS[0],
    samples=64,
    importance=64,
    generator=None,
    perceptual=None,
) -> dict:
    """Stages 1 and 2: what ``cameras`` (scene frame) see of the kept classes against the truth under the same classes."""
    rays = cameras.rays()
    origins, directions = (scene_to_slrm(x).reshape(-1, 3) for x in (rays.origins, rays.directions))
    seen = render_rays(network, planes, origins, directions, keep, samples, importance, generator)
    shape = (len(cameras), cameras.height, cameras.width)
    return picture_terms(
        seen.rgb.reshape(*shape, 3), seen.alpha.reshape(shape), seen.semantics.reshape(*shape, -1), truth, perceptual
    )


def mesh_terms(network: Slrm, planes, cameras: OrthoCameras, truth: Truth, keep=KEPT_SETS[0], perceptual=None) -> dict:
    """Stage 3: the surface of the kept classes, rasterized, against the truth under the same classes.

    A surface that is not there yet gives the sign-entropy term only, which makes one appear.
    """
    values = grid_values(network, planes)
    sdf = equivalent_sdf(values.sdf, values.probability, keep)
    entropy = {"entropy": sign_entropy(sdf, network.config.grid.shape)}
    found = layer_surface(network, planes, values, KEPT.index(tuple(keep)), dilate=False, training=True)
    if not len(found.faces):
        return entropy
    raw = cube_weights(network, planes, find_patches(sdf.detach(), network.config.grid))
    rgb, semantics = (on_points(f, planes, found.vertices) for f in (network.decoder.colors, network.decoder.semantics))
    mesh = Mesh(slrm_to_scene(found.vertices), found.faces, rgb)
    seen = render_surface(mesh, cameras, shading=None, want_normal=True)
    assert seen.normal is not None, "they are asked for"
    parts = [render_surface(Mesh(mesh.vertices, mesh.faces, part), cameras, shading=None).rgb
             for part in (semantics[:, :3], semantics[:, 3:].expand(-1, 3))]
    classes = torch.cat([parts[0], parts[1][..., :1]], -1)
    terms = picture_terms(seen.composite(1.0), seen.alpha, classes, truth, perceptual)
    free = {"flexibility": sum((w - 1).square().mean() for w in (raw.alpha, raw.beta))}
    return {**terms, **surface_terms(seen.depth, seen.normal, found.deviation, truth), **entropy, **free}


def mesh_from_nerf(mesh: Slrm, nerf: Slrm, iso: float = ISO_DENSITY) -> None:
    """Starts the mesh variant from the NeRF variant (S-C.9): distance is the density ``iso`` minus raw density.

    Everything but the decoders is copied; colors and the distance's hidden layers come from the density network, the
    semantic decoder as it is; deformation and cube weights stay as they are.
    """
    source, target = nerf.state_dict(), mesh.state_dict()
    prefix = "synthesizer.decoder."
    copied = {k: v for k, v in source.items() if k in target and not k.startswith(prefix + "net.")}
    for layer in (0, 2, 4):
        for kind in ("weight", "bias"):
            for name in ("net_sdf", "net_rgb"):
                copied[f"{prefix}{name}.{layer}.{kind}"] = source[f"{prefix}net.{layer}.{kind}"]
    weight, bias = source[prefix + "net.6.weight"], source[prefix + "net.6.bias"]
    copied |= {prefix + "net_sdf.6.weight": -weight[:1], prefix + "net_sdf.6.bias": iso - bias[:1],
               prefix + "net_rgb.6.weight": weight[1:], prefix + "net_rgb.6.bias": bias[1:]}
    target.update(copied)
    mesh.load_state_dict(target)
