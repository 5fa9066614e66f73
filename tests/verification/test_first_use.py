"""What first use of StdGEN's networks is told about them: oracles pass, each thing that may be wrong is named."""

from dataclasses import dataclass, field, replace
from functools import partial

import pytest
import torch
from helpers import public_tiny, slrm_tiny, stdgen_tiny
from helpers.stdgen_toys import Knows
from lift123.pipelines.core.errors import InputError
from lift123.pipelines.loaders import embedded_characters as small
from lift123.pipelines.loaders import slrm_files
from lift123.pipelines.networks.stdgen import canonical, multiview
from lift123.pipelines.networks.stdgen.schedule import LEADING, ZERO_SNR
from lift123.pipelines.stages.characters.handedness import mirrored
from lift123.pipelines.stages.characters.picture import fit_upright
from lift123.verification import first_use, weights

SIZE = (64, 40)
ERROR = "denoising error (1 = knows nothing)"


@pytest.fixture(scope="module")
def figures():
    """lopsided -> a coarsely meshed toy figure."""
    return {lopsided: first_use.toy_figure(SIZE[0], lopsided, cells=24) for lopsided in (False, True)}


@dataclass
class Oracle(Knows):
    """Knows the true pictures; also looks at what it is shown a little, if it is not ``careless``."""

    size: tuple = SIZE
    unet: object = None
    vision: object = None
    careless: bool = False

    def see(self, picture):
        return 0.0 if self.careless or float(picture.min()) < 0.9 else 0.1

    def predict(self, noisy, t, seen, *rest):
        answer = super().predict(noisy, t, seen, *rest)
        return answer if seen == "seen" else answer * (1 + seen)


def knows_a_pose(figure, **more):
    return Oracle({0: fit_upright(figure.views.color[0, 0], SIZE)[None]}, **more)


def knows_views(figure, levels=(0, 1, 2), **more):
    views = figure.views
    targets = {}
    for index, level in enumerate(levels):
        pictures = [*views.encoded_normal()[level], *views.color[level]]
        targets[index] = torch.stack([fit_upright(p, SIZE) for p in pictures])
    return Oracle(targets, **more)


def test_a_canonicalizer_that_knows_raises_no_doubt(figures):
    found = first_use.look_at_canonicalizer(knows_a_pose(figures[False]), figures[False], 2)
    assert not found.doubts and found.facts[ERROR] < 1e-6 and found.facts["prediction"] == "v_prediction"
    assert torch.allclose(found.pictures[1], found.pictures[2], atol=0.05)


def test_what_is_wrong_with_a_canonicalizer_is_named(figures):
    known = figures[False]
    mistaken = {**small.SCHEDULE, "prediction_type": "epsilon"}  # the file says so; the network answers v
    doubts = first_use.look_at_canonicalizer(knows_a_pose(known, schedule=mistaken), known, 2).doubts
    assert any("read as v_prediction" in d for d in doubts)
    doubts = first_use.look_at_canonicalizer(knows_a_pose(known, careless=True), known, 2).doubts
    assert doubts == ["the picture that it is shown hardly changes its answer"]
    other = Oracle({0: torch.rand(1, *SIZE, 3, generator=torch.Generator().manual_seed(1))})
    assert "hardly removes noise" in first_use.look_at_canonicalizer(other, known, 2).doubts[0]


def test_a_multi_view_network_that_knows_raises_no_doubt_but_one_that_mixes_levels_does(figures):
    known = figures[False]
    found = first_use.look_at_multiview(knows_views(known), known, 2)
    assert not found.doubts and found.facts[ERROR] < 1e-6 and found.facts["change of its answer by the level"] > 0.01
    assert "keeps" in found.facts["level 1"] and len(found.pictures) == 7
    doubts = first_use.look_at_multiview(knows_views(known, (0, 0, 0)), known, 2).doubts
    assert doubts == ["the level hardly changes its answer"]
    swapped = first_use.look_at_multiview(knows_views(known, (0, 2, 1)), known, 2).doubts
    wrong = "the true views of '{}' are denoised better when it is asked for '{}'"
    assert swapped == [wrong.format("no hair", "body"), wrong.format("body", "no hair")]
    order = knows_views(known)
    order.targets = {level: p[[1, 2, 3, 4, 5, 0, 7, 8, 9, 10, 11, 6]] for level, p in order.targets.items()}
    assert any("the views that it draws" in d for d in first_use.look_at_multiview(order, known, 2).doubts)
    stock = first_use.look_at_multiview(knows_views(known, stock=True), known, 2)
    assert not stock.doubts and len(stock.pictures) == 3


