"""Titles of the graphs: file names that ComfyUI's template browser shows, and the short names that people and code say."""

import re

import pytest
from helpers.sources import ROOT
from lift123.launcher import commands, settings, shipped
from lift123.launcher.shipped import TITLES
from lift123.sync import files
from lift123.sync.definitions import SyncError

PATHS = settings.Paths(root=ROOT, home=ROOT / ".lift123")


def collated(title: str) -> tuple:
    """Nearly the order of a page in English: spaces, punctuation, digits, letters, in any case."""
    order = " _-,;:!?.'()"
    return tuple((order.find(c), "") if c in order else (len(order), c) for c in title.casefold())


def test_every_graph_has_a_title_and_every_title_a_graph():
    folder = ROOT / "workflows"
    assert {file.stem for file in folder.glob("*.json")} == {file.stem for file in folder.glob("*.jpg")} == set(TITLES.values())
    assert {file.stem for file in (folder / "api").glob("*.json")} == set(TITLES)


def test_titles_are_file_names_anywhere():
    """Windows forbids some characters, an address gives others a meaning; names that differ by case alone are one there."""
    assert len({title.casefold() for title in TITLES.values()} | set(TITLES)) == 2 * len(TITLES)
    for name, title in TITLES.items():
        assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9 ,()-]*[A-Za-z0-9)]", title) and "  " not in title and len(title) <= 60, name
        assert re.fullmatch(r"[a-z0-9_]+", name)


@pytest.mark.parametrize("key", [str, collated], ids=["by code", "by language"])
def test_quickstarts_are_the_first_of_their_kind(key):
    kinds: dict[str, list] = {}
    for name, title in sorted(TITLES.items(), key=lambda pair: key(pair[1])):
        kinds.setdefault(re.split(r" \(|, | - ", title)[0], []).append(name)
    quick = {kind: [name.endswith("_quickstart") for name in names] for kind, names in kinds.items()}
    for kind, found in quick.items():
        assert found == sorted(found, reverse=True), (kind, kinds[kind])
    assert kinds["Picture to 3D"][0] == settings.QUICKSTART and kinds["Character to layers"][0] == "stdgen_quickstart"
    assert {name for name in TITLES if name.startswith("ablation_")} <= set(kinds["Research"])


def test_a_graph_is_found_by_name_title_and_file():
    by_name = commands.load_workflow(PATHS, "magic123_quickstart")
    title = TITLES["magic123_quickstart"]
    for said in (title, title.lower(), f" {title} ", str(ROOT / "workflows" / f"{title}.json"),
                 str(shipped.twin_file("magic123_quickstart"))):
        assert commands.load_workflow(PATHS, said) == by_name, said
    prompt, workflow = by_name
    assert prompt and {"nodes", "links"} <= set(workflow)


def test_names_that_are_not_there_are_told_those_that_are(tmp_path):
    for said in ("magic", "", "Picture to 3D", "../api/magic123"):
        with pytest.raises(settings.LaunchError, match="shipped are: .*magic123_quickstart"):
            shipped.load(said)
    with pytest.raises(KeyError):
        shipped.graph_file("Picture to 3D")
    copied = tmp_path / "magic123_quickstart.json"
    copied.write_bytes(shipped.twin_file("magic123_quickstart").read_bytes())
    assert commands.load_workflow(PATHS, str(copied))[1] is None, "a copy may have been edited"


def test_sync_refuses_a_graph_without_a_title(tmp_path):
    (tmp_path / "workflows").mkdir()
    (tmp_path / "workflows" / "my graph.json").write_text('{"nodes": [], "links": []}', encoding="utf-8")
    with pytest.raises(SyncError, match="my graph"):
        files.workflows(tmp_path)
