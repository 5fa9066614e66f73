"""Algorithms that run a frozen network without training it: inversion, reference-guided enhancement (RGNV)."""