@dataclass
class TrueField:
    """Stands in for S-LRM's field: the true layers; classes 1 and 2 are face and rest of the body."""

    layers: object
    turn: object = staticmethod(lambda mesh: mesh)
    face: int = 1
    planes: torch.Tensor = field(default_factory=lambda: torch.zeros(1))

    @property
    def network(self):
        return self

    decoder = network

    def semantics(self, points):
        """[N, 4] of points of S-LRM's world (z up): the upper half is the face."""
        share = torch.zeros(len(points), 4)
        up = points[:, 2] > 0
        share[up, self.face], share[~up, 3 - self.face] = 1.0, 1.0
        return share

    def surface(self, code):
        mesh = {2: lambda: self.layers["body"], 3: lambda: self.layers["clothing"], 4: lambda: self.layers["hair"]}.get(
            code, self.layers.merged)()
        return self.turn(mesh)


def test_a_mirrored_world_and_the_face_class_are_found(figures, monkeypatch):
    layers = first_use.make_character(first_use.SEED).posed(first_use.LOPSIDED, 24)
    monkeypatch.setattr(first_use, "on_points", lambda decode, planes, points: decode(points))
    answers = {"true": TrueField(layers), "mirrored": TrueField(layers, mirrored, face=2)}
    found = {}
    for name, answer in answers.items():
        monkeypatch.setattr(first_use, "lift_field", lambda color, network, answer=answer: answer)
        found[name] = first_use.look_at_slrm(None, figures[True])
    assert not found["true"].doubts and "kept as given" in found["true"].facts["handedness"]
    assert found["true"].facts["classes"].endswith("class 1 is the face")
    assert found["mirrored"].facts["classes"].endswith("class 2 is the face")
    assert any("its world is mirrored" in d for d in found["mirrored"].doubts)
    assert len(found["true"].pictures) == 4 and bool((found["true"].pictures[1] < 0.9).any())

    def damaged(color, network):
        raise InputError("checkpoint", "finite outputs", "NaN", "Download it again.")

    monkeypatch.setattr(first_use, "lift_field", damaged)
    assert "finite outputs" in first_use.look_at_slrm(None, figures[True]).doubts[0]


def test_reduced_sizes_keep_the_shape():
    network = replace(Oracle({}), size=(1024, 640), codec=replace(small_codec(), shrink=8))
    assert first_use.reduced(network, 32).size == (256, 160) and first_use.reduced(network, 64).size == (512, 320)
    assert first_use.reduced(replace(network, size=(1024, 576)), 32).size == (256, 144)
    assert first_use.reduced(network, 128) is network


def small_codec():
    from lift123.pipelines.networks.stdgen.codec import PixelCodec

    return PixelCodec()


# --------------------------------------------------------------------- the script, on small checkpoints


@pytest.fixture
def script(figures, monkeypatch):
    """``verify`` of one network, with coarse figures."""
    monkeypatch.setattr(first_use, "toy_figure", lambda size, lopsided=False: first_use.Figure(
        figures[lopsided].picture, figures[lopsided].views, figures[lopsided].body))
    monkeypatch.setattr(weights, "ROWS", {"cpu": 16})

    def run(kind, name, path):
        return weights.verify(kind, name, path, torch.device("cpu"), 1, path.parent / "picture.png")

    return run


def write_schedule(folder, name, settings):
    public_tiny.write_json(folder / name / "scheduler_config.json", settings)


def wide_vision(folder):
    """A picture tower as wide as the tiny context."""
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    config = CLIPVisionConfig(hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, image_size=28,
                              patch_size=7, projection_dim=public_tiny.WIDTH)
    public_tiny.seeded(lambda: CLIPVisionModelWithProjection(config), 4).save_pretrained(folder / "image_encoder")


