"""Help pages (``web/docs``) and the list of nodes (``docs/nodes.md``): their generated parts.

Of a help page the title, the paragraph and the picture below it and the sections "Inputs", "Outputs" and "See also" are
generated; everything else is written by hand.  ComfyUI shows a page in a panel 272 pixels wide, so there are no wide tables:
name and meaning come first, the type last.  A node without a page gets one with these parts.
In ``docs/nodes.md`` the lines between BEGIN and
END are generated.
"""

from __future__ import annotations

import re

from .definitions import SyncError

BEGIN, END = "<!-- launch.py sync: nodes -->", "<!-- end -->"
FILES = {"checkpoint"}  # inputs whose choices are files of this machine
MOST = 9  # choices that are listed; of a longer list only the default is told
PICTURES = "pictures"  # below the help pages; a node's picture has its name
SEE = "See also"
_PICTURE = rf"(?m)\A!\[[^\]\n]*\]\({PICTURES}/[^)\n]*\)\n*"
_SECTION = r"(?ms)^## {}\n.*?(?=^## |\Z)"


def help_page(schema, page: str, picture: bool = False, titles: dict[str, str] | None = None) -> str:
    """``page`` with its generated parts anew; an empty one becomes a new page.

    picture: whether the node has one.  titles: node id -> display name of all nodes, for the links at the end.
    """
    lead = f"# {schema.display_name}\n\n{schema.description}\n"
    if picture:
        lead += f"\n![{schema.display_name}]({PICTURES}/{schema.node_id}.jpg)\n"
    lists = {"Inputs": [input_row(i) for i in schema.inputs], "Outputs": [output_row(o) for o in schema.outputs]}
    sections = {name: f"## {name}\n\n{''.join(rows)}" for name, rows in lists.items() if rows}
    rest = page.split("\n\n", 2)[2] if page.count("\n\n") > 1 else ""
    rest = re.sub(_PICTURE, "", rest)
    for name in (*lists, SEE):
        rest = re.sub(_SECTION.format(name), "", rest)
    above, mark, below = rest.partition("## ")
    parts = [lead, _block(above), *sections.values(), _block(mark + below)]
    text = "\n".join(part for part in parts if part)
    return text + see_also(schema, text, titles or {})


def see_also(schema, text: str, titles: dict[str, str]) -> str:
    """The section that links the nodes which a page names; nothing where it names none."""
    body = text.split("\n", 1)[1] if "\n" in text else ""
    found = []
    for node, title in sorted(titles.items(), key=lambda entry: -len(entry[1])):  # "Export" is no node, "Bake and Export" is
        if re.search(rf"(?<![\w-]){re.escape(title)}(?![\w-])", body):
            body = re.sub(rf"(?<![\w-]){re.escape(title)}(?![\w-])", "", body)
            found += [node] if node != schema.node_id else []
    links = [f"[{title}]({node}.md)" for node, title in titles.items() if node in found]
    return f"\n## {SEE}\n\n{', '.join(links)}\n" if links else ""


def _block(text: str) -> str:
    """Text that ends with one line end, or nothing."""
    return text.strip() + "\n" if text.strip() else ""


def input_row(entry) -> str:
    """One line of the list of inputs."""
    notes = _values(entry) or ("Optional." if entry.optional else "")
    return _row(entry.display_name or entry.id, entry.get_io_type(), f"{entry.tooltip} {notes}".strip())


def output_row(entry) -> str:
    """One line of the list of outputs."""
    kind = entry.get_io_type() + (" list" if entry.is_output_list else "")
    return _row(entry.display_name, kind, entry.tooltip)


def _row(name: str, kind: str, meaning: str) -> str:
    kind = kind.replace(",", " or ").replace("*", "any")
    return f"- **{name}**: {meaning} `{kind}`\n"


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
