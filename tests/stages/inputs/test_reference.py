"""The reference view: framing measured on synthetic pictures, and one error per bad input."""

import math

import pytest
import torch
from lift123.pipelines.core.errors import InputError
from lift123.pipelines.stages.inputs.reference import depth_of_inverse, prepare_reference


def _box_picture(height=120, width=200, box=(20, 30, 80, 70), channels=4):
    """A red box on transparent green; box = (top, left, bottom, right)."""
    top, left, bottom, right = box
    image = torch.zeros(height, width, 4)
    image[..., 1] = 1.0
    image[top:bottom, left:right] = torch.tensor([1.0, 0.0, 0.0, 1.0])
    return image[..., :channels]


def test_object_fills_eighty_percent_and_is_centered():
    reference, report = prepare_reference(_box_picture(), size=100)
    alpha = reference.views.alpha[0]
    rows, columns = (alpha.sum(1) > 0.5).nonzero()[:, 0], (alpha.sum(0) > 0.5).nonzero()[:, 0]
    assert len(rows) == pytest.approx(80, abs=2) and len(columns) == pytest.approx(80 * 40 / 60, abs=2)
    assert float(alpha.sum()) == pytest.approx(80 * 80 * 40 / 60, rel=0.02)
    assert float(rows.float().mean()) == pytest.approx(49.5, abs=0.6)
    assert float(columns.float().mean()) == pytest.approx(49.5, abs=0.6)
    assert "60" in report[-1] and "40" in report[-1]


def test_background_never_bleeds_into_the_object():
    for size in (33, 100, 400):
        views = prepare_reference(_box_picture(), size=size)[0].views
        inside = views.alpha[0] > 0.05
        assert float((views.rgb[0][inside] - torch.tensor([1.0, 0.0, 0.0])).abs().max()) < 1e-3
        half = prepare_reference(_box_picture(), size=400)[0].resized(50)
        assert float((half.rgb[0][half.alpha[0] > 0.05] - torch.tensor([1.0, 0.0, 0.0])).abs().max()) < 1e-3


def test_without_recentering_the_picture_is_padded_not_stretched():
    reference, _ = prepare_reference(_box_picture(), size=200, recenter=False)
    alpha = reference.views.alpha[0]
    assert float(alpha.sum()) == pytest.approx(60 * 40, rel=0.01)
    assert float(alpha[20 + 40 : 80 + 40, 30:70].mean()) == pytest.approx(1, abs=1e-3)


def test_plain_background_is_removed_and_holes_of_its_color_are_kept():
    image = torch.full((64, 64, 3), 0.9)
    image[16:48, 16:48] = torch.tensor([0.2, 0.3, 0.8])
    image[28:36, 28:36] = 0.9  # enclosed: part of the object
    reference, report = prepare_reference(image, size=80, recenter=False)
    assert "plain background" in report[0]
    assert float(reference.views.alpha.sum()) == pytest.approx(40 * 40, rel=0.03)


def test_depth_convention_and_normals_reach_the_world_frame():
    image = _box_picture(100, 100, (25, 25, 75, 75))
    near_left = torch.linspace(0, 1, 100)[None, :].expand(100, 100)
    straight = prepare_reference(image, depth=near_left, size=64)[0].views.depth[0]
    inverse = prepare_reference(image, depth=1 - near_left, size=64, depth_convention="inverse")[0].views.depth[0]
    assert torch.allclose(straight, inverse, atol=1e-4)
    row = straight[32][straight[32] > 0]
    assert bool((row[1:] >= row[:-1] - 1e-4).all()) and float(row[0]) > 0 and float(straight[0, 0]) == 0
    facing = torch.tensor([0.5, 0.5, 1.0]).expand(100, 100, 3)
    side = prepare_reference(image, normal=facing, size=64, azimuth=math.pi / 2)[0].views.normal[0, 32, 32]
    assert torch.allclose(side, torch.tensor([1.0, 0.0, 0.0]), atol=1e-4)


def test_integer_and_gray_pictures_are_read():
    image = _box_picture()
    expected = prepare_reference(image, size=64)[0].views.rgb
    for top, dtype in ((255, torch.uint8), (65535, torch.uint16)):
        got = prepare_reference((image * top).to(torch.int32).to(dtype), size=64)[0].views.rgb
        assert torch.allclose(got, expected, atol=1 / 255)
    gray = prepare_reference(image[..., :1], mask=image[..., 3], size=64)[0].views.rgb
    assert torch.equal(gray[..., 0], gray[..., 2])


def test_inputs_are_not_modified_and_not_shared():
    image = _box_picture()
    before = image.clone()
    views = prepare_reference(image, size=120, recenter=False)[0].views
    views.rgb.zero_()
    assert torch.equal(image, before)


def test_object_cut_at_the_border_is_a_warning_naming_the_side():
    _, report = prepare_reference(_box_picture(box=(60, 30, 120, 70)), size=64)
    assert any("warning" in line and "bottom" in line for line in report)
    _, report = prepare_reference(_box_picture(), size=64)
    assert not any("warning" in line for line in report)


GOOD = _box_picture()
BAD = {
    "empty mask": (dict(image=GOOD, mask=torch.zeros(120, 200)), "mask"),
    "full mask": (dict(image=GOOD, mask=torch.ones(120, 200)), "mask"),
    "one pixel": (dict(image=torch.ones(1, 1, 3)), "picture"),
    "sixteen thousand": (dict(image=torch.zeros(1, 1, 3).expand(16384, 16384, 3)), "picture"),
    "not a number": (dict(image=torch.full((64, 64, 4), math.nan)), "picture"),
    "16-bit range": (dict(image=GOOD * 65535), "picture"),
    "batch": (dict(image=torch.rand(3, 64, 64, 4)), "picture"),
    "two channels": (dict(image=torch.rand(64, 64, 2)), "picture"),
    "mask size": (dict(image=GOOD, mask=torch.ones(64, 64)), "mask"),
    "mask batch": (dict(image=GOOD, mask=torch.ones(2, 120, 200)), "mask"),
    "depth size": (dict(image=GOOD, depth=torch.ones(64, 64)), "depth map"),
    "depth nan": (dict(image=GOOD, depth=torch.full((120, 200), math.inf)), "depth map"),
    "normal size": (dict(image=GOOD, normal=torch.ones(64, 64, 3)), "normal map"),
    "busy background": (dict(image=torch.rand(64, 64, 3, generator=torch.Generator().manual_seed(0))), "picture"),
    "border": (dict(image=GOOD, border=0.95), "border"),
    "size": (dict(image=GOOD, size=8), "reference size"),
    "radius": (dict(image=GOOD, radius=math.nan), "camera radius"),
    "fovy": (dict(image=GOOD, fovy=3.0), "camera field of view"),
    "elevation": (dict(image=GOOD, elevation=math.pi / 2), "camera elevation"),
    "convention": (dict(image=GOOD, depth_convention="disparity"), "depth convention"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_gives_one_clear_error(case):
    arguments, name = BAD[case]
    with pytest.raises(InputError) as caught:
        prepare_reference(**arguments)
    assert caught.value.name == name
    assert caught.value.remedy and len(str(caught.value)) < 300


def test_depth_of_an_inverse_picture_grows_as_it_darkens_and_is_never_nothing():
    gray = torch.tensor([0.0, 0.25, 1.0])[None, None, :, None].expand(1, 1, 3, 4)
    depth = depth_of_inverse(gray)
    assert depth.shape == (1, 1, 3) and torch.allclose(depth[0, 0], torch.tensor([1.1, 0.85, 0.1]))
