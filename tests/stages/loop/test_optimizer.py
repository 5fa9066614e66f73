"""Optimizers: Adan against its paper's algorithm written out, states that go on or start anew."""

import pytest
import torch
from lift123.pipelines.stages.loop.adan import Adan
from lift123.pipelines.stages.loop.optimizer import optimizer_of, pack_optimizer, unpack_optimizer


def test_adan_is_algorithm_1_of_its_paper():
    """In double precision, with the paper's betas and its own order of things, 12 steps on a moving gradient."""
    b1, b2, b3, rate, eps, decay = 0.02, 0.08, 0.01, 0.05, 1e-8, 2e-5
    gradients = torch.randn(12, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    parameter = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64, requires_grad=True)
    optimizer = Adan([parameter], lr=rate, eps=eps, weight_decay=decay)
    theta, m, v, n, former = parameter.detach().clone(), 0.0, 0.0, 0.0, gradients[0]
    for k, g in enumerate(gradients, 1):
        m = (1 - b1) * m + b1 * g
        v = (1 - b2) * v + b2 * (g - former)
        n = (1 - b3) * n + b3 * (g + (1 - b2) * (g - former)) ** 2
        m_hat, v_hat, n_hat = m / (1 - (1 - b1) ** k), v / (1 - (1 - b2) ** k), n / (1 - (1 - b3) ** k)
        theta = (theta - rate / (n_hat.sqrt() + eps) * (m_hat + (1 - b2) * v_hat)) / (1 + decay * rate)
        former = g
        parameter.grad = g.clone()
        optimizer.step()
        torch.testing.assert_close(parameter.detach(), theta, rtol=1e-12, atol=0)


@pytest.mark.parametrize("method", ["adam", "adan"])
def test_kept_state_goes_on_bit_for_bit_and_another_methods_starts_anew(method):
    def made(name):
        parameter = torch.ones(4, requires_grad=True)
        return parameter, optimizer_of(name, [{"params": [parameter], "lr": 0.1}], torch.device("cpu"))

    def step(parameter, optimizer, i):
        parameter.grad = torch.sin(torch.arange(4.0) + i)
        optimizer.step()

    whole, optimizer = made(method)
    for i in range(3):
        step(whole, optimizer, i)
    kept = {k.removeprefix("optim/"): v for k, v in pack_optimizer(optimizer).items()}
    again, fresh = made(method)
    again.data.copy_(whole.data)
    unpack_optimizer(fresh, kept)
    for i in range(3, 6):
        step(whole, optimizer, i)
        step(again, fresh, i)
    assert torch.equal(whole, again)
    other, strange = made({"adam": "adan", "adan": "adam"}[method])
    unpack_optimizer(strange, kept)
    assert not strange.state
    step(other, strange, 0)
    assert bool(other.isfinite().all())
