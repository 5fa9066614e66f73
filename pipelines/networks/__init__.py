"""Frozen networks: diffusion priors, CLIP, depth, and the weights that ship with the pack.

diffusers and open_clip are imported inside the functions that need them, so that importing this
package costs nothing and a missing library is named when, and only when, it is used.
"""
