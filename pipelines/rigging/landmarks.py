"""Places on a body in A-pose that its slices tell: head, neck, waist, hips, crotch, and the course of arms and legs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .volume import Blob, Volume, mirror_axis, slices

HEAD_LEFT = 0.5  # of the head's widest slice: smaller ones below are the neck's
LEAP = 2.2  # times an arm's slices so far: a larger one is the trunk's
HANDS = (0.15, 0.85)  # of the height: where the hands of an A-pose are
LEAST_ARM = 0.06  # of the height: fewer rows are no arm
ARMPIT = 0.6  # of the height, where no arm tells
ABOVE_ARMPIT = 2.35  # of an arm's radius: its joint above the row where it parts from the trunk
WAIST_FROM, HIPS_FROM = 0.3, 0.2  # of the height above the floor


@dataclass(frozen=True)
class Limb:
    """An arm that stands apart: [N, 3] voxel coordinates of its slices' centers, from the hand's end upwards, their areas,
    and the outermost voxel."""

    centers: np.ndarray
    areas: np.ndarray
    tip: np.ndarray

    @property
    def radius(self) -> float:
        """Of its cross-sections, voxels."""
        line = self.centers[-1] - self.centers[0]
        slant = abs(float(line[1])) / max(float(np.linalg.norm(line)), 1e-9)  # horizontal slices of a slanted limb are wider
        return float(np.sqrt(np.median(self.areas) * slant / np.pi))


@dataclass(frozen=True)
class Landmarks:
    """Rows (y, in voxels, not rounded) and what hangs on them.

    axis:   x of the mirror plane, voxels.
    floor, top: lowest and highest row.
    head, head_half: row of the head's widest slice, and half its width in voxels.
    neck:   row of the thinnest slice between shoulders and head.
    shoulder: row of the arms' joints.
    waist, hips: thinnest and thickest rows of the trunk; crotch: highest row with two legs, or None.
    arms:   side sign -> the arm, None where none stands apart.
    trunk:  [rows, 2] (x, z) centers of everything but the arms, NaN where nothing is.
    legs:   side sign -> [rows, 2] centers of that half's slices, NaN where nothing is.
    areas:  [rows] voxels of everything but the arms.
    """

    axis: float
    floor: float
    top: float
    head: float
    head_half: float
    neck: float
    shoulder: float
    waist: float
    hips: float
    crotch: float | None
    arms: dict[int, Limb | None]
    trunk: np.ndarray
    legs: dict[int, np.ndarray]
    areas: np.ndarray

    @property
    def height(self) -> float:
        """Rows from the floor to the top."""
        return self.top - self.floor


def landmarks(volume: Volume) -> Landmarks:
    """What the slices of a body tell; nothing is refused here."""
    labels, rows = slices(volume.solid)
    filled = np.flatnonzero([bool(row) for row in rows])
    floor, top, axis = float(filled[0]), float(filled[-1]), mirror_axis(volume.solid)
    arms = {sign: _arm(volume.solid, labels, rows, axis, sign, floor, top) for sign in (1, -1)}
    rest = volume.solid.copy()
    for arm in arms.values():
        if arm is not None:
            for x, y, z in arm.centers.round().astype(int):
                label = _label_near(labels[:, y], x, z)
                rest[:, y][labels[:, y] == label] = False
    areas = rest.sum((0, 2)).astype(float)
    found = [arm for arm in arms.values() if arm is not None]
    armpit = max((float(arm.centers[-1, 1]) for arm in found), default=floor + ARMPIT * (top - floor))
    shoulder = armpit + ABOVE_ARMPIT * (float(np.mean([arm.radius for arm in found])) if found else 0.02 * (top - floor))
    head, half, neck = _head(rest, areas, shoulder, top)
    waist, hips = _waist(areas, floor, neck, armpit)
    trunk = _centers(rest, areas)
    legs = {}
    for sign in (1, -1):
        half_body = rest.copy()
        x = np.arange(rest.shape[0])
        half_body[(x - axis) * sign < 0] = False
        legs[sign] = _centers(half_body, half_body.sum((0, 2)).astype(float))
    crotch = _crotch(rows, axis, floor, hips)
    return Landmarks(axis, floor, top, head, half, neck, shoulder, waist, hips, crotch, arms, trunk, legs, areas)


def _label_near(labels: np.ndarray, x: int, z: int) -> int:
    """The piece at (x, z) of a slice [X, Z], or the nearest one."""
    if labels[x, z]:
        return int(labels[x, z])
    at = np.argwhere(labels > 0)
    return int(labels[tuple(at[np.abs(at - (x, z)).sum(1).argmin()])]) if len(at) else -1


def _arm(solid, labels, rows: list[list[Blob]], axis: float, sign: int, floor: float, top: float) -> Limb | None:
    """The arm of one side: from the outermost voxel along its slices, up to where they join the trunk's."""
    height = top - floor
    low, high = (int(floor + share * height) for share in HANDS)
    at = np.argwhere(solid[:, low:high])
    reach = (at[:, 0] - axis) * sign
    tip = at[reach >= reach.max() - 0.5].mean(0) + [0, low, 0]
    start = _blob_at(rows, labels, tip)
    if start is None or not _apart(start, axis, sign):
        return None
    y = round(float(tip[1]))
    least = LEAST_ARM * height
    up, down = (_track(rows, labels, start, y, step, axis, sign, least) for step in (1, -1))
    found = [*reversed(down), (y, start), *up]
    if len(found) < least:
        return None
    centers = np.array([[b.center[0], row, b.center[1]] for row, b in found])
    return Limb(centers, np.array([float(b.area) for _, b in found]), tip)


