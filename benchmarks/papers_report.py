"""Pages about ablations, from records alone: means with errors, paired differences, the paper's ordering beside ours.

Nothing here is a conclusion written beforehand.  Whether an ordering agrees with the paper follows from the numbers: the
sign of the paired difference, or "within noise" where its 95 % interval holds 0.  Explanations are written by people, after
they have seen the numbers, into ``benchmarks/notes/papers_<name>.md``, which is put at the end of the page as it is.
"""

from __future__ import annotations

import math
from itertools import combinations

from ablations import Ablation
from bench_tools import load_pack, table

load_pack()

from lift123.verification.means import CONFIDENCE, Paired, paired, summary

# key in a record: (head, digits, better, the paper's name for the same kind of figure or None)
METRICS = {
    "clip_similarity": ("CLIP similarity", 3, 1, "clip"),
    "reference_psnr": ("reference PSNR dB", 2, 1, "psnr"),
    "reference_lpips_alex": ("reference LPIPS", 3, -1, "lpips"),
    "iou": ("IoU 64^3", 3, 1, None),
    "chamfer_squared": ("Chamfer (squared)", 4, -1, None),
    "novel_psnr": ("novel PSNR dB", 2, 1, None),
    "janus": ("Janus score", 3, -1, None),
}
VERDICTS = {1: "agrees", -1: "differs", 0: "within noise"}
UNDECIDED = "one object only"


def figures(records: dict, metric: str, part: str = "metrics") -> dict:
    """{(object, seed): value} of one variant's records; runs without that metric are left out."""
    values = {key: ((made["results"].get(part) or {}).get("metrics") or {}).get(metric) for key, made in records.items()}
    return {key: float(v) for key, v in values.items() if isinstance(v, int | float) and math.isfinite(v)}


def cell(values: dict, digits: int) -> str | None:
    """'mean +- error over objects (over seeds)'."""
    if not values:
        return None
    got = summary(values)
    objects, seeds = ("?" if math.isnan(v) else f"{v:.{digits}f}" for v in (got.over_objects, got.over_seeds))
    return f"{got.mean:.{digits}f} +- {objects} ({seeds})"


def measured(found: dict) -> list[str]:
    """The metrics that any record has."""
    return [m for m in METRICS if any(figures(records, m) for records in found.values())]


def means_table(ablation: Ablation, found: dict) -> str:
    """One row per variant."""
    metrics = measured(found)
    rows = []
    for variant in ablation.variants:
        records = found[variant.name]
        seconds = [made["results"]["cpu_seconds"] for made in records.values()]
        rows.append([variant.name, variant.told, len(records), *(cell(figures(records, m), METRICS[m][1]) for m in metrics),
                     f"{sum(seconds) / len(seconds):.0f}" if seconds else None])
        if ablation.stage == "coarse":
            cells = (cell(figures(records, m, "coarse"), METRICS[m][1]) for m in metrics)
            rows.append([variant.name, "its NeRF, before the mesh stage", len(records), *cells, None])
    return table(["variant", "what", "runs", *(METRICS[m][0] for m in metrics), "CPU s"], rows)


def told(gap: Paired, digits: int) -> str:
    """'+0.012, 0.001 to 0.023, 3 of 4'."""
    if math.isnan(gap.low):
        return f"{gap.difference.mean:+.{digits}f} (one object: no error)"
    inside = f"[{gap.low:+.{digits}f}, {gap.high:+.{digits}f}]"
    error = f"{gap.difference.over_objects:.{digits}f}"
    return f"{gap.difference.mean:+.{digits}f} +- {error} {inside}, {gap.wins} of {gap.difference.objects}"


def comparisons(ablation: Ablation, found: dict) -> list[tuple]:
    """(label, {metric: Paired}) of what an ablation compares: the paper's choice minus each variant; fine minus coarse."""
    first, *others = ablation.variants
    pairs = []
    if ablation.stage == "coarse":
        for variant in ablation.variants:
            records = found[variant.name]
            pairs.append((f"{variant.name}: fine minus coarse", records, "metrics", records, "coarse"))
    pairs += [(f"{first.name} minus {other.name}", found[first.name], "metrics", found[other.name], "metrics")
              for other in others]
    result = []
    for label, a, part_a, b, part_b in pairs:
        gaps = {}
        for metric in measured(found):
            left, right = figures(a, metric, part_a), figures(b, metric, part_b)
            if left.keys() & right.keys():
                gaps[metric] = paired(left, right)
        result.append((label, gaps))
    return result


def paired_table(ablation: Ablation, found: dict) -> str:
    """One row per comparison."""
    metrics = measured(found)
    rows = [[label, *(told(gaps[m], METRICS[m][1]) if m in gaps else None for m in metrics)]
            for label, gaps in comparisons(ablation, found)]
    return table(["comparison", *(f"{METRICS[m][0]} ({'up' if METRICS[m][2] > 0 else 'down'})" for m in metrics)], rows)


def verdict(paper: float, gap: Paired) -> str | None:
    """Whether our paired difference has the paper's sign; None where the paper's values are equal."""
    if math.isnan(gap.low):
        return UNDECIDED
    return None if paper == 0 else VERDICTS[gap.sign() * (1 if paper > 0 else -1)]


def against_paper(ablation: Ablation, found: dict) -> list[dict]:
    """Every pair of variants of which the paper prints values: data set, metric, both differences, the verdict."""
    rows = []
    for data, metrics in ablation.papers.items():
        for metric, (_, _, _, name) in METRICS.items():
            for a, b in combinations([v.name for v in ablation.variants if v.name in metrics.get(name, {})], 2):
                left, right = figures(found[a], metric), figures(found[b], metric)
                if left.keys() & right.keys():
                    difference = round(metrics[name][a] - metrics[name][b], 6)
                    gap = paired(left, right)
                    rows.append({"data": data, "metric": metric, "pair": (a, b), "paper": difference, "ours": gap,
                                 "verdict": verdict(difference, gap)})
    return rows


