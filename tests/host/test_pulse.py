"""Long nodes without steps: asked to stop, each stops within two seconds, wherever it is; and it shows how far it is."""

import threading
import time

import pytest
import torch
from helpers.comfy_modules import prepare

prepare()
import comfy.model_management as mm
import folder_paths
from helpers import good_inputs, tiny_stages
from helpers.good_inputs import NODES, good
from helpers.layer_toys import SDF, solid
from lift123.host import pulse as host_pulse
from lift123.host import runner
from lift123.pipelines.core import pulse
from lift123.pipelines.core.layers import LayeredMesh
from lift123.pipelines.core.mesh import Mesh
from lift123.pipelines.io import unwrap as unwrapping
from lift123.pipelines.io.decimate import decimate
from lift123.pipelines.networks.latent import ddim_sample
from lift123.pipelines.ops import closest
from lift123.pipelines.ops.kernels import launch
from lift123.pipelines.ops.rasterize import rasterize
from lift123.pipelines.render.surface import render_surface
from lift123.pipelines.stages.characters.refined_layers import RefinedLayers
from lift123.pipelines.stages.objects.import_mesh import ImportConfig, import_mesh
from lift123.pipelines.stages.objects.place_mesh import Placement
from lift123.pipelines.stages.results.render_views import render_mesh
from lift123.pipelines.toybox import render as toy_render

PATIENCE = 2.0  # seconds of this process, so that a busy machine does not count


class Draws:
    """A view network that takes twenty moments for each step."""

    image_size, kind = 16, "view"
    alphas_cumprod = torch.linspace(0.99, 0.01, 100)

    def with_reference(self, picture, camera):
        return self

    def check(self):
        """Its files are there."""

    def load(self, device):
        return self

    def sample(self, camera, steps, generator):
        def noise(x, t):
            time.sleep(0.02)
            return x

        return ddim_sample(noise, (1, 3, 16, 16), self.alphas_cumprod, steps, generator).movedim(1, -1)


def figure() -> RefinedLayers:
    return RefinedLayers(LayeredMesh({name: solid(sdf, 24) for name, sdf in SDF.items()}))


def bare_scene():
    ball = solid(SDF["body"], 24).transformed(0.5)
    mesh = Mesh(ball.vertices, ball.faces)
    return import_mesh(mesh, tiny_stages.reference(), ImportConfig(Placement("y", 0.0, False, True), "untouched", "mesh", 8))


WORK = {
    "SampleViews": lambda: dict(view_network=Draws(), views=5, steps=20),
    "Evaluate": lambda: dict(source=good_inputs.box(), truth=good_inputs.box(), size=96, views="turntable-16", lpips="off"),
    "ToyCharacter": lambda: dict(size=64, cells=32),
    "ExportCharacter": lambda: dict(layers=figure(), colors="textures", texture_size=128, face_budget=400),
    "BakeExport": lambda: dict(scene=bare_scene(), texture_size=128, frames=8, turntable_size=96),
    "RenderViews": lambda: dict(source=good_inputs.box(), frames=24, size=96),
    "PreviewLayers": lambda: dict(layers=figure(), size=96, mode="cross-section from the front"),
}


@pytest.fixture(autouse=True)
def folders(tmp_path, monkeypatch):
    for name in ("output_directory", "temp_directory"):
        monkeypatch.setattr(folder_paths, name, str(tmp_path))
    yield
    mm.interrupt_current_processing(False)


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """Kernels and libraries that the nodes below use: what is compiled or imported is not measured."""
    import skimage.measure  # noqa: F401
    import transformers  # noqa: F401
    from lift123.pipelines.toybox import characters  # noqa: F401

    box, node = tiny_stages.box(), NODES["Lift123_RenderViews"]
    closest.closest_point(box.vertices, box.vertices, box.faces)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(folder_paths, "temp_directory", str(tmp_path_factory.mktemp("temp")))
        node.execute(**good(node, source=good_inputs.box(), frames=1, size=16))


@pytest.mark.parametrize("name", WORK)
def test_an_interruption_is_heard_within_two_seconds(name, monkeypatch, compiled):
    """Run once to learn how long it takes and where it beats, then asked to stop on the way."""
    monkeypatch.setattr(host_pulse, "ASK_SECONDS", 0.0)
    node, given, asked = NODES[f"Lift123_{name}"], WORK[name](), []
    given = good(node, **given)
    monkeypatch.setattr(mm, "throw_exception_if_processing_interrupted", lambda: asked.append(time.process_time()))
    began, start = time.process_time(), time.monotonic()
    node.execute(**given)
    ended, stop_at = time.process_time(), time.monotonic() - start
    monkeypatch.undo()
    gaps = [b - a for a, b in zip([began, *asked], [*asked, ended])]
    assert len(asked) >= 5 and max(gaps) < PATIENCE, (len(asked), max(gaps))
    for share in (0.1, 0.5):
        called: list[float] = []

        def stop(called=called):
            called.append(time.process_time())
            mm.interrupt_current_processing(True)

        timer = threading.Timer(share * stop_at, stop)
        timer.start()
        try:
            node.execute(**given)
            done = True  # it was quicker this time
        except mm.InterruptProcessingException:
            done = False
        finally:
            timer.cancel()
            timer.join()
        assert done or time.process_time() - called[0] < PATIENCE
        mm.interrupt_current_processing(False)