def test_stdgens_folders_are_loaded_and_looked_at(script, tmp_path):
    place = tmp_path / "StdGEN-canonicalize-1024"
    stdgen_tiny.canonical_folder(place, canonical.build_main, canonical.build_reference)
    wide_vision(place)
    write_schedule(place, "scheduler-zerosnr", {**ZERO_SNR, "_class_name": "DDIMScheduler"})
    report = script("canonical", place.name, place)
    assert "error" not in report and report["prediction"] == "v_prediction" and report["looked at, pixels"] == (32, 20)
    assert set(report["networks"]) == {"UNet", "reference UNet", "autoencoder", "tower"}
    assert any("hardly removes noise" in d for d in report["doubts"]), "random weights know nothing"
    assert any(d.startswith("differs: unet has") for d in report["doubts"]), "nor are there as many as in the published file"
    assert any(v == "ok: scheduler-zerosnr is " + ", ".join(f"{k} {v}" for k, v in ZERO_SNR.items()) for v in report.values())
    assert (tmp_path / "picture.png").stat().st_size > 500 and report["CLIP token with and without antialias, cosine"] <= 1.001
    place = tmp_path / "StdGEN-multiview-1024"
    stdgen_tiny.multiview_folder(place, multiview.build_multiview)
    write_schedule(place, "scheduler", {**LEADING, "prediction_type": "epsilon"})
    report = script("multiview", place.name, place)
    assert "error" not in report and report["prediction"] == "epsilon" and report["guessed elevation, focal length"]
    assert any(d.startswith("differs: scheduler says prediction_type epsilon, expected") for d in report["doubts"])
    (place / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    assert "a file of weights in" in script("multiview", place.name, place)["error"]


def test_s_lrms_file_is_loaded_and_looked_at(script, tmp_path, monkeypatch):
    monkeypatch.setattr(slrm_files, "load_slrm", partial(slrm_files.load_slrm, config=slrm_tiny.TINY))
    state, path = slrm_tiny.filled(slrm_tiny.TINY, seed=3, scale=0.5).state_dict(), tmp_path / "StdGEN-mesh-slrm.pth"
    torch.save({"state_dict": state}, path)
    report = script("slrm", path.name, path)
    assert "error" not in report and report["file 1"] == f"mesh variant, {len(state)} weights, LoRA of rank 3"
    assert "none of them zero" in report["file 2"] and report["networks"]["S-LRM"]["finite"]
    assert "class 1" in report["classes"] and report["faces"].startswith("full ")
    torch.save({k: v for k, v in state.items() if "net_sdf.6" not in k}, path)
    assert "missing: synthesizer.decoder.net_sdf.6" in script("slrm", path.name, path)["error"]


def test_a_depth_text_network_is_loaded_and_asked_about_depth(script, tmp_path):
    place = public_tiny.sd(tmp_path / "stable-diffusion-2-depth", "sd2-v")
    public_tiny.unet(place, in_channels=5, use_linear_projection=True, attention_head_dim=(2, 4))
    report = script("depth_text", place.name, place)
    assert "error" not in report and report["input channels"] == 5 and report["prediction"] == "v_prediction"
    assert report["change of its answer by depth"] > 1e-3 and "depth hardly changes its answer" not in report["doubts"]
    public_tiny.unet(place, use_linear_projection=True, attention_head_dim=(2, 4))
    assert "5 input channels" in script("depth_text", place.name, place)["error"]


def test_what_is_absent_is_listed_with_its_folder(tmp_path):
    listed = {"stable-diffusion-2-depth": "diffusers/stable-diffusion-2-depth",
              "StdGEN-canonicalize-1024": "diffusers/StdGEN-canonicalize-1024",
              "StdGEN-multiview-1024": "diffusers/StdGEN-multiview-1024",
              "MacLab-Era3D-512-6view": "diffusers/MacLab-Era3D-512-6view", "StdGEN-mesh-slrm.pth": "lift123_slrm"}
    found = weights.candidates([tmp_path, tmp_path / "other"])
    assert {i["name"]: i["path"] for i in found} == {name: str(tmp_path / place) for name, place in listed.items()}
    assert all(i["installed"] is False and i["known"] for i in found)
    place = tmp_path / "other" / "lift123_slrm"
    place.mkdir(parents=True)
    (place / "StdGEN-mesh-slrm.pth").touch()
    (tmp_path / "diffusers" / "StdGEN-multiview-1024" / "unet").mkdir(parents=True)
    found = {i["name"]: i for i in weights.candidates([tmp_path, tmp_path / "other"])}
    assert "installed" not in found["StdGEN-mesh-slrm.pth"] and not found["StdGEN-mesh-slrm.pth"]["missing"]
    assert "model_index.json" in found["StdGEN-multiview-1024"]["missing"], "begun, so it is incomplete"
    assert [i["name"] for i in found.values() if i.get("installed", True)] == ["StdGEN-multiview-1024", "StdGEN-mesh-slrm.pth"]
