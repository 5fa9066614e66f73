"""Explicit, resumable downloads of single files, with the standard library only.

A file grows as ``<name>.part`` beside its place, and gets its name when it is whole and its checksum is right.  A
canceled or broken download leaves the part, and the next one continues it if the server still has the same file.
"""

from __future__ import annotations

import errno
import hashlib
import http.client
import json
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from ..core.errors import InputError
from .addresses import is_local
from .bodies import PAGES, PEEK, complaint, foreign
from .registry import WeightFile, Weights

CHUNK = 1 << 20  # bytes
TIMEOUT = 30.0  # seconds without any byte
WINDOW, SLOWEST = 60.0, 1024  # in every so many seconds so many bytes per second have to come
OnProgress = Callable[[str, int, int | None], None]  # (file, bytes so far, bytes in all or None); may raise to cancel


NOTHING_KEPT = "Nothing was kept. Get the file in a browser, or try again in another network."
RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")
SMALL = 2**28  # bytes that a file of an entry may have whatever its size is said to be
MOST = 64 * 2**30  # bytes: twice the largest file of the table


class Absent(FileNotFoundError):
    """The server has no such file."""


class Refused(InputError):
    """Another file than the one that was asked for; nothing of it is kept."""

    __module__ = "builtins"


@dataclass(frozen=True)
class Fetched:
    """What happened to one file.  note: how it was checked."""

    path: Path
    size: int
    sha256: str
    note: str


class _Guard(urllib.request.HTTPRedirectHandler):
    """Remembers what the first server said, and follows it to no place where a file of the public cannot be.

    A hub states size and SHA-256 before it sends clients to its storage.
    """

    def __init__(self, url: str):
        self.url, self.stated = url, {}

    def redirect_request(self, request, file, code, message, headers, address):
        """Keeps the statements; refuses to leave http(s), encryption, or the internet."""
        first, to = urlsplit(self.url), urlsplit(address)
        if to.scheme not in ("http", "https") or (first.scheme == "https" and to.scheme != "https"):
            raise InputError("download", f"an address like {self.url}", f"a redirect to {address[:200]}", NOTHING_KEPT)
        if is_local(to.hostname or "") and not is_local(first.hostname or ""):
            raise InputError("download", "an address on the internet", f"a redirect into this network, to {to.hostname}",
                             NOTHING_KEPT)
        for name, value in headers.items():
            if name.lower().startswith("x-linked-"):
                self.stated.setdefault(name.lower(), value)
        return super().redirect_request(request, file, code, message, headers, address)


def fetch(url: str, target: Path, size: int | None = None, sha256: str | None = None, on_progress: OnProgress | None = None,
          timeout: float = TIMEOUT, most: int = MOST) -> Fetched:
    """Downloads ``url`` to ``target`` (replacing nothing: an existing file is an error of the caller).

    size, sha256: what is expected, None = what the server states.  ``on_progress`` may raise anything to cancel; the part
    stays.  most: bytes after which a body whose length nobody states is given up.  Raises InputError when the server cannot be
    reached, refuses, sends elsewhere, too slowly, or another file than expected, and where ``target`` cannot be written;
    ``FileNotFoundError`` when the server has no such file.
    """
    with _writing(target):
        return _fetch(url, target, size, sha256, on_progress, timeout, most)


@contextmanager
def _writing(target: Path):
    """Errors of the disk as an InputError that names the place."""
    try:
        yield
    except Absent:
        raise
    except OSError as problem:
        raise InputError("download", f"a place for {target.name} that can be written",
                         f"{problem.strerror or problem} ({problem.filename or target.parent})",
                         "Free it, or put the file on another disk (extra_model_paths.yaml).") from problem


