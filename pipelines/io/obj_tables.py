"""The tables that an OBJ file fills line by line: many lines of one kind are read at once where they are regular."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from .text_numbers import rows, whole

_SHAPES = 64  # different kinds of faces (corners, separators) in one run of lines
_DIGITS = b"0123456789-"


def columns(lines: list[str], word: str) -> np.ndarray | None:
    """[N, K] float64 of lines of a ``word`` ("v ") and K numbers each; None where they are not so."""
    if not all([line.startswith(word) for line in lines]):
        return None
    try:
        text = "\n".join([line[len(word):] for line in lines]).encode("ascii")
        found = rows(text)
    except ValueError:  # a UnicodeError is one, too
        return None
    return found if len(found) == len(lines) else None


@dataclass
class Table:
    """Rows of numbers, of up to as many columns as ``whole`` is asked for."""

    parts: list[np.ndarray] = field(default_factory=list)
    loose: list[list[float]] = field(default_factory=list)
    count: int = 0
    narrowest: int = 1 << 30
    widest: int = 0

    def __len__(self) -> int:
        return self.count

    def add(self, rows_: np.ndarray) -> None:
        """Many rows [N, K]."""
        self._settle()
        self.parts.append(rows_)
        self._count(len(rows_), rows_.shape[1])

    def append(self, row: list[float]) -> None:
        """One row."""
        self.loose.append(row)
        self._count(1, len(row))

    def whole(self, width: int) -> np.ndarray:
        """[N, width] float64, 0 where a row is narrower."""
        self._settle()
        return np.concatenate([np.pad(part, ((0, 0), (0, width - part.shape[1]))) for part in self.parts]
                              or [np.zeros((0, width))])

    def _count(self, count: int, width: int) -> None:
        self.count += count
        self.narrowest, self.widest = min(self.narrowest, width), max(self.widest, width)

    def _settle(self) -> None:
        if self.loose:
            most = max(map(len, self.loose))
            self.parts.append(np.array([row + [0.0] * (most - len(row)) for row in self.loose], dtype=np.float64))
            self.loose = []


@dataclass
class Polygons:
    """Faces of any number of corners.

    parts: (corners, texture coordinates or -1, sizes, material) of runs, [C], [C], [P] and [P] int64.
    """

    parts: list[tuple[np.ndarray, ...]] = field(default_factory=list)
    corners: list[int] = field(default_factory=list)
    uvs: list[int] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    used: list[int] = field(default_factory=list)
    count: int = 0

    def __len__(self) -> int:
        return self.count

    def append(self, items: list[str], points: int, uvs: int, material: int) -> None:
        """One face of words like "7/8/9"; ValueError for what is none.  points, uvs: how many there are so far."""
        for item in items:
            place, _, rest = item.partition("/")
            uv = rest.partition("/")[0]
            self.corners.append(absolute(whole(place), points))
            self.uvs.append(absolute(whole(uv), uvs) if uv else -1)
        self.sizes.append(len(items))
        self.used.append(material)
        self.count += 1

    def add_run(self, lines: list[str], points: int, uvs: int, material: int) -> bool:
        """Many faces "f ..."; False, and nothing is added, where some have to be looked at one by one."""
        try:
            text = "\n".join([line[2:].strip() for line in lines]).encode("ascii")
        except UnicodeError:
            return False
        raw, shapes = text.split(b"\n"), text.translate(None, _DIGITS).split(b"\n")
        kinds: dict[tuple[bytes, bool], list[int]] = {}
        for k, (shape, line) in enumerate(zip(shapes, raw, strict=True)):
            kinds.setdefault((shape, b"//" in line), []).append(k)
        if len(raw) != len(lines) or len(kinds) > _SHAPES:
            return False
        sizes, tables = np.empty(len(lines), np.int64), []
        for (shape, gap), which in kinds.items():
            found = _faces([raw[k] for k in which], shape, gap, points, uvs)
            if found is None:
                return False
            sizes[which] = found[0].shape[1]
            tables.append((np.array(which), *found))
        self._settle()
        starts = np.cumsum(sizes) - sizes
        corners, own = np.empty(int(sizes.sum()), np.int64), np.empty(int(sizes.sum()), np.int64)
        for which, places, coordinates in tables:
            spots = starts[which][:, None] + np.arange(places.shape[1])
            corners[spots], own[spots] = places, coordinates
        self.parts.append((corners, own, sizes, np.full(len(lines), material)))
        self.count += len(lines)
        return True

    def whole(self) -> tuple[np.ndarray, ...]:
        """(corners [C], texture coordinates [C], sizes [P], materials [P]) of all faces in their order."""
        self._settle()
        return tuple(np.concatenate(part) for part in zip(*self.parts, strict=True))

    def _settle(self) -> None:
        if self.sizes:
            self.parts.append(tuple(np.array(part, np.int64) for part in (self.corners, self.uvs, self.sizes, self.used)))
            self.corners, self.uvs, self.sizes, self.used = [], [], [], []


def _faces(lines: list[bytes], shape: bytes, gap: bool, points: int, uvs: int) -> tuple[np.ndarray, np.ndarray] | None:
    """(corners, texture coordinates or -1), [N, K] int64, of faces of K corners that are written alike; None: one by one.

    shape: a line without its digits.  gap: whether "//" stands in the lines.
    """
    words = shape.split(b" ")
    columns_of = {b"": 1, b"/": 2, b"//": 2 if gap else 3}.get(words[0])
    if len(words) < 3 or columns_of is None or any(word != words[0] for word in words):
        return None
    try:
        numbers = rows(b"\n".join(lines).replace(b"/", b" "))
    except ValueError:
        return None
    if numbers.shape != (len(lines), len(words) * columns_of):  # so every place between the separators has its number
        return None
    numbers = numbers.reshape(len(lines), len(words), columns_of)
    corners = _absolutes(numbers[..., 0], points)
    own = _absolutes(numbers[..., 1], uvs) if columns_of > 1 and not gap else np.full(numbers.shape[:2], -1)
    return None if corners is None or own is None else (corners, own)


def _absolutes(values: np.ndarray, count: int) -> np.ndarray | None:
    """:func:`absolute` of many; None where one of them is none."""
    found = values.astype(np.int64)
    if ((found == 0) | (found < -count) | (found >= 1 << 40)).any():
        return None
    return np.where(found > 0, found - 1, count + found)


def absolute(index: int, count: int) -> int:
    """OBJ counts from 1; negative numbers count back from the newest; 0 is no number of anything: a ValueError."""
    if index == 0 or not -count <= index < 1 << 40:
        raise ValueError
    return index - 1 if index > 0 else count + index
