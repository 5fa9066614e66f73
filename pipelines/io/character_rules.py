"""What the parts of other people's characters are called: layers by names and bones, bones by names (rules are ours).

Names are compared in lower case without anything but letters and digits.  VRoid's materials, Mixamo's, Unity's and Blender's
bones were looked at; what no rule knows is told by the bones that hold it.
"""

from __future__ import annotations

import re

from ..core.rig import BONES

EXACT = {"body": "body", "skin": "body", "face": "face", "clothing": "clothing", "clothes": "clothing", "hair": "hair"}
# in the order in which they are asked: "hair_band_cloth" is clothing, "shoes" belong to the body as in the toybox
WORDS = (
    ("clothing", ("cloth", "tops", "bottoms", "onepiece", "shirt", "skirt", "dress", "pants", "trousers", "jacket", "coat",
                  "outfit", "sleeve", "costume", "uniform", "apron", "cape")),
    ("body", ("shoe", "boot", "sock")),
    ("hair", ("hair", "ponytail", "bangs", "braid")),
    ("face", ("face", "eye", "brow", "mouth", "lash", "iris", "teeth", "tongue")),
    ("body", ("body", "skin", "hand", "head", "nail")),
)
SHOES = ("shoe", "boot", "sock")
_ORDER = ("Shoulder", "UpperArm", "LowerArm", "Hand", "UpperLeg", "LowerLeg", "Foot", "Toes")
_LIMB = {
    "Shoulder": ("shoulder", "clavicle", "collar"), "UpperArm": ("upperarm", "arm", "uparm"),
    "LowerArm": ("lowerarm", "forearm", "elbow"), "Hand": ("hand", "wrist"),
    "UpperLeg": ("upperleg", "upleg", "thigh"), "LowerLeg": ("lowerleg", "leg", "calf", "shin", "knee"),
    "Foot": ("foot", "ankle"), "Toes": ("toes", "toe", "toebase", "ball"),
}
_TRUNK = {"hips": ("hips", "hip", "pelvis"), "spine": ("spine", "spine01"), "chest": ("chest", "spine1", "spine02"),
          "neck": ("neck", "neck1", "neck01"), "head": ("head",)}


def plain(name) -> str:
    """Letters and digits of a name, lower case; what stands before a colon (Mixamo's "mixamorig:") is dropped."""
    return re.sub(r"[^a-z0-9]", "", str(name).lower().rsplit(":", 1)[-1])


def part_by_name(*names: str) -> str | None:
    """"body", "face", "clothing" or "hair" by the first of ``names`` that says so; None where none does."""
    for name in names:
        exact = EXACT.get(re.split(r"[.]", str(name).lower())[0])
        if exact:
            return exact
    for name in (plain(n) for n in names):
        if any(word in name for word in SHOES):
            return "body"
        for part, words in WORDS:
            if any(word in name for word in words):
                return part
    return None


def bone_by_name(name: str) -> str | None:
    """VRM's name of a bone that is called as VRM, VRoid, Mixamo, Unity, Unreal or Blender call it; None for others."""
    found = plain(name)
    for prefix in ("jbip", "bip01", "bip", "armature", "def", "org"):
        found = found.removeprefix(prefix)
    direct = {bone.lower(): bone for bone in BONES}
    if found in direct:
        return direct[found]
    centre = found.removeprefix("c") if found.startswith("c") and not found.startswith("chest") else found
    for bone, words in _TRUNK.items():
        if centre in words:
            return bone
    side, rest = _side(str(name), found)
    for limb in _ORDER if side else ():
        if rest in _LIMB[limb]:
            return f"{side}{limb}"
    return None


def _side(name: str, found: str) -> tuple[str | None, str]:
    """("left" or "right" or None, the name without it)."""
    for side in ("left", "right"):
        if side in found:
            return side, found.replace(side, "", 1)
    words = [w for w in re.split(r"[^a-z0-9]+", name.lower().rsplit(":", 1)[-1]) if w not in ("j", "bip", "bip01", "def", "org")]
    for letter, side in (("l", "left"), ("r", "right")):
        if len(words) > 1 and letter in (words[0], words[-1]):
            words.pop(0 if words[0] == letter else -1)
            return side, "".join(words)
    return None, found
