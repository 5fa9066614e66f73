"""Languages: complete, marked, and written from one flat file each; the mechanism on a tiny one."""

import json

import pytest
from conftest import ROOT
from lift123.sync import languages
from lift123.sync.definitions import SyncError

ENGLISH = {
    "nodeDefs": {"Lift123_A": {"display_name": "View Prior", "description": "Keeps sides.", "inputs": {
        "w": {"name": "weight", "tooltip": "Of the prior."}}, "outputs": {"0": {"name": "prior", "tooltip": "Keeps sides."}}}},
    "main": {"nodeCategories": {"priors": "priors"}, "dataTypes": {"LIFT123_PRIOR": "PRIOR"}},
}
WORDS = {"View Prior": "View Prior", "Keeps sides.": "H\u00e4lt Seiten.", "weight": "Gewicht", "Of the prior.": "Des Priors.",
         "prior": "Prior", "priors": "Priors", "PRIOR": "PRIOR"}


def shipped():
    return {name: json.loads((ROOT / "locales" / "en" / f"{name}.json").read_text(encoding="utf-8"))
            for name in ("nodeDefs", "main")}


def test_every_language_that_is_here_is_complete_and_says_who_made_it():
    for code, data in languages.flat_files().items():
        gaps = languages.missing(data, shipped())
        assert not gaps, f"{code} lacks {len(gaps)} translations: {gaps[:5]}"
        assert data["made"] == languages.MACHINE or len(data["made"]) > 3
    folders = {path.name for path in (ROOT / "locales").iterdir() if path.is_dir()}
    assert folders == {"en", *languages.flat_files()}, "a folder of locales without a flat file, or the other way round"


def test_a_flat_file_becomes_a_folder_with_the_keys_of_english(tmp_path):
    (tmp_path / "de.json").write_text(json.dumps({"made": languages.MACHINE, "words": WORDS}), encoding="utf-8")
    made = languages.written(ENGLISH, tmp_path, tmp_path / "locales")
    assert set(made) == {tmp_path / "de.json", *(tmp_path / "locales" / "de" / f"{name}.json" for name in ENGLISH)}
    nodes = json.loads(made[tmp_path / "locales" / "de" / "nodeDefs.json"])
    assert nodes["Lift123_A"]["inputs"]["w"] == {"name": "Gewicht", "tooltip": "Des Priors."}
    assert nodes["Lift123_A"]["description"] == nodes["Lift123_A"]["outputs"]["0"]["tooltip"] == "H\u00e4lt Seiten."
    main = json.loads(made[tmp_path / "locales" / "de" / "main.json"])
    assert main["lift123"]["made"] == languages.MACHINE and main["nodeCategories"] == {"priors": "Priors"}
    assert json.loads(made[tmp_path / "de.json"])["words"] == WORDS, "nothing to add: a second sync changes nothing"
    assert "H\u00e4lt" in made[tmp_path / "de.json"], "people read it"


def test_new_strings_are_added_empty_old_ones_go_and_gaps_stay_english(tmp_path):
    given = {**{k: v for k, v in WORDS.items() if k != "weight"}, "gone": "weg"}
    (tmp_path / "de.json").write_text(json.dumps({"made": "read by A. Speaker", "words": given}), encoding="utf-8")
    made = languages.written(ENGLISH, tmp_path, tmp_path / "locales")
    kept = json.loads(made[tmp_path / "de.json"])
    assert kept["words"]["weight"] == "" and "gone" not in kept["words"] and kept["made"] == "read by A. Speaker"
    assert languages.missing(kept, ENGLISH) == ["weight"]
    nodes = json.loads(made[tmp_path / "locales" / "de" / "nodeDefs.json"])
    assert nodes["Lift123_A"]["inputs"]["w"]["name"] == "weight"


@pytest.mark.parametrize("text, words", [
    ("{", "no JSON"), ('{"words": {}}', "'made'"), ('{"made": " ", "words": {}}', "'made'"), ('{"made": "x"}', "'words'"),
    ('{"made": "x", "words": {"a": 1}}', "'words'")])
def test_a_flat_file_that_is_none_is_named(tmp_path, text, words):
    (tmp_path / "xx.json").write_text(text, encoding="utf-8")
    with pytest.raises(SyncError, match=f"xx.json.*{words}"):
        languages.flat_files(tmp_path)
