"""HiFi-123's tools for people: enhance coarse views, build the RGSD prior, and measure why depth matters.

These functions prepare pictures for ``methods.rgnv``: square, of the network's size, on a background that the network has
seen in training (Stable Diffusion: never pure white or black), with depth maps that are blank outside the object.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, get_args

import torch
from torch import Tensor

from ...core.cameras import Cameras
from ...core.errors import InputError
from ...core.journal import Journal
from ...core.step import OnStep, ignore_step
from ...core.views import NEUTRAL
from ...methods.inversion import invert
from ...methods.null_text import NullTextSettings, learn
from ...methods.rgnv import ReferenceGuide, RgnvSettings
from ...metrics.image import psnr, ssim
from ...networks.depth_text import BACKGROUNDS as KINDS
from ...networks.depth_text import Background, depth_channel, latent_size
from ...priors.rgsd import RgsdPrior, RgsdSettings
from ..inputs.picture import find_plain_background
from ..inputs.reference import ReferenceView

Choice = Literal["auto", Background]
BACKGROUNDS = get_args(Choice)
SMALLEST = 8  # pixels per side of a view: one cell of a latent
ROUGHNESS = 23 / 255  # deviation of the concrete photograph behind the released code's references
RGSD_GUIDE = RgnvSettings(steps=20, rungs=12, guidance=7.5)


def behind(network, background: Choice = "auto") -> tuple[Background, Literal["white", "gray"]]:
    """Kinds of :func:`backdrop` behind (the reference, views) for one of BACKGROUNDS; "auto" = what the network declares.

    "textured" is the released RGNV's: a rough texture behind the reference, plain gray behind views.
    """
    if background not in BACKGROUNDS:
        raise ValueError(f"background must be one of {BACKGROUNDS}, got {background!r}")
    kind = getattr(network, "background", KINDS[0]) if background == "auto" else background
    return kind, "white" if kind == "white" else "gray"


def backdrop(kind: Background, size: int) -> Tensor:
    """[size, size, 3]: white, neutral gray, or gray "textured" with clouds of several octaves (always the same ones)."""
    if kind not in KINDS:
        raise ValueError(f"background must be one of {KINDS}, got {kind!r}")
    if kind == "white":
        return torch.ones(size, size, 3)
    plain = torch.tensor(NEUTRAL).expand(size, size, 3)
    if kind == "gray":
        return plain
    generator, clouds = torch.Generator().manual_seed(123), torch.zeros(size, size)
    for octave in range(2, 7):
        cells = torch.randn(1, 1, 2**octave, 2**octave, generator=generator)
        clouds += torch.nn.functional.interpolate(cells, (size, size), mode="bicubic")[0, 0] / octave
    clouds = (clouds - clouds.mean()) / clouds.std().clamp_min(1e-6)
    return (plain + ROUGHNESS * clouds[..., None]).clamp(0, 1)


def reference_guide(
    network, reference: ReferenceView, settings: RgnvSettings = RgnvSettings(), background: Choice = "auto",
    device: torch.device | str = "cpu",
) -> ReferenceGuide:
    """The guide of a reference view on ``background`` (one of BACKGROUNDS); its words are the reference's prompt.

    InputError without depth, where the settings want it.
    """
    size, views = network.image_size, reference.resized(network.image_size)
    if not bool((views.alpha > 0.5).any()):
        raise InputError("reference", "a mask that shows the object", "an empty mask", "Check the mask of Reference View.")
    picture = views.on_background(backdrop(behind(network, background)[0], size))[0]
    depth = None
    if settings.depth and views.depth is not None:
        depth = depth_channel(views.depth, views.alpha, latent_size(network.runtime), views.depth_is_metric)
    return ReferenceGuide(network, picture.to(device), None if depth is None else depth.to(device),
                          views.alpha[0].to(device), settings, reference.prompt, reference.negative)


def rgsd_prior(
    network, reference: ReferenceView, settings: RgsdSettings = RgsdSettings(), guide: RgnvSettings = RGSD_GUIDE,
    device: torch.device | str = "cpu", background: Choice = "auto",
) -> RgsdPrior:
    """RGSD for ``refine_mesh``, whose shape must stay; views are shown on ``background`` (one of BACKGROUNDS)."""
    conditioned = reference_guide(network, reference, guide, background, device)
    backdrop = behind(network, background)[1]
    return RgsdPrior(conditioned, reference.camera, settings, reference.views.alpha, backdrop=backdrop)


def enhance_views(
    network, reference: ReferenceView, pictures: Tensor, masks: Tensor | None = None, depths: Tensor | None = None,
    cameras: Cameras | None = None, settings: RgnvSettings = RgnvSettings(), *, estimator=None, metric: bool = False,
    device: torch.device | str = "cpu", background: Choice = "auto", on_step: OnStep = ignore_step,
    journal: Journal | None = None,
) -> tuple[Tensor, Tensor, ReferenceGuide]:
    """(before, after, guide): coarse views [B, H, W, 3] and the same with the reference's texture, [B, S, S, 3] on white.

    masks:   [B, H, W]; without them a plain background is found.
    depths:  [B, H, W], larger = farther (``metric``: distances); or estimator: ``networks.depth``'s, for each view.
    cameras: of the views; they choose the prompt's words front, side or back.
    background: behind reference and views while they are in the network, one of BACKGROUNDS.
    on_step: hears of every evaluation of the network; StopStage leaves the views that are not done as they were.
    journal: keeps what is worked out; one of an earlier attempt leads to the same end bit for bit.
    S is the network's size; views that are not square are padded.
    """
    check_views(pictures, masks, depths, cameras)
    guide = reference_guide(network, reference, settings, background, device)
    masks = torch.stack([find_plain_background(p.cpu()) for p in pictures]) if masks is None else masks.cpu()
    if bool((masks.amax((1, 2)) <= 0.5).any()):
        raise InputError("masks", "an object in each view", "an empty mask", "Remove that view, or correct its mask.")
    size = network.image_size
    rgb, alpha = fit(pictures.cpu(), masks[..., None], size)
    if depths is None and estimator is not None:
        depths, metric = _estimated(estimator, rgb, alpha[..., 0], device, Journal() if journal is None else journal), False
    elif depths is not None:
        depths = fit_depth(depths.cpu(), masks, size)
    channel = None if depths is None else depth_channel(depths, alpha[..., 0], guide.latent_size, metric).to(device)
    shown = rgb * alpha + (1 - alpha) * backdrop(behind(network, background)[1], size)
    where = None if cameras is None else cameras.to(device)
    if journal is not None:
        guide.net.write_down(journal, on_step, guide.evaluations(len(pictures)))
    done = guide.enhance(shown.to(device), channel, alpha[..., 0].to(device), where).cpu()
    before = rgb * alpha + (1 - alpha)
    if settings.space == "pictures":
        half_a_cell = size // guide.latent_size // 2
        return before, (before + within(alpha, half_a_cell) * (done - shown)).clamp(0, 1), guide
    return before, done * alpha + (1 - alpha), guide


def _estimated(estimator, rgb: Tensor, alpha: Tensor, device, journal: Journal) -> Tensor:
    """[B, S, S] depths of pictures, on the CPU; each is a part of the journal."""

    def depth(i: int) -> Tensor:
        return estimator.depth(rgb[i].to(device), alpha[i].to(device)).cpu()

    return torch.stack([journal.keep(f"depth/{i}", lambda i=i: depth(i)) for i in range(len(rgb))])


def check_views(pictures: Tensor, masks: Tensor | None = None, depths: Tensor | None = None,
                cameras: Cameras | None = None) -> None:
    """InputError for views, masks, depths or cameras that do not belong together (see :func:`enhance_views`)."""
    if pictures.ndim != 4 or pictures.shape[-1] != 3:
        raise InputError("views", "pictures with 3 channels", str(list(pictures.shape)), "Convert them to RGB.")
    if min(pictures.shape[1:3]) < SMALLEST:
        raise InputError("views", f"pictures of at least {SMALLEST} pixels per side",
                         f"{pictures.shape[2]} x {pictures.shape[1]}", "Use larger ones.")
    if masks is not None and not bool((masks > 0.5).flatten(1).any(1).all()):
        raise InputError("masks", "an object in every view", "an empty mask", "Check mask_marks, or leave the view out.")
    if cameras is not None and len(cameras) != len(pictures):
        raise InputError("cameras", f"{len(pictures)}, one per view", str(len(cameras)), "Use the cameras of these views.")
    for name, maps in (("masks", masks), ("depths", depths)):
        if maps is not None and maps.shape != pictures.shape[:3]:
            raise InputError(name, f"one of {pictures.shape[2]} x {pictures.shape[1]} pixels for each of {len(pictures)} views",
                             " x ".join(str(v) for v in maps.shape), f"Scale the {name} to the views' size.")


def within(alpha: Tensor, reach: int) -> Tensor:
    """[B, S, S, 1] from 0 at the outline of coverages (the same shape) to 1 more than ``reach`` pixels inside it.

    What changed in a latent cell that object and background share is true of neither, so changes fade out there.
    """
    planes = 1 - alpha.movedim(-1, 1)
    near = torch.nn.functional.max_pool2d(planes, 2 * reach + 1, 1, reach) if reach else planes
    return torch.nn.functional.avg_pool2d(1 - near, 3, 1, 1).movedim(1, -1)


def fit(pictures: Tensor, masks: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """(rgb [B, size, size, 3], alpha [B, size, size, 1]): padded to squares and scaled, colors weighed by coverage."""
    side = max(pictures.shape[1:3])
    alpha = scale_planes(pad(masks, side), size).clamp(0, 1)
    rgb = scale_planes(pad(pictures * masks, side), size) / alpha.clamp_min(1e-6)
    return rgb.clamp(0, 1), alpha


def fit_depth(depths: Tensor, masks: Tensor, size: int) -> Tensor:
    """[B, H, W] -> [B, size, size] depths, padded to squares, averaged over the object only."""
    side, weights = max(depths.shape[1:3]), masks[..., None]
    summed = scale_planes(pad(depths[..., None] * weights, side), size)
    return (summed / scale_planes(pad(weights, side), size).clamp_min(1e-6))[..., 0]


def pad(maps: Tensor, side: int) -> Tensor:
    """[B, H, W, C] centered in [B, side, side, C] of zeros."""
    height, width = maps.shape[1:3]
    top, left = (side - height) // 2, (side - width) // 2
    return torch.nn.functional.pad(maps, (0, 0, left, side - width - left, top, side - height - top))


def scale_planes(maps: Tensor, size: int) -> Tensor:
    """[B, S, S, C] -> [B, size, size, C]: antialiased when shrinking."""
    planes = torch.nn.functional.interpolate(maps.movedim(-1, 1).float(), (size, size), mode="bilinear", align_corners=False,
                                             antialias=size < maps.shape[1])
    return planes.movedim(1, -1)


@dataclass(frozen=True)
class RoundTrip:
    """A picture that was inverted and sampled back; one entry for each way.

    pictures: name -> [S, S, 3]; errors: name -> {"latent": relative error, "L2": pixel distance in 8-bit units,
    "PSNR": dB, "SSIM"}; evaluations: UNet evaluations per way.
    """

    pictures: dict[str, Tensor]
    errors: dict[str, dict[str, float]]
    evaluations: int

    def report(self) -> list[str]:
        """One line for each way."""
        return [name + ": " + ", ".join(f"{key} {value:.4g}" for key, value in found.items())
                for name, found in self.errors.items()]


def reconstruct(network, reference: ReferenceView, settings: RgnvSettings = RgnvSettings(), background: Choice = "auto",
                device: torch.device | str = "cpu", null_text: NullTextSettings | None = None) -> RoundTrip:
    """The paper's Supplementary Table 2 on one picture: inversion and reconstruction with and without depth.

    No prompt, no guidance, no reference: what is lost is lost by inversion alone.  "autoencoder" is the floor that no
    inversion can beat.
    null_text: two ways more, as in Supplementary Fig. 1, without depth and with the reference's prompt: "guided", sampled
    back under guidance, and "null-text", the same with learned contexts of no words.
    """
    plain, pictures, errors, spent = replace(settings, inject=False, start="inversion", lock=False), {}, {}, 0
    wordless, ends = replace(reference, prompt="", negative=""), {}
    for name, with_depth in (("with depth", True), ("without depth", False)):
        guide = reference_guide(network, wordless, replace(plain, depth=with_depth), background, device)
        clean = guide.encode(guide.picture[None])
        ends[name] = guide.descend(guide.climb(clean, guide.depth), guide.depth, guide.net.empty).last
        spent = guide.spent.pictures
    if null_text is not None:
        ends |= _guided_ways(guide, clean, reference.prompt, null_text)
    pictures = {name: guide.decode(last)[0].cpu() for name, last in ends.items()}
    errors = {name: {"latent": float((last - clean).norm() / clean.norm())} for name, last in ends.items()}
    pictures = {"picture": guide.picture.cpu(), "autoencoder": guide.decode(clean)[0].cpu(), **pictures}
    errors = {"autoencoder": {"latent": 0.0}, **errors}
    for name, found in errors.items():
        found.update(_distances(pictures[name], pictures["picture"]))
    return RoundTrip(pictures, errors, spent)


def _guided_ways(guide: ReferenceGuide, clean: Tensor, prompt: str, null_text: NullTextSettings) -> dict[str, Tensor]:
    """Where guided sampling ends, with the empty prompt and with learned contexts; the guide is one without depth."""
    net, words = guide.net, guide.net.words([prompt])
    path = invert(net.one(None, words), clean, guide.grid, guide.settings.corrections)

    def answer(state: Tensor, rung: int, context: Tensor) -> Tensor:
        return net.one(None, context)(state, rung, rung)

    ways = {"guided": replace(null_text, steps=0), "null-text": null_text}
    return {name: learn(answer, path, words, net.empty, guide.grid, how).last for name, how in ways.items()}


def _distances(a: Tensor, b: Tensor) -> dict[str, float]:
    """L2 is the root mean square over pixels of the color distance, in 8-bit units."""
    found = {"L2": 255 * float((a - b).square().sum(-1).mean().sqrt()), "PSNR": float(psnr(a[None], b[None]))}
    return {**found, "SSIM": float(ssim(a[None], b[None]))} if min(a.shape[:2]) >= 11 else found
