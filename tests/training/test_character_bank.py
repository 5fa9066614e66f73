"""The bank of toy characters: resumable, and what is read is what was drawn."""

import json

import numpy as np
import pytest
import torch
from lift123.pipelines.toybox import characters


@pytest.fixture(scope="module")
def bank(tmp_path_factory):
    import character_bank

    character_bank.CELLS = 24  # coarse, for speed
    return character_bank, character_bank.make_bank(
        tmp_path_factory.mktemp("bank"), [3, 4], 24, log=lambda *a, **k: None
    )


def test_what_is_read_is_what_was_drawn(bank):
    module, folder = bank
    read = module.CharacterBank(folder)
    assert read.count == 2 and read.captions == [characters.make_character(s).caption for s in (3, 4)]
    for i, seed in enumerate((3, 4)):
        truth = characters.render_levels(characters.make_character(seed).posed({}, 24), 24)
        views = read.views(i)
        assert (views.color - truth.color).abs().max() < 0.5 / 255 + 1e-6
        assert (views.alpha - truth.alpha).abs().max() < 0.5 / 255 + 1e-6
        solid = truth.alpha > 0.9
        assert ((views.normal * truth.normal).sum(-1)[solid] > 0.999).all()
        classes = read.get("semantic", i)
        assert classes.shape == (3, 6, 24, 24) and set(torch.unique(classes).tolist()) <= {-1, 0, 1, 2, 3}
        assert 0 not in classes[1:] and 3 not in classes[2]
    assert read.inputs([0, 1]).shape == read.canonical([0, 1]).shape == (2, 24, 15, 3)
    assert torch.equal(read.canonical([1])[0], read.views(1).color[0, 0, :, 4:19])


def test_an_interrupted_bank_continues_to_the_same_end(bank, tmp_path):
    module, folder = bank
    kept = []

    def stop(*_, **__):
        raise KeyboardInterrupt

    original = module.entry
    module.entry = lambda *a: kept.append(a) or (original(*a) if len(kept) < 2 else stop())
    try:
        with pytest.raises(KeyboardInterrupt):
            module.make_bank(tmp_path, [3, 4], 24, log=lambda *a, **k: None)
    finally:
        module.entry = original
    module.make_bank(tmp_path, [3, 4], 24, log=lambda *a, **k: None)
    for name in ("color", "normal", "alpha", "semantic", "input"):
        assert np.array_equal(np.load(tmp_path / f"{name}.npy"), np.load(folder / f"{name}.npy"))
    assert json.loads((tmp_path / "done.json").read_text()) == json.loads((folder / "done.json").read_text())
    with pytest.raises(ValueError, match="other seeds"):
        module.make_bank(tmp_path, [5, 6], 24, log=lambda *a, **k: None)
