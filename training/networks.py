"""One function per embedded network: build, train on the bank, save, measure on held-out objects."""

import json
from pathlib import Path

import numpy as np
import pack  # noqa: F401
import torch
from bank import Bank, Stacked, make_depth_maps
from lift123.pipelines.loaders import embedded
from lift123.pipelines.networks.clip import ClipScorer, text_hidden_states
from lift123.pipelines.networks.depth import DepthNet
from lift123.pipelines.networks.noise import add_noise, scaled_linear_alphas, v_target
from lift123.pipelines.networks.text import VIEWS, view_weights
from lift123.pipelines.networks.tokenizer import SPECIAL, WordTokenizer
from lift123.pipelines.networks.view import pose_labels, pose_vector
from lift123.pipelines.toybox.glyphs import STROKES
from lift123.pipelines.toybox.objects import VERSIONS, train_seed
from lift123.pipelines.toybox.patterns import PALETTE, PATTERNS
from loop import train

F = torch.nn.functional
RATE = {True: 1e-3, False: 6e-4}  # from nothing; from trained weights
NOUNS = (
    "ball box can cone vase bottle ring mug table round chair mushroom fir tree snowman bear animal fish blob lamp "
    "house car banana tower cactus"
).split()  # of the toybox's first version; the second version's recipes are called by their nouns
LINKS = "a an with and of the upright two tone view front side back glossy lettered".split()


def vocabulary() -> list[str]:
    """All words of toybox captions and view names; every other word is unknown to the tokenizer."""
    patterns = [w for p in PATTERNS for w in p.replace("-", " ").split() if w not in ("plain",)]
    return sorted({*PALETTE, *patterns, *NOUNS, *LINKS, *STROKES, *(recipe.__name__ for recipe in VERSIONS[2][2])})


class UnetTask(torch.nn.Module):
    """A UNet with its conditioner as one trainable module."""

    def __init__(self, unet, conditioner=None):
        super().__init__()
        self.unet = unet
        if conditioner is not None:
            self.conditioner = conditioner


def train_vae(bank: Bank, out: Path, weights: Path, steps: int, minutes=None):
    """Reconstruction (L1 + MSE); saves the weights and the latents' scale.

    The latents get a little fixed noise and a light pull towards zero instead of the full variational
    term: at this size the learned posterior noise slows training down tenfold.
    """
    vae = embedded.build_vae().to(bank.device)
    rng = np.random.Generator(np.random.PCG64(11))
    generator = torch.Generator().manual_seed(11)

    def loss_of_batch(step):
        x = bank.pictures(bank.draw(rng, 8), rng.integers(0, bank.views, 8)).permute(0, 3, 1, 2) * 2 - 1
        mean = vae.encode(x).latent_dist.mode()
        error = vae.decode(mean + 0.05 * _noise(mean, generator)).sample - x
        chroma = error - error.mean(1, keepdim=True)  # without its own weight training stays gray for long
        fidelity = error.abs().mean() + 2 * error.square().mean() + 3 * chroma.abs().mean()
        return fidelity + 1e-4 * mean.square().mean()

    trained = train(vae, loss_of_batch, steps, out, rate=2e-3, decay=0.995, minutes=minutes)
    with torch.no_grad():
        picks = bank.draw(rng, 256)
        x = bank.pictures(picks, rng.integers(0, bank.views, 256)).permute(0, 3, 1, 2) * 2 - 1
        scale = 1 / float(trained.encode(x).latent_dist.mode().std())
    embedded.save_module(trained, weights / "vae.safetensors")
    settings = {"words": vocabulary(), "scaling_factor": scale}
    (weights / "settings.json").write_text(json.dumps(settings, indent=1), encoding="utf-8")


def encode_bank(bank: Bank, weights: Path) -> Stacked:
    """Raw posterior means [N, V, 4, 16, 16] float16 of the whole bank, cached on disk in its folders."""
    for folder in bank.folders:
        if not (folder / "latents.npy").exists():
            _encode_folder(Bank(folder, device=bank.device), folder, weights)
    return bank.stack("latents.npy")


def _encode_folder(bank: Bank, folder: Path, weights: Path) -> None:
    vae = embedded.load_module(embedded.build_vae(), weights / "vae.safetensors", bank.device)
    partial = folder / "latents_part.npy"
    out = np.lib.format.open_memmap(partial, "w+", np.float16, (bank.count, bank.views, 4, 16, 16))
    with torch.no_grad():
        for i in range(0, bank.count, 32):
            x = torch.from_numpy(np.array(bank.rgb[i : i + 32])).to(bank.device).float() / 127.5 - 1
            z = vae.encode(x.flatten(0, 1).permute(0, 3, 1, 2)).latent_dist.mode()
            out[i : i + 32] = z.reshape(*x.shape[:2], 4, 16, 16).half().cpu().numpy()
    out.flush()
    partial.rename(folder / "latents.npy")


