"""Canonicalization and multi-view diffusion that were stopped or failed go on bit for bit: latents, step, noise generator."""

from dataclasses import dataclass, replace

import pytest
import torch
from helpers.comfy_modules import prepare
from helpers.stdgen_toys import SIZE, Knows, person, six

prepare()
import comfy.model_management as mm
from helpers.stdgen_wires import SAMPLER
from lift123.host import specs
from lift123.nodes import characters
from lift123.pipelines.core.errors import InputError, StopStage
from lift123.pipelines.core.step import keep_no_state
from lift123.pipelines.io.autosave import Autosave
from lift123.pipelines.stages.characters.canonicalize import CanonicalSettings, canonicalize
from lift123.pipelines.stages.characters.multiview import MultiViewSettings, draw_stock_views, draw_views
from lift123.pipelines.stages.characters.unfinished import Unfinished, run_key

PICTURE = torch.rand(64, 40, 3, generator=torch.Generator().manual_seed(5))
NOISY = MultiViewSettings(unclip_noise=True, preview_every=0)


@dataclass
class Wanders(Knows):
    """A network whose answer depends on all that it is given, so that no two ways lead to one picture.

    fail: evaluation that runs out of memory, counted from 1; blind: pictures cannot be decoded.
    """

    eta: float = 1.0
    fail: int = 0
    blind: bool = False

    def show(self, picture, generator=None):
        drawn = 0.0 if generator is None else float(torch.randn(1, generator=generator))
        return float(picture.mean()) + drawn

    see = show

    def decode(self, latents):
        if self.blind:
            raise MemoryError("no room for pictures")
        return super().decode(latents)

    def predict(self, noisy, t, seen, *rest):
        level, guidance = rest if len(rest) == 2 else (0, rest[0])
        self.asked.append((level, t, guidance))
        if len(self.asked) == self.fail:
            raise MemoryError("no room for another step")
        return torch.sin(2 * noisy + t / 100 + level) * guidance + 0.3 * noisy + seen


def wanders(**more):
    return Wanders({level: six(level) for level in range(3)}, **more)


def front(**more):
    return Wanders({0: torch.rand(1, *SIZE, 3, generator=torch.Generator().manual_seed(0))}, **more)


def stop_after(count):
    """``on_step`` of a person who stops the stage after so many steps."""
    heard = []

    def on_step(step):
        heard.append(step)
        if len(heard) == count:
            raise StopStage

    return on_step


def left_of(run, tmp_path):
    """What ``run(autosave)`` leaves, after a way through a file."""
    saves, kept = Autosave(tmp_path, "left", "key", 0.0), []

    def keep(make, now=False):
        if now:
            kept.append(make())
            saves(make, now)

    run(keep)
    assert len(kept) == 1
    found = Autosave(tmp_path, "left", "key").find(Unfinished.unpack)
    assert found.step == kept[0].step == found.before + found.done
    saves.clear()
    return found


def asked_for(left):
    """A ``resume`` that insists on the right run."""
    return {left.key: left}.__getitem__


def same(a, b):
    return all(torch.equal(getattr(a, name), getattr(b, name)) for name in ("color", "normal", "alpha")) and a.levels == b.levels


@pytest.mark.parametrize("count", [1, 3, 4])
def test_canonicalize_goes_on_bit_for_bit(tmp_path, count):
    whole, first, second, steps = canonicalize(front(), person()), front(), front(), []
    left = left_of(lambda keep: canonicalize(first, person(), on_step=stop_after(count), autosave=keep), tmp_path)
    assert left.done == count == len(first.asked) and left.latents.dtype == torch.float32
    again = canonicalize(second, person(), on_step=steps.append, resume=asked_for(left))
    assert again.finished and torch.equal(again.picture, whole.picture)
    assert first.asked + second.asked == [(0, t, 2.5) for t in (999, 749, 499, 249)], "no step is made twice"
    assert [s.index for s in steps] == list(range(count + 1, 5))


