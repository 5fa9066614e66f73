"""The stage runner and the converters, under the inference mode that ComfyUI imposes."""

import errno
import io as std_io
import json
import os
import shutil
from dataclasses import dataclass, field

import pytest
import torch
from helpers.comfy_modules import prepare

prepare()
import comfy.model_management as mm
import comfy.utils
import folder_paths
from comfy_api.latest import Types, io
from lift123.host import convert, finish, outputs, runner
from lift123.host.base import Node
from lift123.host.unfinished import Shelf
from lift123.pipelines.core.errors import InputError, StopStage
from lift123.pipelines.core.mesh import Mesh
from lift123.pipelines.core.step import Step


@dataclass(frozen=True)
class Scene:
    """Stands in for a scene: says how far it came and writes that down."""

    step: int
    meta: dict = field(default_factory=dict)

    def save(self, path):
        path.write_text(str(self.step))


def stage(steps=10, fail_at=None):
    """A stage of ``steps`` iterations as the real ones behave."""

    def run(hooks):
        for index in range(1, steps + 1):
            if index == fail_at:
                hooks["on_checkpoint"](Scene(index - 1))
                raise RuntimeError("out of memory")
            try:
                hooks["on_step"](Step("toy stage", index, steps, {"rgb": 0.5}, torch.rand(8, 8, 3)))
            except StopStage:
                return Scene(index)
        return Scene(steps)

    return run


@pytest.fixture
def output(tmp_path, monkeypatch):
    monkeypatch.setattr(folder_paths, "output_directory", str(tmp_path))
    return tmp_path


@pytest.fixture
def sent(monkeypatch):
    """What the progress bar sends: (value, total, preview)."""
    messages = []
    monkeypatch.setattr(comfy.utils, "PROGRESS_BAR_HOOK", lambda v, t, p, node_id=None: messages.append((v, t, p)))
    return messages


def test_a_stage_runs_to_its_end_with_progress_and_rgb_previews(output, sent):
    scene = runner.run_stage("toy stage", stage(), "1", before=Scene(0, {"seconds": {"other": 2.0}}))
    assert scene.step == 10 and scene.meta["seconds"]["other"] == 2.0 and scene.meta["seconds"]["toy stage"] >= 0
    assert sent[0][:2] == (1, 10) and sent[-1][:2] == (10, 10)
    kind, picture, side = next(p for _, _, p in sent if p)
    assert (kind, picture.mode, side) == ("JPEG", "RGB", 512)
    assert not list(output.rglob("*"))


def test_at_most_two_previews_per_second(output, sent):
    now = [0.0]
    monitor = runner.Monitor(None, finish.threading.Event(), clock=lambda: now[0])
    for index in range(40):
        monitor(Step("toy stage", index + 1, 40, {}, torch.rand(8, 8, 3)))
        now[0] += 0.1
    assert sum(p is not None for _, _, p in sent) == 8


def test_interruption_saves_what_there_is_and_is_passed_on(output, sent):
    mm.interrupt_current_processing(True)
    with pytest.raises(mm.InterruptProcessingException):
        runner.run_stage("NeRF stage 1", stage(), "1")
    saved = list(output.rglob("*.safetensors"))
    assert [p.relative_to(output).as_posix() for p in saved] == ["lift123/partial_nerf_stage_1_00001_.safetensors"]
    assert saved[0].read_text() == "1" and not mm.processing_interrupted()


def test_interruption_noticed_by_the_progress_hook_counts_too(output, monkeypatch):
    def hook(*_, **__):
        raise mm.InterruptProcessingException()

    monkeypatch.setattr(comfy.utils, "PROGRESS_BAR_HOOK", hook)
    with pytest.raises(mm.InterruptProcessingException):
        runner.run_stage("toy stage", stage(), None)
    assert len(list(output.rglob("*.safetensors"))) == 1


def test_an_error_names_the_rescued_scene(output, sent):
    with pytest.raises(RuntimeError, match="out of memory.*partial_toy_stage_00001_.safetensors"):
        runner.run_stage("toy stage", stage(fail_at=4), "1")
    assert next(output.rglob("*.safetensors")).read_text() == "3"


