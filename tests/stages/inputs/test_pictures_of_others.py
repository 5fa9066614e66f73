"""Pictures as other programs and people make them, each kind with five inputs of its own; and the case files."""

import re

import pytest
import torch
from conftest import DATA
from helpers.comfy_modules import prepare

prepare()
from lift123.launcher.shipped import TITLES
from lift123.nodes import reference as nodes
from lift123.pipelines.core.errors import InputError
from lift123.pipelines.stages.inputs.marks import object_mask
from lift123.pipelines.stages.inputs.reference import prepare_reference

CASES = DATA.parent / "cases" / "pictures"
HEIGHT, WIDTH, TOP, LEFT, BOTTOM, RIGHT = 96, 128, 24, 40, 72, 80  # a picture, and the object in it
RED, BLUE = torch.tensor([0.78, 0.24, 0.12]), torch.tensor([0.12, 0.47, 0.78])
SIZE = "object 40 x 48 px"


def drawn(background=1.0, color=RED, height=HEIGHT, width=WIDTH):
    """[H, W, 3] a box on one color."""
    picture = torch.ones(height, width, 3) * torch.as_tensor(background)
    picture[TOP:BOTTOM, LEFT:RIGHT] = color
    return picture


def covered(inside=1.0, outside=0.0):
    alpha = torch.full((HEIGHT, WIDTH), outside)
    alpha[TOP:BOTTOM, LEFT:RIGHT] = inside
    return alpha


def loaded(picture, alpha=None):
    """What Load Image and Reference View make of it: (reference view, its report)."""
    mask = torch.zeros(1, 64, 64) if alpha is None else 1 - alpha[None]
    cover, remarks = object_mask(mask)
    view, report = prepare_reference(picture[None], cover, size=64)
    return view, "\n".join([*remarks, *report])


def soft(mask, radius):
    side = 2 * radius + 1
    for _ in range(2):
        mask = torch.nn.functional.avg_pool2d(mask[None, None], side, 1, radius, count_include_pad=False)[0, 0]
    return mask


# ------------------------------------------------------------------------------------- case files


@pytest.fixture(scope="module")
def folder():
    if not CASES.is_dir():
        pytest.skip(f"the case files are not here ({CASES})")
    return CASES


def of_file(file):
    """A picture file through core's Load Image and the pack's Reference View: the node's outputs."""
    import folder_paths

    from nodes import LoadImage

    before = folder_paths.get_input_directory()
    folder_paths.set_input_directory(str(file.parent))
    try:
        image, mask = LoadImage().load_image(file.name)[:2]
    finally:
        folder_paths.set_input_directory(before)
    given = {e.id: e.default for e in nodes.ReferenceView.GET_SCHEMA().inputs if getattr(e, "default", None) is not None}
    return nodes.ReferenceView.execute(**{**given, "image": image, "mask": mask, "size": 128}).result


def test_every_case_file_is_tried(folder):
    assert {f.name for f in folder.iterdir()} == {"04_alpha254.png", "04_cmyk.jpg", "20_glass.png", "21_soft_shadow.png"}


@pytest.mark.parametrize("name, size", [("04_alpha254.png", "101 x 121"), ("04_cmyk.jpg", "101 x 141")])
def test_almost_opaque_files_have_their_plain_background_removed(folder, name, size):
    report = of_file(folder / name)[3]
    assert "marks nothing" in report and "plain background was removed" in report and f"object {size} px" in report


def test_the_glass_file_is_named_and_a_way_on_said(folder):
    with pytest.raises(InputError, match="never exceeds 35%: a see-through object") as error:
        of_file(folder / "20_glass.png")
    assert "Give a mask" in error.value.remedy


def test_the_shadow_of_the_file_is_left_out(folder):
    report = of_file(folder / "21_soft_shadow.png")[3]
    assert "taken for a shadow and left out" in report and "object 101 x 141 px" in report


# ------------------------------------------------------------------------------- almost opaque alpha


