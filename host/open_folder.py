"""'Open folder' of the page's menu: the file manager of this machine, for a person who sits at it."""

from __future__ import annotations

import ipaddress
import logging
import shutil
import subprocess
import sys
from pathlib import Path

from .outputs import inside

log = logging.getLogger(__name__)
ROUTE = "/lift123/open_folder"


def register_route(routes) -> None:
    """POST /lift123/open_folder with {"subfolder": "lift123"}, a folder of the output folder -> {"opened": true}.

    400 for anything else, 403 from another machine, 501 where there is no file manager; each with a sentence in "error".
    """
    from aiohttp import web

    @routes.post(ROUTE)
    async def open_folder(http):
        try:
            body = await http.json()
        except (ValueError, RecursionError):
            body = None
        status, said = answer(body, http.remote)
        return web.json_response({"opened": True} if status == 200 else {"error": said}, status=status)


def answer(body, remote: str | None) -> tuple[int, str]:
    """(HTTP status, sentence); opens the folder where the status is 200.  remote: the address that asks."""
    import folder_paths

    given = body.get("subfolder", "") if isinstance(body, dict) else None
    root = folder_paths.get_output_directory()
    path = inside(root, given) if isinstance(given, str) else None
    if path is None or not path.is_dir():
        return 400, "That is no folder inside of the output folder."
    where = f"The folder is output/{given}".rstrip("/")
    try:
        near = remote is not None and ipaddress.ip_address(remote).is_loopback
    except ValueError:
        near = False
    if not near:
        return 403, f"{where}, on the machine that ComfyUI runs on."
    return (200, "") if show(path) else (501, f"{where}; this machine has no file manager.")


def show(path: Path) -> bool:
    """Opens a folder in the file manager; whether there is one."""
    if sys.platform == "win32":
        import os

        os.startfile(path)
        return True
    program = shutil.which("open" if sys.platform == "darwin" else "xdg-open")
    if program is None:
        return False
    try:
        subprocess.Popen([program, str(path.resolve())], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return True
    except OSError as problem:
        log.warning("the folder could not be opened: %s", problem)
        return False
