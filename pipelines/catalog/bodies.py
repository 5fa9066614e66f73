"""Whether what a server sends can be the file that was asked for, by its first bytes and by what stands in it."""

from __future__ import annotations

import json
import re
from pathlib import Path

PEEK = 1024  # bytes in which something else is recognized
PAGES = ("text/html", "application/xhtml+xml", "application/xml", "text/xml")
PAGE = re.compile(rb"(\xef\xbb\xbf)?\s*(<!--.*?-->\s*)*(<!doctype\s+html|<html|<\?xml)", re.IGNORECASE | re.DOTALL)
WEIGHTS = (".safetensors", ".bin", ".ckpt", ".pt", ".pth", ".onnx")  # never text
_TEXT = re.compile(rb"[\t\n\r\x20-\x7e\x80-\xff]+")
_COMPLAINTS = {"error", "errors", "detail", "message", "msg", "status", "statuscode", "code", "reason", "requestid", "path",
               "timestamp", "documentation_url", "success"}
_SHORT = 1 << 16  # bytes of a server's complaint


def foreign(start: bytes, name: str) -> str:
    """What the first bytes of a body are instead of a file of this name: "a web page", "a text"; "" for nothing known."""
    if PAGE.match(start):
        return "a web page"
    if Path(name).suffix.lower() in WEIGHTS and _TEXT.fullmatch(start):
        return f"a text ({start[:60].decode('utf-8', 'replace')!a})"
    return ""


def complaint(path: Path, size: int) -> str:
    """The beginning of a JSON file in which a server says why it does not send the file; "" for any other."""
    if size > _SHORT:
        return ""
    try:
        said = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return ""
    if not isinstance(said, dict) or not said or {str(key).lower() for key in said} - _COMPLAINTS:
        return ""
    return json.dumps(said)[:80]
