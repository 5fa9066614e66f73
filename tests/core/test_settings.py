"""Configurations survive JSON, also those of scenes that were saved with former words."""

import json

from lift123.pipelines.core.settings import configured, describe
from lift123.pipelines.stages.loop.step_config import StepConfig


def test_a_former_word_is_read_as_todays():
    config = StepConfig(novel_background="gray")
    saved = json.loads(json.dumps(describe(config)).replace('"gray"', '"grey"'))
    assert saved["novel_background"] == "grey" and configured(StepConfig(), saved) == config
