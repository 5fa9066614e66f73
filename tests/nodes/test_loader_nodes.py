"""The loader nodes over real folders: what is listed, found, refused and handed on; depth nodes; downloads on request."""

import shutil

import pytest
import torch
from helpers import public_tiny as tiny
from helpers.comfy_modules import prepare

prepare()
import folder_paths
from lift123.host import checkpoints, specs
from lift123.nodes import networks, reference, weights
from lift123.pipelines.catalog import registry
from lift123.pipelines.catalog.registry import WeightFile, Weights
from lift123.pipelines.core.errors import InputError
from lift123.pipelines.networks import depth as depth_models
from lift123.pipelines.stages.inputs.reference import prepare_reference

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def models(tmp_path, monkeypatch):
    """An empty models folder of ComfyUI's; and its mode for nodes."""
    root = tmp_path / "models"
    for name in ("diffusers", "checkpoints"):
        (root / name).mkdir(parents=True)
        monkeypatch.setitem(folder_paths.folder_names_and_paths, name,
                            ([str(root / name)], folder_paths.folder_names_and_paths[name][1]))
    for name in ("lift123_clip", "lift123_depth"):
        monkeypatch.delitem(folder_paths.folder_names_and_paths, name, raising=False)
    monkeypatch.setattr(folder_paths, "models_dir", str(root))
    monkeypatch.setattr(folder_paths, "filename_list_cache", {})
    specs._from_disk.cache_clear()
    with torch.inference_mode():
        yield root
    specs._from_disk.cache_clear()


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("made")
    tiny.depth(root / "depth")
    tiny.clip_open(root / "clip")
    return {"view": tiny.zero123(root / "view"), "text": tiny.sd(root / "text"), "depth": root / "depth", "clip": root / "clip"}


def load(node, **given):
    return node.execute(**given).result[0]


def test_everything_local_is_listed_for_the_right_kind(models, made):
    assert checkpoints.names("view")[:4] == [w.name for w in registry.of_kind("view")][:4]
    shutil.copytree(made["view"], models / "diffusers" / "kxic" / "zero123-mine")
    shutil.copytree(made["text"], models / "diffusers" / "my-sd")
    shutil.copytree(made["depth"], models / "lift123_depth" / "my-depth")
    (models / "checkpoints" / "old").mkdir()
    for name in ("105000.ckpt", "anime.safetensors", "my-zero123.ckpt", "notes.txt", "old/165000.ckpt"):
        (models / "checkpoints" / name).touch()
    view, text = checkpoints.names("view"), checkpoints.names("text")
    assert {"kxic/zero123-mine", "105000.ckpt", "my-zero123.ckpt", "embedded", "old/165000.ckpt"} <= set(view)
    assert {"my-sd", "anime.safetensors", "embedded"} <= set(text)
    assert not {"my-sd", "anime.safetensors", "stable_zero123.ckpt"} & set(view), "other kinds and absent files"
    assert not {"kxic/zero123-mine", "105000.ckpt", "my-zero123.ckpt", "notes.txt", "old/165000.ckpt"} & set(text)
    assert "my-depth" in checkpoints.names("depth") and "my-depth" not in checkpoints.names("clip")


def test_deepfloyd_is_recognized_by_its_files(models):
    from helpers import pixel_tiny

    pixel_tiny.deepfloyd(models / "diffusers" / "my-if")
    network = load(networks.LoadTextPrior, checkpoint="my-if")
    assert "my-if" in checkpoints.names("text") and network.load(CPU).runtime.shape == (3, 16, 16)


def test_absent_deepfloyd_names_its_folder_and_its_stand_in(models):
    told = networks.LoadTextPrior.validate_inputs("IF-I-XL-v1.0")
    assert "models/diffusers/IF-I-XL-v1.0/" in told and "DeepFloyd" in told and "consent" in told
    assert "choose stable-diffusion-2-1-base" in told


@pytest.mark.parametrize("folder", ["kxic/zero123-xl", "kxic--zero123-xl", "zero123-xl"])
def test_hub_names_mean_local_folders(models, made, folder):
    shutil.copytree(made["view"], models / "diffusers" / folder)
    network = load(networks.LoadViewPrior, checkpoint="embedded", hub_name="kxic/zero123-xl", pose="auto")
    assert network == specs.Network("view", "kxic/zero123-xl", "auto")
    assert checkpoints.find("view", "kxic/zero123-xl") == models / "diffusers" / folder
    denoiser = network.load(CPU)
    assert denoiser.image_size == 16 and denoiser.pose == "zero123" and network.load(CPU) is denoiser, "read once"