def view_word(azimuth: torch.Tensor) -> list[str]:
    """The nearest of front, side and back per azimuth."""
    return [VIEWS[i] for i in view_weights(azimuth).argmax(-1).tolist()]


def train_clip(bank: Bank, out: Path, weights: Path, steps: int, minutes=None, start=None):
    """Symmetric contrastive loss over captions, half of them completed by the view's name.

    start: folder of trained weights to continue from.  Their text tower is then kept, hidden states of captions
    without new words included, so that networks that read them stay valid; new words are learned.
    """
    tokenizer = WordTokenizer(vocabulary(), 16)
    model = embedded.build_clip(tokenizer.vocab_size)
    restore = keep_text_tower(model, tokenizer, start) if start is not None else None
    model.to(bank.device)
    rng = np.random.Generator(np.random.PCG64(12))

    def loss_of_batch(step):
        picks = np.unique(bank.draw(rng, 96))  # an object twice would be its own wrong answer
        views = rng.integers(0, bank.views, len(picks))
        images = bank.pictures(picks, views).permute(0, 3, 1, 2) * 2 - 1
        words = view_word(bank.cameras(picks, views).azimuth)
        texts = [bank.captions[i] + (f", {w} view" if k % 2 else "") for k, (i, w) in enumerate(zip(picks, words))]
        a = F.normalize(model.encode_image(images), dim=-1)
        b = F.normalize(model.encode_text(tokenizer(texts).to(bank.device)), dim=-1)
        logits = model.logit_scale.exp().clamp(max=100) * a @ b.T
        same = torch.tensor([[bank.captions[i] == bank.captions[j] for j in picks] for i in picks]).float().to(bank.device)
        target = same / same.sum(1, keepdim=True)
        return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2

    trained = train(model, loss_of_batch, steps, out, rate=RATE[start is None], decay=0.99, minutes=minutes)
    if restore is not None:
        restore(trained)
    embedded.save_module(trained, weights / "clip.safetensors")
    settings = {**json.loads((weights / "settings.json").read_text()), "words": tokenizer.words}
    (weights / "settings.json").write_text(json.dumps(settings, indent=1), encoding="utf-8")


def keep_text_tower(model, tokenizer: WordTokenizer, start: Path):
    """Loads a trained CLIP with fewer words; of its text tower only new words and the projection go on learning.

    Returns a function that writes the kept words' embeddings, as loaded, into a trained copy: weight decay nibbles at them.
    """
    from safetensors.torch import load_file

    words = json.loads((start / "settings.json").read_text())["words"]
    before = WordTokenizer(words, tokenizer.length)
    state = {k: v.float() if v.is_floating_point() else v for k, v in load_file(str(start / "clip.safetensors")).items()}
    old = state.pop("token_embedding.weight")
    missing, unexpected = model.load_state_dict(state, strict=False)
    if missing != ["token_embedding.weight"] or unexpected:
        raise ValueError(f"not a CLIP of this size: missing {missing}, unexpected {unexpected}")
    last = (before.vocab_size - 1, tokenizer.vocab_size - 1)
    pairs = [(i, i) for i in range(SPECIAL)] + [(before.index[w], tokenizer.index[w]) for w in words] + [last]
    source, target = torch.tensor(pairs).T
    fresh = torch.ones(tokenizer.vocab_size, 1)
    fresh[target] = 0

    def restore(trained):
        with torch.no_grad():
            trained.token_embedding.weight[target] = old[source].to(trained.token_embedding.weight.device)

    restore(model)
    for part in (model.transformer, model.ln_final):
        part.requires_grad_(False)
    model.positional_embedding.requires_grad_(False)
    model.token_embedding.weight.register_hook(lambda grad: grad * fresh.to(grad.device))
    return restore


def load_clip(weights: Path, device) -> ClipScorer:
    """The CLIP just trained, with the words it was trained with."""
    tokenizer = WordTokenizer(json.loads((weights / "settings.json").read_text())["words"], 16)
    model = embedded.load_module(embedded.build_clip(tokenizer.vocab_size), weights / "clip.safetensors", device)
    return ClipScorer(model, tokenizer, embedded.IMAGE_SIZE)


def diffusion_loss(predict, x0, rng, alphas, generator, floor=0.0):
    """Velocity regression with min-SNR-5 weights (Hang et al. 2023); where noise prevails, of at least ``floor``."""
    t = torch.from_numpy(rng.integers(0, len(alphas), len(x0))).to(x0.device)
    noise = _noise(x0, generator)
    error = (predict(add_noise(x0, noise, t, alphas), t) - v_target(x0, noise, t, alphas)).square().mean((1, 2, 3))
    snr = alphas[t] / (1 - alphas[t])
    weight = snr.clamp(max=5) / (snr + 1)
    return (error * torch.where(snr < 1, weight.clamp_min(floor), weight)).mean() * 3


