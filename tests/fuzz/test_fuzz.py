"""Mutated files of every kind: a valid result or one clear InputError, in a child process with limits.

The long form is ``launch.py bench fuzz``; cases that it found stand in ``FOUND``.
"""

import pytest
import torch
from lift123.pipelines.core.mesh import Mesh
from lift123.verification import fuzz
from lift123.verification.fuzz_mutations import mutation
from lift123.verification.fuzz_seeds import SEEDS

NUMBERS = 30  # mutations of each kind: 300 in all

# (kind, number) that once ended in something else than a result or a clear error (texture faces of layers: below).
FOUND = [("glb", 631), ("layers", 471), ("obj", 172), ("mtl", 159), ("mtl", 171), ("mtl", 184)]


def test_mutations_end_in_a_result_or_a_clear_error():
    cases = [(kind, number) for kind in SEEDS for number in range(NUMBERS)] + FOUND
    assert len(cases) >= 300
    tallies = fuzz.fuzz(cases)
    wrong = [f"{kind} {number}: {how}: {said}" for kind, t in tallies.items() for number, how, said in t.wrong]
    assert not wrong, "\n".join(wrong)
    counts = {kind: dict(tally.counts) for kind, tally in tallies.items()}
    assert sum(sum(c.values()) for c in counts.values()) == len(cases)
    for kind in ("glb", "obj", "stl", "picture", "checkpoint"):  # damage that is none is among them, too
        assert counts[kind].get("valid", 0) > 0 and counts[kind].get("refused", 0) > 0, counts


def test_a_mutation_is_named_by_its_number():
    for kind in SEEDS:
        assert mutation(kind, 3) == mutation(kind, 3)
    assert len({mutation("glb", number) for number in range(50)}) > 45
    assert sum(mutation("obj", number) != SEEDS["obj"]()[0] for number in range(50)) > 45


@pytest.mark.parametrize("kind", SEEDS)
def test_seeds_are_small(kind):
    assert 0 < max(map(len, SEEDS[kind]())) < 100_000


def test_what_must_not_be_is_counted():
    """Another exception, a slow or a large mutation, an error without a remedy, a process that ended."""
    tally = fuzz.Tally("glb")
    tally.add(1, "valid", "", 0.1, 5)
    tally.add(2, "refused", "GLB file: ...")
    assert not tally.wrong and tally.counts == {"valid": 1, "refused": 1}
    for number, (how, seconds, memory) in enumerate((("KeyError", 0, 0), ("valid", 6, 0), ("refused", 0, 2 << 30),
                                                     ("unclear", 0, 0), ("died (-11)", 0, 0)), 3):
        tally.add(number, how, "words", seconds, memory)
    assert [number for number, *_ in tally.wrong] == [3, 4, 5, 6, 7] and tally.counts["wrong"] == 5
    assert (tally.seconds, tally.memory) == (6, 2 << 30)


def test_a_process_that_ends_is_replaced(monkeypatch, tmp_path):
    """A worker that dies at one mutation, hangs at another, and never starts: what came before and after counts."""
    worker = tmp_path / "worker.py"
    worker.write_text(
        "import json, os, signal, sys, time\n"
        "for kind, number in json.loads(sys.argv[1]):\n"
        "    print(json.dumps(['begin', kind, number]), flush=True)\n"
        "    if number == 2:\n        os.kill(os.getpid(), signal.SIGSEGV)\n"
        "    if number == 4:\n        os.kill(os.getpid(), signal.SIGPROF)\n"
        "    print(json.dumps(['end', kind, number, 'valid', '', 0.0, 0]), flush=True)\n")
    monkeypatch.setattr(fuzz, "WORKER", worker)
    tally = fuzz.fuzz([("glb", number) for number in range(7)], batch=5)["glb"]
    assert [(number, how) for number, how, _ in tally.wrong] == [(2, "died (-11)"), (4, "hang")]
    assert tally.counts == {"valid": 5, "wrong": 2}
    worker.write_text("raise SystemExit('nothing')")
    with pytest.raises(RuntimeError, match="did not start"):
        fuzz.fuzz([("glb", 0)])


def test_faces_of_textures_stay_inside():
    """Found in a file of layers: a face that refers to a texture coordinate which is not there."""
    points, faces = torch.zeros(3, 3), torch.tensor([[0, 1, 2]])
    for wrong in (3, -1):
        with pytest.raises(ValueError, match="face_uvs refer to uvs outside 0..2"):
            Mesh(points, faces, None, torch.zeros(3, 2), torch.tensor([[0, 1, wrong]]))
