"""Measures the embedded networks on held-out toybox objects and writes their cards.

    python training/measure.py --work WORKDIR [--objects 200]

The objects' seeds start at 10,000,000 and are never trained on.  Every figure in
``pipelines/embedded/*.md`` comes from here.
"""

import argparse
import json
import platform
from pathlib import Path

import networks
import numpy as np
import torch
from bank import Bank, make_bank
from lift123.pipelines.models import embedded
from lift123.pipelines.toybox.objects import heldout_seed
from pack import ROOT


def psnr(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """[B] PSNR in dB of pictures [B, ...] in [0, 1]."""
    return -10 * torch.log10((a - b).square().flatten(1).mean(1).clamp_min(1e-10))


def measure_vae(bank: Bank, models) -> dict:
    """Reconstruction of reference views."""
    runtime, scores = models.view.runtime, []
    with torch.no_grad():
        for i in range(0, bank.count, 32):
            x = bank.pictures(np.arange(i, min(i + 32, bank.count)), 0)
            scores.append(psnr(runtime.decode(runtime.encode(x)), x))
    scores = torch.cat(scores)
    return {"PSNR mean dB": float(scores.mean()), "PSNR worst dB": float(scores.min())}


def measure_clip(bank: Bank, models) -> dict:
    """Caption retrieval among the held-out objects' distinct captions."""
    captions = sorted(set(bank.captions))
    truth = torch.tensor([captions.index(c) for c in bank.captions])
    result = {"candidates": len(captions)}
    text = models.clip.text_embedding(captions)
    for name, view in (("reference view", 0), ("novel view", 1)):
        images = models.clip.image_embedding(bank.pictures(np.arange(bank.count), view))
        rank = (images @ text.T).argsort(1, descending=True)
        result[f"top-1, {name}"] = float((rank[:, 0] == truth).float().mean())
        result[f"top-5, {name}"] = float((rank[:, :5] == truth[:, None]).any(1).float().mean())
    return result


def measure_view(bank: Bank, models, steps: int = 20, guidance: float = 1.5) -> dict:
    """Sampled novel views against the truth; baselines: copy the reference, the best constant picture."""
    rows = {"sampled": [], "VAE of the truth": [], "copy of the reference": [], "mean picture of the pose": []}
    mean = bank.pictures(np.arange(bank.count), 1).mean(0)
    generator = torch.Generator().manual_seed(5)
    for i in range(bank.count):
        one = models.view.with_guidance(guidance).with_reference(bank.pictures(i, 0), bank.cameras([i], [0]))
        truth = bank.pictures([i, i], [1, 2])
        rows["sampled"].append(psnr(one.sample(bank.cameras([i, i], [1, 2]), steps, generator), truth))
        runtime = models.view.runtime
        with torch.no_grad():
            rows["VAE of the truth"].append(psnr(runtime.decode(runtime.encode(truth)), truth))
        rows["copy of the reference"].append(psnr(bank.pictures([i, i], [0, 0]), truth))
        rows["mean picture of the pose"].append(psnr(mean[None].expand(2, -1, -1, -1), truth))
    return {f"PSNR dB, {name}": float(torch.cat(values).mean()) for name, values in rows.items()}


def measure_text(bank: Bank, models, count: int = 48, guidance: float = 3.0) -> dict:
    """Do samples show what the prompt says?  Caption retrieval of samples by the embedded CLIP."""
    captions = sorted(set(bank.captions))
    text, hits, generator = models.clip.text_embedding(captions), [], torch.Generator().manual_seed(6)
    for i in range(min(count, bank.count)):
        prior = models.text.with_guidance(guidance).with_prompt(bank.captions[i])
        picture = prior.sample(bank.cameras([i], [0]), 20, generator)
        rank = (models.clip.image_embedding(picture) @ text.T).argsort(1, descending=True)[0, :5]
        hits.append(captions.index(bank.captions[i]) in rank.tolist())
    return {"prompt among the 5 nearest captions": float(np.mean(hits)), "candidates": len(captions)}


def measure_depth(bank: Bank, models) -> dict:
    """Pearson correlation with the true depth inside the mask; baseline: a plane cannot be beaten by a constant."""
    scores = []
    with torch.no_grad():
        for i in range(bank.count):
            mask = torch.from_numpy(bank.mask[i]).float() / 255
            guess = models.depth.depth(bank.pictures(i, 0), mask)
            truth = torch.from_numpy(bank.depth[i]).float()
            inside = (mask > 0.5).float()
            scores.append(float(networks.correlation(guess[None, None], truth[None, None], inside[None, None])))
    return {"correlation mean": float(np.mean(scores)), "correlation median": float(np.median(scores))}


def contact_sheets(bank: Bank, models, folder: Path) -> None:
    """Pictures for eyes: reference | truth | sample per row of the view prior; samples of the text prior."""
    from PIL import Image

    rows, generator = [], torch.Generator().manual_seed(8)
    for i in range(12):
        one = models.view.with_guidance(1.5).with_reference(bank.pictures(i, 0), bank.cameras([i], [0]))
        samples = one.sample(bank.cameras([i] * 3, [1, 2, 3]), 20, generator)
        truth = bank.pictures([i] * 3, [1, 2, 3])
        cells = [bank.pictures(i, 0)] + [p for k in range(3) for p in (truth[k], samples[k])]
        rows.append(torch.cat(cells, 1))
    sheet = torch.cat([torch.cat(rows[:6], 0), torch.cat(rows[6:], 0)], 1)
    _save(sheet, folder / "view_samples.png", Image)
    rows = []
    for i in range(4):
        prior = models.text.with_guidance(3.0).with_prompt(bank.captions[i])
        rows.append(torch.cat(list(prior.sample(bank.cameras([i] * 7, list(range(7))), 20, generator)), 1))
    _save(torch.cat(rows, 0), folder / "text_samples.png", Image)


def _save(picture: torch.Tensor, path: Path, Image) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((picture.clamp(0, 1) * 255).byte().numpy()).save(path, optimize=True)


def curve(log: Path, title: str, path: Path) -> None:
    """The learning curve as a picture (needs matplotlib; left out without it)."""
    try:
        import matplotlib
    except ImportError:
        return
    matplotlib.use("Agg")
    from matplotlib import pyplot

    data = np.loadtxt(log, delimiter=",", ndmin=2)
    figure, axes = pyplot.subplots(figsize=(5, 3), dpi=90)
    axes.plot(data[:, 0], data[:, 1])
    axes.set(xlabel="step", ylabel="running loss", title=title, yscale="log")
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=ROOT / ".lift123" / "train")
    parser.add_argument("--weights", type=Path, default=ROOT / "pipelines" / "embedded")
    parser.add_argument("--objects", type=int, default=200)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--only", nargs="*", default=["vae", "clip", "depth", "view", "text"])
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    folder = args.work / "heldout"
    make_bank(folder, [heldout_seed(i) for i in range(args.objects)], 7)
    bank, models = Bank(folder), embedded.load_embedded(folder=args.weights)
    path = args.weights / "measured.json"
    results = json.loads(path.read_text()) if path.exists() else {}
    for name in args.only:
        out = args.work / name
        state = torch.load(out / "checkpoint.pt", weights_only=True, map_location="cpu")
        values = globals()[f"measure_{name}"](bank, models)
        results[name] = {
            "steps": state["step"], "training minutes": round(state["spent"] / 60, 1), "held-out objects": bank.count,
            **{k: round(v, 4) for k, v in values.items()},
        }  # fmt: skip
        print(name, results[name], flush=True)
        curve(out / "curve.csv", f"{name}: training loss", ROOT / "docs" / "training" / f"{name}_curve.png")
        path.write_text(json.dumps({**results, "hardware": f"{platform.machine()} CPU"}, indent=1), encoding="utf-8")
    if {"view", "text"} <= set(args.only):
        contact_sheets(bank, models, ROOT / "docs" / "training")


if __name__ == "__main__":
    main()
