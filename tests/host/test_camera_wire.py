"""ComfyUI's camera wire and ours: there and back, and what Reference View takes from one."""

import inspect
import math

import pytest
import torch
from helpers.comfy_modules import prepare

prepare()
from lift123.host import convert
from lift123.nodes.reference import ReferenceView
from lift123.pipelines.core.cameras import Cameras
from lift123.pipelines.core.errors import InputError


def test_camera_round_trip_with_and_without_quaternion():
    ours = Cameras.orbit(0.7, 0.3, 2.5, 0.4, 32, 32)
    info = convert.from_cameras(ours)
    back = convert.to_cameras(info, 32, 32)
    assert torch.allclose(back.c2w, ours.c2w, atol=1e-5) and torch.allclose(back.fovy, ours.fovy)
    half = torch.tensor(0.7 / 2)
    turned = convert.to_cameras({**info, "position": {"x": 0, "y": 0, "z": 2}, "target": {},
                                 "quaternion": {"x": 0, "y": float(half.sin()), "z": 0, "w": float(half.cos())}}, 8, 8)
    assert torch.allclose(turned.c2w[0, :3, 2], Cameras.orbit(0.7, 0.0, 1.0, 0.4, 8, 8).c2w[0, :3, 2], atol=1e-6)
    zoomed = convert.to_cameras({**info, "zoom": 2.0}, 8, 8)
    assert torch.allclose(torch.tan(zoomed.fovy / 2) * 2, torch.tan(ours.fovy / 2))
    with pytest.raises(InputError):
        convert.to_cameras({**info, "cameraType": "orthographic"}, 8, 8)


def test_a_viewers_camera_gives_reference_view_its_lens():
    """As seen from the target, wherever that is and from whichever side; zoom narrows the field of view."""
    ours = Cameras.orbit(2.0, 0.3, 2.5, 0.4, 32, 32, target=[0.5, -1.0, 2.0])
    info = {**convert.from_cameras(ours), "target": {"x": 0.5, "y": -1.0, "z": 2.0}}
    assert convert.lens_of(info) == pytest.approx((0.3, 2.5, 0.4), abs=1e-5)
    assert math.tan(convert.lens_of({**info, "zoom": 2.0})[2] / 2) == pytest.approx(math.tan(0.2) / 2)
    image = torch.zeros(1, 40, 40, 4)
    image[:, 10:30, 10:30] = 1
    plain = {name: value.default for name, value in inspect.signature(ReferenceView.run).parameters.items()
             if value.default is not inspect.Parameter.empty}
    given = dict(image=image, prompt="", negative="", size=32, border=0.2, recenter=True, elevation=0.0, radius=3.2, fovy=20.0,
                 mask_marks="auto", depth_convention="distance", **plain)
    seen = ReferenceView.run(**{**given, "camera": info}).args[0].views.cameras
    assert torch.allclose(seen.c2w, Cameras.orbit(0.0, 0.3, 2.5, 0.4, 32, 32).c2w, atol=1e-5)
    with pytest.raises(InputError, match="beside"):
        convert.lens_of({**info, "position": info["target"], "quaternion": {"x": 0, "y": 0, "z": 0, "w": 1}})
