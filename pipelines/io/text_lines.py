"""Text of other people's files: byte order marks, encodings of old editors, lines that go on."""

from __future__ import annotations

import re

from .limits import TEXT_BYTES

_MARKS = ((b"\xff\xfe\0\0", "utf-32"), (b"\0\0\xfe\xff", "utf-32"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))
_UTF8_MARKS = re.compile(rb"(?:\xef\xbb\xbf)+")
_CONTINUED = re.compile(r"\\[ \t]*(\n|\Z)")
_OPEN_COMMENT = re.compile(r"^[^#\n]*#[^\n]*\\[ \t]*$", re.MULTILINE)


def decode_text(data: bytes) -> str:
    """Text of a file of unknown encoding, without marks: by its mark, else UTF-8, else Windows' western letters."""
    kind = _marked(data)
    if kind:
        text = data.decode(kind, errors="replace")
    else:
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError:
            text = data.decode("cp1252", errors="replace")
    return text.replace("\ufeff", "")  # also those inside of files that were put together


def without_mark(data: bytes) -> bytes:
    """The bytes of a file without its byte order mark, as UTF-8; files without one stay as they are."""
    marks = _UTF8_MARKS.match(data)
    if marks:
        return data[marks.end() :]
    return decode_text(data).encode() if _marked(data) and len(data) <= TEXT_BYTES else data


def _marked(data: bytes) -> str:
    return next((kind for mark, kind in _MARKS if data.startswith(mark)), "")


def joined(text: str) -> str:
    """Text whose lines that end in a backslash are one with the next; comments end with their line."""
    if "\\" not in text:
        return text
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    return _CONTINUED.sub(" ", _OPEN_COMMENT.sub(lambda found: found.group().rstrip("\\ \t"), text))