def test_hugging_faces_own_cache_is_searched_last(made, tmp_path, monkeypatch):
    import huggingface_hub.constants

    base = tmp_path / "hub" / "models--org--name"
    shutil.copytree(made["text"], base / "snapshots" / "abc")
    (base / "refs").mkdir()
    (base / "refs" / "main").write_text("abc")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    assert checkpoints.find("text", "org/name") == base / "snapshots" / "abc"
    assert networks.LoadTextPrior.validate_inputs(checkpoint="embedded", hub_name="org/name") is True
    assert "org/other" in networks.LoadTextPrior.validate_inputs(checkpoint="embedded", hub_name="org/other")


ODD = ["model (1).safetensors", "sd[fp16].safetensors", "any,v3.safetensors", "v1..5.safetensors", "it's @home.safetensors",
       "sub (2)/a & b {x} = 100%.ckpt", "#1 \u6a21\u578b!.safetensors", "..dots.safetensors", "a:b.safetensors", "~x.safetensors",
       "UPPER.SAFETENSORS", "a\\b.safetensors", "-rf;`id`.ckpt", "a|b<c>\"d\".safetensors", "tab\there.ckpt", "x" * 201 + ".ckpt"]


@pytest.mark.parametrize("name", ODD)
def test_what_the_list_offers_can_be_chosen(models, name):
    """``shared/cases/03_checkpoint_name.py``, and further names that people's downloads have."""
    file = models / "checkpoints" / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"x")
    folder_paths.filename_list_cache.clear()
    assert name in checkpoints.names("text") and checkpoints.find("text", name) == file
    kind = "a safetensors file" if name.lower().endswith(".safetensors") else "holds only weights"
    assert kind in networks.LoadTextPrior.validate_inputs(checkpoint=name), "read as what its ending says"


def test_folders_of_any_name_can_be_chosen(models, made):
    name = "my [best] model, v2 (final)"
    shutil.copytree(made["text"], models / "diffusers" / name)
    assert name in checkpoints.names("text") and checkpoints.find("text", name) == models / "diffusers" / name


@pytest.mark.parametrize("name", ["../secret", "/etc", "a/../../b", "C:\\x", "", "~", "a//b", "./a", "a/..", "a/.. /b",
                                  "not:there.ckpt", "a\nb", "x" * 300])
def test_paths_are_not_names(name):
    with pytest.raises(InputError, match="hub name"):
        checkpoints.find("text", name)


def test_pose_by_name_and_by_choice(models, made):
    shutil.copytree(made["view"], models / "diffusers" / "my-stable")
    assert load(networks.LoadViewPrior, checkpoint="my-stable").load(CPU).pose == "stable"
    assert load(networks.LoadViewPrior, checkpoint="my-stable", pose="zero123").load(CPU).pose == "zero123"


def test_a_network_of_another_kind_stops_the_queue(models, made):
    shutil.copytree(made["view"], models / "diffusers" / "a")
    assert "picture-conditioned" in networks.LoadTextPrior.validate_inputs(checkpoint="a")
    shutil.copytree(made["text"], models / "diffusers" / "b")
    assert "text-to-image" in networks.LoadViewPrior.validate_inputs(checkpoint="b")
    assert networks.LoadTextPrior.validate_inputs(checkpoint="b") is True
    assert "Use the other loader" in networks.LoadTextPrior.validate_inputs(checkpoint="105000.ckpt")


def test_absent_single_files_say_where_and_how_much(models):
    message = networks.LoadTextPrior.validate_inputs(checkpoint="v1-5-pruned-emaonly.safetensors")
    for words in ("models/checkpoints/", "4.3 GB", "Open RAIL-M", "Download Weights", "stable-diffusion-v1-5"):
        assert words in message
    assert "no single files" in networks.LoadDepth.validate_inputs(checkpoint="x.safetensors")


