"""What a reader of other people's meshes changed or left out, in sentences for the report of a node."""

from __future__ import annotations

from dataclasses import dataclass, field

_MOST = 20  # lines; more would hide the first


@dataclass
class Notes:
    """Lines in the order in which they were said, each once."""

    lines: list[str] = field(default_factory=list)

    def say(self, line: str) -> None:
        """Adds a line; none that is there already, and no more than fit into a report."""
        if line in self.lines or len(self.lines) > _MOST:
            return
        self.lines.append(line if len(self.lines) < _MOST else "and more of the kind")