@pytest.mark.parametrize("alpha", [
    covered(254 / 255, 254 / 255), covered(1, 250 / 255), covered(0.6, 0.7), torch.linspace(0.8, 1, WIDTH).expand(HEIGHT, WIDTH),
    1 - 0.0039 * (torch.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH) % 2)])
def test_almost_opaque_pictures(alpha):
    for view, report in (loaded(drawn(0.9), alpha), prepare_reference(torch.cat([drawn(0.9), alpha[..., None]], -1), size=64)):
        assert "plain background was removed" in str(report) and SIZE in str(report)
        assert float(view.views.alpha.max()) == 1


def test_holes_of_an_export_are_no_mask():
    """A few transparent pixels here and there; one mark alone is still named as too small an object."""
    alpha = 1 - (torch.rand(HEIGHT, WIDTH, generator=torch.Generator().manual_seed(1)) < 0.004).float()
    _, report = loaded(drawn(0.9), alpha)
    assert "specks and was left aside" in report and SIZE in report
    one = torch.zeros(1, HEIGHT, WIDTH)
    one[0, 30:32, 30:33] = 1
    assert object_mask(one)[0] is not None


# ------------------------------------------------------------------------------------- see-through


@pytest.mark.parametrize("top", [0.05, 0.2, 0.35, 0.49, 0.5])
def test_glass_is_named_with_how_much(top):
    alpha = covered(top)
    alpha[TOP:BOTTOM, LEFT : LEFT + 9] *= 0.5
    with pytest.raises(InputError, match=f"never exceeds {top:.0%}: a see-through object"):
        loaded(drawn(0.0, BLUE), alpha)
    solid = (alpha > 0.01).float()
    assert SIZE in prepare_reference(drawn(0.0, BLUE), solid, size=64)[1][-1], "the way on: a mask that marks it"


# ------------------------------------------------------------------------------------- soft shadows


def below(dark, radius, shift=6):
    return 1 - dark * soft(torch.roll(covered(), (shift, shift), (0, 1)), radius)[..., None]


def beside():
    """A flat ellipse under the object, as lamps of product photographs make."""
    y, x = torch.meshgrid(torch.arange(HEIGHT) - BOTTOM + 0.0, torch.arange(WIDTH) - 60.0, indexing="ij")
    return 1 - 0.4 * (-(y / 10).square() - (x / 24).square()).exp()[..., None]


SHADOWS = {"below": (1.0, below(0.3, 4)), "strong": (1.0, below(0.5, 6, 8)), "lamp": (1.0, beside()),
           "on gray": (0.7, below(0.3, 5)), "on cream": (torch.tensor([0.95, 0.9, 0.8]), beside())}


@pytest.mark.parametrize("kind", SHADOWS)
def test_soft_shadows_are_left_out(kind):
    background, shade = SHADOWS[kind]
    inside = covered()[..., None]
    picture = inside * RED + (1 - inside) * torch.as_tensor(background) * shade
    view, report = loaded(picture)
    assert "taken for a shadow and left out" in report and SIZE in report


