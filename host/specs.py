"""Light descriptions that travel on the wires; the stage that needs a network builds it on its device.

A description is frozen, holds no tensor, and can be written into a manifest.  That keeps loaders instant,
result caches small, and lets one prior node serve several references.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch

from ..pipelines.catalog.kinds import KINDS, resolve
from ..pipelines.core import threads
from ..pipelines.core.choices import Clock
from ..pipelines.core.errors import InputError
from ..pipelines.core.prior import Prior
from ..pipelines.core.schedules import Form, Schedule
from . import checkpoints

if TYPE_CHECKING:  # what stages are made of comes with them
    from ..pipelines.distill.plug import How
    from ..pipelines.priors.sds import SdsSettings
    from ..pipelines.stages.inputs.reference import ReferenceView
    from ..pipelines.stages.loop.scene import Scene
    from ..pipelines.stages.objects.boundary import ClipBoundary


class AnyNetwork(Protocol):
    """What travels on a network's wire: a :class:`Network`, or what stands in for one."""

    @property
    def kind(self) -> str:
        """One of ``pipelines.catalog.kinds.KINDS``."""
        ...

    @property
    def name(self) -> str:
        """What a manifest says about it."""
        ...

    def check(self) -> None:
        """InputError while nothing has been computed."""
        ...

    def load(self, device: torch.device) -> Any:
        """The network on ``device``; its class follows from ``kind``."""
        ...


class Spec(Protocol):
    """A prior that is not built yet."""

    def kinds(self) -> set[str]:
        """Kinds of its networks, by ``pipelines.catalog.kinds.KINDS``."""
        ...

    def check(self, reference: ReferenceView) -> None:
        """InputError before any work."""
        ...

    def build(self, reference: ReferenceView, device: torch.device) -> Prior:
        """The prior on ``device``, conditioned on the reference view."""
        ...


@dataclass(frozen=True)
class Network:
    """A frozen network by name.  name: "embedded" or a checkpoint.

    kind: a name of ``pipelines.catalog.kinds.KINDS`` that is loaded alone.

    option: view networks: the pose convention; depth networks: what large numbers mean; multi-view networks: "stdgen" or
    "era3d"; "auto" = known by the name (pose, multi-view) or the network's configuration (depth).
    """

    kind: str
    name: str = checkpoints.EMBEDDED
    option: str = "auto"

    def check(self) -> None:
        """Raises InputError while nothing has been computed: unknown name, absent files, a network of another kind."""
        if self.name == checkpoints.EMBEDDED:
            if not checkpoints.has_embedded(self.kind):
                raise InputError("checkpoint", f"a {self.kind} network from files", "embedded", "None ships with the pack.")
            return
        path = checkpoints.find(self.kind, self.name)
        if path.is_dir():
            KINDS[self.kind].check(path)
        else:
            _check_file(self.kind, str(path), path.stat().st_mtime_ns)

    def identity(self) -> str:
        """Name, options, and the times of its files of weights: another one whenever it may draw other pictures."""
        files = checkpoints.weight_files(self.kind, self.name)
        return repr((self, sorted((name, path.stat().st_mtime_ns) for name, path in files.items())))

    def load(self, device: torch.device):
        """The network on ``device``; loaded once per process and device.

        Outside of inference mode, whoever asks first: tensors made in it could never serve a stage that differentiates.
        """
        with torch.inference_mode(False):
            return self._load(device)

    def _load(self, device: torch.device):
        self.check()
        if self.name == checkpoints.EMBEDDED:
            kind = KINDS[self.kind]
            return kind.pick(_embedded(kind.embedded, str(device)))
        path = checkpoints.find(self.kind, self.name)
        return widened(_from_disk(self, str(path), path.stat().st_mtime_ns, str(device)))


def widened(network):
    """The network; one with many weights works on all threads until the node ends."""
    from . import managed

    if managed.is_large(network):
        threads.widen()
    return network


@lru_cache(maxsize=8)
def _embedded(loader: str, device: str):
    """What a record's ``embedded`` loads; kinds of one set share it."""
    return resolve(loader)(torch.device(device))


@lru_cache(maxsize=16)
def _check_file(kind: str, path: str, stamp: int) -> None:
    """Once per file: names and shapes of all its tensors (an InputError is raised again every time)."""
    KINDS[kind].check(Path(path))


