"""Textual inversion: a word's vectors reach the network, learn, survive interruptions, and are files ComfyUI reads."""

from dataclasses import replace

import pytest
import torch
from conftest import ROOT
from helpers.comfy_modules import prepare
from lift123.pipelines.core.cameras import HOME
from lift123.pipelines.core.errors import InputError, StopStage
from lift123.pipelines.core.views import Views
from lift123.pipelines.loaders.public import load_text_folder
from lift123.pipelines.networks.learned_words import DenoiserInverter, LearnedEncoder, LearnedWord, knowing, text_towers
from lift123.pipelines.networks.noise import scaled_linear_alphas
from lift123.pipelines.stages.inputs.reference import ReferenceView
from lift123.pipelines.stages.objects.textual_inversion import (
    QUICKSTART,
    Inversion,
    InversionConfig,
    _Pictures,
    invert,
    noise_error,
    samples,
)
from lift123.pipelines.toybox.objects import make_object
from lift123.pipelines.toybox.render import reference_camera, render_toy

CONFIG = InversionConfig(steps=6, batch=2, lr=1e-2, templates=("a {}", "one {}, front view"), preview_every=0)


@pytest.fixture(scope="module")
def embedded():
    if not (ROOT / "pipelines" / "embedded" / "settings.json").is_file():
        pytest.skip("the embedded networks are not here")
    from lift123.pipelines.loaders.embedded import load_embedded

    return load_embedded().text


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    from helpers import public_tiny

    made = {}

    def load(kind):
        if kind not in made:
            made[kind] = load_text_folder(public_tiny.sd(tmp_path_factory.mktemp(kind), kind))
        return made[kind]

    return load


@pytest.fixture(params=["embedded", "sd15", "sdxl"])
def denoiser(request, embedded, folders):
    return embedded if request.param == "embedded" else folders(request.param)


@pytest.fixture(scope="module")
def reference():
    toy = make_object(10000108)
    return ReferenceView(render_toy(toy, reference_camera(64), 2), toy.caption)


def words_of(denoiser, text, name="thing"):
    """A learned word whose vectors are the ordinary tokens of ``text``."""
    return LearnedWord(name, DenoiserInverter(denoiser).start(text))


# ------------------------------------------------------------------------------------- the word


def test_a_word_that_copies_ordinary_tokens_changes_nothing(denoiser):
    """The oracle: a learned word with the vectors of "red bear" must read exactly like "red bear"."""
    learned = LearnedEncoder(denoiser.encoder, (words_of(denoiser, "red bear"),))
    mine = learned.text_condition(["a embedding:thing, front view", "embedding:thing", "no word at all"])
    theirs = denoiser.encoder.text_condition(["a red bear, front view", "red bear", "no word at all"])
    assert set(mine) == set(theirs)
    for name in theirs:
        assert torch.allclose(mine[name], theirs[name], atol=1e-5), name
    other = denoiser.encoder.text_condition(["a blue cup, front view"])
    assert float((mine["context"][:1] - other["context"]).abs().max()) > 1e-3


def test_two_words_twice_in_a_sentence(embedded):
    first, second = words_of(embedded, "red", "one"), words_of(embedded, "bear blue", "one-more")
    learned = LearnedEncoder(embedded.encoder, (first, second))
    mine = learned.text_condition(["a embedding:one embedding:one-more, embedding:one cup"])["context"]
    theirs = embedded.encoder.text_condition(["a red bear blue, red cup"])["context"]
    assert torch.allclose(mine, theirs, atol=1e-5)


def test_the_gradient_is_the_finite_difference(folders):
    inverter = DenoiserInverter(folders("sd15"))
    start = {k: v[:1].double().float() for k, v in inverter.start("bear").items()}
    noisy = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1))

    def loss(vectors):
        condition = inverter.condition(["a embedding:thing"], LearnedWord("thing", vectors))
        return inverter.noise(noisy, torch.tensor([400]), condition).square().mean()

    vectors = {k: v.clone().requires_grad_() for k, v in start.items()}
    loss(vectors).backward()
    for key, value in vectors.items():
        direction = value.grad / value.grad.norm()
        step = 1e-2
        ends = [float(loss({**start, key: start[key] + s * step * direction})) for s in (1, -1)]
        slope = (ends[0] - ends[1]) / (2 * step)
        assert slope == pytest.approx(float(value.grad.norm()), rel=0.03)


