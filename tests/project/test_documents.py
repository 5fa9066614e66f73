"""README and docs: short, with pictures; links lead somewhere; lists are complete; figures are those of their pages."""

import re
from urllib.parse import unquote

import pytest
from helpers.sources import ROOT, relative
from lift123.launcher.shipped import TITLES

FRONT = [ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")]
PAGES = FRONT + sorted((ROOT / "docs").rglob("*.md"))
PICTURES = [f"docs/pictures/{name}.jpg" for name in ("consistent123", "magic123", "hifi123", "stdgen")]
FIGURE = r"(?<![\w.^])\d+\.\d+(?![\w.])"


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def test_the_readme_is_short_and_shows_a_picture_per_paper():
    text = read("README.md")
    assert len(text.split()) <= 900
    places = [text.index(f"]({name})") for name in PICTURES]
    assert places == sorted(places) and places[-1] < text.index("\n|"), "pictures come before tables"
    assert all((ROOT / name).stat().st_size <= 150_000 for name in PICTURES)
    assert "](docs/pictures/demo.webp)" in text and (ROOT / "docs" / "pictures" / "demo.webp").stat().st_size <= 1_500_000
    for command in ("demo", "serve", "batch", "test"):
        assert f"python3 launch.py {command}" in text


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_links_lead_somewhere(page):
    targets = re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8"))
    inside = [unquote(t.partition("#")[0]) for t in targets if not re.match(r"https?:|#", t)]
    missing = [target for target in inside if not (page.parent / target).exists()]
    assert not missing


def test_workflows_are_listed_and_exist():
    listed = re.findall(r"`([a-z0-9_]+)`", read("docs/workflows.md"))
    assert set(listed) == set(TITLES) and len(listed) == len(TITLES)
    named = re.compile(r"^\| ([^|]+) \| `([a-z0-9_]+)` \|", re.MULTILINE)
    five, all_of_them = (named.findall(read(page)) for page in ("README.md", "docs/workflows.md"))
    assert len(five) == 5 and len(all_of_them) == len(TITLES)
    for title, name in five + all_of_them + named.findall(read("docs/photographs.md")):
        assert title == TITLES[name]
    assert f"other {len(TITLES) - 5}" in read("README.md")


def figures_without_a_page() -> list:
    """Rows of docs/benchmarks.md with a figure that none of the pages named by the section's "From:" rounds to."""
    wrong = []
    for section in read("docs/benchmarks.md").split("\nFrom: ")[1:]:
        section = section.split("\n## ")[0]
        pages = re.findall(r"\.\./(benchmarks/results/\w+\.md)", section)
        known = [float(value) for page in pages for value in re.findall(FIGURE, read(page))]
        for row in re.findall(r"^\|.*\d.*\|$", section, re.MULTILINE):
            for value in re.findall(FIGURE, row):
                half = 0.5 * 10 ** -len(value.partition(".")[2]) * 1.001
                if not any(abs(float(value) - other) <= half for other in known):
                    wrong.append((value, row))
    return wrong


def test_figures_are_those_of_their_pages():
    assert len(re.findall(FIGURE, read("docs/benchmarks.md"))) > 70
    assert not figures_without_a_page()


def test_the_readmes_figures_are_the_quick_benchmarks():
    text = re.sub(r"\s+", " ", read("README.md"))
    rows = {row[0]: row for line in read("benchmarks/results/quick.md").splitlines() if line.startswith("| ")
            for row in [[cell.strip().split(" +-")[0] for cell in line.strip("| ").split(" | ")]] if len(row) == 10}
    shown = {name: (rows[name][5], f"{float(rows[name][7]):.1f}") for name in ("consistent123", "oracle", "reference")}
    for iou, novel in shown.values():
        assert re.search(rf"{re.escape(iou)}( IoU)? and {re.escape(novel)} dB", text), (iou, novel)


def test_counts_in_the_documents_are_those_of_the_code():
    types = set(re.findall(r'io\.Custom\("(LIFT123_\w+)"\)', read("host/types.py")))
    assert f"adds {len(types)} wire types" in read("docs/nodes.md")
    networks = {file.stem for file in (ROOT / "pipelines" / "embedded").glob("*.md")}
    trained = {name for name in networks if f'"{name.removeprefix("stdgen_")}"' in read("training/train.py")}
    words = ("none", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
    assert f"trains {words[len(trained)]} of the {words[len(networks)]} embedded networks" in read("docs/command-line.md")
