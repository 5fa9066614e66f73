"""The papers' ablations as data: what is varied, the numbers that the papers print, and presets small enough for a CPU.

A :class:`Variant` is one way to lift a picture; an :class:`Ablation` is a table of the paper with its variants.  The
graphs ``ablation_*`` are the same variants at the quickstart preset
(``tests/server/test_workflows_ablations.py``).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial

from bench_tools import load_pack

load_pack()

from lift123.pipelines import consistent123, magic123
from lift123.pipelines.core.schedules import Constant

# Why short: an ablation of the papers asks for some thirty runs per object and seed.  160 + 60 iterations keep the
# quickstart's order of events (the boundary's window, the ramp across both stages, the annealed noise levels), at about 30
# CPU-seconds instead of 60.  The boundary is checked every 2 iterations, so that L = 20 fits into its window.
SHORT_NERF, SHORT_MESH, SHORT_MESH_SIZE = 160, 60, 96


def shortened(preset):
    """A quickstart preset of either paper, with fewer iterations and smaller mesh renders."""
    nerf = replace(preset.nerf, iterations=SHORT_NERF, mesh_iterations=SHORT_MESH, preview_every=0)
    mesh = replace(preset.mesh, iterations=SHORT_MESH, size=SHORT_MESH_SIZE, preview_every=0)
    changes = {"name": f"{preset.name} short", "nerf": nerf, "mesh": mesh}
    if hasattr(preset, "boundary"):
        changes["boundary"] = replace(preset.boundary, interval=2)
    return replace(preset, **changes)


@dataclass(frozen=True)
class Variant:
    """One way to lift a picture.

    told:   what differs, for tables.
    use:    which priors take part: "both", "view", "text" or "none"; "oracle" is the exact denoiser of the true view;
            "hull" is no learning at all, the mask's outline extruded.
    ratio:  Magic123's lambda_2D/3D.
    coarse: the NeRF before the mesh stage is measured, too.
    """

    name: str
    told: str
    preset: consistent123.Preset | magic123.Preset
    use: str = "both"
    ratio: float = 1.0
    coarse: bool = False


@dataclass(frozen=True)
class Ablation:
    """A table or figure of a paper.

    variants: the first is the paper's choice, against which all others are compared.
    papers:   {data set: {metric: {variant name: printed value}}}; metrics: clip, psnr, lpips; {} where none are printed.
    stage:    "fine" compares finished meshes, "coarse" also the NeRF before the mesh stage.
    """

    name: str
    title: str
    question: str
    variants: tuple[Variant, ...]
    papers: dict = field(default_factory=dict)
    stage: str = "fine"


def printed(names: str, **sets: str) -> dict:
    """'clip/psnr/lpips' cells per data set, in the order of ``names``."""
    found: dict = {}
    for data, cells in sets.items():
        rows = [[float(v) for v in cell.split("/")] for cell in cells.split()]
        columns = zip(*rows, strict=True)
        found[data] = {metric: dict(zip(names.split(), column, strict=True))
                       for metric, column in zip(("clip", "psnr", "lpips"), columns, strict=True)}
    return found


def _vary(base: consistent123.Preset, name: str, told: str, use: str = "both", **changes) -> Variant:
    return Variant(name, told, replace(base, **changes), use)


def _weighed(base: consistent123.Preset, name: str, rgb: float, mask: float, depth: float) -> Variant:
    """The reference view's weights as Table 4 gives them, relative to the paper's default."""
    told = f"rgb {rgb:g}, mask {mask:g}, depth {depth:g}"
    factors = {"rgb": rgb / 1000, "mask": mask / 500, "depth": depth / 10}
    nerf = {k: Constant(getattr(base.nerf, k)(1.0) * f) for k, f in factors.items()}
    mesh = {k: Constant(getattr(base.mesh, k)(1.0) * f) for k, f in factors.items()}
    return _vary(base, f"weights-{name}", told, nerf=replace(base.nerf, **nerf), mesh=replace(base.mesh, **mesh))


def _bounded(base: consistent123.Preset, name: str, window: int, delta: float) -> Variant:
    """The CLIP boundary with Table 5's window and threshold, the latter relative to the paper's default."""
    scaled = base.boundary.threshold * delta / 2.5e-4
    return _vary(base, f"boundary-{name}", f"L {window}, delta {delta:g} (here {scaled:g})",
                 boundary=replace(base.boundary, window=window, threshold=scaled))


def consistent_ablations(base: consistent123.Preset) -> list[Ablation]:
    """Consistent123's ablations around a preset whose weights and delta stand for the paper's default."""
    default = Variant("default", "as published", base)

    vary, weighed, bounded = partial(_vary, base), partial(_weighed, base), partial(_bounded, base)
    fixed = replace(base.boundary, floor=0.6, ceiling=0.6)
    return [
        Ablation(
            "two_stages", "Consistent123: two stages (Fig. 5)",
            "Is it worth to begin with the 3D prior alone, and to end with both?",
            (default, vary("3d", "the 3D prior alone, to the end", "view"),
             vary("dynamic", "the ramp from the first iteration on", boundary=None)),
        ),
        Ablation(
            "schedules", "Consistent123: how the weight moves from 3D to 2D (Table 3)",
            "Does the exponential ramp beat the linear and the logarithmic one?",
            (default, vary("linear", "linear", form="linear"), vary("log", "log2(1 + x)", form="log")),
            printed("default linear log", average=".79/25.30/.06 .76/24.96/.07 .76/24.59/.07"),
        ),
        Ablation(
            "loss_weights", "Consistent123: weights of the reference view (Table 4)",
            "What do the weights of color, mask and depth matter?",
            (default, weighed("a", 1000, 500, 0), weighed("b", 10, 1000, 500), weighed("c", 500, 10, 1000),
             weighed("d", 800, 600, 400)),
            printed(
                "default weights-a weights-b weights-c weights-d",
                RF15=".844/25.682/.056 .812/25.097/.069 .763/18.597/.174 .701/16.961/.206 .795/23.288/.085",
                C10=".770/25.327/.054 .748/25.177/.067 .669/16.857/.217 .649/17.129/.216 .724/22.196/.098",
            ),
        ),
        Ablation(
            "boundary", "Consistent123: window and threshold of the CLIP boundary (Table 5)",
            "What do L and delta matter?",
            (default, bounded("a", 1, 2.5e-5), bounded("b", 20, 2.5e-5), bounded("c", 5, 1e-4), bounded("d", 5, 1e-3)),
            printed(
                "default boundary-a boundary-b boundary-c boundary-d",
                RF15=".844/25.682/.056 .812/25.464/.068 .814/25.272/.070 .817/25.528/.069 .815/25.607/.068",
                C10=".770/25.327/.054 .748/25.651/.065 .753/25.151/.065 .747/25.506/.060 .753/23.398/.066",
            ),
        ),
        Ablation(
            "strategies", "Consistent123: other strategies (Table 6)",
            "Fixed switch (a), 2D prior at full weight at once (b), one phase with a slow ramp (c)?",
            (default, vary("strategy-a", "switch at 60 % of the NeRF iterations", boundary=fixed),
             vary("strategy-b", "2D weight 1 from the switch on", full_2d=True),
             vary("strategy-c", "one phase, exp(-t / 1.5 T)", boundary=None, clock="global", stretch=1.5)),
            printed(
                "default strategy-a strategy-b strategy-c",
                RF15=".844/25.682/.056 .813/25.604/.068 .813/24.836/.070 .825/24.812/.069",
                C10=".770/25.327/.054 .746/25.066/.063 .730/25.562/.067 .765/25.253/.062",
            ),
        ),
    ]


def magic_ablations(base: magic123.Preset) -> list[Ablation]:
    """Magic123's ablations; the preset's balance stands for the paper's 1 : 40."""
    both = Variant("both", "lambda_2D/3D 1", base, coarse=True)
    view = Variant("3d-only", "lambda_2D/3D 0: the 3D prior alone", base, "view", coarse=True)
    text = Variant("2d-only", "infinite: the 2D prior alone", base, "text", coarse=True)

    def ratio(value: float) -> Variant:
        return Variant(f"ratio-{value:g}".replace(".", "p"), f"lambda_2D/3D {value:g}", base, ratio=value)

    def scaled(which: str, paper: float, usual: float) -> Variant:
        names = ("view", "mesh_view") if which == "view" else ("text", "mesh_text")
        weight = Constant(paper / usual)
        preset = replace(base, **{n: replace(getattr(base, n), weight=weight) for n in names})
        letter = "3D" if which == "view" else "2D"
        return Variant(f"lambda-{letter}-{paper:g}".replace(".", "p"), f"lambda_{letter} {paper:g} alone", preset, which)

    view40, text1 = replace(view, told="lambda_3D 40 alone"), replace(text, told="lambda_2D 1 alone")
    return [
        Ablation(
            "prior_trade_off", "Magic123: trade-off between the priors (Fig. 8)",
            "What does lambda_2D/3D do between the 3D prior alone and the 2D prior alone?",
            (both, view, ratio(0.1), ratio(0.5), ratio(2.0), ratio(5.0), text),
        ),
        Ablation(
            "coarse_fine", "Magic123: coarse against coarse and fine (Figs. 6, 7)",
            "Does the mesh stage improve on the NeRF, for each kind of prior?",
            (both, view, text), stage="coarse",
        ),
        Ablation(
            "weight_3d", "Magic123: weight of the 3D prior alone (Table 2)", "How robust is the 3D prior to its weight?",
            (view40, scaled("view", 10, 40), scaled("view", 20, 40), scaled("view", 60, 40), scaled("view", 80, 40)),
            printed("3d-only lambda-3D-10 lambda-3D-20 lambda-3D-60 lambda-3D-80",
                    NeRF4=".62/23.96/.05 .58/23.96/.04 .61/24.05/.04 .61/23.75/.06 .58/23.34/.08"),
        ),
        Ablation(
            "weight_2d", "Magic123: weight of the 2D prior alone (Table 2)", "How robust is the 2D prior to its weight?",
            (text1, scaled("text", 0.1, 1), scaled("text", 2, 1)),
            printed("2d-only lambda-2D-0p1 lambda-2D-2", NeRF4=".60/24.11/.04 .54/23.62/.04 .72/22.42/.07"),
        ),
    ]


def short_ablations() -> dict[str, Ablation]:
    """What ``bench papers`` runs, by name."""
    found = consistent_ablations(shortened(consistent123.QUICKSTART)) + magic_ablations(shortened(magic123.QUICKSTART))
    return {ablation.name: ablation for ablation in found}


def quick_variants() -> tuple[Variant, ...]:
    """What ``bench quick`` runs: Consistent123 and what it has to be compared with, at the quickstart preset."""
    base = consistent123.QUICKSTART
    return (
        Variant("consistent123", "Consistent123, embedded networks", base),
        Variant("zero123", "the 3D prior alone, both stages", base, "view"),
        Variant("magic123", "Magic123, embedded networks", magic123.QUICKSTART),
        Variant("reference", "the same stages without any prior", base, "none"),
        Variant("hull", "the mask's outline, extruded", base, "hull"),
        Variant("oracle", "the exact denoiser of the true view", base, "oracle"),
    )


def variants_of(suite: str) -> dict[str, Variant]:
    """All variants of "quick" or "papers", each once, by name; those that most others share stages with come first."""
    if suite == "quick":
        return {v.name: v for v in quick_variants()}
    return {v.name: v for ablation in short_ablations().values() for v in ablation.variants}