@pytest.mark.parametrize("blocked", [False, True])
def test_a_partial_result_that_cannot_be_saved_is_said_in_the_node(output, sent, monkeypatch, blocked):
    """A full disk, or a file where the folder should be."""
    def full(self, path):
        raise OSError(errno.ENOSPC, "No space left on device")

    said = []
    monkeypatch.setattr(runner, "say", lambda text, key: said.append(text))
    if blocked:
        (output / "lift123").write_text("no folder")
    else:
        monkeypatch.setattr(Scene, "save", full)
    reason = "a writable output folder" if blocked else "a full disk"
    with pytest.raises(RuntimeError, match=f"out of memory. What it has so far could not be saved: .*{reason}"):
        runner.run_stage("toy stage", stage(fail_at=4), "1")
    mm.interrupt_current_processing(True)
    with pytest.raises(mm.InterruptProcessingException):
        runner.run_stage("toy stage", stage(), "1")
    assert said[-1].startswith("toy stage interrupted. What it has so far could not be saved: ") and reason in said[-1]
    assert not list(output.rglob("*.*"))


def test_a_stage_that_could_not_save_its_state_is_refused_before_work(output, sent, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1 << 27}))
    with pytest.raises(InputError, match="output folder: expected 302 MB of free space, got 134 MB for 'toy stage'"):
        runner.run_stage("toy stage", stage(), "1")
    assert not sent


@pytest.mark.parametrize("after_work", [False, True])
def test_an_input_error_stays_one_and_work_is_rescued(output, after_work):
    def refuse(hooks):
        if after_work:
            hooks["on_checkpoint"](Scene(3))
        raise InputError("prompt", "words", "nothing", "Write some.")

    with pytest.raises(InputError):
        runner.run_stage("toy stage", refuse, "1")
    assert len(list(output.rglob("*.safetensors"))) == after_work


@dataclass(frozen=True)
class Count:
    """A state without a result of its own, as samplers have."""

    step: int

    def pack(self):
        return {}, {"step": self.step}

    @staticmethod
    def unpack(tensors, meta):
        return Count(meta["step"])


def counting(hooks, fail_at=None):
    """Ten steps with a state after each."""
    for index in range(1, 11):
        if index == fail_at:
            raise RuntimeError("broken")
        hooks["on_step"](Step("toy stage", index, 10))
        hooks["autosave"](lambda index=index: Count(index))
    return "done"


def test_a_stage_that_fails_says_that_its_state_is_there(output, sent):
    shelf = Shelf("toy stage", seed=1, every=0.0)
    with pytest.raises(RuntimeError, match="broken.*output/lift123/unfinished/toy_stage_.*; queueing the same graph again conti"):
        runner.run_stage("toy stage", lambda hooks: counting(hooks, 4), None, shelf=shelf)
    again = Shelf("toy stage", seed=1, every=0.0)
    assert again.find(Count.unpack) == Count(3) and Shelf("toy stage", seed=2).find(Count.unpack) is None
    assert runner.run_stage("toy stage", counting, None, shelf=again) == "done" and again.left() is None


def test_a_stage_that_begins_anew_says_what_has_changed(output, sent):
    @dataclass(frozen=True)
    class Settings:
        iterations: int = 10
        rate: float = 0.1

    def shelf(**inputs):
        return Shelf("toy stage", every=0.0, **{"seed": 1, "settings": Settings(), "picture": torch.zeros(2), **inputs})

    with pytest.raises(RuntimeError, match="broken"):
        runner.run_stage("toy stage", lambda hooks: counting(hooks, 4), None, shelf=shelf())
    several = {"picture": torch.ones(2), "settings": Settings(11)}
    for inputs, told in (({"seed": 2}, "seed"), (several, "settings.iterations, picture")):
        other = shelf(**inputs)
        assert other.find(Count.unpack) is None
        assert other.remarks == [f"begun anew: {told} changed since the attempt that was not finished"]
    nothing = Shelf("another stage", seed=2)
    assert nothing.find(Count.unpack) is None and not nothing.remarks
    assert shelf().find(Count.unpack) == Count(3) and shelf(seed=2).changed() == "seed"


