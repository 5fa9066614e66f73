"""Numbers out of a glTF file's buffers: offsets, strides, counts and sizes are checked before any memory is touched."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from urllib.parse import unquote_to_bytes

import numpy as np

from .gltf_entry import Entry, bad, damaged
from .limits import VERTICES, within

WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT2": 4, "MAT3": 9, "MAT4": 16}
COMPONENTS = {5120: "<i1", 5121: "<u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
COMPRESSIONS = ("EXT_meshopt_compression", "KHR_meshopt_compression")
FREE_ROWS = 1 << 16  # of zeros that a file may ask for, however short it is
KEPT, KEPT_BYTES = 4096, 1 << 16  # accessors that are remembered, and how large each may be
Beside = Callable[[str], bytes | None]  # file name -> its bytes, or None where it is not there


def nothing_beside(name: str) -> bytes | None:
    """A ``Beside`` for a file that came without its folder."""
    return None


class Buffers:
    """The buffers, views and accessors of a file.

    root: the file's JSON.  binary: the GLB's binary chunk.  beside: finds files that the JSON refers to.
    """

    def __init__(self, root: Entry, binary: memoryview | None, beside: Beside = nothing_beside):
        self.root, self.binary, self.beside = root, binary, beside
        self._kept: dict[tuple, np.ndarray] = {}
        self._loaded: dict[int, memoryview] = {}

    def view(self, index: int) -> memoryview:
        """The bytes of a bufferView, no copy."""
        entry = self.root.item("bufferViews", index)
        packed = next((name for name in COMPRESSIONS if name in entry.inner("extensions")), None)
        if packed:
            raise bad(f"one whose buffers are compressed ({packed})")
        raw = self._buffer(entry.whole("buffer"))
        start, length = entry.whole("byteOffset", 0), entry.whole("byteLength", least=1)
        if start + length > len(raw):
            raise damaged(f"{entry.where} ends at byte {start + length} of a buffer of {len(raw)} bytes")
        return raw[start : start + length]

    def accessor(self, index: int, kinds: tuple[str, ...] = tuple(WIDTHS), components: str = "iuf") -> np.ndarray:
        """[count, width], normalized integers as float32; not to be written to: small ones are kept, as parts share them.

        kinds: allowed types ("VEC3").  components: allowed numpy kinds ("u": unsigned integers).
        """
        key = index, kinds, components
        if key not in self._kept:
            found = self._read(*self._layout(index, kinds, components))
            found.flags.writeable = False
            if found.nbytes > KEPT_BYTES or len(self._kept) >= KEPT:
                return found
            self._kept[key] = found
        return self._kept[key]

    def _read(self, entry: Entry, dtype: np.dtype, width: int, count: int) -> np.ndarray:
        if "bufferView" in entry:
            values = self._rows(entry, dtype, width, count)
        elif "sparse" in entry:
            self._check_nothing(entry, count)
            values = np.zeros((count, width), dtype)
        else:
            raise damaged(f"{entry.where} has no data (neither bufferView nor sparse)")
        if "sparse" in entry:
            self._apply_sparse(values, entry.inner("sparse"), dtype)
        if dtype.kind == "f" and not np.isfinite(values).all():
            raise damaged(f"{entry.where} holds NaN or infinity")
        if entry.data.get("normalized") and dtype.kind in "iu":
            return np.maximum(values.astype(np.float32) / np.iinfo(dtype).max, -1.0)
        return values

    def count(self, index: int) -> int:
        """How many rows an accessor says it has, within the limit; nothing is read."""
        entry = self.root.item("accessors", index)
        return within("GLB file", entry.whole("count", least=1), VERTICES * 3, f"rows in {entry.where}")

    def _layout(self, index: int, kinds, components: str) -> tuple[Entry, np.dtype, int, int]:
        entry, count = self.root.item("accessors", index), self.count(index)
        kind, code = entry.word("type"), entry.whole("componentType")
        if kind not in kinds:
            raise entry.wrong("type", " or ".join(kinds))
        if code not in COMPONENTS or np.dtype(COMPONENTS[code]).kind not in components:
            allowed = [c for c, name in COMPONENTS.items() if np.dtype(name).kind in components]
            raise entry.wrong("componentType", f"one of {allowed}")
        return entry, np.dtype(COMPONENTS[code]), WIDTHS[kind], count

    def _rows(self, entry: Entry, dtype: np.dtype, width: int, count: int) -> np.ndarray:
        """A copy of ``count`` rows out of the entry's bufferView."""
        index = entry.whole("bufferView")
        raw, start, size = self.view(index), entry.whole("byteOffset", 0), dtype.itemsize * width
        stride = self.root.item("bufferViews", index).whole("byteStride", 0, most=65_535) or size
        if stride < size:
            raise damaged(f"{entry.where}: rows of {size} bytes every {stride} bytes")
        end = start + stride * (count - 1) + size
        if end > len(raw):
            raise damaged(f"{entry.where}: {count} rows end at byte {end} of a view of {len(raw)} bytes")
        return np.ndarray((count, width), dtype, raw, start, (stride, dtype.itemsize)).copy()

    def _check_nothing(self, entry: Entry, count: int) -> None:
        """A row of zeros takes no byte of the file, so there may be no more of them than it has bytes."""
        for part in ("indices", "values"):
            self.view(entry.inner("sparse").inner(part).whole("bufferView"))
        held = sum(len(raw) for raw in self._loaded.values())
        within("GLB file", count, max(held, FREE_ROWS), f"rows of zeros in {entry.where} of {held:,} bytes in its buffers")

    def _apply_sparse(self, values: np.ndarray, sparse: Entry, dtype: np.dtype) -> None:
        where, what = sparse.inner("indices"), sparse.inner("values")
        count, code = sparse.whole("count", least=1, most=len(values)), where.whole("componentType")
        if code not in (5121, 5123, 5125):
            raise where.wrong("componentType", "one of [5121, 5123, 5125]")
        rows = self._rows(where, np.dtype(COMPONENTS[code]), 1, count)[:, 0].astype(np.int64)
        if int(rows.max()) >= len(values):
            raise damaged(f"{where.where}: row {int(rows.max())} of {len(values)}")
        values[rows] = self._rows(what, dtype, values.shape[1], count)

    def _buffer(self, index: int) -> memoryview:
        if index not in self._loaded:
            entry = self.root.item("buffers", index)
            length = entry.whole("byteLength", least=1)
            packed = next((name for name in COMPRESSIONS if name in entry.inner("extensions")), None)
            if "uri" in entry:
                raw = memoryview(resource(entry.word("uri"), self.beside))
            elif packed:
                raise bad(f"one whose buffers are compressed ({packed})")
            elif index == 0 and self.binary is not None:
                raw = self.binary
            else:
                raise damaged(f"{entry.where} has no data")
            if length > len(raw):
                raise damaged(f"{entry.where} is said to have {length} bytes and has {len(raw)}")
            self._loaded[index] = raw[:length]
        return self._loaded[index]


def resource(uri: str, beside: Beside) -> bytes:
    """The bytes behind a URI: embedded data, or a file beside this one."""
    if not uri.startswith("data:"):
        found = beside(uri)
        if found is None:
            raise bad(f"one that refers to another file ({uri[:60]!a})")
        return found
    head, comma, body = uri.partition(",")
    if not comma:
        raise damaged("a data URI without data")
    if not head.endswith(";base64"):
        return unquote_to_bytes(body)
    try:
        return base64.b64decode("".join(body.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise damaged(f"a data URI: {error}") from None


def matrix_of(values: np.ndarray) -> np.ndarray:
    """[N, 16] as glTF stores matrices (column by column) -> [N, 4, 4] float64."""
    return values.astype(np.float64).reshape(-1, 4, 4).transpose(0, 2, 1)
