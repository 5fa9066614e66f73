"""Writes the cards of the embedded networks from ``measured.json``.

    python training/cards.py
"""

import json

from pack import ROOT

FOLDER = ROOT / "pipelines" / "embedded"
VIEWS = (
    "7 views each: the reference view and 6 novel views (azimuth uniform, elevation -30 to 45 degrees, radius 3.2, "
    "field of view 20 degrees), 64 px on white."
)
DATA = {
    1: f"18,000 objects of the toybox's first version (seeds 0 to 17,999), {VIEWS}",
    2: f"18,000 objects of the toybox's first version (seeds 0 to 17,999) and 8,000 of its second (seeds 0 to 7,999; its "
       f"umbrellas, here and in the measurement, still with a flat floor), half of every batch from each, {VIEWS}",
    3: f"2,500 objects of the toybox's first version and 3,000 of its second, seeds from 0, half of every batch from each, "
       f"{VIEWS}",
}
HELD = "Held-out objects: seeds from 10,000,000, never trained on."
CARDS = {
    "vae": ("Autoencoder", "AutoencoderKL (diffusers), 64 px <-> 4 x 16 x 16 latents", (
        "Not retrained for the toybox's second version, because every other network lives in its latents. "
        "The shipped run got its chroma weight after about 770 steps. "
        "Trained without the variational term (a little fixed noise instead), so its posterior variance means nothing; "
        "the pipeline uses the mean. Thin, high-contrast details of one or two pixels are lost."
    )),
    "clip": ("CLIP", "open_clip CLIP, ViT 64 px / patch 8, own word-level vocabulary", (
        "Knows the toybox's words only (colors, patterns, nouns, letters, glossy, front / side / back view); any other "
        "word is one 'unknown' token. Scores between sentences about photographs mean little. Of the first weights' text "
        "tower all but the projection was kept, so that captions without new words have the hidden states they had: the "
        "depth-conditioned text prior reads those."
    )),
    "depth": ("Depth estimator", "convolutional encoder-decoder with skips, 64 px", (
        "Relative depth up to an affine map, for a front view of one masked object. On photographs it falls back to "
        "what the outline suggests."
    )),
    "view": ("View prior", "UNet2DConditionModel (diffusers) with Zero-1-to-3's 8 input channels and cc_projection; "
             "by configuration also reference-latent tokens and a pose label; v-prediction", (
        "Of the continued run the first 1,150 steps saw the first version only. The reference must be the front view at the "
        "horizon from radius 3.2. Colors of patterned objects blur, thin parts fade, letters become smudges, and objects "
        "seen end on (snails, trucks) come out as the wrong shape. It beats copying the reference and the mean picture, but "
        "not a look-up: of all training objects the one whose reference picture is nearest, rendered from the asked pose, is "
        "1.6 dB (first version) and 5.5 dB (second) nearer the truth. Far from saturated: it was trained on one CPU core."
    )),
    "text": ("Text prior", "UNet2DConditionModel (diffusers), cross-attention to the CLIP text tower's hidden states; "
             "v-prediction; started from the view prior's weights", (
        "Short training; follows colors and coarse nouns, not patterns and letters; thin objects come out as "
        "stubs or legs. Only toybox words act. Captions are judged by the CLIP of the same weights, so those rows do not "
        "compare old with new; the PSNR rows do."
    )),
    "depth_text": ("Depth-conditioned text prior", (
        "UNet2DConditionModel (diffusers) with the 5 input channels of Stable Diffusion 2 depth: the text prior with a depth "
        "channel, from whose weights it started, the depth channel's at zero; v-prediction. The channel is inverse depth at "
        "the latents' size, 1 at the nearest point and -1 where nothing is; in training it was the true depth of each view, "
        "half of the time known up to an affine map only, and hidden in a tenth of the pictures"), (
        "As the text prior's, and where depth is hidden it is mostly the worse of the two. Objects on white only: the "
        "autoencoder, trained on white, does not return pictures on gray or textured backgrounds, not even the object in them. "
        "The rows 'text prior' are the first weights' network without depth. "
        "The samples' depth is judged by the first weights' estimator, which sees "
        "the outline, too, within both outlines; outlines are compared at the latents' 16 pixels."
    )),
}