@lru_cache(maxsize=4)
def _from_disk(network: Network, path: str, stamp: int, device: str):
    """A network from its folder or single file, sharing the device; ``stamp`` makes a replaced file a new one."""
    from . import managed

    kind = KINDS[network.kind]
    managed.make_room(Path(path), torch.device(device))
    loaded = kind.load(Path(path), network.name, torch.device(device), network.option)
    return managed.take_turns(loaded, torch.device(device)) if kind.takes_turns else loaded


@dataclass(frozen=True)
class DistillSpec:
    """How a prior's network teaches, and the scene as it was for methods that compare with it.

    source_prompt: what that scene shows; empty = the prior's prompt.
    """

    how: How
    source: Scene | None = None
    source_prompt: str = ""

    def check(self, kind: str) -> None:
        """InputError before any work.  kind: of the prior's network."""
        from ..pipelines.distill.registry import METHODS

        if METHODS[self.how.method].sourced and self.source is None:
            raise InputError("distillation", f"the scene as it was, for {self.how.method}", "none",
                             "Connect the scene to be edited to Distillation's source input.")
        if self.how.perp_neg and kind != "text":
            raise InputError("distillation", "perp_neg with a Text Prior", f"a {kind} network",
                             "Only words can push each other away: turn perp_neg off here.")

    def guided(self, denoiser):
        """The denoiser with the guidance of the method's paper, where its numbers are asked for and it has one."""
        from ..pipelines.distill.registry import paper_of

        scale = paper_of(self.how).guidance if self.how.numbers == "paper" else None
        return denoiser if scale is None else denoiser.with_guidance(scale)

    def pictures(self, device: torch.device):
        """(cameras, pixels) -> pictures [B, S, S, 3] on white of the scene as it was; None without one."""
        return None if self.source is None else pictures_of(self.source, device)


def pictures_of(scene: Scene, device: torch.device):
    """(cameras, pixels) -> pictures [B, S, S, 3] on white of a scene as it is."""
    from ..pipelines.stages.results.render_views import render_scene

    return lambda cameras, size: render_scene(
        scene, cameras.resized(size, size), want_normal=False, device=device).composite(1.0).to(device)


@dataclass(frozen=True)
class PriorSpec:
    """One frozen network as a loss.

    settings:      ``pipelines.priors.sds.SdsSettings`` (timestep range, weight, reduction).
    guidance:      classifier-free guidance scale; None keeps the network's own.
    prompt, negative: text networks; an empty prompt means the reference's.
    angle_scaling: view networks; weight grows with the angle from the reference (0 at it, 1 behind it).
    distillation:  how the network teaches; None = SDS.
    """

    network: AnyNetwork
    settings: SdsSettings
    guidance: float | None = None
    prompt: str = ""
    negative: str = ""
    angle_scaling: bool = True
    distillation: DistillSpec | None = None

    def kinds(self) -> set[str]:
        return {self.network.kind}

    def check(self, reference) -> None:
        """InputError before any work: files, prompt."""
        self.network.check()
        if self.distillation is not None:
            self.distillation.check(self.network.kind)
        if self.network.kind == "view" and reference.blank:
            raise InputError("prior", "a Text Prior, because there is no picture", "a View Prior",
                             "It looks at a picture: use Reference View, or leave it out.")
        if self.network.kind == "text" and not (self.prompt.strip() or reference.prompt.strip()):
            raise InputError("prompt", "a description of the object", "nothing",
                             "Write it in Reference View or in Text Prior, for example 'a red teapot'.")

    def build(self, reference, device: torch.device):
        """The prior on ``device``, conditioned on the reference view."""
        from ..pipelines.stages.objects import priors

        denoiser = self.network.load(device)
        if self.guidance is not None:
            denoiser = denoiser.with_guidance(self.guidance)
        settings, source, words, how = self.settings, None, "", self.distillation
        if how is not None:
            settings, denoiser = replace(settings, how=how.how), how.guided(denoiser)
            source, words = how.pictures(device), how.source_prompt.strip()
        if self.network.kind == "view":
            return priors.view_prior(denoiser, reference, settings, self.angle_scaling, source)
        if self.prompt.strip():
            reference = reference.with_prompt(self.prompt.strip(), self.negative.strip())
        return priors.text_prior(denoiser, reference, settings, source, words)


@dataclass(frozen=True)
class SumSpec:
    """Several priors at once, each with its own weight over progress."""

    parts: tuple[tuple[Spec, Schedule], ...]

    def kinds(self) -> set[str]:
        return set().union(*(part.kinds() for part, _ in self.parts))

    def check(self, reference) -> None:
        for part, _ in self.parts:
            if isinstance(part, DynamicSpec):
                raise InputError("prior", "View, Text or Combined Priors", "a Dynamic Prior inside Combine Priors",
                                 "Its clock belongs to the stage: combine its two inputs instead.")
            part.check(reference)

    def build(self, reference, device: torch.device):
        """All parts on ``device``, with their schedules."""
        from ..pipelines.priors.combine import SumPrior

        return SumPrior(tuple((part.build(reference, device), schedule) for part, schedule in self.parts))


