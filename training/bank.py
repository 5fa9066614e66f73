"""A bank of rendered toybox views on disk, from which every embedded network is trained.

Per object: view 0 is the reference (front, horizon), views 1.. are novel: azimuth uniform, elevation
uniform in [-30, 45] degrees, radius 3.2, 64 px on white.  Files, as memory-mapped numpy arrays:
  rgb.npy   [N, V, 64, 64, 3] uint8      pose.npy [N, V, 2] float32 (azimuth, elevation; radians)
  mask.npy  [N, 64, 64] uint8 and depth.npy [N, 64, 64] float16 of the reference view
  captions.json
"""

import json
import math
from pathlib import Path

import numpy as np
import pack  # noqa: F401  (makes ``lift123`` importable)
import torch
from lift123.pipelines.core.cameras import HOME, Cameras
from lift123.pipelines.networks.depth_text import depth_channel
from lift123.pipelines.toybox.objects import make_object
from lift123.pipelines.toybox.render import render_toy

ELEVATIONS = (math.radians(-30), math.radians(45))


def object_cameras(seed: int, views: int, size: int) -> Cameras:
    """The cameras of one object's bank entry, by seed."""
    rng = np.random.Generator(np.random.PCG64([seed, 1]))
    azimuth = np.concatenate([[0], rng.uniform(-math.pi, math.pi, views - 1)])
    elevation = np.concatenate([[0], rng.uniform(*ELEVATIONS, views - 1)])
    return HOME.orbit(torch.from_numpy(azimuth), torch.from_numpy(elevation), size)


def make_bank(folder: Path, seeds: list[int], views: int, size: int = 64, log=print, version: int = 1) -> Path:
    """Renders the bank of one version of the toybox, continuing after the last finished object if interrupted."""
    folder.mkdir(parents=True, exist_ok=True)
    n = len(seeds)
    done_file = folder / "done.json"
    done = json.loads(done_file.read_text())["done"] if done_file.exists() else 0
    mode = "r+" if done else "w+"
    open_array = np.lib.format.open_memmap
    rgb = open_array(folder / "rgb.npy", mode, np.uint8, (n, views, size, size, 3))
    pose = open_array(folder / "pose.npy", mode, np.float32, (n, views, 2))
    mask = open_array(folder / "mask.npy", mode, np.uint8, (n, size, size))
    depth = open_array(folder / "depth.npy", mode, np.float16, (n, size, size))
    captions = json.loads((folder / "captions.json").read_text()) if done else []
    for i in range(done, n):
        toy = make_object(seeds[i], version)
        cameras = object_cameras(seeds[i], views, size)
        rendered = render_toy(toy, cameras)
        assert rendered.depth is not None, "toys are rendered with it"
        rgb[i] = (rendered.on_background(1.0).clamp(0, 1) * 255 + 0.5).to(torch.uint8).numpy()
        pose[i] = torch.stack([cameras.azimuth, cameras.elevation], -1).numpy()
        mask[i] = (rendered.alpha[0] * 255 + 0.5).to(torch.uint8).numpy()
        depth[i] = rendered.depth[0].to(torch.float16).numpy()
        captions.append(toy.caption)
        if (i + 1) % 500 == 0 or i + 1 == n:
            (folder / "captions.json").write_text(json.dumps(captions))
            done_file.write_text(json.dumps({"done": i + 1, "total": n, "version": version}))
            log(f"{folder.name} {i + 1}/{n}", flush=True)
    return folder