def test_single_files_go_to_the_file_loader(models, monkeypatch):
    from lift123.pipelines.loaders import ldm

    seen, checked = [], []
    monkeypatch.setattr(ldm, "check_file", lambda path, kind: checked.append((path.name, kind)))
    monkeypatch.setattr(ldm, "load_view_file", lambda path, device, pose: seen.append((path, pose)) or "network")
    monkeypatch.setattr(ldm, "load_text_file", lambda path, device: seen.append((path,)) or "network")
    for name in ("stable_zero123.ckpt", "anime.safetensors"):
        (models / "checkpoints" / name).touch()
    load(networks.LoadViewPrior, checkpoint="stable_zero123.ckpt").load(CPU)
    load(networks.LoadTextPrior, checkpoint="anime.safetensors").load(CPU)
    folder = models / "checkpoints"
    assert seen == [(folder / "stable_zero123.ckpt", "stable"), (folder / "anime.safetensors",)]
    assert checked == [("stable_zero123.ckpt", "view"), ("anime.safetensors", "text")], "before any work, once"


@pytest.mark.parametrize("name", ["105000.ckpt", "v1-5-pruned-emaonly.safetensors"])
def test_damaged_single_files_stop_the_queue(models, name):
    (models / "checkpoints" / name).write_bytes(b"\0" * 100)
    node = networks.LoadViewPrior if name == "105000.ckpt" else networks.LoadTextPrior
    message = node.validate_inputs(checkpoint=name)
    assert isinstance(message, str) and name in message


def test_clip_as_folder_and_as_single_file(models, made, monkeypatch):
    import open_clip

    shutil.copytree(made["clip"], models / "lift123_clip" / "mine")
    folder = load(networks.LoadClip, checkpoint="mine").load(CPU)
    config = tiny.json.loads((made["clip"] / "open_clip_config.json").read_text())["model_cfg"]
    monkeypatch.setattr(open_clip, "get_model_config", lambda name: config if name == "ViT-B-16-quickgelu" else None)
    name = "clip-vit-base-patch16.safetensors"
    shutil.copy(made["clip"] / "open_clip_model.safetensors", models / "lift123_clip" / name)
    assert name in checkpoints.names("clip")
    single = load(networks.LoadClip, checkpoint=name).load(CPU)
    assert torch.equal(folder.text_embedding(["a fox"]), single.text_embedding(["a fox"]))


# ---------------------------------------------------------------------------------------- depth


class Slope(torch.nn.Module):
    """An estimator that says: the lower, the nearer (inverse depth = row)."""

    def __init__(self):
        super().__init__()
        self.unused = torch.nn.Parameter(torch.zeros(1))

    def forward(self, pixels):
        rows = torch.arange(pixels.shape[2], dtype=torch.float32)[None, :, None].expand(len(pixels), -1, pixels.shape[3])
        return type("Output", (), {"predicted_depth": rows})()


class Given:
    """A network on a wire."""

    def __init__(self, network):
        self.network = network

    def load(self, device):
        return self.network


def photo():
    image = torch.ones(1, 48, 64, 3)
    image[:, 12:36, 16:48] = 0.3
    return image


@pytest.mark.parametrize("convention, lower_is_brighter", [("inverse", True), ("distance", False)])
def test_depth_picture_is_bright_where_near(convention, lower_is_brighter):
    network = Given(depth_models.PublicDepth(Slope(), 32, convention=convention))
    picture = load(reference.DepthPicture, image=photo(), depth_network=network, mask_marks="object")
    assert picture.shape == (1, 48, 64, 3) and float(picture.min()) > 0, "the whole photograph, background too"
    assert (float(picture[0, 40, 30, 0]) > float(picture[0, 5, 30, 0])) == lower_is_brighter
    mask = (photo()[..., 0] < 0.5).float()
    masked = load(reference.DepthPicture, image=photo(), depth_network=network, mask_marks="object", mask=mask)
    assert not masked[0][mask[0] == 0].any() and float(masked.max()) == pytest.approx(1)


def test_depth_reaches_the_reference_view_the_right_way_round():
    """Estimate -> picture -> Reference View (inverse depth) and Estimate Depth agree: lower is nearer, so smaller."""
    network = Given(depth_models.PublicDepth(Slope(), 32))
    picture = load(reference.DepthPicture, image=photo(), depth_network=network, mask_marks="object")
    view, _ = prepare_reference(photo(), None, picture, size=64, depth_convention="inverse")
    estimated = reference.EstimateDepth.execute(reference=view, depth_network=network).result[0]
    for v in (view, estimated):
        inside = v.views.alpha[0] > 0.5
        rows = torch.arange(64.0)[:, None].expand(64, 64)[inside]
        assert float(torch.corrcoef(torch.stack([rows, v.views.depth[0][inside]]))[0, 1]) < -0.9
        assert float(v.views.depth[0][inside].min()) > 0