def _fetch(url: str, target: Path, size: int | None, sha256: str | None, on_progress, timeout: float, most: int) -> Fetched:
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.is_dir():
        raise IsADirectoryError(errno.EISDIR, "a folder of this name is there", str(target))
    part, memo = target.with_name(target.name + ".part"), target.with_name(target.name + ".part.json")
    known = _memo(memo, url) if part.is_file() else None
    # without a checksum or a strong tag nothing says that the rest would be of the same file
    have = part.stat().st_size if known and (sha256 or str(known.get("etag")).startswith('"')) else 0
    try:
        response, stated = _open(url, have, known, timeout)
        with response:
            have = _begins(response, have, url, target)
            expected = _expected(response, have, size, stated, url, target)
            memo.write_text(json.dumps({"url": url, "etag": response.headers.get("ETag")}), encoding="utf-8")
            digest, have = _receive(response, part, have, expected, target, url, on_progress, most)
    except Refused:
        for left in (part, memo):
            left.unlink(missing_ok=True)
        raise
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as problem:
        raise _unreachable(url, target, problem) from problem
    if expected and have != expected:
        raise InputError("download", f"{expected} bytes of {target.name}", f"{have} bytes, then the connection ended",
                         "Run it again: it continues where it stopped.")
    linked = stated.get("x-linked-etag", "").strip('"').lower()
    wanted = sha256 or (linked if len(linked) == 64 else None)
    if wanted and digest != wanted:
        part.unlink()
        memo.unlink()
        raise _wrong(url, target, f"SHA-256 {wanted}", digest)
    said = "" if wanted else complaint(part, have)
    if said:
        part.unlink()
        memo.unlink()
        raise _wrong(url, target, "a file", f"a complaint: {said}")
    part.replace(target)
    memo.unlink()
    how = "SHA-256 as published" if sha256 else "SHA-256 as its server states" if wanted else "size only: no checksum is known"
    return Fetched(target, have, digest, how)


def _begins(response, have: int, url: str, target: Path) -> int:
    """From which byte the body goes on: ``have`` or 0.  Refused for anything but the file, from there to its end."""
    if response.status == 206 and have:
        span = RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if span is None or int(span[1]) != have or (span[3] != "*" and int(span[2]) + 1 != int(span[3])):
            raise _wrong(url, target, f"bytes from {have} on", response.headers.get("Content-Range") or "no range")
    elif response.status != 200:
        raise _wrong(url, target, "a whole file", f"HTTP {response.status}")
    if response.headers.get_content_type() in PAGES:
        raise _wrong(url, target, "a file", "a web page")
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise _wrong(url, target, "the file as it is", f"one in the encoding {response.headers['Content-Encoding']}")
    return have if response.status == 206 else 0


def _expected(response, have: int, size: int | None, stated: dict, url: str, target: Path) -> int | None:
    """Bytes in all: as published, as the hub states, as this server says; Refused where they differ."""
    said = {"the table": size, "the hub": _number(stated.get("x-linked-size")), "the server": _total(response, have)}
    numbers = {who: count for who, count in said.items() if count}
    if len(set(numbers.values())) > 1:
        (first, count), (other, found) = list(numbers.items())[0], list(numbers.items())[-1]
        raise _wrong(url, target, f"{count} bytes ({first})", f"{found} bytes ({other})")
    return next(iter(numbers.values()), None)


def _open(url: str, have: int, known: dict | None, timeout: float):
    """(response, what redirecting servers stated).  Asks for the rest of the part, on condition that the file is the same."""
    keep = _Guard(url)
    request = urllib.request.Request(url, headers={"User-Agent": "lift123", "Accept-Encoding": "identity"})
    if have and known:
        request.add_header("Range", f"bytes={have}-")
        if (known.get("etag") or "W/").startswith('"'):  # a weak tag promises nothing about bytes
            request.add_header("If-Range", known["etag"])
    opener = urllib.request.build_opener(keep)
    try:
        response = opener.open(request, timeout=timeout)
    except urllib.error.HTTPError as answer:
        if answer.code == 416 and have:  # nothing is left to send, or the file is another one: start again
            return _open(url, 0, None, timeout)
        if answer.code in (404, 410):
            raise Absent(url) from answer
        raise
    except InputError:
        raise
    except ValueError as problem:  # urllib's own reading of an address
        raise InputError("download", f"an address like {url}", f"a redirect to no address ({problem})", NOTHING_KEPT) from problem
    for name, value in response.headers.items():
        if name.lower().startswith("x-linked-") and urlsplit(response.url).netloc == urlsplit(url).netloc:
            keep.stated.setdefault(name.lower(), value)
    return response, keep.stated


