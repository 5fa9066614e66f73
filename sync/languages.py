"""Other languages: ``locales/CODE`` is written from one flat file, ``sync/languages/CODE.json``, and from ``locales/en``.

A flat file is {"made": MACHINE or who read it, "words": {English: translation}}.  ``launch.py sync`` adds English strings that
are new (with an empty translation) and takes out those that are gone; what is empty is shown in English, and
``tests/project/test_languages.py`` says which strings are missing.  Names of methods are translated by themselves.
"""

from __future__ import annotations

import json
from pathlib import Path

from .definitions import SyncError

FOLDER = Path(__file__).resolve().parent / "languages"
MACHINE = "machine-made, not read by a speaker yet"


def strings(value) -> list[str]:
    """Every string inside of nested dictionaries, each once, in order."""
    if isinstance(value, dict):
        found = [text for inner in value.values() for text in strings(inner)]
    else:
        found = [value] if isinstance(value, str) and value.strip() else []
    return list(dict.fromkeys(found))


def translated(value, words: dict[str, str]):
    """The same nested dictionaries with translations in place of the strings that have one."""
    if isinstance(value, dict):
        return {key: translated(inner, words) for key, inner in value.items()}
    return (words.get(value) or value) if isinstance(value, str) else value


def flat_files(folder: Path = FOLDER) -> dict[str, dict]:
    """Language code -> its flat file.  SyncError for one that does not say who made it, or holds something else."""
    found = {}
    for file in sorted(folder.glob("*.json")):
        try:
            data = json.loads(file.read_text(encoding="utf-8"))
        except ValueError as problem:
            raise SyncError(f"{file.name} is no JSON: {problem}") from problem
        words, made = data.get("words"), data.get("made")
        if not isinstance(words, dict) or not all(isinstance(text, str) for text in words.values()):
            raise SyncError(f"{file.name}: 'words' maps English strings to translations")
        if not isinstance(made, str) or not made.strip():
            raise SyncError(f"{file.name}: 'made' says {MACHINE!r}, or who has read it")
        found[file.stem] = data
    return found


def written(english: dict[str, dict], folder: Path, locales: Path) -> dict[Path, str]:
    """File -> text: every language's flat file brought up to date, and its folder below ``locales``.

    english: "nodeDefs" and "main" as ``locales/en`` holds them.
    """
    done, wanted = {}, strings(english)
    for code, data in flat_files(folder).items():
        words = {text: data["words"].get(text, "") for text in wanted}
        done[folder / f"{code}.json"] = _dump({"made": data["made"], "words": words})
        for name, content in english.items():
            marked = {**content, "lift123": {"made": data["made"]}} if name == "main" else content
            done[locales / code / f"{name}.json"] = _dump(translated(marked, words))
    return done


def missing(data: dict, english: dict[str, dict]) -> list[str]:
    """English strings without a translation in a flat file."""
    return [text for text in strings(english) if not data["words"].get(text, "").strip()]


def _dump(data: dict) -> str:
    return json.dumps(data, indent=2, ensure_ascii=False) + "\n"
