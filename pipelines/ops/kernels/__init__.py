"""Warp kernels behind ``ops``, compiled at first use; the public functions next door describe them."""