def test_prompts_that_are_too_long_are_refused(embedded):
    learned = LearnedEncoder(embedded.encoder, (words_of(embedded, "bear"),))
    with pytest.raises(InputError, match="tokens"):
        learned.text_condition(["red " * 15 + "embedding:thing"])


def test_words_of_another_network_are_refused(embedded):
    with pytest.raises(InputError, match="another network"):
        knowing(embedded, LearnedWord("thing", {"clip_l": torch.zeros(1, 768)}))
    with pytest.raises(InputError, match="letters"):
        LearnedWord("no/path", {"clip_l": torch.zeros(1, 4)})
    with pytest.raises(InputError, match="learn words"):
        text_towers(object())


def test_a_denoiser_that_knows_the_word(embedded):
    conditioned = knowing(embedded, words_of(embedded, "red bear")).with_prompt("a embedding:thing").with_guidance(2.0)
    plain = embedded.with_prompt("a red bear").with_guidance(2.0)
    camera = HOME.orbit(0.4, 0.1, 64)
    noisy = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    t = torch.tensor([500])
    assert torch.allclose(conditioned.predict_noise(noisy, t, camera), plain.predict_noise(noisy, t, camera), atol=1e-4)


# ------------------------------------------------------------------------------------ the stage


def test_the_word_comes_to_describe_the_picture(embedded, reference):
    inverter = DenoiserInverter(embedded)
    picture = reference.resized(64).on_background(1.0)[0]
    config = replace(QUICKSTART, steps=25, lr=1e-2, preview_every=0)
    start = LearnedWord("bear", {k: v[:1] for k, v in inverter.start("cup").items()})
    before = noise_error(inverter, start, picture, config.templates)
    done = invert(reference, inverter, "bear", config, start="cup")
    after = noise_error(inverter, done.word, picture, config.templates)
    assert after < 0.95 * before, (before, after)
    assert done.finished and done.word.vectors["clip_l"].shape == (1, 128)


def test_networks_from_folders_learn_every_tower(folders, reference):
    for kind, towers in (("sd15", {"clip_l"}), ("sdxl", {"clip_l", "clip_g"})):
        inverter = DenoiserInverter(folders(kind))
        done = invert(reference, inverter, "bear", replace(CONFIG, steps=2, vectors=2))
        start = inverter.start("object")
        assert set(done.word.vectors) == towers
        for key, value in done.word.vectors.items():
            assert value.shape == (2, start[key].shape[1]) and bool(torch.isfinite(value).all())
            assert float((value - start[key].mean(0)).abs().max()) > 1e-3, "nothing was learned"


def test_pictures_at_once_only_cost_memory(embedded, reference):
    inverter = DenoiserInverter(embedded)
    few, all_of_them = (invert(reference, inverter, "bear", replace(CONFIG, batch=5, steps=2, at_once=n)) for n in (2, 5))
    assert torch.allclose(few.word.vectors["clip_l"], all_of_them.word.vectors["clip_l"], atol=1e-4)
    assert few.meta["losses"][0][1] == pytest.approx(all_of_them.meta["losses"][0][1], rel=1e-3)


def test_frozen_networks_stay_frozen(embedded, reference):
    before = {k: v.clone() for k, v in embedded.encoder.model.state_dict().items()}
    invert(reference, DenoiserInverter(embedded), "bear", replace(CONFIG, steps=1))
    assert all(torch.equal(v, before[k]) for k, v in embedded.encoder.model.state_dict().items())
    assert not embedded.encoder.model.token_embedding._forward_hooks


