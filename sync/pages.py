"""Help pages (``web/docs``) and the list of nodes (``docs/nodes.md``): their generated parts.

Of a help page the title, the paragraph below it and the sections "Inputs" and "Outputs" are generated; everything else
is written by hand.  A node without a page gets one with these parts.  In ``docs/nodes.md`` the lines between BEGIN and
END are generated.
"""

from __future__ import annotations

import re

from .definitions import SyncError

BEGIN, END = "<!-- launch.py sync: nodes -->", "<!-- end -->"
FILES = {"checkpoint"}  # inputs whose choices are files of this machine
MOST = 9  # choices that are listed; of a longer list only the default is told
HEAD = "| name | type | meaning |\n|---|---|---|\n"
_SECTION = r"(?ms)^## {}\n.*?(?=^## |\Z)"


def help_page(schema, page: str) -> str:
    """``page`` with its generated parts anew; an empty one becomes a new page."""
    lead = f"# {schema.display_name}\n\n{schema.description}\n"
    tables = {"Inputs": [input_row(i) for i in schema.inputs], "Outputs": [output_row(o) for o in schema.outputs]}
    sections = {name: f"## {name}\n\n{HEAD}{''.join(rows)}" for name, rows in tables.items() if rows}
    if not page.strip():
        return "\n".join([lead, *sections.values()])
    rest = page.split("\n\n", 2)[2] if page.count("\n\n") > 1 else ""
    for name in reversed(tables):
        rest = re.sub(_SECTION.format(name), "", rest)
    above, mark, below = rest.partition("## ")
    parts = [lead, _block(above), *sections.values(), _block(mark + below)]
    return "\n".join(part for part in parts if part)


def _block(text: str) -> str:
    """Text that ends with one line end, or nothing."""
    return text.strip() + "\n" if text.strip() else ""


def input_row(entry) -> str:
    """One line of the table of inputs."""
    notes = _values(entry) or ("Optional." if entry.optional else "")
    return _row(entry.display_name or entry.id, entry.get_io_type(), f"{entry.tooltip} {notes}".strip())


def output_row(entry) -> str:
    """One line of the table of outputs."""
    kind = entry.get_io_type() + (" list" if entry.is_output_list else "")
    return _row(entry.display_name, kind, entry.tooltip)


def _row(name: str, kind: str, meaning: str) -> str:
    kind = kind.replace(",", " or ").replace("*", "any")
    return f"| **{name}** | {kind} | {meaning} |\n"


def _values(entry) -> str:
    """Default, range and choices in words."""
    kind = entry.get_io_type()
    if kind in ("INT", "FLOAT"):
        return f"Default {_number(entry.default)}, {_number(entry.min)} to {_number(entry.max)}."
    if kind == "BOOLEAN":
        return f"Default {'on' if entry.default else 'off'}."
    if kind == "COMBO":
        if entry.id in FILES or len(entry.options) > MOST:
            return f"Default {entry.default}."
        return f"Choices: {', '.join(entry.options)}; default {entry.default}."
    return ""


def _number(value: float) -> str:
    return "2^32 - 1" if value == 0xFFFFFFFF else f"{value:g}" if isinstance(value, float) else str(value)


def node_list(nodes: dict, page: str) -> str:
    """``page`` with the table of all nodes between its markers.  SyncError without them."""
    if BEGIN not in page or END not in page.split(BEGIN, 1)[1]:
        raise SyncError(f"docs/nodes.md lacks the lines '{BEGIN}' and '{END}'")
    above, rest = page.split(BEGIN, 1)
    return f"{above}{BEGIN}\n{node_table(nodes)}{END}{rest.split(END, 1)[1]}"


def node_table(nodes: dict) -> str:
    """All nodes by menu folder, with the first sentence of their descriptions."""
    schemas = [node.GET_SCHEMA() for node in nodes.values()]
    folders = dict.fromkeys(s.category for s in schemas)
    rows = [f"| {folder.split('/', 2)[2]} | {s.display_name} | {first_sentence(s.description)} |\n"
            for folder in folders for s in schemas if s.category == folder]
    return "| menu | node | what it does |\n|---|---|---|\n" + "".join(rows)


def first_sentence(text: str) -> str:
    """Up to the first full stop that ends a sentence (not one inside "Sec. 3.1")."""
    return re.split(r"(?<=[a-z0-9)\]])(?<!Sec)(?<!Fig)(?<!vs)\. (?=[A-Z0-9'])", text, maxsplit=1)[0].rstrip(".") + "."