def make_depth_maps(folder: Path, seeds: list[int], views: int, size: int, log=print, version: int = 1) -> np.ndarray:
    """[N, V, 2, size, size] float16 of the bank's own views, on disk; continues after the last finished object.

    The two maps are what a depth-text network is shown (``depth_text.depth_channel``): of distances, and of depths that
    are known up to an affine map only.  Both are 1 at the nearest point and -1 where nothing is.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path, done_file, n = folder / "depth_maps.npy", folder / "depth_maps.json", len(seeds)
    done = json.loads(done_file.read_text())["done"] if done_file.exists() else 0
    maps = np.lib.format.open_memmap(path, "r+" if done else "w+", np.float16, (n, views, 2, size, size))
    for i in range(done, n):
        rendered = render_toy(make_object(seeds[i], version), object_cameras(seeds[i], views, 64), supersample=1)
        assert rendered.depth is not None, "toys are rendered with it"
        both = [depth_channel(rendered.depth, rendered.alpha, size, metric) for metric in (True, False)]
        maps[i] = torch.cat(both, 1).to(torch.float16).numpy()
        if (i + 1) % 500 == 0 or i + 1 == n:
            maps.flush()
            done_file.write_text(json.dumps({"done": i + 1, "total": n}))
            log(f"depth maps {i + 1}/{n}", flush=True)
    return np.load(path, mmap_mode="r")


class Stacked:
    """Arrays of several banks as one along the first axis; read by index, never copied as a whole."""

    def __init__(self, parts):
        self.parts = list(parts)
        self.starts = np.cumsum([0] + [len(part) for part in self.parts])
        self.shape = (int(self.starts[-1]), *self.parts[0].shape[1:])

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key) -> np.ndarray:
        """A copy of the entries, with numpy's rules for an int, a slice or an index array first and index arrays after it."""
        first, *rest = key if isinstance(key, tuple) else (key,)
        index = np.arange(len(self))[first]
        flat = np.atleast_1d(index)
        rest = [np.broadcast_to(r, flat.shape) for r in rest]
        owner = np.searchsorted(self.starts, flat, side="right") - 1
        out: np.ndarray | None = None
        for i in np.unique(owner):
            mine = owner == i
            found = self.parts[i][(flat[mine] - self.starts[i], *(r[mine] for r in rest))]
            out = np.empty((len(flat), *found.shape[1:]), found.dtype) if out is None else out
            out[mine] = found
        assert out is not None, "some entry is asked for"
        return out if np.ndim(index) else out[0]


class Bank:
    """Read access to finished (or growing) banks, several of them as one; pictures and cameras come on ``device``."""

    depth_maps: np.ndarray  # of ``make_depth_maps``, where a measurement has had them made

    def __init__(self, *folders: Path, device="cpu"):
        self.device, self.folders = device, folders
        progress = [json.loads((f / "done.json").read_text()) for f in folders]
        self.counts, self.versions = [p["done"] for p in progress], [p.get("version", 1) for p in progress]
        self.count = sum(self.counts)
        self.rgb, self.pose, self.mask, self.depth = (self.stack(f"{name}.npy") for name in ("rgb", "pose", "mask", "depth"))
        written = [json.loads((f / "captions.json").read_text())[:n] for f, n in zip(folders, self.counts)]
        self.captions = [caption for captions in written for caption in captions]
        self.views = self.rgb.shape[1]

    def stack(self, name: str) -> Stacked:
        """An array that every folder has, memory-mapped."""
        return Stacked([np.load(f / name, mmap_mode="r")[:n] for f, n in zip(self.folders, self.counts)])

    def draw(self, rng: np.random.Generator, size: int) -> np.ndarray:
        """[size] random objects; every folder has the same chance, however many objects it holds."""
        if len(self.counts) == 1:
            return rng.integers(0, self.count, size)
        starts, owner = np.cumsum([0, *self.counts]), rng.integers(0, len(self.counts), size)
        return starts[owner] + rng.integers(0, np.asarray(self.counts)[owner])

    def pictures(self, objects, views) -> torch.Tensor:
        """[B, 64, 64, 3] float in [0, 1]."""
        return torch.from_numpy(np.array(self.rgb[objects, views])).to(self.device).float() / 255

    def cameras(self, objects, views) -> Cameras:
        """Cameras of the given entries."""
        pose = torch.from_numpy(np.array(self.pose[objects, views]))
        pose = pose.reshape(-1, 2)
        return HOME.orbit(pose[:, 0], pose[:, 1], 64).to(self.device)