def test_interruption_and_resumption_change_nothing(embedded, reference, tmp_path):
    inverter = DenoiserInverter(embedded)
    whole = invert(reference, inverter, "bear", CONFIG, seed=4)

    def stop(step):
        if step.index == 3:
            raise StopStage()

    half = invert(reference, inverter, "bear", CONFIG, seed=4, on_step=stop)
    # The step that was interrupted counts: its result is kept.
    assert half.step == 3 and not half.finished
    half = Inversion.load(half.save(tmp_path / "bear.safetensors"))
    rest = invert(reference, inverter, "bear", CONFIG, inversion=half, seed=99)
    for key, value in whole.word.vectors.items():
        assert torch.equal(value, rest.word.vectors[key])
    assert rest.meta == whole.meta


def test_an_error_keeps_what_was_learnt(embedded, reference):
    kept = []

    def fail(step):
        if step.index == 2:
            raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        invert(reference, DenoiserInverter(embedded), "bear", CONFIG, on_step=fail, on_checkpoint=kept.append)
    assert kept[-1].step == 2


def test_resuming_with_another_networks_file_is_refused(folders, embedded, reference):
    done = invert(reference, DenoiserInverter(embedded), "bear", replace(CONFIG, steps=1))
    with pytest.raises(InputError, match="another network"):
        invert(reference, DenoiserInverter(folders("sd15")), "bear", CONFIG, inversion=done)


def test_samples_are_pictures(embedded):
    pictures = samples(DenoiserInverter(embedded), words_of(embedded, "bear"), "a {}", 2, 2.0, steps=2)
    assert pictures.shape == (2, 64, 64, 3) and 0 <= float(pictures.min()) and float(pictures.max()) <= 1


class _Known:
    """A text network in closed form: eps_hat is one number per text, the mean of the word's vector."""

    half = True
    image_size = 16
    alphas_cumprod = scaled_linear_alphas()

    def widths(self):
        return {"clip_l": 3}

    def start(self, text):
        return {"clip_l": torch.full((1, 3), 0.5)}

    def encode(self, images):
        return images.permute(0, 3, 1, 2)

    def condition(self, texts, word):
        return word.vectors["clip_l"].mean().expand(len(texts))

    def noise(self, noisy, t, condition):
        return condition[:, None, None, None].expand_as(noisy)


def test_learning_finds_the_minimum_of_a_closed_form():
    """The best constant guess of standard noise is 0; scaling the loss for half precision changes nothing."""
    views = Views(reference_camera(16), torch.rand(1, 16, 16, 3), torch.ones(1, 16, 16))
    done = invert(ReferenceView(views), _Known(), "zero", replace(CONFIG, steps=120, lr=2e-2))
    assert float(done.word.vectors["clip_l"].mean().abs()) < 0.05


class _Overflows(_Known):
    """Whose gradient is not finite in the second and the fourth step."""

    calls = 0

    def noise(self, noisy, t, condition):
        self.calls += 1
        return super().noise(noisy, t, condition * (torch.inf if self.calls in (2, 4) else 1.0))


@pytest.mark.parametrize("at", [1, 3, 5])
def test_steps_that_were_left_out_are_remembered(at):
    """Adam's count and the loss's scale are part of the state, in the file and in the autosave."""
    views = Views(reference_camera(16), torch.rand(1, 16, 16, 3), torch.ones(1, 16, 16))
    config, states = replace(CONFIG, steps=8, at_once=4), []
    whole = invert(ReferenceView(views), _Overflows(), "odd", config, autosave=lambda make, now=False: states.append(make()))
    assert len(states) == 7 and whole.meta["updates"] == 6 and whole.meta["scale"] == 2.0**8
    left, rest = Inversion.unpack(*states[at - 1].pack()), _Overflows()
    rest.calls = left.step
    again = invert(ReferenceView(views), rest, "odd", config, inversion=left)
    assert torch.equal(again.word.vectors["clip_l"], whole.word.vectors["clip_l"]) and again.meta == whole.meta


# ---------------------------------------------------------------------------------------- pictures


