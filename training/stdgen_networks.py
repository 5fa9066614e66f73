"""Trains StdGEN's small canonicalizer and multi-view network on toy characters, and measures them.

    python training/stdgen_networks.py multiview --minutes 240
    python training/stdgen_networks.py canonical --minutes 120
    python training/stdgen_networks.py measure

Interrupted runs go on where they stopped: run the same line again.  The weights are written when a run ends, and with
``export`` at any time, from the moving average of the last checkpoint.  The bank is ``character_bank.py``'s.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import pack
import torch
from lift123.pipelines.loaders import embedded
from lift123.pipelines.loaders import embedded_characters as small
from lift123.pipelines.networks.stdgen.codec import PixelCodec
from lift123.pipelines.networks.stdgen.conditions import class_vector
from lift123.pipelines.networks.stdgen.multiview import assemble, run_unet
from lift123.pipelines.networks.stdgen.schedule import make_scheduler
from lift123.pipelines.stages.characters.picture import CharacterPicture, place_on_canvas
from loop import train

MIRRORED = (0, 5, 4, 3, 2, 1)  # which view of a character is that of its mirror image, flipped
STANDING = -1  # index of the A-pose among a character's poses
NEW = 0.1  # of their usual size: what answers begin with that an earlier file does not know
FOUND = 0.5  # weight of what is copied, next to what is answered
LAST_STANDING = 0.2  # share of the canonicalizer's pictures that stand in A-pose already, once it can copy in place
RECOLORED = 0.8  # share of characters whose colors are exchanged
PURE = 0.9  # share of training pictures that are pure noise, where the network is a regression: few steps pay there first
NAMES = {"multiview": small.MULTIVIEW_FILE, "canonical": small.CANONICAL_FILE}
WIDE = small.SMALL_SIZE[1] / small.SMALL_SIZE[0]


def noise_levels(count: int, rng: np.random.Generator) -> torch.Tensor:
    """[count] times among those that the sampler visits; the first more often, because everything starts from it."""
    later = (1 - PURE) / (len(small.TIMES) - 1)
    return torch.from_numpy(rng.choice(small.TIMES, count, p=[PURE] + [later] * (len(small.TIMES) - 1)))


def alphas() -> torch.Tensor:
    """[1000] cumulative alphas, the last one 0."""
    return make_scheduler(small.SCHEDULE).alphas_cumprod


def noised(clean: torch.Tensor, a: torch.Tensor, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Noisy latents [B, ...] at cumulative alphas [B], and the v that was asked for."""
    noise = torch.randn(clean.shape, generator=generator).to(clean)
    a = a.to(clean).reshape(-1, *[1] * (clean.ndim - 1))
    return a.sqrt() * clean + (1 - a).sqrt() * noise, a.sqrt() * noise - (1 - a).sqrt() * clean