def _blob_at(rows, labels, at: np.ndarray) -> Blob | None:
    x, y, z = at.round().astype(int)
    label = _label_near(labels[:, y], x, z)
    return next((b for b in rows[y] if b.label == label), None)


def _apart(blob: Blob, axis: float, sign: int) -> bool:
    """Whether a piece keeps to its side of the mirror plane."""
    return min((blob.low - axis) * sign, (blob.high - axis) * sign) > 1.0


def _track(rows, labels, start: Blob, y: int, step: int, axis: float, sign: int, least: float) -> list[tuple[int, Blob]]:
    """(row, piece) of the slices that overlap each other, from the one after ``y`` on.

    least: rows that are no arm yet: among them nothing is a leap, as a hand may begin with a point.
    """
    found: list[tuple[int, Blob]] = []
    areas, last, last_y = [start.area], start, y
    while 0 <= last_y + step < len(rows):
        here = labels[:, last_y] == last.label
        under = labels[:, last_y + step][here]
        under = under[under > 0]
        if not len(under):
            break
        label = int(np.bincount(under).argmax())
        blob = next(b for b in rows[last_y + step] if b.label == label)
        if not _apart(blob, axis, sign) or (len(areas) > least and blob.area > LEAP * np.median(areas)):
            break
        found.append((last_y + step, blob))
        areas.append(blob.area)
        last, last_y = blob, last_y + step
    return found


def _head(rest: np.ndarray, areas: np.ndarray, shoulder: float, top: float) -> tuple[float, float, float]:
    """(row of the widest slice, half its width, row of the thinnest slice below it and above the shoulders)."""
    best, y, end = int(top), int(top), round(shoulder)
    while y > end:
        y -= 1
        if areas[y] >= areas[best]:
            best = y
        elif areas[y] < HEAD_LEFT * areas[best]:
            break
    lowest = y
    while lowest > end and areas[lowest - 1] <= areas[lowest]:
        lowest -= 1
    flat = [row for row in range(lowest, best) if areas[row] <= areas[lowest] * 1.03] or [lowest]
    wide = np.flatnonzero(areas[lowest:] >= 0.98 * areas[best]) + lowest
    columns = np.flatnonzero(rest[:, best].any(1))
    return float(wide.mean()), (columns[-1] - columns[0] + 1) / 2, float(np.mean(flat))


def _waist(areas: np.ndarray, floor: float, neck: float, armpit: float) -> tuple[float, float]:
    """(thinnest row of the trunk below the armpits, thickest row below it)."""
    tall = neck - floor
    low, high = int(floor + WAIST_FROM * tall), int(max(armpit, floor + 0.6 * tall))
    smooth = np.convolve(areas, np.ones(3) / 3, "same")
    middle = int(floor + 0.5 * tall)
    waist = middle + int(smooth[middle : high + 1].argmin())
    hips = low + int(smooth[low:waist].argmax()) if waist > low else waist
    return float(waist), float(hips)


def _crotch(rows: list[list[Blob]], axis: float, floor: float, hips: float) -> float | None:
    """The highest row below the hips whose slice has a piece on either side of the mirror plane and none across it."""
    for y in range(int(hips), int(floor), -1):
        sides = {sign: any(_apart(b, axis, sign) for b in rows[y] if b.area > 3) for sign in (1, -1)}
        across = any(b.low < axis < b.high and b.area > 3 for b in rows[y])
        if all(sides.values()) and not across:
            return float(y)
    return None


def _centers(solid: np.ndarray, areas: np.ndarray) -> np.ndarray:
    """[rows, 2] mean (x, z) of every slice."""
    x, z = np.arange(solid.shape[0])[:, None], np.arange(solid.shape[2])[None]
    out = np.full((solid.shape[1], 2), np.nan)
    for y in np.flatnonzero(areas):
        slice_ = solid[:, y]
        out[y] = (slice_ * x).sum() / areas[y], (slice_ * z).sum() / areas[y]
    return out