def test_the_embedded_estimator_needs_the_object_alone():
    from lift123.pipelines.networks.depth import DepthEstimator, DepthNet

    network = Given(DepthEstimator(DepthNet().eval(), 32))
    picture = load(reference.DepthPicture, image=photo(), depth_network=network, mask_marks="background")
    assert not picture[0, :8].any() and picture[0, 20:30, 24:40].all(), "the plain background was removed"
    busy = torch.linspace(0, 1, 48 * 64 * 3).reshape(1, 48, 64, 3)
    with pytest.raises(InputError, match="plain background"):
        reference.DepthPicture.execute(image=busy, depth_network=network, mask_marks="background")


def test_the_embedded_depth_text_network_is_offered():
    from lift123.nodes import hifi123

    assert "embedded" in checkpoints.names("depth_text") and hifi123.LoadDepthText.validate_inputs(checkpoint="embedded") is True
    network = load(hifi123.LoadDepthText, checkpoint="embedded").load(CPU)
    assert network.image_size == 64 and network.latent_size == 16 and network.runtime.unet.config.in_channels == 5


def test_load_depth_hands_on_the_convention(models, made):
    shutil.copytree(made["depth"], models / "lift123_depth" / "mine")
    assert load(networks.LoadDepth, checkpoint="mine").load(CPU).convention == "inverse"
    assert load(networks.LoadDepth, checkpoint="mine", convention="distance").load(CPU).convention == "distance"


# ---------------------------------------------------------------------------------------- downloads


@pytest.fixture
def tiny_entry(monkeypatch):
    entry = Weights("tiny", "depth", (WeightFile("config.json"), WeightFile("model.safetensors")), ("https://example.invalid/",),
                    "MIT", "https://example.invalid/license", 0.001)
    monkeypatch.setitem(registry.BY_NAME, "tiny", entry)
    return entry


def test_nothing_is_fetched_without_consent(tiny_entry, monkeypatch):
    from lift123.pipelines.catalog import download

    monkeypatch.setattr(download, "fetch", lambda *_: pytest.fail("a connection was opened"))
    message = weights.DownloadWeights.validate_inputs(name="tiny", accept_license=False)
    assert "MIT" in message and "https://example.invalid/license" in message and "models/lift123_depth/tiny/" in message
    with pytest.raises(InputError, match="consent"):
        weights.DownloadWeights.execute(name="tiny", accept_license=False)
    assert weights.DownloadWeights.validate_inputs(name="tiny", accept_license=True) is True
    assert "one of" in weights.DownloadWeights.validate_inputs(name="other", accept_license=True)


def test_the_node_fetches_what_is_missing_and_reports(models, tiny_entry, monkeypatch):
    from lift123.pipelines.catalog import download

    asked = []

    def fetch(url, target, size, sha256, on_progress, timeout, *_):
        asked.append(url)
        on_progress(target.name, 3, 3)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(b"abc")
        return download.Fetched(target, 3, "0" * 64, "size only")

    monkeypatch.setattr(download, "fetch", fetch)
    folder = models / "lift123_depth" / "tiny"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    before = weights.DownloadWeights.fingerprint_inputs(name="tiny", accept_license=True)
    report = weights.DownloadWeights.execute(name="tiny", accept_license=True).result[0]
    assert asked == ["https://example.invalid/model.safetensors"] and "model.safetensors: 3 bytes" in report
    assert before == ["model.safetensors"] and weights.DownloadWeights.fingerprint_inputs(name="tiny", accept_license=True) == []
    assert "nothing was missing" in weights.DownloadWeights.execute(name="tiny", accept_license=True).result[0]


def test_the_cancel_button_stops_a_download(monkeypatch):
    import comfy.model_management as mm

    mm.interrupt_current_processing(True)
    with pytest.raises(mm.InterruptProcessingException):
        weights.Bytes(None)("model.safetensors", 1, 2)


def test_the_packs_folders_are_registered(models):
    checkpoints.register_folders()
    for name in ("lift123_clip", "lift123_depth"):
        assert folder_paths.get_folder_paths(name) == [str(models / name)]
        folder_paths.folder_names_and_paths.pop(name)


def test_a_network_that_was_first_asked_for_in_inference_mode_can_be_differentiated():
    """It is loaded once for all: ComfyUI calls nodes in that mode, and tensors made in it never leave it."""
    specs._embedded.cache_clear()
    with torch.inference_mode():
        network = specs.Network("text").load(torch.device("cpu"))
    assert not any(p.is_inference() for p in network.runtime.vae.parameters())
