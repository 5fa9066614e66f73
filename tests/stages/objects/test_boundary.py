"""The CLIP boundary on synthetic score series (C-D.2)."""

import pytest
import torch
from lift123.pipelines.core.errors import InputError
from lift123.pipelines.stages.objects.boundary import BoundaryState, ClipBoundary, clip_boundary, plot_history

TOTAL = 5000


def _run(scores, config=ClipBoundary(), total=TOTAL):
    state = BoundaryState(config)
    check = 0
    for step in range(1, total + 1):
        if state.due(step, total):
            if state.observe(step, scores(check), total):
                break
            check += 1
    return state


def test_constant_score_fires_at_the_sixth_check_in_the_window():
    state = _run(lambda k: 0.28)
    assert len(state.history) == 6
    assert state.switch_step == 2000 + 21 * 5
    assert "below" in state.explanation()


def test_steady_rise_falls_back_to_the_ceiling():
    state = _run(lambda k: 0.2 * 1.01**k)
    assert state.switch_step == 3500
    assert "ceiling" in state.explanation()


def test_plateau_after_a_rise_fires_when_the_mean_of_the_window_is_small():
    scores = [0.2 * 1.01 ** min(k, 10) for k in range(100)]
    state = _run(lambda k: scores[k])
    assert len(state.history) == 16  # 10 rises, then five changes of zero fill the window
    assert all(abs(h[2]) >= 2.5e-4 for h in state.history[5:-1])
    mean = sum((scores[k] - scores[k - 1]) / scores[k - 1] for k in range(8, 13)) / 5
    assert state.history[12][2] == pytest.approx(mean)


def test_signed_rate_fires_on_a_falling_score_and_absolute_does_not():
    falling = lambda k: 0.3 * 0.99**k  # noqa: E731
    assert _run(falling, ClipBoundary(signed=True)).switch_step == 2105
    assert _run(falling, ClipBoundary()).switch_step == 3500


def test_short_runs_decide_at_the_ceiling_even_between_checks():
    state = _run(lambda k: float(k), ClipBoundary(interval=50), total=40)
    assert state.switch_step == 28


def test_state_survives_json_mid_way():
    scores = [0.2 + 0.001 * k for k in range(3)] + [0.203] * 20
    whole = _run(lambda k: scores[k])
    state, check = BoundaryState(ClipBoundary()), 0
    for step in range(1, TOTAL + 1):
        if state.due(step, TOTAL):
            if state.observe(step, scores[check], TOTAL):
                break
            check += 1
            state = BoundaryState.from_json(state.to_json())
    assert state.switch_step == whole.switch_step and state.history == whole.history


def test_plot_marks_the_switch_in_red():
    state = _run(lambda k: 0.28 + 0.01 * (k % 2))
    picture = plot_history(state.to_json())
    assert picture.shape == (256, 512, 3) and float(picture.min()) >= 0 and float(picture.max()) <= 1
    red = (picture[..., 0] > 0.8) & (picture[..., 1] < 0.2)
    assert red.any(0).sum() == 1
    assert plot_history(BoundaryState(ClipBoundary())).shape == (256, 512, 3)


def test_scorer_is_the_mean_cosine_and_needs_a_prompt():
    class Clip:
        def text_embedding(self, texts):
            assert texts == ["a red box"]
            return torch.tensor([[1.0, 0.0]])

        def image_embedding(self, images):
            return torch.tensor([[1.0, 0.0], [0.0, 1.0]])

    boundary = clip_boundary(Clip(), "a red box")
    assert boundary.score(torch.zeros(2, 4, 4, 3)) == pytest.approx(0.5)
    with pytest.raises(InputError):
        clip_boundary(Clip(), "  ")


def test_bad_numbers_are_refused():
    for bad in ({"interval": 0}, {"floor": 0.8, "ceiling": 0.5}, {"views": 0}):
        with pytest.raises(InputError):
            ClipBoundary(**bad)