def test_augmentation_off_is_the_picture_on_white(reference):
    still = replace(CONFIG, batch=3, angle=0.0, scale=(1.0, 1.0), jitter=0.0, gray=0.0, blur=0.0, flip=0.0)
    drawn = _Pictures(reference.resized(48), still).draw(torch.Generator().manual_seed(0))
    assert torch.allclose(drawn, reference.resized(48).on_background(1.0).expand(3, -1, -1, -1), atol=1e-4)


def test_augmentation_does_what_its_numbers_say(reference):
    view = reference.resized(48)
    still = replace(CONFIG, batch=1, angle=0.0, scale=(1.0, 1.0), jitter=0.0, gray=0.0, blur=0.0, flip=0.0)

    def drawn(**changes):
        return _Pictures(view, replace(still, **changes)).draw(torch.Generator().manual_seed(0))[0]

    plain = view.on_background(1.0)[0]
    assert torch.allclose(drawn(flip=1.0), plain.flip(1), atol=1e-4)
    gray = drawn(gray=1.0)
    assert float((gray.amax(-1) - gray.amin(-1)).max()) < 1e-5
    small, large = (float((drawn(scale=(s, s)).amin(-1) < 0.9).float().sum()) for s in (0.5, 1.0))
    assert small == pytest.approx(large / 4, rel=0.15)
    assert 0 < float((drawn(blur=1.0) - plain).abs().max()) and 0 < float((drawn(angle=10.0) - plain).abs().max())
    assert 0 < float((drawn(jitter=0.04) - plain).abs().max()) <= 0.09
    corner = drawn(angle=10.0)[0, 0]
    assert torch.allclose(corner, torch.ones(3)), "turned corners are white"


# ------------------------------------------------------------------------------------------ files


@pytest.mark.parametrize("key, width", [("clip_l", 768), ("clip_h", 1024), ("clip_g", 1280)])
def test_comfyui_reads_the_file(key, width, tmp_path):
    """ComfyUI's own loader finds our tensor, by the tower's name, and its tokenizer puts it into the prompt."""
    prepare()
    from comfy.sd1_clip import SDTokenizer, load_embed

    vectors = torch.randn(2, width, generator=torch.Generator().manual_seed(0))
    moments = {key: {m: torch.randn(2, width) for m in ("exp_avg", "exp_avg_sq")}}
    Inversion(LearnedWord("my_bear", {key: vectors}), moments, {"step": 1, "total": 2}).save(tmp_path / "my_bear.safetensors")
    assert torch.equal(load_embed("my_bear", str(tmp_path), width, key), vectors)
    tokenizer = SDTokenizer(embedding_directory=str(tmp_path), embedding_size=width, embedding_key=key)
    row = tokenizer.tokenize_with_weights("a photo of embedding:my_bear, front view")[0]
    found = [entry[0] for entry in row if torch.is_tensor(entry[0])]
    assert len(found) == 2 and torch.equal(torch.stack(found), vectors)


def test_comfyui_reads_both_towers_of_sdxl(tmp_path):
    prepare()
    from comfy.sd1_clip import load_embed

    both = {"clip_l": torch.randn(1, 768), "clip_g": torch.randn(1, 1280)}
    Inversion(LearnedWord("bear", both)).save(tmp_path / "bear.safetensors")
    for key, value in both.items():
        assert torch.equal(load_embed("bear", str(tmp_path), value.shape[1], key), value)


