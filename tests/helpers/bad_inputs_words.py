"""Cameras, angles, knots, names and lists thought of by hand (see ``bad_inputs``)."""

from __future__ import annotations

import math

from helpers import good_inputs
from helpers.bad_inputs import CASES, add, file
from helpers.good_inputs import CAMERA

__all__ = ["CASES", "add", "file"]

# Cameras, angles, knots, names ----------------------------------------------------------------------------------------

CAMERAS = {
    "a list": [1, 2, 3],
    "empty": {},
    "fov None": {**CAMERA, "fov": None},
    "fov 180": {**CAMERA, "fov": 180},
    "fov -20": {**CAMERA, "fov": -20},
    "fov '35'": {**CAMERA, "fov": "35"},
    "fov a list": {**CAMERA, "fov": [35]},
    "zoom 0": {**CAMERA, "zoom": 0},
    "zoom NaN": {**CAMERA, "zoom": math.nan},
    "position of words": {**CAMERA, "position": {"x": "a"}},
    "position without z": {**CAMERA, "position": {"x": 1.0}},
    "far": {**CAMERA, "position": {"x": 1e5, "y": 0, "z": 0}},
    "at the target": {**CAMERA, "target": CAMERA["position"]},
    "target a number": {**CAMERA, "target": 3},
    "quaternion of 4 numbers": {**CAMERA, "quaternion": "0001"},
    "quaternion inf": {**CAMERA, "quaternion": {"x": math.inf, "y": 0, "z": 0, "w": 1}},
    "orthographic": {**CAMERA, "cameraType": "orthographic"},
    "of a type that is a number": {**CAMERA, "cameraType": 3},
    "straight below": {**CAMERA, "position": {"x": 0, "y": -3, "z": 0}},
    "turned by 1e30": {**CAMERA, "quaternion": {"x": 1e30, "y": 0, "z": 0, "w": 0}},
}
ODD = ("fov '35'", "position without z", "zoom 0")
for what, camera in CAMERAS.items():
    add(
        "RenderViews",
        f"camera: {what}",
        lambda camera=camera: {"source": good_inputs.box(), "camera": camera},
        what not in ODD,
    )
for what in ("fov 180", "at the target", "quaternion inf", "far"):
    add("SampleViews", f"camera: {what}", lambda what=what: {"camera": CAMERAS[what]})

for text in (
    "nan",
    "1e400",
    "one two",
    "1;2",
    "10,20,thirty",
    "--5",
    "\u0663",
    "1_0",
    "0x10",
    "5" * 400,
    ",".join(["1"] * 300),
    "1 2",
):
    add("SampleViews", f"azimuths {text[:20]!a} ({len(text)})", lambda text=text: {"azimuths": text})
for text in (
    "",
    "0",
    "0:",
    ":1",
    "0:nan",
    "0:1:2",
    "a:b",
    "1:0, 0:1",
    "0:1, 0:2",
    "-1:0",
    "2:1",
    "0:1e400",
    "0=1",
    "0:1;1:0",
    "0:1_0",
    "{0: 1}",
    "0:\u0661",
    ", ".join(f"{k / 5000}:1" for k in range(5000)),
):
    add("PriorSchedule", f"knots {text[:20]!a} ({len(text)})", lambda text=text: {"form": "piecewise", "knots": text})
add("PriorSchedule", "ends before it starts", lambda: {"form": "linear", "start": 0.9, "stop": 0.1})
add("PriorSchedule", "a moment", lambda: {"form": "linear", "start": 0.5, "stop": 0.5}, False)

NAMES = [
    "",
    "   ",
    "/",
    "..",
    "../x",
    "a/../../x",
    "/elsewhere/x",
    "\\\\server\\x",
    "x/",
    "a\0b",
    "\ud800",
    "x" * 300,
    "\u00e9" * 150,
    "a/" * 600 + "b",
    "~/../../x",
]
ALLOWED = [
    "CON",
    "nul.txt",
    "a:b",
    "x.",
    "caf\u00e9",
    "cafe\u0301",
    "\u202etxt.exe",
    "%date%",
    "$HOME",
    "a*?b",
    "'; rm -rf",
    "-rf",
    "\U0001f43b",
    ".hidden",
    "a\nb",
    "C:x",
    "C:\\x",
]
for name in NAMES:
    add("SaveLayers", f"name {name[:20]!a} ({len(name)})", lambda name=name: {"filename_prefix": name})
for name in ALLOWED:
    add("SaveLayers", f"name {name!a}", lambda name=name: {"filename_prefix": name}, False)
for name in (
    "../x",
    "/etc/passwd",
    "",
    "a\0b",
    "\ud800",
    "x" * 300,
    ".",
    "con",
    "absent.safetensors",
    "x.ckpt [input]",
    "~",
    "[output]",
):
    add("LoadScene", f"file {name[:20]!a} ({len(name)})", lambda name=name: {"file": name})
    add("LoadLayers", f"file {name[:20]!a} ({len(name)})", lambda name=name: {"file": name})
for name in ("../x", "x" * 300, "", "a/b", "\ud800", "con"):
    add(
        "BatchList",
        f"name {name[:20]!a} ({len(name)})",
        lambda name=name: {"name": name},
        name in ("x" * 300, "\ud800"),
    )
for values in (
    "",
    "1:2",
    "1:0:1",
    "0:1:0",
    "0:1:-1",
    "0:1:1e-9",
    "nan",
    "1e999",
    "one",
    "1,,2,",
    "1;2",
    "0:9:nan",
    "\u0661",
    "1_0",
    "1" * 400,
    "1e16",
):
    add(
        "BatchList",
        f"values {values[:20]!a} ({len(values)})",
        lambda values=values: {"values": values},
        values not in ("1,,2,", "1:2", "1;2"),
    )
for folder in ("..", "/etc", "absent", "\ud800", "a\0b", "x" * 5000, "~"):
    add(
        "BatchList",
        f"folder {folder[:20]!a}",
        lambda folder=folder: {"source": "pictures of a folder", "folder": folder},
    )
for sentence in ("", "no place", "{", "{}{}", "*" * 999, "a {word} {word}"):
    add(
        "TextualInversion",
        f"sentence {sentence[:20]!a}",
        lambda sentence=sentence: {"sentence": sentence},
        sentence in ("", "no place", "{"),
    )
for metrics in ("[1]", "{", "null", '{"a": NaN}', "{" * 9999, '{"metrics": 3}', "NaN", '"text"'):
    add(
        "BakeExport",
        f"metrics {metrics[:20]!a}",
        lambda metrics=metrics: {"metrics": metrics},
        metrics not in ('{"a": NaN}', '{"metrics": 3}'),
    )