def test_objects_that_fade_into_the_background_are_kept_and_doubted():
    """A white ball's own shading has no hard edge; it must not be eaten as its own shadow."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, HEIGHT), torch.linspace(-4 / 3, 4 / 3, WIDTH), indexing="ij")
    ball = (1 - 0.6 * (1 - 2 * (x * x + y * y)).clamp_min(0)).sqrt()
    view, report = loaded(ball[..., None].expand(-1, -1, 3).contiguous())
    assert "warning: the object ends in a soft gray rim" in report and "object 58 x 58 px" in report


# ----------------------------------------------------------------------------- premultiplied edges


@pytest.mark.parametrize("color, radius", [(RED, 1), (BLUE, 2), (torch.ones(3), 3), (torch.tensor([0.9, 0.8, 0.1]), 2), (0.5, 4)])
def test_premultiplied_edges_get_their_colors_back(color, radius):
    alpha = soft(covered(), radius)
    straight = torch.ones(HEIGHT, WIDTH, 3) * torch.as_tensor(color)
    given = ((straight * alpha[..., None] * 255).round() / 255)
    view, report = loaded(given, (alpha * 255).round() / 255)
    assert "premultiplied" in report
    seen = view.views.alpha[0] > 0.2
    assert float((view.views.rgb[0][seen] - torch.as_tensor(color)).abs().max()) < 0.03
    assert "premultiplied" not in loaded(straight, alpha)[1], "straight colors stay"


def test_premultiplied_patterns_get_their_colors_back():
    """Stripes and noise change more from pixel to pixel than the soft edge; dark objects with straight colors stay."""
    alpha = soft(covered(), 2)
    noise = 0.3 + 0.7 * torch.rand(HEIGHT, WIDTH, 3, generator=torch.Generator().manual_seed(0))
    stripes = (0.35 + 0.6 * (torch.arange(WIDTH) // 3 % 2))[None, :, None].expand(HEIGHT, -1, 3)
    for straight in (noise, stripes):
        given = ((straight * alpha[..., None] * 255).round() / 255)
        assert "premultiplied" in loaded(given, (alpha * 255).round() / 255)[1]
        assert "premultiplied" not in loaded(straight, alpha)[1]
    assert "premultiplied" not in loaded(0.1 * noise, alpha)[1]


# --------------------------------------------------------------------------------- transparent corners


def corners(which, size):
    """Alpha with triangles of ``size`` pixels missing."""
    y, x = torch.meshgrid(torch.arange(HEIGHT), torch.arange(WIDTH), indexing="ij")
    y, x = torch.minimum(y, HEIGHT - 1 - y) if which == 4 else y, torch.minimum(x, WIDTH - 1 - x) if which != 1 else x
    return 1 - (x + y < size).float()


@pytest.mark.parametrize("which, size", [(1, 1), (1, 20), (2, 12), (4, 8), (4, 16)])
def test_transparent_corners_are_no_cut_out(which, size):
    alpha = corners(which, size)
    picture = drawn(0.9)
    for _, report in (loaded(picture, alpha), prepare_reference(torch.cat([picture, alpha[..., None]], -1), size=64)):
        assert "plain background was removed" in str(report) and SIZE in str(report)
    cover, _ = object_mask(1 - alpha[None], "background")
    assert cover is None
    with pytest.raises(InputError, match=re.escape(TITLES["photo_quickstart"])):
        loaded(torch.rand(HEIGHT, WIDTH, 3, generator=torch.Generator().manual_seed(0)), alpha)


# -------------------------------------------------------------------------------------- two objects


@pytest.mark.parametrize("top, left, side", [(4, 4, 30), (50, 90, 30), (4, 90, 24), (70, 4, 24), (30, 90, 36)])
@pytest.mark.parametrize("opaque", [True, False])
def test_two_objects_are_lifted_as_one_and_said(top, left, side, opaque):
    picture, alpha = drawn(1.0), covered()
    picture[top : top + side, left : left + side], alpha[top : top + side, left : left + side] = BLUE, 1
    _, report = loaded(picture, None if opaque else alpha)
    assert "warning: 2 separate parts" in report and "lifted as one" in report


def test_specks_are_no_second_object():
    alpha = covered()
    alpha[4:10, 4:10] = 1
    assert "separate" not in loaded(drawn(), alpha)[1]


# --------------------------------------------------------------------------------------- dark on dark


@pytest.mark.parametrize("ground, thing, noise", [
    (0.02, 0.07, 0.0), (0.05, 0.1, 0.005), (0.1, 0.17, 0.01), (torch.tensor([0.02, 0.02, 0.05]), 0.09, 0.004),
    (0.0, 0.05, 0.002)])
def test_dark_objects_on_dark_are_found(ground, thing, noise):
    grain = noise * (2 * torch.rand(HEIGHT, WIDTH, 3, generator=torch.Generator().manual_seed(2)) - 1)
    _, report = loaded((drawn(ground, torch.full((3,), float(thing))) + grain).clamp(0, 1))
    assert "a dark background" in report and SIZE in report


def test_black_on_black_is_refused_with_advice():
    with pytest.raises(InputError, match="object") as error:
        loaded(drawn(0.02, torch.full((3,), 0.02)))
    assert "mask" in error.value.remedy