def test_a_comfyui_model_learns_and_its_clip_reads_the_file(reference, tmp_path):
    """The whole way with MODEL and CLIP: learn, write, and let an untouched CLIP of ComfyUI read the prompt."""
    from helpers import comfy_tiny
    from lift123.host import comfy_denoiser
    from lift123.nodes.inversion import inverter_of

    world = comfy_tiny.tiny()
    with torch.inference_mode(), torch.inference_mode(False), torch.enable_grad():  # as in a node
        backbone = comfy_denoiser.Backbone(world.model, world.vae, comfy_tiny.SIZE, torch.device("cpu"))
        inverter = inverter_of(comfy_denoiser.ModelTextDenoiser(backbone, clip=world.clip))
        done = invert(reference, inverter, "bear-3", replace(CONFIG, steps=2, vectors=2), start="mug")
        again = invert(reference, inverter, "bear-3", replace(CONFIG, steps=2, vectors=2), start="mug")
    learned = done.word.vectors["clip_l"]
    assert learned.shape == (2, comfy_tiny.WIDTH) and torch.equal(learned, again.word.vectors["clip_l"])
    assert float((learned - inverter.start("mug")["clip_l"]).abs().max()) > 1e-3
    done.save(tmp_path / "bear-3.safetensors")
    prompt = "a photo of embedding:bear-3, front view"
    unknown = comfy_denoiser.encode_text(world.clip, prompt)[0][0]
    world.clip.tokenizer.clip_l.embedding_directory = str(tmp_path)
    world.clip.tokenizer.clip_l.embedding_size = comfy_tiny.WIDTH
    read = comfy_denoiser.encode_text(world.clip, prompt)[0][0]
    world.clip.tokenizer.clip_l.embedding_directory = None
    expected = comfy_denoiser.encode_text(inverter.conditioned(done.word).clip, prompt)[0][0]
    assert torch.allclose(read, expected, atol=1e-6) and float((read - unknown).abs().max()) > 1e-3


def test_foreign_and_damaged_files(tmp_path):
    from safetensors.torch import save_file

    save_file({"emb_params": torch.randn(3, 16)}, str(tmp_path / "foreign.safetensors"))
    foreign = Inversion.load(tmp_path / "foreign.safetensors")
    assert foreign.word.name == "foreign" and foreign.step == 0 and foreign.moments == {}
    (tmp_path / "broken.safetensors").write_bytes(b"\x00" * 40)
    save_file({"a": torch.randn(2, 2, 2)}, str(tmp_path / "network.safetensors"))
    for name in ("broken", "network", "absent"):
        with pytest.raises(InputError, match="embedding file"):
            Inversion.load(tmp_path / f"{name}.safetensors")


# ------------------------------------------------------------------------------------------- node


def test_node_writes_the_file_and_hands_on_a_network_that_knows_the_word(embedded, reference, tmp_path, monkeypatch):
    prepare()
    import folder_paths
    from lift123.host.specs import Network, PriorSpec
    from lift123.nodes.inversion import TextualInversion
    from lift123.pipelines.priors.sds import SdsSettings

    monkeypatch.setattr(folder_paths, "get_folder_paths", lambda kind: [str(tmp_path)] if kind == "embeddings" else [])
    given = {"reference": reference, "text_network": Network("text"), "name": "bear_7", "start": "bear",
             "sentence": "a {}", "steps": 2, "batch": 1, "learning_rate": 0.0, "vectors": 1, "samples": 1,
             "resume": True, "seed": 1, "preset": "quickstart"}
    with torch.inference_mode():
        network, prompt, file, pictures = TextualInversion.execute(**given).result
    assert prompt == "a embedding:bear_7" and file == "bear_7.safetensors" and pictures.shape == (1, 64, 64, 3)
    written = Inversion.load(tmp_path / file)
    assert written.step == 2 and written.meta["seed"] == 1
    with torch.inference_mode():
        TextualInversion.execute(**{**given, "steps": 3})
    assert Inversion.load(tmp_path / file).step == 3, "resumed"
    prior = PriorSpec(network, SdsSettings(), prompt=prompt)
    assert prior.kinds() == {"text"} and "bear_7" in network.name
    prior.check(reference)
    built = prior.build(reference, torch.device("cpu"))
    word = Inversion.load(tmp_path / file).word
    expected = LearnedEncoder(embedded.encoder, (word,)).text_condition(["a embedding:bear_7, front view"])["context"]
    assert torch.allclose(built.denoiser.prompt_context[:1], expected, atol=1e-5)
    (tmp_path / file).unlink()
    with pytest.raises(InputError, match="models/embeddings"):
        network.check()
    for wrong in ({"name": "../bear"}, {"sentence": "no word"}):
        with pytest.raises(InputError):
            TextualInversion.execute(**{**given, **wrong})
