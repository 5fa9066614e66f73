"""Toy characters: procedural figures with body, clothing and hair as separate solids, poses, and ground truth.

``make_character(seed)`` gives a :class:`~.character.ToyCharacter`: its layers in A-pose (``.layers``), in any pose
(``.posed``), as a function of space (``.field``).  ``render_levels`` draws the six views of every peel level,
``input_picture`` the picture in an arbitrary pose from which everything has to be found again.
"""

from .character import ToyCharacter, character_field, heldout_character, make_character, mesh_layers, train_character
from .render import input_picture, render_levels, render_semantics
from .skeleton import A_POSE, random_pose

__all__ = (
    "A_POSE", "ToyCharacter", "character_field", "heldout_character", "input_picture", "make_character", "mesh_layers",
    "random_pose", "render_levels", "render_semantics", "train_character",
)
