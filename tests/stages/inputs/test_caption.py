"""Proposed prompts: colors by pixels, nouns by an exact scorer and by the embedded network on toys that it never saw."""

import pytest
import torch
from lift123.pipelines.catalog.kinds import KINDS
from lift123.pipelines.core.cameras import HOME
from lift123.pipelines.core.errors import InputError
from lift123.pipelines.stages.inputs.caption import COLORS, NOUNS, colors_of, propose
from lift123.pipelines.toybox.objects import heldout_seed, make_object
from lift123.pipelines.toybox.patterns import PALETTE
from lift123.pipelines.toybox.render import render_toy


class Scorer:
    """Finds a text as alike as it shares words with the truth."""

    tokenizer = staticmethod(lambda texts: texts)

    def __init__(self, truth):
        self.truth = truth.split()

    def image_embedding(self, images):
        return torch.ones(len(images), 1)

    def text_embedding(self, texts):
        rows = [[sum(w in self.truth for w in t.split()) - 0.5 * sum(w not in self.truth for w in t.split())] for t in texts]
        return torch.tensor(rows).float()


def patch(*parts):
    """[32, 32, 3]: white, with rows of named colors."""
    picture = torch.ones(32, 32, 3)
    for name, top, bottom in parts:
        picture[top:bottom, 4:28] = torch.tensor(PALETTE[name])
    return picture


def test_colors_by_how_much_of_the_object_they_cover():
    assert COLORS == PALETTE, "the words of the embedded network's captions"
    for name in PALETTE:
        assert colors_of(patch((name, 4, 28))) == [name]
        assert colors_of(patch((name, 4, 28)) * 0.97)[0] == name or name in ("white", "grey", "black")
    assert colors_of(patch(("teal", 4, 20), ("pink", 20, 28), ("red", 28, 29))) == ["teal", "pink"]


@pytest.mark.parametrize("truth", ["a teal mug", "a teal round table checkered with pink", "a teal owl striped with pink"])
def test_the_best_words_win(truth):
    found = propose(patch(("teal", 4, 20), ("pink", 20, 28)), Scorer(truth))
    assert found[0].text == truth and [c.score for c in found[:1]] == [float(len(truth.split()))]


def test_nouns_are_the_persons_and_strange_ones_are_refused(weights):
    picture = patch(("red", 4, 28))
    assert propose(picture, Scorer("a red sofa"), "sofa, easy  chair\nlamp")[0].text == "a red sofa"
    for nouns in ("", " , ", ",".join(f"n{i}" for i in range(1001))):
        with pytest.raises(InputError, match="nouns"):
            propose(picture, Scorer("a red sofa"), nouns)
    clip = KINDS["clip"].load_embedded(torch.device("cpu"))
    assert not [n for n in NOUNS.split(", ") if clip.tokenizer.unknown(n)]
    with pytest.raises(InputError, match="0 of 1"):
        propose(picture, clip, "sofa")


def test_on_toys_most_color_words_are_right(weights):
    """Chance is 1 of 15 for the color and 1 of 59 for the noun; the full measurement stands in docs/photographs.md."""
    clip, color, noun = KINDS["clip"].load_embedded(torch.device("cpu")), 0, 0
    for index in range(10):
        toy = make_object(heldout_seed(500 + index))
        picture = render_toy(toy, HOME.orbit(0.0, 0.0, 64), supersample=1).on_background(1.0)[0]
        text = propose(picture, clip)[0].text
        color, noun = color + (text.split()[1] in toy.caption.split()), noun + (f" {toy.name}" in text)
    assert color >= 7 and noun >= 3
