"""VRM 1.0: a skinned GLB that says which bone is which, who may use it, and what swings.

Written from the specification (VRMC_vrm 1.0 and VRMC_springBone 1.0, https://github.com/vrm-c/vrm-specification).  Bones
stand in T-pose, as VRM wants.  The list of expressions is empty, for these faces have none; some viewers want it to be
there before they let the head follow a point.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal, get_args

from ..core.errors import InputError
from ..core.rig import BONES, REQUIRED, Rig, RiggedLayers
from .glb import write_document
from .rig_glb import closed, rest_joints, rigged_document

LICENSE = "https://vrm.dev/licenses/1.0/"
Avatar = Literal["onlyAuthor", "onlySeparatelyLicensedPerson", "everyone"]
Commercial = Literal["personalNonProfit", "personalProfit", "corporation"]
Modification = Literal["prohibited", "allowModification", "allowModificationRedistribution"]
STIFFNESS, GRAVITY, DRAG = 0.9, 0.15, 0.45  # of hair: firm enough to keep its shape, soft enough to be seen
HIT = 0.02  # meters: how thick a lock is to a collider


@dataclass(frozen=True)
class VrmMeta:
    """What the person who made a character says about it; the words are VRM's.

    name, authors: neither empty.  avatar: who may perform as it.  commercial: what may be earned with it.
    modification, redistribution, credit: what may be done with the file.  violent, sexual, political, antisocial: whether
    such use is allowed.  InputError for missing names and other words.
    """

    name: str = "character"
    authors: tuple[str, ...] = ("unknown",)
    version: str = "1.0"
    copyright: str = ""
    contact: str = ""
    license_url: str = LICENSE
    avatar: Avatar = "onlyAuthor"
    commercial: Commercial = "personalNonProfit"
    modification: Modification = "prohibited"
    redistribution: bool = False
    credit: bool = True
    violent: bool = False
    sexual: bool = False
    political: bool = False
    antisocial: bool = False

    def __post_init__(self):
        if not self.name.strip():
            raise InputError("name", "a name for the character", "nothing", "VRM files must have one.")
        if not [a for a in self.authors if a.strip()]:
            raise InputError("author", "at least one name", "nothing", "VRM files must name their author.")
        for value, words in ((self.avatar, Avatar), (self.commercial, Commercial), (self.modification, Modification)):
            if value not in get_args(words):
                raise InputError("meta", " or ".join(get_args(words)), repr(value), "Use one of VRM's words.")

    def to_json(self) -> dict:
        """As ``VRMC_vrm.meta``."""
        made = {
            "name": self.name, "version": self.version, "authors": [a for a in self.authors if a.strip()],
            "licenseUrl": self.license_url, "avatarPermission": self.avatar, "commercialUsage": self.commercial,
            "modification": self.modification, "allowRedistribution": self.redistribution,
            "creditNotation": "required" if self.credit else "unnecessary",
            "allowExcessivelyViolentUsage": self.violent, "allowExcessivelySexualUsage": self.sexual,
            "allowPoliticalOrReligiousUsage": self.political, "allowAntisocialOrHateUsage": self.antisocial,
        }
        words = {"copyrightInformation": self.copyright, "contactInformation": self.contact}
        return made | {key: value for key, value in words.items() if value}


def write_vrm(path: str | os.PathLike | None, rigged: RiggedLayers, meta: VrmMeta, extras: dict | None = None,
              unlit: bool = False) -> bytes:
    """A VRM 1.0 file of a character in meters that stands on the floor and faces +Z; returns its bytes.

    Raises InputError where a required bone is missing, and as ``write_rigged``.
    """
    gltf, buffer = rigged_document(rigged, (), "t-pose", extras, unlit)
    rig = rigged.rig
    assert rig is not None  # asked for just above
    missing = [name for name in REQUIRED if name not in rig.names]
    if missing:
        raise InputError("skeleton", "all bones that VRM requires", f"none for {', '.join(missing)}", "Fit the skeleton anew.")
    used = ["VRMC_vrm"]
    extensions: dict = {"VRMC_vrm": {
        "specVersion": "1.0", "meta": meta.to_json(), "humanoid": _humanoid(rig), "firstPerson": _first_person(gltf),
        "lookAt": _look_at(rig), "expressions": {"preset": {}}}}
    if rig.chains:
        used.append("VRMC_springBone")
        extensions["VRMC_springBone"] = _springs(rig)
    gltf["extensions"] = extensions
    gltf["extensionsUsed"] = sorted([*gltf.get("extensionsUsed", ()), *used])
    return write_document(path, closed(gltf, buffer))


def _humanoid(rig: Rig) -> dict:
    return {"humanBones": {name: {"node": i} for i, name in enumerate(rig.names) if name in BONES}}


def _first_person(gltf: dict) -> dict:
    """The hair hides the view of who looks out of the head; of the body, viewers cut the head away themselves."""
    kinds = {"hair": "thirdPersonOnly", "clothing": "both"}
    notes = [{"node": i, "type": kinds.get(node["name"], "auto")} for i, node in enumerate(gltf["nodes"]) if "mesh" in node]
    return {"meshAnnotations": notes}


def _look_at(rig: Rig) -> dict:
    """Eyes at the middle of the head; without bones of their own the head does the looking."""
    size = float(rig.tips[rig.index("head")][1] - rig.joint("head")[1])
    span = {"inputMaxValue": 90.0, "outputScale": 10.0}
    names = ("HorizontalInner", "HorizontalOuter", "VerticalDown", "VerticalUp")
    return {"type": "bone", "offsetFromHeadBone": [0.0, round(0.45 * size, 5), round(0.3 * size, 5)],
            **{f"rangeMap{name}": span for name in names}}


def _springs(rig: Rig) -> dict:
    places = rest_joints(rig, rig.t_pose())
    size = float(rig.tips[rig.index("head")][1] - rig.joint("head")[1])
    torso = float(places[rig.index("neck")][1] - places[rig.index("hips")][1])
    balls = [("head", [0.0, 0.5 * size, 0.0], 0.42 * size), ("chest", [0.0, 0.1 * torso, 0.0], 0.2 * torso),
             ("spine", [0.0, 0.05 * torso, 0.0], 0.2 * torso), ("hips", [0.0, 0.0, 0.0], 0.22 * torso)]
    colliders = [{"node": rig.index(bone), "shape": {"sphere": {"offset": [round(v, 5) for v in offset], "radius": round(r, 5)}}}
                 for bone, offset, r in balls]
    springs = []
    for number, chain in enumerate(rig.chains, 1):
        joints = [{"node": rig.index(name), "hitRadius": HIT, "stiffness": STIFFNESS, "gravityPower": GRAVITY,
                   "gravityDir": [0.0, -1.0, 0.0], "dragForce": DRAG} for name in chain]
        springs.append({"name": f"hair {number}", "joints": joints, "colliderGroups": [0]})
    return {"specVersion": "1.0", "colliders": colliders, "springs": springs,
            "colliderGroups": [{"name": "body", "colliders": list(range(len(colliders)))}]}
