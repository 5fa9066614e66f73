"""What is generated from the nodes' schemas: ``python3 launch.py sync`` writes it, ``sync --check`` compares.

A schema in ``nodes/`` is the one place for names, types, defaults, ranges, choices and tooltips.  From it come

locales/en/nodeDefs.json   names and tooltips                          ``translations.py``
locales/en/main.json       menu folders and wire types                 ``translations.py``
locales/CODE               other languages, from sync/languages         ``languages.py``
web/docs/*.md              title, lead, picture, lists, See also         ``pages.py``
docs/nodes.md              the table between its markers               ``pages.py``
workflows/*.json           new inputs and outputs, with defaults       ``graphs.py``
workflows/api/*.json       the whole file                              ``graphs.py``
subgraphs/*.json           blueprints, from the graphs                 ``blueprints.py``
web/js/renamed_tables.js   former names (from ``host/renamed.py``)     ``files.py``
web/js/preset_numbers.js   what the presets' 0 and -1 stand for        ``presets.py``
web/js/node_rooms.js       where each node stands in the menu           ``files.py``

Everything else in these files is written by hand and stays.  ``files.py`` puts them together, ``definitions.py`` asks
ComfyUI's own code what its nodes look like; no server is started.
"""
