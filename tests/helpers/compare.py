"""Equality within rounding, and seeded draws."""

import pytest
import torch

ldm_tiny = pytest.importorskip("helpers.ldm_tiny")


SEEDS = (0, 1, 2)


def close(ours, theirs, tolerance: float = 2e-5) -> None:
    """Equal within float32 rounding, relative to the size of the answer; and neither constant nor broken."""
    assert ours.shape == theirs.shape and bool(torch.isfinite(theirs).all())
    assert float(theirs.std()) > 1e-3
    error = float((ours - theirs).abs().max() / theirs.abs().max())
    assert error < tolerance, error


def draw(seed, *shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))
