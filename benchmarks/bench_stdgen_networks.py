"""StdGEN's diffusion networks at full size on a CPU: a random checkpoint with the listed keys loads and runs once.

    python benchmarks/bench_stdgen_networks.py [--only multiview] [--scale 0.375] [--dtype bfloat16] [--out FILE]

One process per network, so that peak memory is its own; files are written to a temporary folder (1.9 to 3.5 GB).
scale: of the pictures' sides (1 = 1024 x 576 and 1024 x 640); operations are also counted at full size, on shapes alone.
"""

from __future__ import annotations

import argparse
import importlib
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from bench_tools import ROOT, load_pack, machine, table

load_pack()
canonical = importlib.import_module("lift123.pipelines.networks.stdgen.canonical")
multiview = importlib.import_module("lift123.pipelines.networks.stdgen.multiview")
canonical_folder = importlib.import_module("lift123.pipelines.loaders.canonical_folder")
multiview_folder = importlib.import_module("lift123.pipelines.loaders.multiview_folder")
attention = importlib.import_module("lift123.pipelines.networks.stdgen.attention")
loading = importlib.import_module("lift123.pipelines.loaders.stdgen_files")

LISTINGS = ROOT.parent / "shared" / "checkpoints"
CONFIGS = {"unet": canonical.CANONICAL_CONFIG, "ref_unet": canonical.CANONICAL_CONFIG}
PARTS = {
    "canonical": {"unet": "stdgen_canonicalize_unet", "ref_unet": "stdgen_canonicalize_ref_unet"},
    "multiview": {"unet": "era3d_unet_6view_regress"},
}
WORDS, WIDTH = 77, 1024


def write_checkpoint(folder: Path, name: str) -> int:
    """Random half precision weights of exactly the listed names and shapes; returns the bytes written."""
    from safetensors.torch import save_file

    total = 0
    for component, listing in PARTS[name].items():
        shapes = json.loads((LISTINGS / f"{listing}.json").read_text(encoding="utf-8"))
        generator, state = torch.Generator().manual_seed(1), {}
        for key, shape in shapes.items():
            if "norm" in key and key.endswith("weight") and len(shape) == 1:
                state[key] = torch.ones(shape, dtype=torch.float16)
            else:
                fan = max(1, torch.Size(shape).numel() // shape[0]) if len(shape) > 1 else 1
                state[key] = (torch.randn(shape, generator=generator) * (0.5 / fan**0.5 if len(shape) > 1 else 0)).half()
        place = folder / component
        place.mkdir(parents=True)
        config = canonical.CANONICAL_CONFIG if name == "canonical" else multiview.MULTIVIEW_CONFIG
        (place / "config.json").write_text(json.dumps(config), encoding="utf-8")
        save_file(state, str(place / "diffusion_pytorch_model.safetensors"))
        total += sum(v.numel() * v.element_size() for v in state.values())
    return total


def networks(name: str, size: tuple[int, int]):
    """(load(folder, dtype) -> modules, run(modules, device, dtype) -> answer) for latents of ``size``."""
    height, width = size

    def tensors(device, dtype, *shapes):
        generator = torch.Generator().manual_seed(2)
        if device == "meta":
            return [torch.empty(s, device="meta", dtype=dtype) for s in shapes]
        return [torch.randn(s, generator=generator).to(dtype) for s in shapes]

    if name == "canonical":
        def run(modules, device, dtype):
            main, reference = modules
            noisy, seen, token, text = tensors(device, dtype, (2, 4, height, width), (2, 4, height, width), (2, 1, WIDTH),
                                               (2, WORDS, WIDTH))
            attention.look(reference, seen, 999, text)
            return main(noisy, 999, token).sample

        return canonical_folder.load_pair, run

    def run(modules, device, dtype):
        x, text, labels = tensors(device, dtype, (24, 8, height, width), (24, WORDS, WIDTH), (24, 2 * WIDTH))
        return multiview.run_unet(modules, x, 976, text, labels)

    return multiview_folder.load_unet, run


def count_operations(name: str) -> float:
    """TFLOP (multiplications and additions) of one guided evaluation at full size, on shapes alone."""
    from torch.utils.flop_counter import FlopCounterMode

    def build():
        if name == "multiview":
            return multiview.build_multiview(multiview.MULTIVIEW_CONFIG)
        pair = canonical.build_main(CONFIGS["unet"]), canonical.build_reference(CONFIGS["ref_unet"])
        attention.share_reference(*pair)
        return pair

    modules, size = loading.on_meta(build), canonical.SIZE if name == "canonical" else multiview.SIZE
    _, run = networks(name, (size[0] // 8, size[1] // 8))
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        run(modules, "meta", torch.float32)
    return counter.get_total_flops() / 1e12


def measure(name: str, folder: Path, scale: float, dtype: torch.dtype) -> dict:
    """Loads and runs one network in this process."""
    full = canonical.SIZE if name == "canonical" else multiview.SIZE
    size = tuple(max(8, round(s * scale / 64) * 8) for s in full)
    load, run = networks(name, size)
    began, used = time.time(), time.process_time()
    modules = load(folder, dtype)
    loaded = (time.time() - began, time.process_time() - used)
    after_load = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    began, used = time.time(), time.process_time()
    with torch.no_grad():
        answer = run(modules, "cpu", dtype)
    ran = (time.time() - began, time.process_time() - used)
    return {"pictures": [8 * s for s in size], "load_s": loaded, "run_s": ran, "loaded_gib": after_load,
            "finite": bool(torch.isfinite(answer).all()), "std": float(answer.float().std()),
            "peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=tuple(PARTS))
    parser.add_argument("--scale", type=float, default=0.375)
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), default="bfloat16")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "stdgen_networks.md")
    parser.add_argument("--child", nargs=2, metavar=("NAME", "FOLDER"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        name, folder = args.child
        print(json.dumps(measure(name, Path(folder), args.scale, getattr(torch, args.dtype))))
        return
    rows = []
    for name in [args.only] if args.only else list(PARTS):
        operations = count_operations(name)
        with tempfile.TemporaryDirectory() as place:
            written = write_checkpoint(Path(place), name)
            command = [sys.executable, __file__, "--scale", str(args.scale), "--dtype", args.dtype, "--child", name, place]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
        found = json.loads(done.stdout.splitlines()[-1])
        if not found["finite"]:
            raise SystemExit(f"{name}: the answer is not finite")
        height, width = found["pictures"]
        rows.append([name, f"{written / 1e9:.2f}", f"{height} x {width}", args.dtype, f"{found['load_s'][0]:.0f}",
                     f"{found['run_s'][0]:.0f} ({found['run_s'][1]:.0f})", f"{found['loaded_gib']:.1f}",
                     f"{found['peak_gib']:.1f}", f"{operations:.1f}"])
        print(rows[-1], flush=True)
    head = ["network", "file GB", "pictures", "precision", "load s", "one guided evaluation s (CPU)", "GiB after loading",
            "peak GiB", "TFLOP at full size"]
    text = ("# StdGEN's diffusion networks at full size\n\nRandom checkpoints with the published names and shapes; one "
            f"evaluation with guidance (2 and 24 pictures). {machine()}\n\n{table(head, rows)}")
    args.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
