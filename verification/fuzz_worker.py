"""One process of the fuzzer: ``fuzz_worker.py [[KIND, NUMBER], ...]``; a line before and after each mutation."""

from __future__ import annotations

import json
import resource
import signal
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path

import torch

sys.path.append(str(Path(__file__).resolve().parent.parent / "training"))
import pack  # noqa: F401  (the repository becomes the package lift123)
from lift123.pipelines.core.errors import InputError
from lift123.pipelines.io.glb_reader import read_extras, read_glb
from lift123.pipelines.io.mesh_files import read_mesh_file
from lift123.pipelines.io.obj_reader import read_obj
from lift123.pipelines.io.pictures import read_picture
from lift123.pipelines.io.runs import DONE, gather, read_run, table
from lift123.pipelines.loaders.safe_pickle import load_pickle
from lift123.pipelines.stages.characters.refined_layers import load_layers
from lift123.pipelines.stages.loop.scene import Scene
from lift123.verification.fuzz import MEMORY, SECONDS
from lift123.verification.fuzz_mutations import mutation
from lift123.verification.fuzz_seeds import MTL, OBJ, SEEDS, picture


def check_mesh(mesh, read: bool = True) -> None:
    """A mesh that a renderer can use: finite, its faces inside; one that was read has colors in range."""
    assert len(mesh.faces) and bool(torch.isfinite(mesh.vertices).all()), "vertices"
    assert 0 <= int(mesh.faces.min()) and int(mesh.faces.max()) < len(mesh.vertices), "faces"
    if mesh.uvs is not None:
        assert bool(torch.isfinite(mesh.uvs).all()), "texture coordinates"
        assert 0 <= int(mesh.face_uvs.min()) and int(mesh.face_uvs.max()) < len(mesh.uvs), "face_uvs"
    for colors in (mesh.texture, mesh.vertex_colors):
        assert colors is None or bool(torch.isfinite(colors).all()), "colors"
        assert not read or colors is None or bool(((colors >= -1e-5) & (colors <= 1 + 1e-5)).all()), "colors"


def beside(materials: bytes = MTL):
    """The files that the OBJ and PLY examples name."""
    return lambda name: materials if name.endswith(".mtl") else picture() if name == "a.png" else None


def read_file(kind: str, data: bytes, folder: Path) -> None:
    """Reads a file of a kind, and looks at what came of it."""
    path = folder / ("x" + {"checkpoint": ".ckpt", "manifest": DONE}.get(kind, ".safetensors"))
    path.write_bytes(data)
    if kind == "glb":
        check_mesh(read_glb(data))
        assert isinstance(read_extras(data), dict)
    elif kind == "obj":
        check_mesh(read_obj(data, beside=beside()))
    elif kind == "mtl":
        check_mesh(read_obj(OBJ.replace(b" 0.1 0.2 0.3", b""), beside=beside(data)))
    elif kind in ("ply", "stl"):
        check_mesh(read_mesh_file(data, kind))
    elif kind == "picture":
        pixels = read_picture(data)
        assert pixels.shape[2] == 3 and bool(((pixels >= 0) & (pixels <= 1)).all())
    elif kind == "scene":
        kept = Scene.load(path)
        assert isinstance(kept.meta, dict) and all(isinstance(t, torch.Tensor) for t in kept.tensors.values())
    elif kind == "layers":
        for mesh in load_layers(path).layers.layers.values():
            check_mesh(mesh, read=False)
    elif kind == "checkpoint":
        assert all(isinstance(t, torch.Tensor) for t in load_pickle(path).values())
    else:
        read_run(path, folder)
        table(gather(folder))


def field(name: str) -> int:
    """Bytes of a field of this process's status."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name + ":"))


def main() -> None:
    cases = json.loads(sys.argv[1])
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as name:
        for kind in dict(cases):
            for good in SEEDS[kind]():
                read_file(kind, good, Path(name))  # a good file is valid; from here on nothing is imported
        resource.setrlimit(resource.RLIMIT_AS, (field("VmSize") + MEMORY, resource.RLIM_INFINITY))
        for kind, number in cases:
            data = mutation(kind, number)
            Path("/proc/self/clear_refs").write_text("5")  # the highest mark of memory begins anew
            before, start = field("VmRSS"), time.process_time()
            print(json.dumps(["begin", kind, number]), flush=True)
            signal.setitimer(signal.ITIMER_PROF, SECONDS + 1)  # ends the process, also inside of a library
            try:
                read_file(kind, data, Path(name))
                how, said = "valid", ""
            except InputError as error:
                how, said = ("refused" if error.remedy and len(str(error)) < 1000 else "unclear"), str(error)
            except Exception as error:  # what the fuzzer looks for
                how, said = type(error).__name__, traceback.format_exc()[-1500:]
            signal.setitimer(signal.ITIMER_PROF, 0)
            seconds, memory = time.process_time() - start, field("VmHWM") - before
            print(json.dumps(["end", kind, number, how, said, seconds, memory]), flush=True)


if __name__ == "__main__":
    main()