def test_a_state_that_could_not_be_written_is_said_in_the_node(output, sent, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("lift123.pipelines.io.autosave.sealed.write", full)
    with pytest.raises(RuntimeError, match="broken. What it has so far could not be saved: .*No space left"):
        runner.run_stage("toy stage", lambda hooks: counting(hooks, 4), None, shelf=Shelf("toy stage", seed=1, every=0.0))


def test_what_cannot_be_told_apart_keeps_no_state(output):
    shelf = Shelf("toy stage", thing=object(), every=0.0)
    assert runner.run_stage("toy stage", counting, None, shelf=shelf) == "done" and shelf.left() is None


def test_finish_ends_only_the_stage_that_was_asked(output, sent):
    def asked_while_running(hooks):
        assert finish.request("other") == []
        assert finish.request("1") == ["1"]
        return stage()(hooks)

    assert runner.run_stage("toy stage", asked_while_running, "1").step == 1
    assert finish.request() == [], "nothing runs any more"


def test_status_line_promises_a_time_after_the_warm_up(output):
    now, lines = [0.0], []
    monitor = runner.Monitor(None, finish.threading.Event(), clock=lambda: now[0], peak=lambda: 3 * 2**29)
    for index in range(1, 11):
        now[0] += 50.0 if index == 1 else 2.0  # the first iteration loads and compiles: it counts for nothing
        monitor(Step("NeRF stage 1", index, 64, {"rgb": 0.25}))
        lines.append(monitor.status(now[0]))
    assert lines[0] == "1 % | 1.5 GB\nrgb 0.25\nNeRF stage 1 1/64"
    assert lines[3] == "6 % | 2 min 0 s left, measuring | 1.5 GB\nrgb 0.25\nNeRF stage 1 4/64"
    assert lines[9] == "15 % | 1 min 48 s left | 1.5 GB\nrgb 0.25\nNeRF stage 1 10/64"
    monitor(Step("NeRF stage 1", 11, 64, {"rgb": 0.5}, scores={"CLIP score": 0.3}))
    monitor.last = Step("NeRF stage 1", 12, 64, {"rgb": 0.25}, note="boundary fired")
    assert monitor.status(now[0]).split("\n")[1:] == ["rgb 0.25 | CLIP score 0.3", "NeRF stage 1 12/64 | boundary fired"]
    assert (runner.duration(59.6), runner.duration(7300)) == ("1 min 0 s", "2 h 1 min")


def test_peak_memory_grows_with_what_is_allocated():
    before = runner.peak_bytes()
    block = torch.ones(60_000_000)  # 240 MB
    assert runner.peak_bytes() > 50 * 2**20 and runner.peak_bytes() >= before and block[-1] == 1


@pytest.mark.parametrize("pixels", [torch.full((4, 4, 3), float("nan")), torch.full((4, 4, 3), 9.0)])
def test_previews_are_always_rgb(pixels):
    assert runner.preview_tuple(pixels)[1].mode == "RGB"


@pytest.mark.parametrize("pixels", [torch.rand(4, 4), torch.rand(4, 4, 7), "nonsense"])
def test_a_bad_preview_never_raises(pixels):
    result = runner.preview_tuple(pixels)
    assert result is None or result[1].mode == "RGB"


def test_nodes_leave_inference_mode_and_work_on_copies():
    class Probe(Node):
        @classmethod
        def define_schema(cls):
            return io.Schema("Probe", inputs=[], outputs=[])

        @classmethod
        def run(cls, image):
            weight = torch.nn.Parameter(torch.ones(3))
            (weight * image).sum().backward()
            image += 1
            return io.NodeOutput(weight.grad)

    with torch.inference_mode():
        image = torch.ones(2, 3)
        gradient = Probe.execute(image=image).result[0]
    assert gradient.tolist() == [2.0, 2.0, 2.0] and float(image.sum()) == 6.0


def test_names_in_the_output_folder(output):
    slot = outputs.claim("a/b")
    assert slot.relative("glb") == "a/b_00001_.glb" and json.dumps(slot.result("glb"))
    slot.path("glb").write_text("x")
    assert outputs.claim("a/b").relative("glb") == "a/b_00002_.glb"
    for bad in ("", "../x", "/etc/x", "a/../../x", "a/"):
        with pytest.raises(InputError):
            outputs.claim(bad)


def square(textured=True):
    """Two triangles whose shared edge is a texture seam."""
    vertices = torch.tensor([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]])
    faces = torch.tensor([[0, 1, 2], [0, 2, 3]])
    if not textured:
        return Mesh(vertices, faces, vertex_colors=torch.rand(4, 3))
    uvs = torch.tensor([[0.0, 0], [0.4, 0], [0.4, 1], [0.6, 0], [1, 1], [0.6, 1]])
    return Mesh(vertices, faces, uvs=uvs, face_uvs=torch.arange(6).reshape(2, 3), texture=torch.rand(4, 4, 3))


