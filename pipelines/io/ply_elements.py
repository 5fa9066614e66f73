"""The tables of a PLY file: its header is checked against its length before memory is taken."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field

import numpy as np

from ..core.errors import InputError
from .gltf_entry import shown
from .limits import FACES, TEXT_BYTES, VERTICES, within

_TYPES = {"char": "i1", "int8": "i1", "uchar": "u1", "uint8": "u1", "short": "i2", "int16": "i2", "ushort": "u2",
          "uint16": "u2", "int": "i4", "int32": "i4", "uint": "u4", "uint32": "u4", "float": "f4", "float32": "f4",
          "double": "f8", "float64": "f8"}
_FORMATS = {"ascii": "", "binary_little_endian": "<", "binary_big_endian": ">"}
_VERSION = "1.0"  # the only one there ever was
UNEVEN_LISTS = 6_000_000  # they are found one by one
_AT_ONCE = 1 << 16  # rows whose numbers are copied together
_MOST_PROPERTIES = 1000
_MOST_HEADER = 1 << 20  # bytes


@dataclass
class ListColumn:
    """Lists of unequal lengths. sizes: [N] int64; values: all of them, one list after the other."""

    sizes: np.ndarray
    values: np.ndarray


@dataclass
class Element:
    """A table of the file: its plain columns and its lists by name."""

    name: str
    count: int
    columns: dict[str, np.ndarray] = field(default_factory=dict)
    lists: dict[str, ListColumn] = field(default_factory=dict)
    properties: list[tuple[str, str, str]] = field(default_factory=list)  # (name, type, type of a list's length or "")


def _bad(got: str) -> InputError:
    return InputError("PLY file", "a PLY with faces", got, "Export the model again.")


def read_elements(data: bytes, wanted: tuple[str, ...]) -> tuple[dict[str, Element], list[str]]:
    """({name: table}, names of pictures) of a PLY; ``wanted`` names the lists that are kept, others are skipped."""
    order, elements, pictures, body = _header(data)
    if not order:
        within("PLY file", len(body), TEXT_BYTES, "bytes of text", "Save it as a binary PLY.")
    if not order and b"_" in body:  # Python and numpy read 1_0 as ten
        raise _bad("a number with an underscore")
    tokens, place = (body.split(), 0) if not order else ([], 0)
    for element in elements[: _last_wanted(elements)]:
        lists = [p for p in element.properties if p[2]]
        try:
            if not order:
                place = _text_rows(element, tokens, place, wanted)
            elif not lists:
                place = _plain_rows(element, body, place, order)
            else:
                place = _even_rows(element, body, place, order, wanted) or _rows(element, body, place, order, wanted)
        except (ValueError, OverflowError, IndexError) as error:
            if isinstance(error, InputError):
                raise
            raise _bad(f"a damaged table {shown(element.name)} ({str(error)[:80]})") from None
    return {element.name: element for element in elements}, pictures


def _last_wanted(elements: list[Element]) -> int:
    """How many tables lead to the last one that is of use; those behind it are not read."""
    return max((k + 1 for k, element in enumerate(elements) if element.name in ("vertex", "face")), default=0)


def _header(data: bytes) -> tuple[str, list[Element], list[str], bytes]:
    """(byte order, tables without rows, names of pictures, the bytes behind the header)."""
    if data[:3] != b"ply":
        raise _bad("something else (no PLY header)")
    end = data.find(b"end_header", 0, _MOST_HEADER)
    line_end = data.find(b"\n" if b"\n" in data[:max(end, 0)] else b"\r", end)
    if end < 0:
        raise _bad("a header without an end")
    text = data[:end].decode("ascii", errors="replace")
    order, elements, pictures = None, [], []
    for line in text.splitlines():
        words = line.split()
        if words[:1] == ["format"]:
            order = _FORMATS.get(words[1]) if words[2:] == [_VERSION] and order is None else None
        elif words[:1] == ["element"]:
            elements.append(_element(words))
            if sum(element.name == words[1] for element in elements) > 1:
                raise _bad(f"two tables {shown(words[1])}")
        elif words[:1] == ["property"]:
            _add_property(elements, words)
        elif words[:2] == ["comment", "TextureFile"]:
            pictures.append(line.split("TextureFile", 1)[1].strip())
    if order is None:
        raise _bad("a header without a known format")
    return order, elements, pictures, data[line_end + 1 :] if line_end >= 0 else b""


def _element(words: list[str]) -> Element:
    if len(words) != 3 or not words[2].isdigit() or len(words[2]) > 12:
        raise _bad(f"the header line {shown(' '.join(words))}")
    most = FACES if words[1] == "face" else VERTICES
    return Element(words[1], within("PLY file", int(words[2]), most, f"rows of {shown(words[1])}"))


def _add_property(elements: list[Element], words: list[str]) -> None:
    line = f"the header line {shown(' '.join(words))}"
    is_list = words[1:2] == ["list"]
    if not elements or len(words) != (5 if is_list else 3) or any(w not in _TYPES for w in words[1 + is_list : -1]):
        raise _bad(line)
    if len(elements[-1].properties) >= _MOST_PROPERTIES or (is_list and _TYPES[words[2]][0] == "f"):
        raise _bad(line)
    if any(words[-1] == name for name, *_ in elements[-1].properties):
        raise _bad(f"the property {shown(words[-1])} twice in {shown(elements[-1].name)}")
    kind, size = (_TYPES[words[3]], _TYPES[words[2]]) if is_list else (_TYPES[words[1]], "")
    elements[-1].properties.append((words[-1], kind, size))


def _text_rows(element: Element, tokens: list[bytes], place: int, wanted) -> int:
    """Fills a table from text; returns where the next begins."""
    width = len(element.properties)
    if element.count * width > len(tokens) - place:
        raise _bad(f"{element.count:,} rows of {shown(element.name)} where {len(tokens) - place:,} numbers are left")
    if not any(size for *_, size in element.properties):
        table = np.array(tokens[place : place + element.count * width], dtype=np.float64).reshape(element.count, width)
        for k, (name, kind, _) in enumerate(element.properties):
            element.columns[name] = _typed(table[:, k], kind)
        return place + table.size
    columns = {name: [] for name, *_ in element.properties}
    sizes = {name: [] for name, _, size in element.properties if size}
    for _ in range(element.count):
        for name, _, size in element.properties:
            count = int(tokens[place]) if size else 1
            place += bool(size)
            if count < 0 or place + count > len(tokens):
                raise _bad(f"a list of {count} numbers where {len(tokens) - place} are left")
            columns[name] += tokens[place : place + count]
            place += count
            if size:
                sizes[name].append(count)
    for name, kind, size in element.properties:
        values = _typed(np.array(columns[name], dtype=np.float64), kind)
        if not size:
            element.columns[name] = values
        elif name in wanted:
            element.lists[name] = ListColumn(np.array(sizes[name], dtype=np.int64), values)
    return place


def _typed(values: np.ndarray, kind: str) -> np.ndarray:
    """Numbers of a text in the type that the header gives; for a whole one, fractions and numbers beyond it are an error."""
    if kind[0] == "f":
        return values
    limits = np.iinfo(kind)
    if not (np.isfinite(values).all() and (values >= limits.min).all() and (values <= limits.max).all()
            and (values == np.floor(values)).all()):
        raise ValueError(f"a number that is no {kind}")
    return values.astype(kind)


def _plain_rows(element: Element, body: bytes, place: int, order: str) -> int:
    dtype = np.dtype([(f"f{k}", order + kind) for k, (_, kind, _) in enumerate(element.properties)])
    rows = _view(element, body, place, dtype)
    for k, (name, kind, _) in enumerate(element.properties):
        element.columns[name] = rows[f"f{k}"].astype(kind)
    return place + dtype.itemsize * element.count


def _view(element: Element, body: bytes, place: int, dtype: np.dtype) -> np.ndarray:
    if dtype.itemsize * element.count > len(body) - place:
        raise _bad(f"a truncated file: {element.count:,} rows of {shown(element.name)} need "
                   f"{dtype.itemsize * element.count:,} bytes of {len(body) - place:,}")
    return np.frombuffer(body, dtype, element.count, place)


def _even_rows(element: Element, body: bytes, place: int, order: str, wanted) -> int:
    """As :func:`_rows` where all lists are as long as those of the first row; 0 where they are not."""
    fields, at = [], place
    for k, (_, kind, size) in enumerate(element.properties):
        count = 1
        if size:
            count = int(_one(body, at, order + size))
            fields.append((f"n{k}", order + size))
            at += np.dtype(size).itemsize
            if not 0 <= count <= 1000:
                return 0
        fields.append((f"f{k}", order + kind, (count,)))
        at += np.dtype(kind).itemsize * count
    dtype = np.dtype(fields)
    if not element.count or dtype.itemsize * element.count > len(body) - place:
        return 0
    rows = np.frombuffer(body, dtype, element.count, place)
    if any((rows[f"n{k}"] != rows[f"n{k}"][0]).any() for k, p in enumerate(element.properties) if p[2]):
        return 0
    for k, (name, kind, size) in enumerate(element.properties):
        if size and name not in wanted:
            continue
        values = rows[f"f{k}"].astype(kind)
        if not size:
            element.columns[name] = values[:, 0]
        else:
            element.lists[name] = ListColumn(np.full(element.count, values.shape[1]), values.reshape(-1))
    return place + dtype.itemsize * element.count


def _rows(element: Element, body: bytes, place: int, order: str, wanted) -> int:
    """For lists of unequal lengths: where each list begins is found row by row, its numbers are taken all at once."""
    lists = [p for p in element.properties if p[2]]
    within("PLY file", element.count * len(lists), UNEVEN_LISTS, f"lists of unequal lengths in {shown(element.name)}")
    least = sum(np.dtype(size or kind).itemsize for _, kind, size in element.properties)
    if element.count * least > len(body) - place:
        raise _bad(f"a truncated file: {element.count:,} rows of {shown(element.name)} in {len(body) - place:,} bytes")
    rows, starts, counts, end = _walked(element, body, place, order)
    k, offset = -1, 0  # the list that was passed last, and bytes behind it (or behind the row's begin)
    for name, kind, size in element.properties:
        if size:
            k, offset = k + 1, 0
            if name in wanted:
                values = _gathered(body, starts[k :: len(lists)], counts[k :: len(lists)], order + kind)
                element.lists[name] = ListColumn(counts[k :: len(lists)].copy(), values.astype(kind))
            continue
        begins = rows if k < 0 else starts[k :: len(lists)] + counts[k :: len(lists)] * np.dtype(lists[k][1]).itemsize
        element.columns[name] = _gathered(body, begins + offset, np.ones(element.count, np.int64), order + kind).astype(kind)
        offset += np.dtype(kind).itemsize
    return end


def _walked(element: Element, body: bytes, place: int, order: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """(where each row begins, where the numbers of each list begin, how many they are, where the last row ends)."""
    steps, plain = [], 0  # (bytes before a list's length, bytes of the length, whether it is signed, bytes of a number)
    for _, kind, size in element.properties:
        if size:
            steps.append((plain, np.dtype(size).itemsize, size[0] == "i", np.dtype(kind).itemsize))
        plain = 0 if size else plain + np.dtype(kind).itemsize
    endian, total = "little" if order == "<" else "big", len(body)
    rows, starts, counts = array("q"), array("q"), array("q")
    for _ in range(element.count):
        rows.append(place)
        for before, width, signed, item in steps:
            place += before
            if place + width > total:
                raise _bad("a truncated file: a list behind its end")
            if width == 1 and not signed:
                count = body[place]
            else:
                count = int.from_bytes(body[place : place + width], endian, signed=signed)
            place += width
            starts.append(place)
            counts.append(count)
            place += count * item
            if count < 0 or place > total:
                raise _bad(f"a list of {count} numbers behind the end of the file")
        place += plain
    if place > total:
        raise _bad("a truncated file: a row behind its end")
    return np.array(rows, np.int64), np.array(starts, np.int64), np.array(counts, np.int64), place


def _gathered(body: bytes, starts: np.ndarray, counts: np.ndarray, dtype: str) -> np.ndarray:
    """All numbers of lists that begin at bytes ``starts``, one list after the other."""
    width, raw, found = np.dtype(dtype).itemsize, np.frombuffer(body, np.uint8), []
    for begin in range(0, len(starts), _AT_ONCE):
        some, many = starts[begin : begin + _AT_ONCE], counts[begin : begin + _AT_ONCE]
        places = np.repeat(some - (np.cumsum(many) - many) * width, many)
        places += np.arange(len(places)) * width
        for part in np.split(places, range(_AT_ONCE, len(places), _AT_ONCE)):
            found.append(raw[part[:, None] + np.arange(width)].reshape(-1).view(dtype))
    return np.concatenate(found) if found else np.zeros(0, dtype)


def _one(body: bytes, place: int, dtype: str):
    if place + np.dtype(dtype).itemsize > len(body):
        raise _bad("a truncated file: a list behind its end")
    return np.frombuffer(body, dtype, 1, place)[0]
