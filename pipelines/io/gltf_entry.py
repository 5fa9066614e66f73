"""Looking things up in a glTF file's JSON: every value is checked for its kind and range, and named where it is wrong."""

from __future__ import annotations

import json
import math
import struct

from ..core.errors import InputError
from .limits import JSON_VALUES, within

_NAME = "GLB file"
_NOTHING = object()


def bad(got: str, remedy: str = "Export the model again as plain .glb.") -> InputError:
    """The one error of this reader; ``got`` says what is wrong."""
    return InputError(_NAME, "a binary glTF 2.0 with triangles", got, remedy)


def damaged(reason: str) -> InputError:
    """The error for a file that contradicts itself."""
    return bad(f"a damaged file ({reason})")


def split_chunks(data: bytes) -> tuple[dict, memoryview | None]:
    """(JSON, binary chunk or None) of a GLB; InputError for anything that is none."""
    if len(data) < 20 or data[:4] != b"glTF":
        raise bad("something else (no glTF header)")
    version, total = struct.unpack_from("<II", data, 4)
    if version != 2:
        raise bad(f"version {version}")
    if total > len(data):
        raise bad(f"a truncated file ({len(data)} of {total} bytes)")
    text, binary, offset, whole = None, None, 12, memoryview(data)
    while offset + 8 <= total:
        length, kind = struct.unpack_from("<I4s", data, offset)
        if offset + 8 + length > total:
            raise damaged(f"a chunk of {length} bytes where {total - offset - 8} are left")
        body = whole[offset + 8 : offset + 8 + length]
        if kind == b"JSON" and text is None:
            text = bytes(body)
        elif kind == b"BIN\0" and binary is None:
            binary = body
        offset += 8 + length
    if text is None:
        raise damaged("no JSON chunk")
    return parse_json(text), binary


def is_json(data: bytes) -> bool:
    """Whether a file is a .gltf: text that begins with a brace, a byte order mark before it or not."""
    return data[:64].removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"{"


def parse_json(text: bytes) -> dict:
    """A JSON object of bounded size and depth."""
    within(_NAME, text.count(b",") + text.count(b"[") + text.count(b"{"), JSON_VALUES, "JSON values")
    try:
        parsed = json.loads(text.rstrip(b"\0 "))  # some writers pad with zeros
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)[:120]
        raise damaged(f"its JSON: {reason}") from None
    if not isinstance(parsed, dict):
        raise damaged(f"its JSON is a {type(parsed).__name__}")
    return parsed


def shown(value) -> str:
    """A value of a file for a message: short, and printable."""
    try:
        text = ascii(value)
    except (RecursionError, ValueError):  # deep nesting; an integer of thousands of digits
        text = type(value).__name__
    return text if len(text) <= 40 else text[:37] + "..."


class Entry:
    """A JSON object and where it stands ("accessor 3").  Look-ups raise InputError for what is not as it must be."""

    def __init__(self, data, where: str):
        if not isinstance(data, dict):
            raise damaged(f"{where} is {shown(data)}, no object")
        self.data, self.where = data, where

    def __contains__(self, key: str) -> bool:
        return key in self.data

    def wrong(self, key: str, expected: str) -> InputError:
        """The error for a value that is not as ``expected``."""
        if key not in self.data:
            return damaged(f"{self.where} has no {key}")
        return damaged(f"{self.where}: {key} is {shown(self.data[key])}, expected {expected}")

    def whole(self, key: str, default=_NOTHING, least: int = 0, most: int = 2**40) -> int:
        """A whole number from ``least`` to ``most``; 24.0 counts as one, True does not."""
        value = self.data.get(key, default)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise self.wrong(key, f"a whole number from {least}" + (f" to {most}" if most < 2**40 else ""))
        return value

    def number(self, key: str, default: float = 0.0) -> float:
        """A finite number."""
        return self._finite(key, self.data.get(key, default), "a finite number")

    def numbers(self, key: str, count: int, default: tuple[float, ...] | None = None) -> list[float]:
        """``count`` finite numbers."""
        value = self.data.get(key, default)
        expected = f"{count} finite numbers"
        if not isinstance(value, list | tuple) or len(value) != count:
            raise self.wrong(key, expected)
        return [self._finite(key, item, expected) for item in value]

    def word(self, key: str, default=_NOTHING) -> str:
        """A text."""
        value = self.data.get(key, default)
        if not isinstance(value, str):
            raise self.wrong(key, "a text")
        return value

    def words(self, key: str) -> list[str]:
        """A list of texts, [] where absent."""
        return [w if isinstance(w, str) else shown(w) for w in self.listed(key)]

    def listed(self, key: str) -> list:
        """A list, [] where absent."""
        value = self.data.get(key, [])
        if not isinstance(value, list):
            raise self.wrong(key, "a list")
        return value

    def inner(self, key: str) -> Entry:
        """An object inside this one; an empty one where absent."""
        return Entry(self.data.get(key, {}), f"{self.where}, {key}")

    def extension(self, *names: str) -> Entry | None:
        """The first extension of these names that is there."""
        given = self.inner("extensions")
        return next((given.inner(name) for name in names if name in given), None)

    def item(self, table: str, index: int) -> Entry:
        """Entry ``index`` of the file's ``table`` ("accessors"), for the file's root."""
        rows = self.listed(table)
        if not 0 <= index < len(rows):
            raise damaged(f"{table}[{index}] where there are {len(rows)}")
        return Entry(rows[index], f"{table}[{index}]")

    def indices(self, key: str) -> list[int]:
        """A list of indices, [] where absent."""
        values = self.listed(key)
        if not all(isinstance(v, int) and not isinstance(v, bool) and 0 <= v <= 2**40 for v in values):
            raise self.wrong(key, "a list of indices")
        return values

    def _finite(self, key: str, value, expected: str) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.wrong(key, expected)
        try:
            value = float(value)
        except OverflowError:
            raise self.wrong(key, expected) from None
        if not math.isfinite(value):
            raise self.wrong(key, expected)
        return value
