"""What a diffusion network says about a picture, as a loss (``core/prior.py``), and how several are combined."""
