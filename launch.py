#!/usr/bin/env python3
"""Lift123's one command line.

``python3 launch.py demo | serve | test | batch | bench | sync | verify-weights | train-embedded | train-characters``

Standard library only.  The first run makes a virtual environment and a ComfyUI under ``.lift123/``; later runs start
in seconds and need no network.  ``python3 launch.py COMMAND --help`` tells more.
"""

import sys

if __name__ == "__main__":
    if sys.version_info < (3, 10):
        sys.exit("launch.py: Python 3.10 or newer is needed; this is %d.%d." % sys.version_info[:2])
    from launcher.commands import main

    sys.exit(main(sys.argv[1:]))