@pytest.mark.parametrize("count", [2, 4, 5, 9, 12])
def test_multi_view_goes_on_bit_for_bit_with_its_noise(tmp_path, count):
    """In the middle and at the end of each level; with fresh noise in every step and in the embedding."""
    whole, first, second, steps = draw_views(wanders(), PICTURE, NOISY), wanders(), wanders(), []
    left = left_of(lambda keep: draw_views(first, PICTURE, NOISY, on_step=stop_after(count), autosave=keep), tmp_path)
    assert (left.part, left.done) == ((count - 1) // 4, (count - 1) % 4 + 1) and set(left.finished) == set(range(left.part))
    again = draw_views(second, PICTURE, NOISY, on_step=steps.append, resume=asked_for(left))
    assert same(again, whole) and len(first.asked) == count and len(second.asked) == 12 - count
    assert [s.index for s in steps] == list(range(count + 1, 13))


def test_the_generator_is_what_makes_it_the_same(tmp_path):
    """The check above can fail: with another state of the generator the pictures are others."""
    whole = draw_views(wanders(), PICTURE, NOISY)
    left = left_of(lambda keep: draw_views(wanders(), PICTURE, NOISY, on_step=stop_after(6), autosave=keep), tmp_path)
    wrong = replace(left, generator=torch.Generator().manual_seed(1).get_state())
    assert not same(draw_views(wanders(), PICTURE, NOISY, resume=asked_for(wrong)), whole)


def test_it_can_be_stopped_again_and_again(tmp_path):
    whole, left = draw_views(wanders(), PICTURE, NOISY), None
    for _ in range(3):
        resume = (lambda key: None) if left is None else asked_for(left)
        left = left_of(lambda keep, resume=resume: draw_views(
            wanders(), PICTURE, NOISY, on_step=stop_after(3), autosave=keep, resume=resume), tmp_path)
    assert (left.part, left.done, set(left.finished)) == (2, 1, {0, 1})
    assert same(draw_views(wanders(), PICTURE, NOISY, resume=asked_for(left)), whole)


def test_what_an_error_interrupts_is_kept(tmp_path):
    def fails(network, draw):
        def run(keep):
            with pytest.raises(MemoryError):
                draw(network, keep)
        return left_of(run, tmp_path)

    one = lambda network, keep=keep_no_state, **more: canonicalize(network, person(), autosave=keep, **more)  # noqa: E731
    six_views = lambda network, keep=keep_no_state, **more: draw_views(network, PICTURE, NOISY, autosave=keep, **more)  # noqa: E731
    left = fails(front(fail=3), one)
    assert left.done == 2 and torch.equal(one(front(), resume=asked_for(left)).picture, one(front()).picture)
    left, rest = fails(wanders(fail=7), six_views), wanders()
    assert (left.part, left.done) == (1, 2) and same(six_views(rest, resume=asked_for(left)), six_views(wanders()))
    left, rest = fails(front(blind=True), one), front()
    assert torch.equal(one(rest, resume=asked_for(left)).picture, one(front()).picture) and not rest.asked, "decoded only"
    kept = []
    with pytest.raises(MemoryError):
        one(front(fail=1), lambda make, now=False: kept.append(make()))
    assert not kept, "nothing was computed"


def test_stock_era3d_goes_on_too(tmp_path):
    def stock():
        return wanders(stock=True)

    left = left_of(lambda keep: draw_stock_views(stock(), person(), on_step=stop_after(2), autosave=keep), tmp_path)
    assert same(draw_stock_views(stock(), person(), resume=asked_for(left)), draw_stock_views(stock(), person()))


def test_another_run_is_another_key(tmp_path):
    keys = []

    def key_of(picture=PICTURE, **changes):
        draw_views(wanders(), picture, replace(NOISY, **changes), resume=keys.append, on_step=stop_after(1))

    key_of()
    key_of(preview_every=1)
    for changes in ({"seed": 1}, {"steps": 3}, {"guidance": 1.0}, {"eta": 0.5}, {"levels": (0, 1)}, {"unclip_noise": False},
                    {"picture": PICTURE.flip(0)}):
        key_of(**changes)
    assert keys[0] == keys[1] and len(set(keys)) == 8
    assert run_key("a", PICTURE, {}) != run_key("b", PICTURE, {}) and len(keys[0]) == 32
    left = left_of(lambda keep: canonicalize(front(), person(), on_step=stop_after(2), autosave=keep), tmp_path)
    for wrong in (left, replace(left, key="x")):
        with pytest.raises(InputError, match="Delete the file"):
            canonicalize(front(), person(), CanonicalSettings(seed=3), resume=lambda key, wrong=wrong: wrong)
    with pytest.raises(InputError, match="at most 1 steps"):
        canonicalize(front(), person(), CanonicalSettings(steps=1), resume=lambda key: replace(left, key=key))


# ---------------------------------------------------------------------------------------------- nodes


def files_in(folder):  # noqa: F811
    return sorted((folder / "lift123").rglob("*.safetensors")) if (folder / "lift123").is_dir() else []


def queue(node, given):
    return node.execute(**given).result


@pytest.mark.parametrize("which", ["Canonicalize", "CharacterMultiView"])
def test_an_interrupted_node_goes_on_when_it_is_queued_again(toy, networks, folder, monkeypatch, which):  # noqa: F811
    given = {**SAMPLER, "steps": 2}
    if which == "Canonicalize":
        given |= {"image": toy[0], "mask": toy[1], "canonical": networks[0], "mask_marks": "object", "complete": False}
    else:
        given |= {"image": toy[2], "multiview": networks[1], "levels": "complete"}
    node, said = getattr(characters, which), []
    whole = queue(node, given)
    assert not files_in(folder), "a run that comes to its end leaves nothing"
    monkeypatch.setattr("lift123.host.runner.say", lambda text, key: said.append(text))
    mm.interrupt_current_processing(True)
    with pytest.raises(mm.InterruptProcessingException):
        queue(node, given)
    (left,) = files_in(folder)
    assert left.parent == folder / "lift123" / "unfinished"
    assert f"output/lift123/unfinished/{left.name}; queueing the same graph again continues from it" in said[-1]
    again = queue(node, given)
    assert all(torch.equal(a, b) for a, b in zip(again[-2:], whole[-2:], strict=True) if torch.is_tensor(a))
    assert torch.equal(again[0], whole[0]) if which == "Canonicalize" else same(again[0], whole[0])
    assert any(text.endswith("continued from step 1") for text in said) and not files_in(folder)


def test_another_network_or_a_damaged_file_begins_anew(toy, networks, folder, monkeypatch):  # noqa: F811
    given = {**SAMPLER, "steps": 2, "image": toy[0], "mask": toy[1], "canonical": networks[0], "mask_marks": "object",
             "complete": False}
    node, heard = characters.Canonicalize, []
    for interrupted in (True, True):
        mm.interrupt_current_processing(interrupted)
        with pytest.raises(mm.InterruptProcessingException):
            queue(node, given)
        assert len(files_in(folder)) == 1, "the same run has the same file"
        files_in(folder)[0].write_bytes(b"no")
    monkeypatch.setattr("lift123.host.runner.say", lambda text, key: heard.append(text))
    other = specs.Network("canonical", "another")
    queue(node, {**given, "canonical": other})
    assert len(files_in(folder)) == 1, "it belongs to another network"
    queue(node, given)
    assert not files_in(folder) and not any("continued" in text for text in heard)
