"""Configurations survive JSON, also those of scenes that were saved with former words."""

import json

from lift123.pipelines.core.settings import configured, describe
from lift123.pipelines.stages.loop.step_config import StepConfig
from lift123.pipelines.stages.objects.fit_nerf import FORMER, NerfConfig


def test_a_former_word_is_read_as_todays():
    config = StepConfig(novel_background="gray")
    saved = json.loads(json.dumps(describe(config)).replace('"gray"', '"grey"'))
    assert saved["novel_background"] == "grey" and configured(StepConfig(), saved) == config


def test_what_a_saved_scene_lacks_is_read_as_it_was_then():
    saved = json.loads(json.dumps(describe(NerfConfig(iterations=7))))
    for name in ("rgb_over", "mask_against", "averages"):
        del saved[name]
    assert configured(FORMER, saved) == NerfConfig(iterations=7, rgb_over="mask", mask_against="alpha", averages="visible")