def train_view(bank: Bank, out: Path, weights: Path, steps: int, minutes=None, start=None, batch=24):
    """The 3D prior: predicts a novel view's latent from the reference and the pose.

    The loss keeps some weight where noise prevails: there the outline of the unseen side is decided.
    """
    scale = json.loads((weights / "settings.json").read_text())["scaling_factor"]
    latents, clip = encode_bank(bank, weights), load_clip(weights, bank.device)
    embeddings = _image_embeddings(bank, clip)
    task = UnetTask(embedded.build_unet(True), embedded.build_conditioner())
    if start is not None:
        _start_from(task.unet, start / "view_unet.safetensors")
        _start_from(task.conditioner, start / "view_conditioner.safetensors")
    task.to(bank.device)
    alphas = scaled_linear_alphas().to(bank.device)
    rng = np.random.Generator(np.random.PCG64(13))
    generator = torch.Generator().manual_seed(13)

    def loss_of_batch(step):
        picks, views = bank.draw(rng, batch), rng.integers(1, bank.views, batch)
        x0 = torch.from_numpy(latents[picks, views]).to(bank.device).float() * scale
        reference = torch.from_numpy(latents[picks, np.zeros_like(picks)]).to(bank.device).float()
        pose = pose_vector(bank.cameras(picks, views), bank.cameras(picks, np.zeros_like(picks)))
        keep = torch.from_numpy(rng.uniform(size=batch) >= 0.1).float().to(bank.device)
        context = task.conditioner.context(embeddings[picks], reference, pose) * keep[:, None, None]
        labels, extra = pose_labels(pose) * keep[:, None], reference * keep[:, None, None, None]

        def predict(noisy, t):
            return task.unet(torch.cat([noisy, extra], 1), t, context, class_labels=labels).sample

        return diffusion_loss(predict, x0, rng, alphas, generator, floor=0.25)

    trained = train(task, loss_of_batch, steps, out, rate=RATE[start is None], decay=0.999, minutes=minutes)
    embedded.save_module(trained.unet, weights / "view_unet.safetensors")
    embedded.save_module(trained.conditioner, weights / "view_conditioner.safetensors")


def train_text(bank: Bank, out: Path, weights: Path, steps: int, minutes=None, start=None, batch=24):
    """The 2D prior: predicts a view's latent from its caption and the view's name.

    Starts from the view prior, which already knows how toy objects look; that saves most of the steps.  ``start``: a
    folder with a trained text prior to start from instead.
    """
    scale = json.loads((weights / "settings.json").read_text())["scaling_factor"]
    latents, clip = encode_bank(bank, weights), load_clip(weights, bank.device)
    task = UnetTask(embedded.build_unet(False))
    _start_from(task.unet, weights / "view_unet.safetensors" if start is None else start / "text_unet.safetensors")
    task.to(bank.device)
    alphas = scaled_linear_alphas().to(bank.device)
    rng = np.random.Generator(np.random.PCG64(14))
    generator = torch.Generator().manual_seed(14)

    def loss_of_batch(step):
        picks, views = bank.draw(rng, batch), rng.integers(0, bank.views, batch)
        x0 = torch.from_numpy(latents[picks, views]).to(bank.device).float() * scale
        words = view_word(bank.cameras(picks, views).azimuth)
        drop = rng.uniform(size=batch) < 0.1
        texts = ["" if d else f"{bank.captions[i]}, {w} view" for i, w, d in zip(picks, words, drop)]
        with torch.no_grad():
            context = text_hidden_states(clip.model, clip.tokenizer(texts).to(bank.device))
        return diffusion_loss(lambda noisy, t: task.unet(noisy, t, context).sample, x0, rng, alphas, generator)

    trained = train(task, loss_of_batch, steps, out, rate=RATE[start is None], decay=0.999, minutes=minutes)
    embedded.save_module(trained.unet, weights / "text_unet.safetensors")


