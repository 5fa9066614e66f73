"""The way of a far device, run on the CPU, against the way of the CPU."""

import pytest
import torch
from lift123.pipelines.core import doubts
from lift123.pipelines.core.far import far, pretending, select
from lift123.pipelines.core.mesh import fits
from lift123.pipelines.core.randomness import normal, step_generator, uniform


def test_pretending_ends():
    assert not far("cpu") and far("cuda")
    with pretending():
        assert far("cpu")
    assert not far("cpu")


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_select_is_nonzero(share):
    mask = torch.rand(50, generator=torch.Generator().manual_seed(1)) < share
    with pretending():
        assert torch.equal(select(mask, int(mask.sum())), mask.nonzero()[:, 0])


def test_faces_are_looked_at_again_when_they_change():
    faces = torch.tensor([[0, 1, 2]])
    with pretending():
        assert fits(faces, 3) and fits(faces, 3) and not fits(faces, 2)
        faces[0, 2] = 7
        assert not fits(faces, 3)


def test_random_numbers_of_the_cpu_are_what_they_were():
    like = torch.zeros(1)
    drawn = torch.randn(3, 2, generator=step_generator(1, "x", 2)), torch.rand(4, generator=step_generator(1, "x", 2))
    assert torch.equal(normal((3, 2), step_generator(1, "x", 2), like), drawn[0])
    assert torch.equal(uniform((4,), step_generator(1, "x", 2), "cpu"), drawn[1])


def test_a_doubt_is_decided_now_or_with_the_next_step():
    with pytest.raises(ValueError, match="wrong"):
        doubts.doubt(torch.tensor(False), lambda: ValueError("wrong"))
    mail, told = doubts.Mail(), []
    for step, fine in enumerate((True, False, True)):
        with doubts.collected() as found:
            doubts.doubt(torch.tensor(fine), lambda: ValueError("wrong"))
            assert bool(doubts.all_fine()) == fine
        mail.send(step, {"rgb": torch.tensor(float(step))}, found)
        told += list(mail.open())
    assert [step for step, _, _ in told] == [0, 1]
    assert told[0][2] is None and isinstance(told[1][2], ValueError) and told[1][1] == {"rgb": 1.0}
    assert [step for step, _, _ in mail.open(all_of_it=True)] == [2]
