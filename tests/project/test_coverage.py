"""docs/coverage.md: every item has a state and a reason, its counts are its rows', and its links lead somewhere."""

import re
from collections import Counter
from urllib.parse import unquote

from helpers.sources import ROOT

PAGE = ROOT / "docs" / "coverage.md"
ITEMS = {"Consistent123": 53, "Magic123": 38, "HiFi-123": 39, "StdGEN": 49}


def sections() -> dict[str, list[list[str]]]:
    """Paper -> rows of (item, state, shown by)."""
    found = {}
    for part in PAGE.read_text(encoding="utf-8").split("\n## ")[1:]:
        title, _, body = part.partition("\n")
        rows = [re.split(r"(?<!\\)\|", line)[1:-1] for line in body.splitlines() if line.startswith("| ")]
        found[title] = [[cell.strip() for cell in row] for row in rows if row[0].strip() != "item"]
    return found


def test_every_item_has_a_state_a_reason_and_what_shows_it():
    rows = sections()
    assert {paper: len(found) for paper, found in rows.items()} == ITEMS
    for paper, found in rows.items():
        assert len({item for item, *_ in found}) == len(found), f"{paper}: an item twice"
        for item, state, shown in found:
            kind, _, reason = state.partition(": ")
            assert kind in ("works", "deviation", "absent"), (item, state)
            assert reason or kind == "works", f"{item}: what deviates or is absent says why"
            assert kind == "absent" or "](" in shown, f"{item}: nothing shows it"


def test_links_lead_to_files_that_are_shipped():
    """Tests, graphs and pages; ``test_documents.py`` follows the links of all pages, this asks for their kinds."""
    targets = re.findall(r"\]\(([^)]+)\)", PAGE.read_text(encoding="utf-8"))
    assert len(targets) > 200
    for target in targets:
        path = (PAGE.parent / unquote(target)).resolve()
        assert path.is_file() and path.is_relative_to(ROOT), target
        assert path.relative_to(ROOT).parts[0] in ("tests", "workflows", "docs", "web", "pipelines", "benchmarks"), target


def test_the_table_counts_the_rows():
    counts = {paper: Counter(state.partition(":")[0] for _, state, _ in found) for paper, found in sections().items()}
    counts["all"] = sum(counts.values(), Counter())
    text = PAGE.read_text(encoding="utf-8")
    for name, count in counts.items():
        assert f"| {name} | {count['works']} | {count['deviation']} | {count['absent']} |" in text, name
