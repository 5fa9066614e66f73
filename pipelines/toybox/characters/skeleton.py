"""Joints, proportions and poses of toy characters.

The rest pose is the A-pose: standing, facing +Z, arms 45 degrees down.  The character's left is +X.  A pose turns
bones about their joints; rotation vectors (axis times angle, radians) are in world axes of the rest pose.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

SIDES = {"l": 1.0, "r": -1.0}  # suffix -> sign of x
PARENTS = {
    "pelvis": None, "chest": "pelvis", "head": "chest",
    "arm_l": "chest", "forearm_l": "arm_l", "hand_l": "forearm_l",
    "arm_r": "chest", "forearm_r": "arm_r", "hand_r": "forearm_r",
    "thigh_l": "pelvis", "shin_l": "thigh_l", "foot_l": "shin_l",
    "thigh_r": "pelvis", "shin_r": "thigh_r", "foot_r": "shin_r",
}
ARM_DIRECTION = np.array([math.sqrt(0.5), -math.sqrt(0.5), 0.0])  # of the left arm, A-pose
Pose = dict  # bone name -> rotation vector [3], radians; missing bones keep the A-pose
A_POSE: Pose = {}


@dataclass(frozen=True)
class Skeleton:
    """Proportions in scene units of a figure about 2 tall that stands on y = 0.

    joints:  bone name -> [3] the joint about which it turns, rest pose.
    head:    half the width of the head.
    build:   thickness of limbs and torso relative to the average.
    head_center: [3].
    upper_arm, forearm, thigh, shin: bone lengths.
    shoulder, hip: half widths between the joints.
    """

    joints: dict
    head: float
    build: float
    head_center: np.ndarray
    upper_arm: float
    forearm: float
    thigh: float
    shin: float
    shoulder: float
    hip: float

    def joint(self, name: str) -> np.ndarray:
        """[3] position in the rest pose."""
        return self.joints[name]

    def posed(self, pose: Pose) -> dict[str, np.ndarray]:
        """Bone name -> [3, 4] rigid motion from the rest pose (forward kinematics).  KeyError for unknown bones."""
        unknown = [name for name in pose if name not in PARENTS]
        if unknown:
            raise KeyError(f"a pose names bones of {', '.join(PARENTS)}; got {', '.join(map(repr, unknown))}")
        out: dict[str, np.ndarray] = {}
        for name, parent in PARENTS.items():
            turn = rotation_matrix(np.asarray(pose.get(name, np.zeros(3)), dtype=np.float64))
            joint = self.joints[name]
            local = np.concatenate([turn, (joint - turn @ joint)[:, None]], axis=1)
            out[name] = local if parent is None else compose(out[parent], local)
        return out


def compose(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """[3, 4] of applying ``second``, then ``first``."""
    return np.concatenate([first[:, :3] @ second[:, :3], (first[:, :3] @ second[:, 3] + first[:, 3])[:, None]], axis=1)


def rotation_matrix(vector: np.ndarray) -> np.ndarray:
    """[3, 3] rotation about a vector by its length in radians (Rodrigues)."""
    angle = float(np.linalg.norm(vector))
    if angle < 1e-9:
        return np.eye(3)
    x, y, z = vector / angle
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + math.sin(angle) * cross + (1 - math.cos(angle)) * cross @ cross


def make_skeleton(rng: np.random.Generator) -> Skeleton:
    """A figure of two and a half to five heads, slim or sturdy."""
    head = float(rng.uniform(0.225, 0.345))  # half width; the fewer heads tall, the more of a game figure
    chibi = (head - 0.225) / 0.12
    build = float(rng.uniform(0.88, 1.12) * (1 + 0.25 * chibi))
    head_y = 1.96 - 1.02 * head
    neck = head_y - 0.86 * head
    hip_y = neck * float(rng.uniform(0.52, 0.58) - 0.04 * chibi)
    ankle = 0.075
    knee = ankle + (hip_y - ankle) * 0.5
    shoulder = (0.135 + 0.02 * chibi) * float(rng.uniform(0.92, 1.12)) * build**0.5
    hip = 0.078 * build**0.5 * float(rng.uniform(0.95, 1.1))
    torso = neck - hip_y
    arm = (0.52 * torso + 0.1) * float(rng.uniform(0.92, 1.05))
    shoulder_y = neck - 0.10 * torso - 0.01
    joints = {
        "pelvis": np.array([0, hip_y + 0.05, 0]),
        "chest": np.array([0, hip_y + 0.38 * torso, 0]),
        "head": np.array([0, neck, -0.01]),
    }
    for side, sign in SIDES.items():
        along = ARM_DIRECTION * [sign, 1, 1]
        start = np.array([sign * shoulder, shoulder_y, -0.005])
        joints[f"arm_{side}"] = start
        joints[f"forearm_{side}"] = start + along * arm * 0.52
        joints[f"hand_{side}"] = start + along * arm
        joints[f"thigh_{side}"] = np.array([sign * hip, hip_y, 0])
        joints[f"shin_{side}"] = np.array([sign * hip * 1.12, knee, 0.008])
        joints[f"foot_{side}"] = np.array([sign * hip * 1.2, ankle, -0.012])
    return Skeleton(
        joints,
        head,
        build,
        np.array([0, head_y, 0.0]),
        arm * 0.52,
        arm * 0.48,
        hip_y - knee,
        knee - ankle,
        shoulder,
        hip,
    )


def random_pose(rng: np.random.Generator) -> Pose:
    """An arbitrary pose: arms raised, lowered, forward or bent; legs apart or walking; head turned, torso twisted."""

    def deg(low: float, high: float) -> float:
        return math.radians(float(rng.uniform(low, high)))

    twist = deg(-28, 28)
    pose = {
        "pelvis": np.array([deg(-6, 6), deg(-30, 30), deg(-5, 5)]),
        "chest": np.array([deg(-8, 14), twist, deg(-9, 9)]),
        "head": np.array([deg(-10, 16), deg(-35, 35) - 0.4 * twist, deg(-12, 12)]),
    }
    walking = deg(-32, 32) if rng.uniform() < 0.5 else deg(-6, 6)
    for side, sign in SIDES.items():
        along = ARM_DIRECTION * [sign, 1, 1]
        forward = np.cross(along, [0, 0, 1.0])  # turns the arm towards the front
        raised = deg(-33, 75) if rng.uniform() < 0.75 else deg(60, 105)
        pose[f"arm_{side}"] = _chain(np.array([0, 0, sign * raised]), np.array([deg(-65, 25), 0, 0]))
        bend = deg(5, 60) if rng.uniform() < 0.6 else deg(60, 115)
        pose[f"forearm_{side}"] = forward * bend if rng.uniform() < 0.65 else np.array([0, 0, sign * bend])
        pose[f"hand_{side}"] = np.array([deg(-15, 15), deg(-15, 15), deg(-20, 20)])
        swing = walking if side == "l" else -walking
        pose[f"thigh_{side}"] = _chain(np.array([0, 0, sign * deg(0, 16)]), np.array([swing + deg(-6, 6), 0, 0]))
        pose[f"shin_{side}"] = np.array([max(0.0, swing) * 0.8 + deg(0, 22), 0, 0])
        pose[f"foot_{side}"] = np.array([deg(-8, 14), 0, 0])
    return pose


def _chain(first: np.ndarray, then: np.ndarray) -> np.ndarray:
    """The rotation vector of turning by ``first`` and then by ``then``."""
    matrix = rotation_matrix(then) @ rotation_matrix(first)
    angle = math.acos(float(np.clip((np.trace(matrix) - 1) / 2, -1, 1)))
    if angle < 1e-7:
        return np.zeros(3)
    axis = np.array([matrix[2, 1] - matrix[1, 2], matrix[0, 2] - matrix[2, 0], matrix[1, 0] - matrix[0, 1]])
    return axis / max(np.linalg.norm(axis), 1e-9) * angle