LIFTED_CARD = ("View prior", (  # where it is no UNet
    "LiftNet (`pipelines/networks/lifted.py`): the reference picture, lifted by a small convolutional network to 32 x 32 "
    "columns of 32 voxels that keep its own colors, and rendered from the asked pose; a denoiser of 64 px pictures, without "
    "autoencoder"), (
    "The reference should be the front view at the horizon from radius 3.2. The network shows what it cannot know as a mean: "
    "sides that the picture does not show are soft, parts thinner than two pixels fade from the side, and a "
    "sample hardly differs from another. It is the mean, not a choice: guidance does not sharpen it. Only outlines are "
    "decided (`lifted_view.decided`), which looks better and costs 0.3 to 0.4 dB. So it is 2.5 dB above the nearest training "
    "object on the first version of the toybox and 0.15 dB on the second (21.71, standard error 0.30; 21.55, 0.49: level), "
    "whose objects repeat each other's shapes; without that decision 2.9 and 0.5 dB above it."
))


def _owner(file: str) -> str:
    """The network that a file belongs to: ``depth_text_unet`` is not the depth estimator's."""
    return max((name for name in CARDS if file.startswith(name)), key=len, default="")


def _columns(values: dict) -> tuple[list[str], list[list]]:
    """Head and rows of a card's table: figures by version of the toybox, before and now where both were measured."""
    now, before = values["figures"], values.get("before", {})
    columns = []
    for title, found in now.items():
        if title in before and before[title] != found:
            columns.append((f"{title}, first weights", before[title]))
        columns.append((title if before.get(title, found) == found else f"{title}, these weights", found))
        if title in values.get("baselines", {}):
            found.update(values["baselines"][title])
            before.get(title, {}).update({name: "" for name in values["baselines"][title]})
    rows = [[name, *(found.get(name, "") for _, found in columns)] for name in columns[0][1]]
    return ["figure", *(title for title, _ in columns)], rows


def table(values: dict) -> str:
    """The measured figures as markdown."""
    head, rows = _columns(values) if "figures" in values else (["figure", "value"], [list(r) for r in values.items()])
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def how_trained(name: str, values: dict, hardware: str) -> str:
    """Steps and minutes of the run or runs behind the weights."""
    earlier, where = values.get("earlier"), f"on a shared two-core machine without GPU ({hardware})"
    now = f"{values['steps']} steps, {values['training minutes']:.0f} minutes of training {where}"
    if earlier:
        now += f", continued from the first weights ({earlier['steps']} steps, {earlier['training minutes']:.0f} minutes)"
    return (
        f"{now}. Retrain with `python3 launch.py train-embedded`, which runs more steps by default and was itself run only for "
        f"a few steps in one piece; the recipe is `training/networks.py::train_{name}`, the learning curve "
        f"`docs/training/{name}_curve.png`."
    )


def main() -> None:
    measured = json.loads((FOLDER / "measured.json").read_text(encoding="utf-8"))
    lifted = (FOLDER / "view_lift.safetensors").is_file()
    for name, (title, kind, limits) in {**CARDS, **({"view": LIFTED_CARD} if lifted else {})}.items():
        values = dict(measured[name])
        files = [f for f in sorted(FOLDER.glob("*.safetensors")) if _owner(f.name) == name]
        sizes = ", ".join(f"{f.name} ({f.stat().st_size / 1e6:.1f} MB, fp16)" for f in files)
        trained, data = how_trained(name, values, measured["hardware"]), DATA[2 if "earlier" in values else 1]
        if lifted and name == "view":
            trained, data = trained.replace("networks.py::train_view", "lift.py::train_lift"), DATA[3]
        count = values.pop("held-out objects")
        for key in ("steps", "training minutes", "earlier"):
            values.pop(key, None)
        of = " of each version of the toybox" if "figures" in values else ""
        text = (
            f"# {title}\n\n{kind}.\n\nFiles: {sizes}. License: Apache-2.0, like the code.\n\n"
            f"**Data.** {data}\n\n**Training.** {trained}\n\n"
            f"**Measured** on {count} objects{of} by `training/measure.py`. {HELD}\n\n"
            f"{table(values)}\n\n**Limits.** {limits}\n"
        )
        (FOLDER / f"{name}.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
