"""StdGEN networks (He et al. 2025) on diffusers: canonicalizer, multi-view diffusion, S-LRM."""
