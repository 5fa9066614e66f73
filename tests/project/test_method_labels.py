"""Every label that code, tests and documents cite is a heading of docs/method, once, in the document of its letter."""

import re
from pathlib import Path

import pytest
from helpers.sources import ROOT, python_files

METHOD = ROOT / "docs" / "method"
DOCUMENTS = {"M": "magic123.md", "C": "consistent123.md", "H": "hifi123.md", "S": "stdgen.md"}
NAME = r"[MCHS]-[A-Z](?:\.\d+[a-z]?)?"
LABEL = re.compile(rf"(?<![\w-]){NAME}(?!\w)")
HEADING = re.compile(rf"#+ ({NAME}) \S")
LONE = re.compile(r"\b[Ss]pecs?\s+(?:(?:section|table|hifi123)\s+)?(?:[A-Z](?:\.\d+[a-z]?)?\b|\d)")  # a citation of no document


def headings(text: str) -> list[str]:
    """The labels that head the sections of a document."""
    return [found[1] for line in text.splitlines() if (found := HEADING.match(line))]


def problems(sections: dict[str, list[str]], texts: dict[str, str]) -> list[str]:
    """What is wrong with documents (letter -> labels of their headings) and the texts (name -> text) that cite them."""
    wrong = []
    for letter, labels in sections.items():
        wrong += [f"{label} heads two sections" for label in sorted(set(labels)) if labels.count(label) > 1]
        wrong += [f"{label} heads a section of {DOCUMENTS[letter]}" for label in labels if label[0] != letter]
    known = {label for labels in sections.values() for label in labels}
    for name, text in texts.items():
        wrong += [f"{name}: {label} is no section" for label in sorted(set(LABEL.findall(text)) - known)]
        wrong += [f"{name}: {found!r} names no document" for found in LONE.findall(text)]
    return wrong


def documents() -> list[Path]:
    """The repository's Markdown files, without those of hidden folders."""
    files = [p for p in ROOT.rglob("*.md") if not any(part.startswith(".") for part in p.relative_to(ROOT).parts)]
    return [p for p in files if "node_modules" not in p.parts]


def test_every_label_is_a_section():
    sections = {letter: headings((METHOD / name).read_text(encoding="utf-8")) for letter, name in DOCUMENTS.items()}
    assert min(map(len, sections.values())) > 5, sections
    files = [p for p in (*python_files(), *documents()) if p != Path(__file__).resolve()]
    texts = {p.relative_to(ROOT).as_posix(): p.read_text(encoding="utf-8") for p in files}
    assert sum(len(LABEL.findall(text)) for name, text in texts.items() if name.endswith(".py")) > 150
    assert not (wrong := problems(sections, texts)), "\n".join(wrong)


@pytest.mark.parametrize(("text", "said"), [
    ("as published (S-C.5, S-C.6)", ["a.py: S-C.6 is no section"]),
    ("M-C.5's numbers; M-D.", ["a.py: M-D is no section"]),
    ("S-LRM, RGB-M, M-C.5-like, M-C.55", ["a.py: M-C.55 is no section"]),
    ("numbers of the spec" + " B.4", ["a.py: 'spec" + " B.4' names no document"]),
    ("(Spec" + " section 0), spec" + " table H", ["a.py: 'Spec" + " section 0' names no document",
                                                 "a.py: 'spec" + " table H' names no document"]),
    ("the plain torch specification, spec.build(x), spec = on_spec(A)", []),
])
def test_what_is_wrong_is_named(text, said):
    assert problems({"M": ["M-C.5"], "S": ["S-C.5"]}, {"a.py": text}) == said


def test_headings_are_unique_and_of_their_letter():
    text = "# Title\n## M-A Cameras\n### M-A.1 One\n### M-A.1 Another\n### C-D.3b Of another\nM-B Not a heading\n"
    found = headings(text)
    assert found == ["M-A", "M-A.1", "M-A.1", "C-D.3b"]
    assert problems({"M": found}, {}) == ["M-A.1 heads two sections", "C-D.3b heads a section of magic123.md"]
