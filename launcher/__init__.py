"""The launcher behind ``launch.py``: sets up ComfyUI, runs workflows in it, runs tests.  Standard library only.

It runs in whatever Python started it and never imports torch, ComfyUI or the pack: everything heavy happens in
the environment that it makes under ``.lift123/`` (see ``settings.Paths``).

settings      versions, folders, the environment variables that change them
environment   virtual environment and packages; one step, one key, so that later runs start in seconds
source        ComfyUI's source: the repository's tag, or the copy inside a source package
browser       Node.js driver and Chromium for the browser tests
server        starting and stopping a ComfyUI, HTTP
guard         ending a ComfyUI in an orderly way, also when the launcher itself was killed
websocket     a small RFC 6455 client
jobs          queueing a prompt and following it
graph         edits of API-format prompts (another picture, another seed, fewer steps)
cluster       Ray's installation, a worker machine's set-up, handing a batch to ``cluster/``
verify        loading and running every public network that is present
terminal      one progress line, plain messages
commands      what each word of the command line does
"""
