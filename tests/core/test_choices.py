"""Words that settings choose from: what a Literal says is what a setting takes, no more and no less."""

from dataclasses import fields, is_dataclass
from typing import Literal, get_args, get_origin, get_type_hints

import pytest
from lift123.pipelines import consistent123, hifi123, magic123
from lift123.pipelines.core.schedules import Form, rise
from lift123.pipelines.methods.rgnv import RgnvSettings
from lift123.pipelines.priors.rgsd import RgsdSettings
from lift123.pipelines.priors.sds import SdsSettings
from lift123.pipelines.render.shading import Shading
from lift123.pipelines.stages.loop.step_config import StepConfig
from lift123.pipelines.stages.objects.import_mesh import ImportConfig
from lift123.pipelines.stages.objects.place_mesh import Placement
from lift123.pipelines.stages.objects.refine_mesh import MeshConfig

CHECKED = (StepConfig, MeshConfig, SdsSettings, RgsdSettings, RgnvSettings, ImportConfig, Placement, Shading)


def words(kind) -> dict[str, tuple]:
    """Fields of a dataclass that are one of a list of words."""
    hints = get_type_hints(kind)
    return {f.name: get_args(hints[f.name]) for f in fields(kind) if get_origin(hints[f.name]) is Literal}


@pytest.mark.parametrize("kind", CHECKED, ids=lambda kind: kind.__name__)
def test_every_word_is_taken_and_any_other_is_refused(kind):
    found = words(kind)
    assert found
    for name, allowed in found.items():
        unchecked = kind is MeshConfig and name == "init"  # read where the surface is made
        for word in allowed:
            more = {"light": object()} if kind is Shading else {}
            assert getattr(kind(**{name: word}, **more), name) == word
        if not unchecked:
            with pytest.raises(ValueError, match="must be one of"):
                kind(**{name: "neither"})


@pytest.mark.parametrize("paper", [consistent123, magic123, hifi123], ids=lambda paper: paper.__name__.rpartition(".")[2])
def test_presets_use_words_that_exist(paper):
    seen = []

    def look(value):
        for name, allowed in words(type(value)).items():
            assert getattr(value, name) in allowed, (type(value).__name__, name)
            seen.append(name)
        for part in fields(value):
            if is_dataclass(getattr(value, part.name)):
                look(getattr(value, part.name))

    for preset in paper.PRESETS.values():
        look(preset)
    assert {"mode", "rgb_edge", "novel_background", "normal_method", "optimize", "reduction", "weighting"} <= set(seen)


def test_every_form_of_the_ramp_rises_from_nothing_to_one_at_most():
    for form in get_args(Form):
        low, middle, high = rise(form, 0.0), rise(form, 0.5), rise(form, 1.0)
        assert low == pytest.approx(1e-5) and low < middle < high <= 1.0