def train_depth_text(bank: Bank, out: Path, weights: Path, steps: int, minutes=None, start=None, batch=24):
    """The 2D prior that is also shown depth; starts from the text prior, the depth channel's weights at zero.

    Half of the maps are of distances, half of depths known up to an affine map, as the pipeline makes them; in a tenth
    of the pictures no depth is known.  The loss keeps weight where noise prevails: there depth tells most.
    """
    scale = json.loads((weights / "settings.json").read_text())["scaling_factor"]
    latents, clip = encode_bank(bank, weights), load_clip(weights, bank.device)
    maps = Stacked([
        make_depth_maps(out / folder.name, [train_seed(i) for i in range(n)], bank.views, embedded.LATENT_SIZE, version=v)
        for folder, n, v in zip(bank.folders, bank.counts, bank.versions)
    ])
    task = UnetTask(embedded.build_unet(False, depth=True))
    _start_from(task.unet, weights / "text_unet.safetensors" if start is None else start / "depth_text_unet.safetensors")
    task.to(bank.device)
    alphas = scaled_linear_alphas().to(bank.device)
    rng = np.random.Generator(np.random.PCG64(16))
    generator = torch.Generator().manual_seed(16)

    def loss_of_batch(step):
        picks, views = bank.draw(rng, batch), rng.integers(0, bank.views, batch)
        x0 = torch.from_numpy(latents[picks, views]).to(bank.device).float() * scale
        depth = torch.from_numpy(maps[picks, views, rng.integers(0, 2, batch)]).to(bank.device).float()[:, None]
        unknown = torch.from_numpy(rng.uniform(size=batch) < 0.1).to(bank.device)
        depth = depth.masked_fill(unknown[:, None, None, None], -1.0)
        words = view_word(bank.cameras(picks, views).azimuth)
        drop = rng.uniform(size=batch) < 0.1
        texts = ["" if d else f"{bank.captions[i]}, {w} view" for i, w, d in zip(picks, words, drop)]
        with torch.no_grad():
            context = text_hidden_states(clip.model, clip.tokenizer(texts).to(bank.device))

        def predict(noisy, t):
            return task.unet(torch.cat([noisy, depth], 1), t, context).sample

        return diffusion_loss(predict, x0, rng, alphas, generator, floor=0.5)

    trained = train(task, loss_of_batch, steps, out, rate=7e-4, decay=0.995, minutes=minutes)
    embedded.save_module(trained.unet, weights / "depth_text_unet.safetensors")


def train_depth(bank: Bank, out: Path, weights: Path, steps: int, minutes=None, start=None):
    """Relative depth of the reference view: one minus the Pearson correlation inside the mask."""
    net = DepthNet()
    if start is not None:
        _start_from(net, start / "depth.safetensors")
    net.to(bank.device)
    rng = np.random.Generator(np.random.PCG64(15))

    def loss_of_batch(step):
        picks = bank.draw(rng, 24)
        image = bank.pictures(picks, np.zeros_like(picks)).permute(0, 3, 1, 2) * 2 - 1
        mask = torch.from_numpy(bank.mask[picks]).to(bank.device).float()[:, None] / 255
        truth = torch.from_numpy(bank.depth[picks]).to(bank.device).float()[:, None]
        inside = (mask > 0.5).float()
        guess = net(torch.cat([image, mask], 1))
        return (1 - correlation(guess, truth, inside)).mean() + 0.02 * (guess * inside).square().mean()

    trained = train(net, loss_of_batch, steps, out, rate=2 * RATE[start is None], decay=0.995, minutes=minutes)
    embedded.save_module(trained, weights / "depth.safetensors")


def correlation(a, b, inside):
    """[B] Pearson correlation of [B, 1, H, W] pictures over the pixels where ``inside`` is 1."""
    count = inside.sum((1, 2, 3), keepdim=True).clamp_min(2)
    a = (a - (a * inside).sum((1, 2, 3), keepdim=True) / count) * inside
    b = (b - (b * inside).sum((1, 2, 3), keepdim=True) / count) * inside
    return (a * b).sum((1, 2, 3)) / (a.square().sum((1, 2, 3)) * b.square().sum((1, 2, 3))).sqrt().clamp_min(1e-8)


def _noise(like: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Normal noise from a CPU generator, so that every device sees the same numbers."""
    return torch.randn(like.shape, generator=generator).to(like.device)


@torch.no_grad()
def _image_embeddings(bank: Bank, clip: ClipScorer) -> torch.Tensor:
    parts = []
    for i in range(0, bank.count, 256):
        picks = np.arange(i, min(i + 256, bank.count))
        parts.append(clip.image_embedding(bank.pictures(picks, np.zeros_like(picks))))
    return torch.cat(parts)


def _start_from(unet: torch.nn.Module, path: Path) -> None:
    """Copies every tensor of another prior that fits; of its first convolution the noisy latent's channels, others are 0."""
    from safetensors.torch import load_file

    source, target = load_file(str(path)), unet.state_dict()
    for name, value in source.items():
        if name == "conv_in.weight":
            shared = min(value.shape[1], target[name].shape[1])
            target[name].zero_()[:, :shared].copy_(value[:, :shared].float())
        elif name in target and target[name].shape == value.shape:
            target[name].copy_(value.float())
