"""More than six hundred inputs thought of by hand: each is refused in a clear sentence, or gives finite numbers where it may."""

import logging

import pytest
from helpers import bad_answers
from helpers.bad_inputs_more import CASES
from helpers.sources import ROOT

NODES = sorted({case.node for case in CASES.values()})


@pytest.fixture(autouse=True)
def stand_ins(tmp_path, monkeypatch):
    import folder_paths

    for name in ("output_directory", "input_directory", "temp_directory"):
        monkeypatch.setattr(folder_paths, name, getattr(folder_paths, name))
    bad_answers.folders(tmp_path)
    monkeypatch.setattr(bad_answers.specs.Network, "load", bad_answers.stand_in)
    logging.disable(logging.WARNING)
    yield
    logging.disable(logging.NOTSET)


def test_there_are_more_than_six_hundred():
    assert len(CASES) > 600 and sum(case.must for case in CASES.values()) > 500
    assert f"over {len(NODES)} nodes" in (ROOT / "docs" / "verification.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("node", NODES)
def test_every_input_has_a_clear_answer(node):
    wrong = []
    for name in (name for name, case in CASES.items() if case.node == node):
        kind, said = bad_answers.answer(name)
        if kind not in ("refused", "worked"):
            wrong.append(f"{name!a}: {kind}: {said!a}")
    assert not wrong, "\n".join(wrong)


def test_wrong_answers_are_told(monkeypatch):
    """The judge itself: an exception of another kind, a result where none can be right, an answer that nobody can read."""
    name = "SplitLayers: layers is a mesh"
    node = bad_answers.NODES["Lift123_SplitLayers"]

    def raises(error):
        def execute(**_):
            raise error

        return execute

    unclear = bad_answers.InputError("layers", "x" * 2000, "y", "Do this.")
    for error, expected in (
        (ValueError("x"), "unclear"),
        (unclear, "unclear"),
        (bad_answers.InputError("a", "b", "c", ""), "unclear"),
        (bad_answers.InputError("a", "b", "c", "Do d."), "refused"),
    ):
        monkeypatch.setattr(node, "execute", raises(error))
        assert bad_answers.answer(name)[0] == expected
    monkeypatch.setattr(node, "execute", lambda **_: None)
    assert bad_answers.answer(name)[0] == "accepted wrongly"
