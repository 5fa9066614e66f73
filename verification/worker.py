"""One process of ``launch.py verify-weights``: lists the networks that are here, or verifies one of them.

    python verification/worker.py list --models FOLDER [--models FOLDER ...] --out list.json
    python verification/worker.py one KIND NAME PATH --out report.json [--device cpu] [--steps 20]
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import torch

sys.path.append(str(Path(__file__).resolve().parent.parent / "benchmarks"))
from bench_tools import load_pack

load_pack()
from lift123.verification.weights import candidates, shipped, verify


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("list", "one"))
    parser.add_argument("network", nargs="*", help="KIND NAME PATH")
    parser.add_argument("--models", type=Path, action="append", default=[])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--steps", type=int, default=0, help="DDIM steps of the pictures; 0: 20 on a GPU, 4 on a CPU")
    args = parser.parse_args()
    device = "cuda" if args.device in ("auto", "gpu") and torch.cuda.is_available() else "cpu"
    if args.what == "list":
        result = candidates(args.models) + shipped()
    else:
        kind, name, path = args.network
        steps = args.steps or (4 if device == "cpu" else 20)
        result = verify(kind, name, Path(path), torch.device(device), steps, args.out.with_suffix(".png"))
    args.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
