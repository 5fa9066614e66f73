"""Writes ``pipelines/embedded/checksums.json``, which is checked whenever the networks are loaded.

    python training/checksums.py      # after final weights were put there, never to silence an error
"""

import json

import pack  # noqa: F401  (imports the pack as ``lift123``)
from lift123.pipelines.loaders.embedded_files import FOLDER, TABLE, make_table


def main() -> None:
    text = json.dumps(make_table(), indent=1, sort_keys=True) + "\n"
    (FOLDER / TABLE).write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