def test_mesh_to_core_and_back_keeps_every_corner():
    mesh = square()
    core = convert.to_comfy_mesh(mesh)
    assert core.vertices.shape == (1, 6, 3), "the two seam vertices are doubled"
    back = convert.from_comfy_mesh(core)
    for kept in (mesh, back):
        assert kept.vertices[kept.faces].shape == (2, 3, 3)
    assert torch.equal(back.vertices[back.faces], mesh.vertices[mesh.faces])
    assert torch.equal(back.uvs[back.face_uvs], mesh.uvs[mesh.face_uvs])
    assert torch.equal(back.texture, mesh.texture)


def test_padded_batches_and_float_faces_of_other_packs():
    core = convert.to_comfy_mesh(square(textured=False))
    padded = Types.MESH(torch.cat([core.vertices, torch.zeros(1, 3, 3)], 1), core.faces.float(),
                        vertex_counts=torch.tensor([4]), face_counts=torch.tensor([2]))
    back = convert.from_comfy_mesh(padded)
    assert len(back.vertices) == 4 and back.faces.dtype == torch.int64


def test_mesh_errors():
    core = convert.to_comfy_mesh(square(textured=False))
    two = Types.MESH(core.vertices.repeat(2, 1, 1), core.faces.repeat(2, 1, 1))
    empty = Types.MESH(torch.zeros(1, 0, 3), torch.zeros(1, 0, 3).long())
    beyond = Types.MESH(core.vertices, core.faces + 9)
    nan = Types.MESH(core.vertices * float("nan"), core.faces)
    for bad in (two, empty, beyond, nan, object()):
        with pytest.raises(InputError):
            convert.from_comfy_mesh(bad)
    with pytest.raises(InputError, match="fbx"):
        convert.file_to_mesh(Types.File3D(std_io.BytesIO(b""), "fbx"))


def test_glb_file_round_trip():
    mesh = square()
    back = convert.file_to_mesh(convert.mesh_to_file(mesh))
    assert torch.allclose(back.vertices[back.faces], mesh.vertices[mesh.faces])
    assert torch.allclose(back.uvs[back.face_uvs], mesh.uvs[mesh.face_uvs])


def test_depth_picture_is_inverse_and_masks_the_background():
    depth, alpha = torch.tensor([[[2.0, 4.0, 0.0]]]), torch.tensor([[[1.0, 1.0, 0.0]]])
    assert torch.allclose(convert.depth_picture(depth, alpha)[0, 0, :, 0], torch.tensor([1.0, 0.05, 0.0]))


@pytest.mark.parametrize("body, status", [
    ("", 200), ("{}", 200), ('{"node_id": "9"}', 200), ("{", 400), ("[1]", 400), ('"9"', 400),
    ("\xff", 400), ("[" * 100000, 400)])
def test_finish_refuses_what_is_no_request(body, status):
    import asyncio

    from aiohttp import web
    from aiohttp.test_utils import TestClient, TestServer

    async def ask():
        routes = web.RouteTableDef()
        finish.register_route(routes)
        app = web.Application()
        app.add_routes(routes)
        async with TestClient(TestServer(app)) as client:
            answer = await client.post(finish.ROUTE, data=body.encode("latin-1"))
            return answer.status, await answer.json()

    with finish.listening("1") as asked:
        found, answer = asyncio.run(ask())
        assert found == status and ("error" in answer) == (status == 400)
        assert asked.is_set() == (body in ("", "{}"))


def test_every_line_of_a_text_ends_where_markdown_ends_one(monkeypatch):
    """Nodes 2.0 shows a node's text as Markdown, where a line's end alone is a space."""
    import server

    told = []
    heard = type("Server", (), {"send_progress_text": lambda self, text, key: told.append((text, key))})()
    monkeypatch.setattr(server.PromptServer, "instance", heard, raising=False)
    runner.say("37 % | 1.4 GB\nrgb 0.1", "7")
    assert told == [("37 % | 1.4 GB  \nrgb 0.1", "7")]
