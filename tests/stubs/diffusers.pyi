"""For pyright alone: networks of this library are ``core.modules.AnyModule``, and reading its thousands of files takes
a checker minutes."""

from typing import Any

def __getattr__(name: str) -> Any: ...