def _receive(response, part: Path, have: int, expected: int | None, target: Path, url: str, on_progress,
             most: int) -> tuple[str, int]:
    """Appends the body to the part; (SHA-256 of the whole part, its size).  Refused for a page, and for a body without end."""
    digest = hashlib.sha256()
    if have:
        with part.open("rb") as file:
            while block := file.read(CHUNK):
                digest.update(block)
    start, began, slowly = b"" if not have else None, time.monotonic(), have
    with part.open("ab" if have else "wb") as file:
        while block := _next(response):
            if start is not None and len(start) < PEEK:
                start += block[:PEEK]
                other = foreign(start[:PEEK], target.name)
                if other and (len(start) >= PEEK or other == "a web page"):
                    raise _wrong(url, target, "a file", other)
            have += len(block)
            if have > (expected or most):
                raise _wrong(url, target, f"{expected} bytes" if expected else f"at most {most} bytes", "more")
            file.write(block)
            digest.update(block)
            if on_progress is not None:
                on_progress(target.name, have, expected)
            if time.monotonic() - began > WINDOW:
                if have - slowly < SLOWEST * WINDOW:
                    got = f"{have - slowly} bytes in {WINDOW:g} s"
                    raise InputError("download", f"{SLOWEST} bytes per second of {target.name}", got,
                                     "Run it again later: it continues where it stopped.")
                began, slowly = time.monotonic(), have
    if start and foreign(start[:PEEK], target.name):
        raise _wrong(url, target, "a file", foreign(start[:PEEK], target.name))
    if not have:
        raise _wrong(url, target, "a file", "nothing")
    return digest.hexdigest(), have


def _next(response) -> bytes:
    """What has come: a slow server must not keep anybody from canceling."""
    try:
        return response.read1(CHUNK)
    except (TimeoutError, ConnectionError):
        raise
    except OSError as problem:  # of encryption, of the network; not of this disk
        raise ConnectionError(str(problem)) from problem


def _memo(path: Path, url: str) -> dict | None:
    try:
        memo = json.loads(path.read_text(encoding="utf-8"))
        return memo if memo.get("url") == url else None
    except (OSError, ValueError, AttributeError):
        return None


def _total(response, have: int) -> int | None:
    length = _number(response.headers.get("Content-Length"))
    return None if length is None else have + length


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdigit() else None


def _wrong(url: str, target: Path, expected: str, got: str) -> Refused:
    return Refused("download", f"{expected} for {target.name}", got,
                      f"{url} holds another file than the table says; nothing was kept. Put the right file at {target}.")


def _unreachable(url: str, target: Path, problem: BaseException) -> InputError:
    code = getattr(problem, "code", None)
    reason = f"HTTP {code}" if code else str(getattr(problem, "reason", problem) or type(problem).__name__)
    remedy = f"Get {url} on a machine with a connection and put it at {target}."
    if code in (401, 403):
        remedy = f"Its page asks for an account and consent: get {url} in a browser and put it at {target}."
    return InputError("download", f"a connection to {urlsplit(url).netloc}", reason, remedy)


# ---------------------------------------------------------------------------------------------- whole entries


def fetch_weights(weights: Weights, folder: Path, on_progress: OnProgress | None = None,
                  timeout: float = TIMEOUT) -> list[Fetched]:
    """Downloads what is missing of an entry into ``folder``; sources and alternatives are tried in the table's order.

    Every file stands under its own path, so an interrupted download continues with the first missing file.
    """
    with _writing(folder / weights.files[0].path):
        _check_room(weights, folder)
    return [_one(weights, file, folder, on_progress, timeout) for file in weights.missing(folder)]


def _one(weights: Weights, file: WeightFile, folder: Path, on_progress, timeout: float) -> Fetched:
    problem: InputError | None = None
    for url, path in weights.urls(file):
        exact = path == file.path
        try:
            return fetch(url, folder / path, file.size if exact else None, file.sha256 if exact else None, on_progress, timeout,
                         int(weights.gigabytes * 2e9) + SMALL)
        except FileNotFoundError:
            continue
        except InputError as refused:  # offline or another file: the next source may do
            problem = problem or refused
    if problem is not None:
        raise problem
    tried = ", ".join(dict.fromkeys(source for source in weights.sources))
    raise InputError("download", f"{file.path} of {weights.name}", f"no such file at {tried}",
                     f"The publisher has moved it: find it elsewhere and put it at {folder / file.path}.")


def _check_room(weights: Weights, folder: Path) -> None:
    """InputError when the disk has less room than the missing share of the entry's files wants."""
    import shutil

    folder.mkdir(parents=True, exist_ok=True)
    parts = sum(p.stat().st_size for p in folder.rglob("*.part")) if not weights.single else 0
    share = len(weights.missing(folder)) / len(weights.files)
    wanted, free = weights.gigabytes * 1e9 * share - parts, shutil.disk_usage(folder).free
    if share and free < wanted:
        raise InputError("download", f"{wanted / 1e9:.1f} GB of room in {folder}", f"{free / 1e9:.1f} GB",
                         "Free some, or put the files on another disk (extra_model_paths.yaml).")
