"""Frozen networks as modules and callables: diffusion priors, CLIP, depth, S-LRM.  Files are read by ``loaders``.

diffusers and open_clip are imported inside the functions that need them, so that importing this
package costs nothing and a missing library is named when, and only when, it is used.
"""
