"""Many pictures through one graph on many machines, with Ray: nothing lost, nothing done twice.

    from lift123.cluster import run
    for item in run("pictures", workflow="consistent123_quickstart", cluster="auto"):
        print(item.name, item.status, item.files)

Standard library only, besides Ray where a cluster is asked for; it knows ``launcher`` and the records of ``pipelines.io``.

items        a folder or a table (CSV, JSON lines) becomes a list of items; sweeps
graphs       an item's graph, and the key that names its work
journal      what happened, line by line on the disk; which driver has the run
results      a result is one folder, published whole and once
identity     the code and the weights of a machine, to compare
bootstrap    how a process of Ray finds the pack on its machine
worker       a ComfyUI of its own that stays warm
pools        workers in this process, or actors of Ray
placement    how many workers, of what size
driver       the loop: hand out, wait, write down
state        what the driver knows of items and workers
show         the live table
api          ``run``
drive        the command behind ``launch.py batch --cluster``
"""

from .api import Finished, run

__all__ = ["Finished", "run"]
