"""Bad inputs at the nodes: one clear InputError each, before any work; and what is only a warning."""

import io as std_io
import struct

import pytest
import torch
from helpers.comfy_modules import prepare

prepare()
import folder_paths
from comfy_api.latest import Types
from lift123.host import specs
from lift123.nodes import export, files, networks, priors, reference, render, stages
from lift123.pipelines.core.errors import InputError


@pytest.fixture(autouse=True)
def folders(tmp_path, monkeypatch):
    """ComfyUI's folders, empty; and the mode that nodes run in."""
    for name in ("output_directory", "input_directory", "temp_directory"):
        monkeypatch.setattr(folder_paths, name, str(tmp_path / name))
        (tmp_path / name).mkdir()
    monkeypatch.setattr(folder_paths, "models_dir", str(tmp_path / "models"))
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "diffusers",
                        ([str(tmp_path / "models" / "diffusers")], ["folder"]))
    with torch.inference_mode():
        yield tmp_path


def picture(height=96, width=96, channels=3, batch=1):
    """A gray disc on white."""
    image = torch.ones(batch, height, width, channels)
    image[:, height // 4 : -height // 4, width // 4 : -width // 4, :3] = 0.3
    return image


def mask(height=96, width=96):
    inside = torch.zeros(1, height, width)
    inside[:, height // 4 : -height // 4, width // 4 : -width // 4] = 1
    return inside


DEFAULTS = dict(prompt="a ball", negative="", size=64, border=0.2, recenter=True, elevation=0.0, radius=3.2, fovy=20.0,
                mask_marks="object", depth_convention="inverse-depth")


def lift(**given):
    return reference.ReferenceView.execute(**{"image": picture(), **DEFAULTS, **given}).result


def nan(tensor):
    tensor = tensor.clone()
    tensor[..., 0] = float("nan")
    return tensor


BAD_PICTURES = {
    "empty mask": (dict(mask=torch.zeros(1, 96, 96)), "mask: expected an object"),
    "mask covers everything": (dict(mask=torch.ones(1, 96, 96)), "mask: expected an object on a background"),
    "inverted empty mask": (dict(mask=torch.ones(1, 96, 96), mask_marks="background"), "mask: expected an object"),
    "one color, no mask": (dict(image=torch.ones(1, 96, 96, 3)), "an object"),
    "no plain background": (dict(image=torch.linspace(0, 1, 96 * 96 * 3).reshape(1, 96, 96, 3)), "plain background"),
    "1 x 1": (dict(image=torch.ones(1, 1, 1, 3)), "1 x 1"),
    "16k": (dict(image=torch.ones(1, 1, 1, 3).expand(1, 16, 16384, 3)), "16384 x 16"),
    "16-bit values": (dict(image=picture() * 65535), "65535"),
    "two channels": (dict(image=picture()[..., :2]), "2 channels"),
    "NaN in the picture": (dict(image=nan(picture())), "NaN"),
    "NaN in the mask": (dict(mask=nan(mask())), "NaN"),
    "NaN in the depth": (dict(depth=nan(picture())), "NaN"),
    "batch of pictures": (dict(image=picture(batch=3)), "batch of 3"),
    "batch of masks": (dict(mask=mask().repeat(2, 1, 1)), "batch of 2"),
    "mask of another size": (dict(mask=mask(64, 80)), "80 x 64"),
    "depth of another size": (dict(depth=picture(64, 80)), "80 x 64"),
    "normals of another size": (dict(normal=picture(64, 80)), "80 x 64"),
    "border out of range": (dict(border=0.95), "border"),
    "elevation out of range": (dict(elevation=95.0), "elevation"),
    "camera inside the object": (dict(radius=0.5), "radius"),
}


@pytest.mark.parametrize("case", BAD_PICTURES)
def test_bad_pictures(case):
    given, words = BAD_PICTURES[case]
    with pytest.raises(InputError, match=words) as error:
        lift(**given)
    problem = error.value
    assert problem.expected and problem.got and problem.remedy.endswith("."), "what, what came, what to do"


def test_object_cut_at_the_border_is_a_warning():
    cut = torch.zeros(1, 96, 96)
    cut[:, 30:, 20:70] = 1
    view, preview, coverage, report = lift(mask=cut)
    assert "warning" in report and "bottom" in report
    assert preview.shape == (1, 64, 64, 3) and coverage.shape == (1, 64, 64)


@pytest.mark.parametrize("image", [picture(channels=1), picture(channels=4), picture() * 0 + mask()[..., None] * 0.5],
                         ids=["gray", "opaque RGBA", "black background"])
def test_unusual_pictures_that_are_fine(image):
    assert 0.3 < float(lift(image=image)[2].mean()) < 0.8


def test_the_result_can_be_trained_on():
    view = lift()[0]
    assert not view.views.rgb.is_inference() and view.prompt == "a ball"


SCHEDULE = dict(first=1.0, last=0.5, start=0.0, stop=1.0, knots="0: 1", form="constant")
SDS = dict(guidance=0.0, weight=1.0, t_min=0.2, t_max=0.6, fixed_t=False, reduction="mean", weighting="sigma2")


def view_prior(**given):
    return priors.ViewPrior.execute(view_network=specs.Network("view"), angle_scaling=True, **{**SDS, **given}).result[0]


def text_prior(prompt=""):
    return priors.TextPrior.execute(text_network=specs.Network("text"), prompt=prompt, negative="", **SDS).result[0]


def boundary(**given):
    rule = dict(prompt="", interval=5, views=2, window=2, delta=1e-3, floor=0.2, ceiling=0.8, size=32, rate="absolute")
    return stages.ClipBoundary.execute(clip=specs.Network("clip"), **{**rule, **given}).result[0]


def scene(kind="nerf", prompt="a ball"):
    """A scene with nothing but its reference: enough for every check that comes before work."""
    from lift123.pipelines.stages.loop.scene import Scene, pack_reference

    tensors, meta = pack_reference(lift(prompt=prompt)[0])
    return Scene(kind, tensors, {"step": 1, "total": 2, "seed": 0, "reference": meta})


def nerf(**given):
    return stages.NerfStage1.execute(**{"iterations": 4, "seed": 0, "preset": "quickstart", **given})


def dynamic(**given):
    return stages.DynamicStage2.execute(mesh_iterations=0, form="linear", clock="phase_local", **given)


def refine(**given):
    return stages.DMTetRefine.execute(iterations=4, what="both", preset="quickstart", **given)


BAD_GRAPHS = {
    "text prior without a prompt": (lambda: nerf(reference=lift(prompt="")[0], prior=text_prior()), "prompt"),
    "boundary without a prompt": (lambda: nerf(reference=lift(prompt=" ")[0], boundary=boundary()), "prompt"),
    "refine without a prompt": (lambda: refine(scene=scene(prompt=""), prior=text_prior()), "prompt"),
    "priors swapped": (lambda: dynamic(scene=scene(), prior_3d=text_prior(), prior_2d=view_prior()), "prior_3d"),
    "two view priors": (lambda: dynamic(scene=scene(), prior_3d=view_prior(), prior_2d=view_prior()), "prior_2d"),
    "NeRF stage on a mesh": (lambda: dynamic(scene=scene("mesh"), prior_3d=view_prior(), prior_2d=text_prior()), "mesh"),
    "NeRF continued from a mesh": (lambda: nerf(reference=lift()[0], scene=scene("mesh")), "mesh"),
    "dynamic prior inside a sum": (lambda: refine(scene=scene(), prior=specs.SumSpec(
        ((specs.DynamicSpec(view_prior(), text_prior()), 1.0),))), "Dynamic Prior"),
    "empty timestep range": (lambda: view_prior(t_min=0.7, t_max=0.3), "t_min"),
    "floor above ceiling": (lambda: boundary(floor=0.9, ceiling=0.1), "floor"),
    "knots that are not pairs": (lambda: priors.PriorSchedule.execute(**{**SCHEDULE, "form": "piecewise", "knots": "1"}),
                                 "knots"),
    "knots out of order": (lambda: priors.PriorSchedule.execute(
        **{**SCHEDULE, "form": "piecewise", "knots": "0.5: 1, 0.2: 0"}), "increasing"),
    "knots outside 0..1": (lambda: priors.PriorSchedule.execute(
        **{**SCHEDULE, "form": "piecewise", "knots": "0: 1, 7: 0"}), "0..1"),
    "ramp of no length": (lambda: priors.PriorSchedule.execute(
        **{**SCHEDULE, "form": "linear", "start": 0.5, "stop": 0.5}), "stop"),
    "unknown checkpoint": (lambda: networks.LoadTextPrior.execute(checkpoint="stable-diffusion-99"), "stable-diffusion-99"),
    "absent checkpoint, offline": (lambda: networks.LoadViewPrior.execute(checkpoint="zero123-xl"),
                                   "models/diffusers/zero123-xl/.*unet/diffusion_pytorch_model.safetensors"),
    "absent CLIP, offline": (lambda: networks.LoadClip.execute(checkpoint="clip-vit-base-patch16"), "models/lift123_clip"),
    "unreadable 3D file": (lambda: files.File3DToMesh.execute(file=Types.File3D(std_io.BytesIO(b"glTF"), "glb")), "."),
    "3D file of another kind": (lambda: files.File3DToMesh.execute(file=Types.File3D(std_io.BytesIO(b""), "fbx")), "fbx"),
    "orthographic camera": (lambda: render.RenderViews.execute(
        source=scene(), size=32, frames=1, elevation=0.0, radius=3.0, fovy=20.0, what="rgb",
        camera={"position": {}, "cameraType": "orthographic"}), "perspective"),
}


@pytest.mark.parametrize("case", BAD_GRAPHS)
def test_bad_graphs(case, monkeypatch):
    make, words = BAD_GRAPHS[case]

    def never(*_):
        raise AssertionError("a network was loaded before the input was checked")

    monkeypatch.setattr(specs, "_embedded", never)
    with pytest.raises(InputError, match=words) as error:
        make()
    assert error.value.remedy.endswith("."), error.value


def test_absent_checkpoints_stop_the_queue_and_embedded_passes():
    assert "Nothing is downloaded" in networks.LoadViewPrior.validate_inputs(checkpoint="zero123-xl")
    assert networks.LoadViewPrior.validate_inputs(checkpoint="embedded") is True
    assert networks.LoadViewPrior.execute(checkpoint="embedded").result[0] == specs.Network("view")


def test_only_what_is_missing_is_listed(folders):
    from lift123.pipelines.catalog import registry

    known = registry.BY_NAME["zero123-xl"]
    for file in known.files:
        path = folders / "models" / "diffusers" / "zero123-xl" / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    assert "config.json" in networks.LoadViewPrior.validate_inputs(checkpoint="zero123-xl"), "an empty file is no configuration"
    path.unlink()
    message = networks.LoadViewPrior.validate_inputs(checkpoint="zero123-xl")
    assert known.files[-1].path in message and known.files[0].path not in message


def saved_scene(folders, name="kept"):
    files.SaveScene.execute(scene=scene(), filename_prefix=name)
    return folders / "output_directory" / f"{name}_00001_.safetensors"


def test_a_saved_scene_comes_back(folders):
    saved_scene(folders)
    back = files.LoadScene.execute(file="kept_00001_.safetensors").result[0]
    assert back.kind == "nerf" and back.reference.prompt == "a ball"


@pytest.mark.parametrize("keep", [0, 4, 60, -1], ids=["empty", "no header", "half a header", "last byte gone"])
def test_truncated_state_files(folders, keep):
    path = saved_scene(folders)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(InputError, match="scene file"):
        files.LoadScene.execute(file=path.name)


@pytest.mark.parametrize("place", [0.2, 0.5, 0.99], ids=["header", "tensors", "end"])
def test_flipped_state_files(folders, place):
    path = saved_scene(folders)
    data = bytearray(path.read_bytes())
    data[int(place * len(data))] ^= 1
    path.write_bytes(data)
    with pytest.raises(InputError, match="scene file.*kept_00001_.safetensors.*queue the stage again"):
        files.LoadScene.execute(file=path.name)


def test_a_scene_from_before_checksums_is_read_with_a_remark(folders, monkeypatch):
    from safetensors import safe_open
    from safetensors.torch import load_file, save_file

    path, said = saved_scene(folders), []
    with safe_open(str(path), "pt") as file:
        meta = {k: v for k, v in file.metadata().items() if k != "sha256"}
    save_file(load_file(str(path)), str(path), meta)
    monkeypatch.setattr(files, "say", lambda text, key: said.append(text))
    assert files.LoadScene.execute(file=path.name).result[0].kind == "nerf"
    assert len(said) == 1 and "before files had checksums" in said[0]


def test_foreign_and_missing_state_files(folders):
    (folders / "output_directory" / "other.safetensors").write_bytes(struct.pack("<Q", 2) + b"{}")
    with pytest.raises(InputError, match="other.safetensors"):
        files.LoadScene.execute(file="other.safetensors")
    for name in ("absent.safetensors", "../secret.safetensors", "/etc/passwd"):
        assert isinstance(files.LoadScene.validate_inputs(file=name), str)
        with pytest.raises(InputError):
            files.LoadScene.execute(file=name)


@pytest.mark.parametrize("node", [export.BakeExport, files.SaveScene])
def test_read_only_output_folder_stops_the_queue(node, monkeypatch, folders):
    assert node.validate_inputs(filename_prefix="a/b") is True
    monkeypatch.setattr(folder_paths, "output_directory", "/proc/1")  # read-only even for root
    message = node.validate_inputs(filename_prefix="a/b")
    assert "a writable output folder" in message
    assert isinstance(node.validate_inputs(filename_prefix="../b"), str)
    with pytest.raises(InputError, match="writable|output folder"):
        files.SaveScene.execute(scene=scene(), filename_prefix="a/b")