def distance(answer: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Squared error, and some absolute error, whose optimum keeps outlines sharp where the picture is not certain."""
    error = answer - wanted
    return error.square().mean() + 0.5 * error.abs().mean()


def found(copy, clean: torch.Tensor) -> torch.Tensor:
    """Mean absolute difference of what was copied from the clean pictures [N, C, h, w], whatever share of it is taken.

    Without it a network that takes little has little reason to look at the right places, and goes on taking little.
    """
    return FOUND * (copy.copied - torch.nn.functional.pixel_shuffle(clean, small.SHRINK)).abs().mean()


def size_of(bank) -> tuple[int, int]:
    """Height and width of the pictures that networks trained on a bank are shown."""
    side = bank.get("alpha", 0, 0, 0).shape[0]
    return side, round(side * WIDE)


def narrow(pictures: torch.Tensor) -> torch.Tensor:
    """The middle columns of square pictures [..., S, S, C]."""
    width = round(pictures.shape[-2] * WIDE)
    spare = (pictures.shape[-2] - width) // 2
    return pictures[..., spare : spare + width, :]


def mirror(colors: torch.Tensor, normals: torch.Tensor, alpha: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Six views [6, H, W, 3] of the mirror image: colors, and encoded normals on white; alpha [6, H, W]."""
    order = list(MIRRORED)
    colors, normals, alpha = colors[order].flip(2), normals[order].flip(2), alpha[order].flip(2)
    turned = normals.clone()
    turned[..., 0] = 2 - alpha - normals[..., 0]  # -x, encoded, still on white
    return colors, turned


def recolor(pictures: list[torch.Tensor], rng: np.random.Generator) -> list[torch.Tensor]:
    """One character's pictures [..., 3] with its colors exchanged: channels permuted, each with a gamma of 0.55 to 1.8.

    White stays white and black stays black.  The networks have to look where a color comes from, because no color is
    more likely than another any more: a few hundred characters become many, and drawings' palettes are not foreign.
    """
    if rng.uniform() >= RECOLORED:
        return pictures
    order, gamma = torch.from_numpy(rng.permutation(3)), torch.from_numpy(np.exp(rng.uniform(-0.6, 0.6, 3))).float()
    return [p[..., order.to(p.device)] ** gamma.to(p.device) for p in pictures]


def six_views(bank, pick: int, level: int, flip: bool, rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """(front [H, W, 3], views [12, H, W, 3]): the complete character from the front; normals and colors of one level."""
    front = bank.get("color", pick, 0, 0)
    colors, normals, alpha = (bank.get(name, pick, level) for name in ("color", "normal", "alpha"))
    if flip:
        front, (colors, normals) = front.flip(1), mirror(colors, normals, alpha)
    front, colors = recolor([front, colors], rng)
    return narrow(front), narrow(torch.cat([normals, colors]))


def train_multiview(bank, out: Path, weights: Path, steps: int, batch: int = 2, start: Path | None = None, **loop) -> None:
    """v of all twelve pictures from the front view, at random levels of random characters."""
    nets, codec, table = small.SmallMultiView().to(bank.device), PixelCodec(small.SHRINK), alphas()
    begin_with(nets, start)
    rng, generator = np.random.Generator(np.random.PCG64(21)), torch.Generator().manual_seed(21)

    def loss_of_batch(step):
        draws = [(int(rng.integers(bank.count)), int(rng.integers(3)), bool(rng.integers(2))) for _ in range(batch)]
        fronts, views = (torch.stack(v).to(bank.device) for v in zip(*[six_views(bank, *d, rng) for d in draws]))
        clean = codec.encode(views.flatten(0, 1)).unflatten(0, (batch, -1))
        t = noise_levels(batch, rng)
        noisy, wanted = noised(clean, table[t], generator)
        labels = torch.cat([class_vector(torch.zeros(1, small.CONTEXT), level) for _, level, _ in draws]).to(bank.device)
        x, context, labels = assemble(noisy, codec.encode(fronts), nets.prompts, labels)
        times = t.to(bank.device).repeat_interleave(6).repeat(2)
        answer = run_unet(nets.unet, x, times, context, labels, nets.copy).unflatten(0, (2, batch, 6))
        miss = distance(answer.transpose(0, 1).flatten(1, 2), wanted)
        return miss + found(nets.copy, clean[:, -6:].flatten(0, 1))

    save(train(nets, loss_of_batch, steps, out, decay=0.998, **loop), weights, "multiview")


def standing(step: int) -> float:
    """Share of training pictures that stand in A-pose already: most at first, where attention learns to copy in place."""
    return max(LAST_STANDING, 0.8 - step / 1000)


class Canvases:
    """Posed pictures of a bank as the canonicalizer is shown them; each is framed once.  Pose STANDING is the A-pose."""

    def __init__(self, bank):
        self.bank, self.kept, self.size = bank, {}, size_of(bank)

    def get(self, pick: int, pose: int) -> torch.Tensor:
        """[H, W, 3] on white."""
        if (pick, pose) not in self.kept:
            rgba = (self._front(pick) if pose == STANDING else self.bank.get("input", pick, pose)).cpu()
            canvas = place_on_canvas(CharacterPicture(rgba[..., :3], rgba[..., 3]), self.size)
            self.kept[pick, pose] = (canvas * 255 + 0.5).to(torch.uint8)
        return self.kept[pick, pose].float() / 255

    def _front(self, pick: int) -> torch.Tensor:
        """[H, W, 4] straight RGBA of the front view in A-pose."""
        alpha = self.bank.get("alpha", pick, 0, 0)[..., None]
        color = (self.bank.get("color", pick, 0, 0) - (1 - alpha)) / alpha.clamp_min(1 / 255)
        return torch.cat([color.clamp(0, 1), alpha], -1)


def train_canonical(bank, out: Path, weights: Path, steps: int, batch: int = 8, start: Path | None = None, **loop) -> None:
    """v of the front view in A-pose from a picture in another pose, or in this one."""
    pair, codec, table, shown = small.build_small_pair(size_of(bank)), PixelCodec(small.SHRINK), alphas(), Canvases(bank)
    small.start_alike(pair)
    begin_with(pair, start)
    pair = pair.to(bank.device)
    rng, generator = np.random.Generator(np.random.PCG64(22)), torch.Generator().manual_seed(22)
    blank = torch.zeros(batch, small.WORDS, small.CONTEXT, device=bank.device)

    def loss_of_batch(step):
        picks, poses = rng.integers(0, bank.count, batch), rng.integers(0, bank.poses, batch)
        poses[rng.uniform(size=batch) < (standing(step) if start is None else LAST_STANDING)] = STANDING
        pairs = [(shown.get(int(i), int(k)), narrow(bank.get("color", int(i), 0, 0)).cpu()) for i, k in zip(picks, poses)]
        seen, target = (torch.stack(p) for p in zip(*[recolor(list(pair), rng) for pair in pairs]))
        flip = torch.from_numpy(rng.uniform(size=batch) < 0.5)[:, None, None, None]
        seen, target = (torch.where(flip, p.flip(2), p).to(bank.device) for p in (seen, target))
        t = noise_levels(batch, rng)
        clean = codec.encode(target)
        noisy, wanted = noised(clean, table[t], generator)
        miss = distance(pair(noisy, t.to(bank.device), blank, codec.encode(seen), blank), wanted)
        return miss + found(pair.copy, clean)

    save(train(pair, loss_of_batch, steps, out, decay=0.998, **loop), weights, "canonical")


@torch.no_grad()
def begin_with(module: torch.nn.Module, file: Path | None) -> None:
    """Starts from the weights of an earlier training's file; one of before the networks copied lacks what copies."""
    if file is None:
        return
    known, state = embedded.read_state(file), module.state_dict()
    for name, value in known.items():
        place = state[name]
        if place.shape != value.shape and (not name.startswith("unet.conv_out.") or place.shape[1:] != value.shape[1:]):
            raise SystemExit(f"{file} has {name} of {list(value.shape)}, this network {list(place.shape)}")
        place[: len(value)].copy_(value) if value.ndim else place.copy_(value)
        if value.ndim:
            place[len(value) :] *= NEW


def save(module: torch.nn.Module, weights: Path, name: str) -> None:
    """Writes a network's file."""
    weights.mkdir(parents=True, exist_ok=True)
    embedded.save_module(module, weights / NAMES[name])


def export(name: str, out: Path, weights: Path) -> int:
    """Writes the weights of the last checkpoint's moving average; returns its step."""
    state = torch.load(out / "checkpoint.pt", weights_only=True, map_location="cpu")
    side = None if name == "multiview" else state["ema"]["unet.conv_in.place"].shape[-2:]
    module = small.SmallMultiView() if side is None else small.build_small_pair((small.SHRINK * side[0], small.SHRINK * side[1]))
    module.load_state_dict(state["ema"])
    save(module, weights, name)
    return state["step"]


def growing(folder: Path, device):
    """The bank of a folder, which may still be written: what is finished is used, looked up anew every minute."""
    from character_bank import CharacterBank

    class GrowingBank(CharacterBank):
        """Counts its finished characters again and again."""

        looked = 0.0

        @property
        def count(self) -> int:
            """Finished characters."""
            if time.time() - self.looked > 60:
                self.looked = time.time()
                self.finished = json.loads((folder / "done.json").read_text())["done"]
            return self.finished

        @count.setter
        def count(self, value: int) -> None:
            self.finished = value

    return GrowingBank(folder, device)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=(*NAMES, "export", "measure"))
    parser.add_argument("--work", type=Path, default=pack.ROOT / ".lift123" / "train", help="bank, checkpoints, logs")
    parser.add_argument("--bank", type=Path, help="the bank's folder; default: characters in --work")
    parser.add_argument("--weights", type=Path, default=pack.ROOT / "pipelines" / "embedded", help="where weights are written")
    parser.add_argument("--steps", type=int, default=20000)
    parser.add_argument("--minutes", type=float, help="ends a run after this much training time")
    parser.add_argument("--rate", type=float, default=1e-3, help="the learning rate's peak")
    parser.add_argument("--anew", action="store_true", help="begins a second round from the last checkpoint")
    parser.add_argument("--start", type=Path, help="a file of an earlier training to begin with, copying or not")
    parser.add_argument("--batch", type=int, help="characters per step; default: 2 for multiview, 8 for canonical")
    parser.add_argument("--held-out", type=int, default=20, help="characters to measure on")
    parser.add_argument("--sheet", type=Path, help="measure: also writes a picture of all results")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(7)  # network initialization only; batches use generators of their own
    if args.stage == "measure":
        from stdgen_measure import measure, sheet

        pictures: list = []
        found = measure(args.weights, args.held_out, pictures=pictures if args.sheet else None)
        if args.sheet:
            sheet(pictures, args.sheet)
        (args.work / "stdgen_measured.json").write_text(json.dumps(found, indent=1), encoding="utf-8")
        print(json.dumps(found, indent=1))
    elif args.stage == "export":
        for name in NAMES:
            if (args.work / f"stdgen_{name}" / "checkpoint.pt").exists():
                print(name, "step", export(name, args.work / f"stdgen_{name}", args.weights))
    else:
        bank = growing(args.bank or args.work / "characters", args.device)
        run = train_multiview if args.stage == "multiview" else train_canonical
        run(bank, args.work / f"stdgen_{args.stage}", args.weights, args.steps,
            start=args.start, minutes=args.minutes, rate=args.rate, anew=args.anew,
            **({"batch": args.batch} if args.batch else {}))


if __name__ == "__main__":
    main()
