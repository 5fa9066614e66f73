"""Instruments, not product: what measures and checks the pack.  Nothing that a node runs imports this room.

First-use checks of published files (``weights.py``, run by ``worker.py`` for ``launch.py verify-weights``), yardsticks
for tests and benchmarks: an exact denoiser, baselines, a literal Algorithm 1, fixed toy sets, statistics.
"""