def test_progress_is_shown_but_not_for_quick_work(monkeypatch):
    shown, said, now = [], [], [0.0]

    class Bar:
        def __init__(self, total):
            shown.append(total)

        def update_absolute(self, done, total):
            shown.append((done, total))

    monkeypatch.setattr(host_pulse.comfy.utils, "ProgressBar", Bar)
    monkeypatch.setattr(host_pulse, "say", lambda text, key: said.append((text, key)))
    heard = host_pulse.Pulse("7", clock=lambda: now[0])
    with pulse.heard_by(heard):
        pulse.beat("rendering", 1, 9)
        assert not shown and not said
        now[0] = 1.0
        pulse.beat("rendering", 2, 9)
        pulse.beat("rendering", 3, 9)  # too soon
        now[0] = 2.0
        pulse.beat("unwrapping 500 faces")
    assert shown == [9, (2, 9)] and said == [("rendering 2/9", "7"), ("unwrapping 500 faces", "7")]


def test_a_stage_is_never_cut_through():
    """Its steps ask; between them nobody hears a beat."""
    heard = []
    with pulse.heard_by(lambda *beat: heard.append(beat)):
        runner.run_stage("Quiet", lambda hooks: pulse.beat("inside"), None)
        pulse.beat("outside")
    assert heard == [("outside", 0, 0)]


def test_waiting_for_a_library_is_interruptible_and_hands_on_what_it_does():
    assert pulse.while_waiting(lambda: 5) == 5

    def fails():
        raise KeyError("from the thread")

    def stop(*_):
        raise mm.InterruptProcessingException()

    with pulse.heard_by(lambda *_: None):
        assert pulse.while_waiting(lambda: time.sleep(0.3) or 7) == 7
        with pytest.raises(KeyError, match="from the thread"):
            pulse.while_waiting(fails)
    began = time.monotonic()
    with pulse.heard_by(stop), pytest.raises(mm.InterruptProcessingException):
        pulse.while_waiting(lambda: time.sleep(3))
    assert time.monotonic() - began < 1


def test_pieces_of_a_launch_give_the_same_bytes(monkeypatch):
    ball = solid(SDF["body"], 20)
    clip = torch.cat([ball.vertices, torch.ones(len(ball.vertices), 1)], 1)[None].repeat(2, 1, 1)
    points = torch.rand(300, 3, generator=torch.Generator().manual_seed(0))
    found, counts = [], []
    for pixels, spots in ((1 << 30, 1 << 30), (500, 7)):
        monkeypatch.setattr(launch.launch, "__defaults__", (None, pixels))
        monkeypatch.setattr(closest, "PIECE", spots)
        heard = []
        with pulse.heard_by(lambda *_, heard=heard: heard.append(0)):
            near = closest.closest_point(points, ball.vertices, ball.faces)
            raster = rasterize(clip, ball.faces, 40, 50)
        found.append((raster.triangle, raster.barycentric, raster.depth, near.face, near.point))
        counts.append(len(heard))
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True)) and counts[1] > 40 > counts[0]


def test_a_mesh_rendered_in_batches_looks_the_same():
    cameras = tiny_stages.HOME.turntable(7, 0.2, 48)
    whole, parts = render_surface(tiny_stages.box(), cameras, grad=False), render_mesh(tiny_stages.box(), cameras)
    assert all(torch.equal(getattr(whole, n), getattr(parts, n)) for n in ("rgb", "alpha", "depth", "normal"))


def test_many_toy_views_are_rendered_one_by_one_and_look_the_same(monkeypatch):
    cameras = tiny_stages.HOME.turntable(3, 0.2, 32)
    whole = toy_render.render_toy(tiny_stages.box(), cameras)
    monkeypatch.setattr(toy_render, "MOST_PIXELS", 100)
    single = toy_render.render_toy(tiny_stages.box(), cameras)
    assert all(torch.equal(getattr(whole, n), getattr(single, n)) for n in ("rgb", "alpha", "depth", "normal"))
    assert whole.depth_is_metric == single.depth_is_metric and len(single.cameras) == 3


def test_decimation_and_unwrapping_beat():
    heard = []
    with pulse.heard_by(lambda *beat: heard.append(beat)):
        small = decimate(solid(SDF["body"], 24), 200)
        unwrapping.unwrap(small, None, 128, 2, "boxes")
    names = {what for what, _, _ in heard}
    assert {"decimating", "unwrapping"} <= names and all(0 <= done <= total for _, done, total in heard)
