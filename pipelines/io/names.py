"""Names for files that every system takes: without device names, colons and other signs that Windows refuses."""

from __future__ import annotations

import re

# https://learn.microsoft.com/windows/win32/fileio/naming-a-file: names of devices, with any ending, in any case
DEVICE = re.compile(r"(?i)(con|prn|aux|nul|conin\$|conout\$|clock\$|(com|lpt)[0-9\u00b9\u00b2\u00b3])\s*(\..*)?")
REFUSED = re.compile(r'[<>:"|?*\x00-\x1f\x7f]')


def safe_part(name: str) -> str:
    """One name without separators: "CON" -> "CON_", "a:b" -> "a_b", "end. " -> "end"; "" for nothing that is left."""
    name = REFUSED.sub("_", name).rstrip(". ").lstrip(" ")
    if DEVICE.fullmatch(name):
        stem, dot, ending = name.partition(".")
        name = f"{stem.rstrip()}_{dot}{ending}"
    return name


def safe_path(name: str) -> str:
    """A relative name with "/" or backslashes, part by part; empty parts and dots alone are left out."""
    return "/".join(part for part in map(safe_part, re.split(r"[/\\]", name)) if part)
