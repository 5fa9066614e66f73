"""Measures the embedded networks on held-out objects of both versions of the toybox; the cards quote it.

    python training/measure.py --work WORKDIR [--objects 100] [--weights FOLDER] [--before EARLIER]

The objects' seeds start at 10,000,000 and are never trained on.  Every figure in ``pipelines/embedded/*.md`` comes from
here (``training/cards.py`` writes them).  ``--before``: a folder of earlier weights, measured on the same objects with the
same random numbers, or quoted from its own ``measured.json`` when that has them.
Baselines that need the training bank are left out where WORKDIR has none.
"""

import argparse
import json
import math
import platform
from pathlib import Path

import networks
import numpy as np
import torch
from bank import Bank, make_bank, make_depth_maps
from lift123.pipelines.core.cameras import HOME
from lift123.pipelines.core.views import NEUTRAL
from lift123.pipelines.loaders import embedded
from lift123.pipelines.networks.noise import add_noise
from lift123.pipelines.networks.view import resize
from lift123.pipelines.toybox.objects import heldout_seed, make_object, train_seed
from lift123.pipelines.toybox.render import render_toy
from pack import ROOT


def psnr(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """[B] PSNR in dB of pictures [B, ...] in [0, 1]."""
    return -10 * torch.log10((a - b).square().flatten(1).mean(1).clamp_min(1e-10))


def measure_vae(bank: Bank, models) -> dict:
    """Reconstruction of reference views."""
    runtime, scores = models.text.runtime, []
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
    result: dict[str, float] = {"candidates": len(captions)}
    text = models.clip.text_embedding(captions)
    for name, view in (("reference view", 0), ("novel view", 1)):
        images = models.clip.image_embedding(bank.pictures(np.arange(bank.count), view))
        rank = (images @ text.T).argsort(1, descending=True)
        result[f"top-1, {name}"] = float((rank[:, 0] == truth).float().mean())
        result[f"top-5, {name}"] = float((rank[:, :5] == truth[:, None]).any(1).float().mean())
    return result


def measure_view(bank: Bank, models, steps: int = 20, guidance: float = 1.5) -> dict:
    """Sampled novel views against the truth, two per object, and the standard error of their mean."""
    view = models.view
    scores, generator = [], torch.Generator().manual_seed(5)
    for i in range(bank.count):
        one = view.with_guidance(guidance).with_reference(bank.pictures(i, 0), bank.cameras([i], [0]))
        sampled = one.sample(bank.cameras([i, i], [1, 2]), steps, generator)
        scores.append(psnr(sampled, bank.pictures([i, i], [1, 2])).mean())
    scores = torch.stack(scores)
    return {"PSNR dB, sampled": float(scores.mean()), "standard error": float(scores.std() / len(scores) ** 0.5),
            "PSNR dB, sampled, worst object": float(scores.min())}


def baselines(bank: Bank, models, trained: Bank | None) -> dict:
    """What sampled views must beat, on the same two novel views per object, and what bounds them from above."""
    rows = {"VAE of the truth": [], "copy of the reference": [], "mean picture": []}
    mean, runtime = bank.pictures(np.arange(bank.count), 1).mean(0), models.text.runtime
    nearest = None if trained is None else nearest_objects(bank, trained)
    for i in range(bank.count):
        truth = bank.pictures([i, i], [1, 2])
        with torch.no_grad():
            rows["VAE of the truth"].append(psnr(runtime.decode(runtime.encode(truth)), truth))
        rows["copy of the reference"].append(psnr(bank.pictures([i, i], [0, 0]), truth))
        rows["mean picture"].append(psnr(mean[None].expand(2, -1, -1, -1), truth))
        if nearest is not None:
            shown = render_toy(make_object(*nearest[i]), bank.cameras([i, i], [1, 2])).on_background(1.0)
            rows.setdefault("nearest training object, seen from there", []).append(psnr(shown, truth))
    return {f"PSNR dB, {name}": float(torch.cat(values).mean()) for name, values in rows.items()}


def nearest_objects(bank: Bank, trained: Bank) -> list[tuple[int, int]]:
    """Per held-out object the (seed, version) of the training object whose reference picture is closest, at 16 px."""

    def small(source, index):
        pictures = source.pictures(index, np.zeros_like(index)).permute(0, 3, 1, 2)
        return torch.nn.functional.avg_pool2d(pictures, 4).flatten(1)

    chunks = [np.arange(i, min(i + 500, trained.count)) for i in range(0, trained.count, 500)]
    known = torch.cat([small(trained, chunk) for chunk in chunks])
    wanted = small(bank, np.arange(bank.count))
    found, starts = torch.cdist(wanted, known).argmin(1).tolist(), np.cumsum([0, *trained.counts])
    owner = [int(np.searchsorted(starts, j, side="right") - 1) for j in found]
    return [(train_seed(int(j - starts[k])), trained.versions[k]) for j, k in zip(found, owner)]


def measure_text(bank: Bank, models, guidance: float = 3.0) -> dict:
    """Do samples show what the prompt says?  Against the truth, and by caption retrieval with the embedded CLIP."""
    captions = sorted(set(bank.captions))
    text, hits, scores, generator = models.clip.text_embedding(captions), [], [], torch.Generator().manual_seed(6)
    for i in range(bank.count):
        prior = models.text.with_guidance(guidance).with_prompt(bank.captions[i])
        pictures = prior.sample(bank.cameras([i, i], [0, 1]), 20, generator)
        rank = (models.clip.image_embedding(pictures[:1]) @ text.T).argsort(1, descending=True)[0, :5]
        hits.append(captions.index(bank.captions[i]) in rank.tolist())
        scores.append(psnr(pictures, bank.pictures([i, i], [0, 1])))
    scores = torch.stack(scores)
    return {
        "prompt among the 5 nearest captions": float(np.mean(hits)), "candidates": len(captions),
        "PSNR dB, sampled reference view": float(scores[:, 0].mean()),
        "PSNR dB, sampled novel view": float(scores[:, 1].mean()),
    }


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


def measure_depth_text(bank: Bank, models, count: int = 64, guidance: float = 3.0) -> dict:
    """Does it denoise better than the text prior without depth, and do its samples have the depth it is shown?"""
    maps = torch.from_numpy(np.array(bank.depth_maps[:, :, 0])).float()[:, :, None]
    result = {**_denoising(bank, models, maps), **_agreement(bank, models, maps, count, guidance)}
    picks = np.arange(min(count, bank.count))
    white, alpha = bank.pictures(picks, 0), torch.from_numpy(np.array(bank.mask[picks])).float()[..., None] / 255
    for name, color in (("white", 1.0), ("HiFi-123's gray", torch.tensor(NEUTRAL))):
        pictures, runtime = (white - (1 - alpha) * (1 - color)).clamp(0, 1), models.depth_text.runtime
        with torch.no_grad():
            result[f"autoencoder PSNR dB on {name}"] = float(psnr(runtime.decode(runtime.encode(pictures)), pictures).mean())
    return result


@torch.no_grad()
def _denoising(bank: Bank, models, maps: torch.Tensor) -> dict:
    """Mean square error of the predicted velocity, one view of every object, the same noise for all networks."""
    result, generator = {}, torch.Generator().manual_seed(9)
    priors = {"text prior": models.text, "depth shown": models.depth_text, "depth hidden": models.depth_text}
    for time in (100, 300, 500, 700, 900):
        errors = {name: [] for name in priors}
        for i in range(0, bank.count, 40):
            picks = np.arange(i, min(i + 40, bank.count))
            views = picks % bank.views
            x0 = models.text.encode(bank.pictures(picks, views))
            noise, t = torch.randn(x0.shape, generator=generator), torch.full((len(picks),), time)
            words = networks.view_word(bank.cameras(picks, views).azimuth)
            context = models.clip.text_tokens([f"{bank.captions[p]}, {w} view" for p, w in zip(picks, words)])
            channels = {"depth shown": maps[picks, views], "depth hidden": torch.full_like(maps[picks, views], -1.0)}
            for name, prior in priors.items():
                noisy = add_noise(x0, noise, t, prior.alphas_cumprod)
                extra = {"extra": channels[name]} if name in channels else {}
                error = prior.runtime.noise(noisy, t, {"context": context, **extra}) - noise
                errors[name].append(error.square().mean((1, 2, 3)) / prior.alphas_cumprod[time])
        errors = {name: torch.cat(values) for name, values in errors.items()}
        result.update({f"velocity error at t = {time}, {name}": float(v.mean()) for name, v in errors.items()})
        result[f"pictures that depth helps at t = {time}"] = float((errors["depth shown"] < errors["text prior"]).float().mean())
    return result


def _agreement(bank: Bank, models, maps: torch.Tensor, count: int, guidance: float) -> dict:
    """Samples against the shown depth: outline at 16 px (two views), embedded depth estimate (reference view)."""
    rows = {name: {"outline IoU": [], "depth correlation": []} for name in ("truth through the VAE", "depth shown", "text prior")}
    generator = torch.Generator().manual_seed(10)
    for i in range(min(count, bank.count)):
        noise_seed, cameras = int(torch.randint(2**31, (1,), generator=generator)), bank.cameras([i, i], [0, 1 + i % 6])
        text = models.text.with_guidance(guidance).with_prompt(bank.captions[i])
        depth = models.depth_text.with_guidance(guidance).with_prompt(bank.captions[i]).with_depth(maps[i, [0, 1 + i % 6]])
        truth = bank.pictures([i, i], [0, 1 + i % 6])
        pictures = {
            "truth through the VAE": models.text.runtime.decode(models.text.encode(truth).detach()),
            "depth shown": depth.sample(cameras, 20, torch.Generator().manual_seed(noise_seed)),
            "text prior": text.sample(cameras, 20, torch.Generator().manual_seed(noise_seed)),
        }
        inside = torch.from_numpy(np.array(bank.mask[i])).float() / 255 > 0.5
        for name, shown in pictures.items():
            seen = ((1 - shown).amax(-1) > 0.08).float()
            small, wanted = resize(seen[..., None], embedded.LATENT_SIZE)[..., 0] > 0.5, maps[i, [0, 1 + i % 6], 0] > -0.1
            rows[name]["outline IoU"] += ((small & wanted).sum((1, 2)) / (small | wanted).sum((1, 2)).clamp_min(1)).tolist()
            both = ((seen[0] > 0.5) & inside).float()
            guess = models.depth.depth(shown[0], seen[0])
            real = torch.from_numpy(np.array(bank.depth[i])).float()
            rows[name]["depth correlation"].append(float(networks.correlation(*(m[None, None] for m in (guess, real, both)))))
    means = {f"{figure}, {name}": float(np.mean(values)) for name, row in rows.items() for figure, values in row.items()}
    return {"objects sampled": min(count, bank.count), **means}


def depth_text_sheet(bank: Bank, models, path: Path, rows: int = 6) -> None:
    """Per row: the shown depth, the truth, three samples with it, three of the text prior from the same noise."""
    from PIL import Image

    sheet = []
    for i in range(rows):
        maps, view = torch.from_numpy(np.array(bank.depth_maps[i, :, 0])).float(), i % 2
        prompt, cameras = bank.captions[i], bank.cameras([i] * 3, [view] * 3)
        deep = models.depth_text.with_guidance(3.0).with_prompt(prompt).with_depth(maps[view][None, None])
        plain = models.text.with_guidance(3.0).with_prompt(prompt)
        large = torch.nn.functional.interpolate(maps[view][None, None] / 2 + 0.5, scale_factor=4)
        shown = large[0, 0, ..., None].expand(-1, -1, 3)
        samples = [p for prior in (deep, plain) for p in prior.sample(cameras, 20, torch.Generator().manual_seed(i))]
        sheet.append(torch.cat([shown, bank.pictures(i, view), *samples], 1))
    _save(torch.cat(sheet, 0), path, Image)


def contact_sheets(bank: Bank, models, folder: Path, title: str) -> None:
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
    _save(sheet, folder / f"view_samples_{title}.png", Image)
    rows = []
    for i in range(4):
        prior = models.text.with_guidance(3.0).with_prompt(bank.captions[i])
        rows.append(torch.cat(list(prior.sample(bank.cameras([i] * 7, list(range(7))), 20, generator)), 1))
    _save(torch.cat(rows, 0), folder / f"text_samples_{title}.png", Image)


def toybox_sheet(path: Path, size: int = 72) -> None:
    """The twenty objects of the quick benchmark set from the front, from the upper right and from behind."""
    from lift123.verification.toy_sets import QUICK, benchmark_views
    from PIL import Image

    cameras = HOME.orbit([0.0, 0.9, math.pi], [0.0, 0.35, 0.0], size)
    rows = [torch.cat(list(benchmark_views(seed, cameras).on_background(1.0)), 1) for seed in QUICK]
    _save(torch.cat([torch.cat(rows[i : i + 4], 1) for i in range(0, 20, 4)], 0), path, Image)


def _save(picture: torch.Tensor, path: Path, Image) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((picture.clamp(0, 1) * 255).byte().numpy()).save(path, optimize=True)


def figures_of(name: str, banks: dict, models) -> dict:
    """All figures of one network on every held-out bank."""
    found = {}
    for title, bank in banks.items():
        values = globals()[f"measure_{name}"](bank, models)
        found[title] = {k: round(v, 4) for k, v in values.items()}
        print(name, title, found[title], flush=True)
    return found


def training_of(name: str, work: Path) -> dict:
    """Steps and minutes of the run whose checkpoint lies in the work folder."""
    lifted = work / "lift" / "checkpoint.pt"  # the view prior's since it is no UNet
    path = lifted if name == "view" and lifted.is_file() else work / name / "checkpoint.pt"
    if not path.is_file():
        return {}
    state = torch.load(path, weights_only=True, map_location="cpu")
    return {"steps": state["step"], "training minutes": round(state["spent"] / 60, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=ROOT / ".lift123" / "train")
    parser.add_argument("--weights", type=Path, default=ROOT / "pipelines" / "embedded")
    parser.add_argument("--before", type=Path, help="earlier weights to compare with")
    parser.add_argument("--objects", type=int, default=100)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--only", nargs="*", default=["vae", "clip", "depth", "view", "text", "depth_text"])
    parser.add_argument("--sheets", type=Path, help="folder for pictures of samples")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    seeds, banks = [heldout_seed(i) for i in range(args.objects)], {}
    for version in (1, 2):
        folder = args.work / f"heldout{version}"
        make_bank(folder, seeds, 7, version=version)
        banks[f"toybox {version}"] = Bank(folder)
    models = embedded.load_embedded(folder=args.weights)
    path = args.weights / "measured.json"
    results = json.loads(path.read_text()) if path.exists() else {}
    earlier = embedded.load_embedded(folder=args.before) if args.before else None
    file = args.before / "measured.json" if args.before else None
    known = json.loads(file.read_text()) if file and file.is_file() else {}
    known = {k: v for k, v in known.items() if isinstance(v, dict) and v["held-out objects"] == args.objects}
    for name in args.only:
        if name == "depth_text":  # of the first version of the toybox only
            bank = banks["toybox 1"]
            bank.depth_maps = make_depth_maps(args.work / "depth_text" / "heldout", seeds, 7, embedded.LATENT_SIZE)
            entry = {k: round(v, 4) for k, v in measure_depth_text(bank, models).items()}
        else:
            entry = {"figures": figures_of(name, banks, models)}
            if args.before is not None:
                entry["before"] = known.get(name, {}).get("figures") or figures_of(name, banks, earlier)
        if name == "view":
            folders = [args.work / n for n in ("bank", "bank2") if (args.work / n / "done.json").is_file()]
            trained = Bank(*folders) if folders else None
            bars = {title: baselines(bank, models, trained) for title, bank in banks.items()}
            entry["baselines"] = {t: {k: round(v, 4) for k, v in values.items()} for t, values in bars.items()}
        kept = {k: v for k, v in results.get(name, {}).items() if k in ("steps", "training minutes")}
        run = training_of(name, args.work)
        if run and name in known:
            run["earlier"] = {k: known[name][k] for k in kept}
        results[name] = {**kept, **run, "held-out objects": args.objects, **entry}
        path.write_text(json.dumps({**results, "hardware": f"{platform.machine()} CPU"}, indent=1), encoding="utf-8")
    if args.sheets and "depth_text" in args.only:
        depth_text_sheet(banks["toybox 1"], models, args.sheets / "depth_text_samples.png")
    if args.sheets and {"view", "text"} <= set(args.only):
        toybox_sheet(args.sheets / "toybox_quick.png")
        for version, bank in enumerate(banks.values(), start=1):
            contact_sheets(bank, models, args.sheets, f"toybox{version}")


if __name__ == "__main__":
    main()