@dataclass(frozen=True)
class DynamicSpec:
    """Consistent123's dynamic prior: from the 3D prior to the 2D prior."""

    prior_3d: Spec
    prior_2d: Spec
    form: Form = "exponential"
    clock: Clock = "local"
    stretch: float = 1.0
    full_2d: bool = False

    def kinds(self) -> set[str]:
        return self.prior_3d.kinds() | self.prior_2d.kinds()

    def check_kinds(self) -> None:
        """InputError unless a view prior and a text prior are on their own inputs."""
        if "view" not in self.prior_3d.kinds():
            raise InputError("prior_3d", "a prior that contains a View Prior", "one without",
                             "Connect View Prior here and Text Prior to prior_2d.")
        for name, prior in (("prior_3d", self.prior_3d), ("prior_2d", self.prior_2d)):
            if isinstance(prior, DynamicSpec):
                raise InputError(name, "a View, Text or Combined Prior", "a Dynamic Prior",
                                 "Its clock belongs to the stage: connect its own input instead.")
        if "text" not in self.prior_2d.kinds():
            raise InputError("prior_2d", "a prior that contains a Text Prior", "one without",
                             "Connect Text Prior here and View Prior to prior_3d.")

    def check(self, reference) -> None:
        """InputError before any work: crossed wires, files, prompt."""
        self.check_kinds()
        self.prior_3d.check(reference)
        self.prior_2d.check(reference)

    def build(self, reference, device: torch.device):
        """Both priors on ``device`` under the ramp."""
        from ..pipelines.priors.combine import DynamicPrior

        return DynamicPrior(self.prior_3d.build(reference, device), self.prior_2d.build(reference, device),
                            form=self.form, clock=self.clock, stretch=self.stretch, full_2d=self.full_2d)


@dataclass(frozen=True, eq=False)
class PicturesSpec:
    """Given views as a loss: pictures [N, H, W, 3] on white, azimuths and elevations in radians (``priors.pictures``)."""

    pictures: torch.Tensor
    azimuths: tuple[float, ...]
    elevations: tuple[float, ...]
    weight: Schedule
    radius: float = 0.0
    fovy: float = 0.0

    def kinds(self) -> set[str]:
        return set()

    def check(self, reference) -> None:
        """InputError before any work: numbers that do not fit together."""
        self.build(reference, torch.device("cpu"))

    def build(self, reference, device: torch.device):
        """The prior on ``device``; azimuths count from the reference's camera."""
        from ..pipelines.priors.pictures import PicturesPrior, views_around

        cameras = views_around(reference.camera, self.azimuths, self.elevations, self.radius, self.fovy)
        return PicturesPrior(self.pictures.to(device), cameras, self.weight)


@dataclass(frozen=True)
class ClipImageSpec:
    """A CLIP network that compares renders with the reference picture."""

    clip: AnyNetwork
    weight: Schedule

    def kinds(self) -> set[str]:
        return {"clip"}

    def check(self, reference) -> None:
        """InputError before any work: files."""
        self.clip.check()

    def build(self, reference, device: torch.device):
        """The prior on ``device``."""
        from ..pipelines.priors.pictures import ClipImagePrior

        scorer = self.clip.load(device)
        return ClipImagePrior(scorer, reference.on_background(scorer.image_size).to(device), self.weight)


@dataclass(frozen=True)
class BoundarySpec:
    """The CLIP boundary: which network scores, and the rule (``pipelines.stages.objects.boundary.ClipBoundary``)."""

    clip: Network
    rule: ClipBoundary
    prompt: str = ""

    def check(self, reference) -> None:
        """InputError without a prompt to score against."""
        self.clip.check()
        if not (self.prompt.strip() or reference.prompt.strip()):
            raise InputError("prompt", "a description of the object for the CLIP score", "nothing",
                             "Write it in Reference View or in CLIP Boundary.")

    def build(self, reference, device: torch.device):
        """The boundary with its CLIP scorer on ``device``."""
        from ..pipelines.stages.objects.boundary import clip_boundary

        return clip_boundary(self.clip.load(device), self.prompt.strip() or reference.prompt, self.rule)
