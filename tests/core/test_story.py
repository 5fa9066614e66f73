"""Stories: one entry per stage, seconds that add up, nothing lost on the way through JSON."""

import json

import pytest
from lift123.pipelines.core.story import Story


def entry(stage="A", steps=None, total=None, seed=0, **settings):
    return {"stage": stage, "settings": settings, "seed": seed, "steps": steps, "total": total}


def test_stages_follow_each_other_and_seconds_add_up():
    story = Story().then(entry("A", x=1), 1.5).then(entry("B"), 2.0).then(entry("A", x=2), 0.25)
    assert [e["stage"] for e in story.stages] == ["A", "B", "A"] and story.seconds == {"A": 1.75, "B": 2.0}
    assert Story().stages == () and Story().then(entry("A")).seconds == {}


def test_a_stage_that_went_on_is_one_entry():
    half, rest = entry("A", 3, 9, x=1), entry("A", 9, 9, x=1)
    story = Story().then(half, 1.0).then(rest, 2.0)
    assert story.stages == (rest,) and story.seconds == {"A": 3.0}
    assert Story().then(rest).then(rest).stages == (rest, rest), "made twice"
    for other in (entry("B", 9, 9, x=1), entry("A", 9, 9, x=2), entry("A", 9, 9, seed=1, x=1)):
        assert Story().then(half).then(other).stages == (half, other)
    assert Story().then(entry("B")).then(half).then(rest).stages == (entry("B"), rest)


def test_inputs_that_are_known_stay():
    assert Story().given(picture=1).given(picture=2, other=3).inputs == {"picture": 1, "other": 3}


def test_two_stories_join_without_telling_anything_twice():
    first = Story().given(picture=1).then(entry("A"), 1.0)
    old, new = first.then(entry("B"), 2.0), first.then(entry("C"), 3.0).then(entry("B", x=1), 4.0)
    both = old.joined(new)
    assert [e["stage"] for e in both.stages] == ["A", "B", "C", "B"]
    assert both.seconds == {"A": 1.0, "B": 6.0, "C": 3.0} and both.inputs == {"picture": 1}


def test_there_and_back_through_json():
    story = Story().given(picture={"width": 3}).then(entry("A", x=[1, None]), 1.5)
    assert Story.from_json(json.loads(json.dumps(story.to_json()))) == story
    assert Story.from_json(None) == Story() and story.identity() == Story().identity()
    for junk in ([], "x", {"stages": ["x"], "seconds": {}, "inputs": {}}, {"stages": [{}], "seconds": {}, "inputs": {}}):
        with pytest.raises(ValueError, match="story"):
            Story.from_json(junk)
