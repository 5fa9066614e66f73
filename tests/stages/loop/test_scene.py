"""Scene files: exact, complete, and clear about damage."""

import pytest
import torch
from lift123.pipelines.core.cameras import Cameras
from lift123.pipelines.core.errors import InputError
from lift123.pipelines.core.views import Views
from lift123.pipelines.stages.inputs.reference import ReferenceView
from lift123.pipelines.stages.loop.scene import Scene, pack_reference


def _reference(size=8):
    draw = torch.rand(1, size, size, 8, generator=torch.Generator().manual_seed(0))
    camera = Cameras.orbit(0.3, 0.1, 3.2, 0.35, size, size)
    views = Views(camera, draw[..., :3], draw[..., 3], draw[..., 4], draw[..., 5:], False)
    return ReferenceView(views, "a red box", "blurry")


def _scene():
    tensors, meta = pack_reference(_reference())
    tensors["field/table"] = torch.rand(5, 2)
    tensors["optim/0/exp_avg"] = torch.rand(5, 2)
    tensors["grid/updates"] = torch.tensor(3)
    return Scene("nerf", tensors, {"step": 3, "total": 9, "seed": 7, "switch_step": None, "reference": meta})


def test_round_trip_is_exact(tmp_path):
    scene = _scene()
    loaded = Scene.load(scene.save(tmp_path / "deep" / "a.safetensors"))
    assert loaded.kind == scene.kind and loaded.meta == scene.meta and not loaded.finished
    assert set(loaded.tensors) == set(scene.tensors)
    assert all(torch.equal(loaded.tensors[k], v) for k, v in scene.tensors.items())
    original, reference = _reference(), loaded.reference
    assert (reference.prompt, reference.negative) == ("a red box", "blurry")
    for name in ("rgb", "alpha", "depth", "normal"):
        assert torch.equal(getattr(reference.views, name), getattr(original.views, name))
    assert torch.equal(reference.camera.c2w, original.camera.c2w)
    assert list(tmp_path.glob("**/*.part")) == []


def test_reference_is_stored_as_copies():
    reference = _reference()
    tensors, _ = pack_reference(reference)
    tensors["reference/rgb"].zero_()
    assert float(reference.views.rgb.max()) > 0


def test_without_optimizer_drops_only_that():
    slim = _scene().without_optimizer()
    assert "field/table" in slim.tensors and not slim.part("optim")


@pytest.mark.parametrize("keep", [0, 5, 60, 400, -1])
def test_truncated_file_is_refused(tmp_path, keep):
    path = _scene().save(tmp_path / "a.safetensors")
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(InputError, match="damaged"):
        Scene.load(path)


def test_foreign_and_missing_files_are_refused(tmp_path):
    from safetensors.torch import save_file

    save_file({"weight": torch.ones(2)}, str(tmp_path / "other.safetensors"))
    with pytest.raises(InputError, match="another format"):
        Scene.load(tmp_path / "other.safetensors")
    (tmp_path / "picture.safetensors").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    with pytest.raises(InputError):
        Scene.load(tmp_path / "picture.safetensors")
    with pytest.raises(InputError):
        Scene.load(tmp_path / "nothing.safetensors")


def test_unwritable_folder_is_an_input_error(tmp_path):
    blocker = tmp_path / "file"
    blocker.write_text("a file where the folder should be")
    with pytest.raises(InputError, match="writable"):
        _scene().save(blocker / "a.safetensors")


def test_failed_save_keeps_the_old_file(tmp_path, monkeypatch):
    path = _scene().save(tmp_path / "a.safetensors")
    before = path.read_bytes()

    def fail(*args, **kwargs):
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(InputError, match="disk full"):
        _scene().save(path)
    assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["a.safetensors"]
