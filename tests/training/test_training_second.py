"""Training on banks of both versions of the toybox: mixing, continuing from earlier weights, baselines, logs."""

import importlib
import json

import numpy as np
import pytest
import torch
from conftest import ROOT
from helpers.public_tiny import seeded
from lift123.pipelines.loaders import embedded
from lift123.pipelines.networks.clip import text_hidden_states
from lift123.pipelines.networks.tokenizer import WordTokenizer
from lift123.pipelines.toybox.objects import make_object, train_seed


@pytest.fixture
def scripts(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "training"))
    names = ("bank", "networks", "measure", "curves")
    return {name: importlib.import_module(name) for name in names}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Two tiny banks: three objects of the first version, five of the second."""
    make_bank = importlib.import_module("bank").make_bank
    root = tmp_path_factory.mktemp("banks")
    for version, count in ((1, 3), (2, 5)):
        make_bank(root / str(version), list(range(count)), 3, log=lambda *a, **k: None, version=version)
    return root / "1", root / "2"


@pytest.mark.parametrize("key", [4, slice(2, 6), [5, 0, 3, 3], (np.array([7, 1, 2]), np.array([0, 2, 1])), ([0, 6], 1), (5, 2)])
def test_stacked_arrays_index_like_one(scripts, key):
    rng = np.random.default_rng(0)
    parts = [rng.normal(size=(n, 3, 2)) for n in (3, 5)]
    stacked, whole = scripts["bank"].Stacked(parts), np.concatenate(parts)
    assert stacked.shape == whole.shape and len(stacked) == 8
    assert np.array_equal(stacked[key], whole[key])


def test_two_banks_are_read_as_one_and_share_the_batches(scripts, folders):
    both = scripts["bank"].Bank(*folders)
    assert both.count == 8 and both.versions == [1, 2]
    assert both.captions == [make_object(i).caption for i in range(3)] + [make_object(i, 2).caption for i in range(5)]
    second = scripts["bank"].Bank(folders[1])
    assert torch.equal(both.pictures([3, 7], [1, 2]), second.pictures([0, 4], [1, 2]))
    assert torch.equal(both.cameras([3, 7], [1, 2]).azimuth, second.cameras([0, 4], [1, 2]).azimuth)
    picks = both.draw(np.random.default_rng(0), 4000)
    assert picks.min() == 0 and picks.max() == 7
    assert (picks < 3).mean() == pytest.approx(0.5, abs=0.04), "half of a batch from each version, whatever their sizes"
    lone = second.draw(np.random.default_rng(3), 50)
    assert np.array_equal(lone, np.random.default_rng(3).integers(0, 5, 50)), "one bank draws as before"


def test_latents_are_cached_per_bank(scripts, folders, tmp_path):
    embedded.save_module(seeded(embedded.build_vae, 0), tmp_path / "vae.safetensors")
    both = scripts["bank"].Bank(*folders)
    latents = scripts["networks"].encode_bank(both, tmp_path)
    vae = embedded.load_module(embedded.build_vae(), tmp_path / "vae.safetensors")
    expected = vae.encode(both.pictures([6], [1]).permute(0, 3, 1, 2) * 2 - 1).latent_dist.mode()[0]
    assert latents.shape == (8, 3, 4, 16, 16) and (folders[1] / "latents.npy").is_file()
    assert np.allclose(latents[6, 1], expected.numpy(), atol=2e-2)
    (tmp_path / "vae.safetensors").unlink()
    assert np.array_equal(scripts["networks"].encode_bank(both, tmp_path)[6, 1], latents[6, 1]), "not encoded again"


def test_a_continued_clip_keeps_what_its_text_tower_said(scripts, tmp_path):
    """Networks that read hidden states of known captions must see exactly what they saw; only new words may change."""
    old_words, new_words = ["a", "ball", "blue", "red"], ["a", "ball", "blue", "glossy", "k", "red", "robot"]
    before, after = WordTokenizer(old_words, 16), WordTokenizer(new_words, 16)
    old = seeded(lambda: embedded.build_clip(before.vocab_size), 0)
    embedded.save_module(old, tmp_path / "clip.safetensors")
    old = embedded.load_module(old, tmp_path / "clip.safetensors")
    (tmp_path / "settings.json").write_text(json.dumps({"words": old_words}))
    new = embedded.build_clip(after.vocab_size)
    restore = scripts["networks"].keep_text_tower(new, after, tmp_path)
    optimizer = torch.optim.AdamW(new.parameters(), lr=1e-2, weight_decay=0.1)
    word = new.token_embedding.weight[after.index["robot"]].detach().clone()
    for _ in range(3):
        optimizer.zero_grad()
        (new.encode_text(after(["a glossy robot", "a blue ball k"])).square().sum() + new.visual.proj.sum()).backward()
        optimizer.step()
    restore(new)
    with torch.no_grad():
        known = ["a red ball", "blue", ""]
        assert torch.equal(text_hidden_states(new, after(known)), text_hidden_states(old, before(known)))
        assert not torch.allclose(text_hidden_states(new, after(["a robot"])), text_hidden_states(old, before(["a robot"])))
    assert not torch.allclose(new.token_embedding.weight[after.index["robot"]], word)
    assert not torch.allclose(new.text_projection, old.text_projection) and not torch.allclose(new.visual.proj, old.visual.proj)


def test_a_clip_of_another_size_is_refused(scripts, tmp_path):
    words = WordTokenizer(["a"], 16)
    model = embedded.build_clip(words.vocab_size)
    state = model.state_dict()
    from safetensors.torch import save_file

    save_file({k: v for k, v in state.items() if k != "visual.proj"}, str(tmp_path / "clip.safetensors"))
    (tmp_path / "settings.json").write_text(json.dumps({"words": ["a"]}))
    with pytest.raises(ValueError, match="visual.proj"):
        scripts["networks"].keep_text_tower(model, words, tmp_path)


def test_every_word_of_the_captions_is_in_the_vocabulary(scripts):
    tokenizer = WordTokenizer(scripts["networks"].vocabulary(), 16)
    for version in (1, 2):
        for seed in range(40):
            caption = make_object(seed, version).caption + ", front view"
            assert not tokenizer.unknown(caption) and len(tokenizer.split(caption)) <= 14, caption


def test_the_nearest_training_object_of_a_training_object_is_itself(scripts, folders):
    both, second = scripts["bank"].Bank(*folders), scripts["bank"].Bank(folders[1])
    assert scripts["measure"].nearest_objects(second, both) == [(train_seed(i), 2) for i in range(5)]
    assert scripts["measure"].nearest_objects(both, both)[:3] == [(train_seed(i), 1) for i in range(3)]


def test_curves_of_resumed_runs_count_repeated_steps_once(scripts, tmp_path):
    log = tmp_path / "curve.csv"
    log.write_text("50,0.5,10\n100,0.4,20\n150,0.3,30\n100,0.39,21\n150,0.29,31\n")
    assert scripts["curves"].read_curve(log).tolist() == [[50, 0.5, 10], [100, 0.39, 21], [150, 0.29, 31]]


def test_the_vocabulary_shipped_is_the_shipped_clips():
    settings = json.loads((embedded.FOLDER / "settings.json").read_text(encoding="utf-8"))
    from safetensors import safe_open

    with safe_open(str(embedded.FOLDER / "clip.safetensors"), "pt") as file:
        assert file.get_slice("token_embedding.weight").get_shape()[0] == WordTokenizer(settings["words"], 16).vocab_size
