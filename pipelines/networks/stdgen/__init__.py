"""StdGEN networks (He et al. 2025) on diffusers: canonicaliser, multi-view diffusion, S-LRM."""