def ordering(values: dict, better: int, digits: int) -> str:
    """'a 0.84 > b 0.81 = c 0.81', best first, as printed; '<' where less is better."""
    ranked = sorted(values, key=lambda name: -better * values[name])
    text = ""
    for before, name in zip([None, *ranked], ranked, strict=False):
        shown = f"{values[name]:.{digits}f}"
        equal = before is not None and f"{values[before]:.{digits}f}" == shown
        text += ("" if before is None else " = " if equal else " > " if better > 0 else " < ") + f"{name} {shown}"
    return text


def orderings(ablation: Ablation, found: dict) -> str:
    """The paper's order and ours, one below the other, best first."""
    lines = []
    for metric, (head, digits, better, name) in METRICS.items():
        ours = {v.name: summary(values).mean for v in ablation.variants if (values := figures(found[v.name], metric))}
        if not ours:
            continue
        for data, metrics in ablation.papers.items():
            if name in metrics:
                lines.append(f"- {head}, paper, {data}: {ordering(metrics[name], better, 3 if name != 'psnr' else 2)}")
        lines.append(f"- {head}, here: {ordering(ours, better, digits)}")
    return "\n".join(lines) + "\n"


def verdict_table(rows: list[dict], first: str) -> str:
    """Pairs with the paper's own choice in full; the other pairs are only counted."""
    shown = [[row["data"], METRICS[row["metric"]][0], " - ".join(row["pair"]), f"{row['paper']:+g}",
              told(row["ours"], METRICS[row["metric"]][1]), row["verdict"]]
             for row in rows if first in row["pair"]]
    return table(["paper's data", "metric", "difference", "paper", "here", "the paper's sign"], shown)


def tally(rows: list[dict]) -> str:
    """'of 10 pairs 2 agree with the paper, 1 differs, 7 are within noise'."""
    judged = [row["verdict"] for row in rows if row["verdict"] in VERDICTS.values()]
    if not judged:
        return ("One object decides nothing." if rows else
                "The paper prints no numbers for this, or no run has the same kind of figure.")
    count = {v: judged.count(v) for v in VERDICTS.values()}
    return (f"Of {len(judged)} pairs of printed values (all data sets and metrics that both have), {count['agrees']} have the "
            f"paper's sign here, {count['differs']} have the other sign, {count['within noise']} are within noise "
            f"({CONFIDENCE:.0%} interval holds 0).")


def worst(found: dict, name: str, metric: str = "iou") -> tuple | None:
    """(object, seed) of a variant's worst run."""
    values = figures(found[name], metric)
    return min(values, key=values.get) if values else None


def left_out(found: dict) -> str:
    """What could not be measured, with the reason, once each."""
    reasons = {}
    for records in found.values():
        for made in records.values():
            reasons.update(made["results"]["metrics"].get("left_out") or {})
    return "".join(f"- left out: {name}: {why}\n" for name, why in sorted(reasons.items()))


def switches(ablation: Ablation, found: dict) -> str:
    """Where the boundary fired, for variants that have one."""
    rows = []
    for variant in ablation.variants:
        steps = [made["results"].get("switch_step") for made in found[variant.name].values()]
        steps = [s for s in steps if s is not None]
        if steps:
            rows.append([variant.name, len(steps), f"{sum(steps) / len(steps):.0f}", min(steps), max(steps)])
    return table(["variant", "runs", "mean switch step", "earliest", "latest"], rows) if rows else ""


def incomplete(missing: dict[str, str]) -> str:
    """What is not in the tables, and why; '' where nothing is missing."""
    if not missing:
        return ""
    failed = {name: why for name, why in missing.items() if why != "not run"}
    text = f"**{len(missing)} runs are missing, {len(failed)} of them failed.** The tables hold what there is.\n"
    return text + "".join(f"\n- {name}: {why}" for name, why in failed.items()) + "\n" * bool(failed)


def page(ablation: Ablation, found: dict, missing: dict[str, str], head: str, picture: str | None, note: str) -> str:
    """The markdown page of one ablation."""
    rows = against_paper(ablation, found)
    parts = [f"# {ablation.title}\n", f"{ablation.question}\n", head, incomplete(missing)]
    parts += ["## Means\n", EXPLAINED, means_table(ablation, found), "\n## Paired differences\n", PAIRED_EXPLAINED,
              paired_table(ablation, found)]
    if steps := switches(ablation, found):
        parts += ["\n## Where the 3D-only phase ended\n", steps]
    parts += ["\n## Orderings, best first\n", orderings(ablation, found), "\n## Against the paper\n", tally(rows) + "\n"]
    if rows:
        parts.append(verdict_table(rows, ablation.variants[0].name))
    if picture:
        first = ablation.variants[0]
        key = worst(found, first.name)
        parts += [f"\n## Worst case\n\nThe run where '{first.name}' has its lowest IoU (object {key[0]}, seed {key[1]}), all "
                  f"variants, truth above.\n\n![worst case]({picture})\n"]
    parts.append("\n" + left_out(found))
    if note:
        parts.append(f"\n## Remarks, written after seeing these numbers\n\n{note.strip()}\n")
    return "\n".join(parts)


EXPLAINED = (
    "Mean over objects, each averaged over its seeds, +- standard error over objects (in brackets: the error that the choice of "
    "seeds alone leaves). CPU seconds of lifting; variants that share their first phase pay for it once.\n"
)
PAIRED_EXPLAINED = (
    "Difference on the same objects and seeds +- its standard error over objects, [95 % interval by Student's t], number of "
    "objects where it is above 0.\n"
)
