"""CLIP and depth networks in their public layouts, tiny and random, compared with the libraries that published them."""

import pytest
import torch
from helpers import public_tiny as tiny
from lift123.pipelines.core.errors import InputError
from lift123.pipelines.loaders import public
from safetensors.torch import load_file, save_file


def noise(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def vision(tmp_path):
    """A folder of another kind of network."""
    tiny.vision(tmp_path / "other")
    return tmp_path / "other" / "image_encoder"


# ---------------------------------------------------------------------------------------- CLIP


@torch.no_grad()
def test_open_clip_folder(tmp_path):
    import open_clip

    model = tiny.clip_open(tmp_path)
    scorer = public.load_clip_folder(tmp_path)
    picture = noise(2, 28, 28, 3).sigmoid()
    x = ((picture - torch.tensor([0.1, 0.2, 0.3])) / torch.tensor([0.5, 0.6, 0.7])).permute(0, 3, 1, 2)
    assert torch.allclose(scorer.image_embedding(picture), model.encode_image(x, normalize=True), atol=1e-5)
    tokens = open_clip.SimpleTokenizer(context_length=20)(["a red fox"])
    assert torch.allclose(scorer.text_embedding(["a red fox"]), model.encode_text(tokens, normalize=True), atol=1e-5)
    assert -1 <= scorer.similarity(picture, "a red fox") <= 1


@torch.no_grad()
def test_transformers_clip_folder(tmp_path):
    folder = tmp_path / "clip"
    model = tiny.clip_transformers(folder)
    scorer = public.load_clip_folder(folder)
    picture = noise(1, 28, 28, 3).sigmoid()
    x = ((picture - torch.tensor([0.1, 0.2, 0.3])) / torch.tensor([0.5, 0.6, 0.7])).permute(0, 3, 1, 2)
    ids = scorer.tokenizer(["fox"])
    out = model(input_ids=ids, pixel_values=x)
    assert torch.allclose(scorer.image_embedding(picture), out.image_embeds, atol=1e-5)
    assert torch.allclose(scorer.text_embedding(["fox"]), out.text_embeds, atol=1e-5)


def test_clip_folders_that_do_not_fit(tmp_path, vision):
    tiny.clip_open(tmp_path / "a")
    path = tmp_path / "a" / "open_clip_model.safetensors"
    state = load_file(str(path))
    state.pop("logit_scale")
    save_file(state, str(path))
    with pytest.raises(InputError, match="open_clip_config"):
        public.load_clip_folder(tmp_path / "a")
    path.unlink()
    with pytest.raises(InputError, match="open_clip_model.safetensors"):
        public.load_clip_folder(tmp_path / "a")
    with pytest.raises(InputError, match="a picture and a text tower"):
        public.load_clip_folder(vision)


# ---------------------------------------------------------------------------------------- depth


def disc(height=48, width=40):
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return noise(height, width, 3, seed=5).sigmoid(), (((x - 20) ** 2 + (y - 24) ** 2) < 150).float()


@pytest.mark.parametrize("kind", ["dpt", "depth_anything"])
@torch.no_grad()
def test_depth_networks_in_both_readings(tmp_path, kind):
    tiny.depth(tmp_path, kind)
    rgb, mask = disc()
    near = public.load_depth_folder(tmp_path)
    far = public.load_depth_folder(tmp_path, convention="distance")
    assert (near.convention, far.convention) == ("inverse", "distance")
    a, b = near.depth(rgb, mask), far.depth(rgb, mask)
    inside = mask > 0.5
    assert torch.allclose(a[inside], 1 - b[inside], atol=1e-4), "one reading is the other upside down"
    assert float(a[inside].min()) == 0 and float(a[inside].max()) == pytest.approx(1) and not a[~inside].any()
    assert not near.depth(rgb, torch.zeros_like(mask)).any()


@torch.no_grad()
def test_depth_prediction_is_the_networks_own(tmp_path):
    model = tiny.depth(tmp_path)
    rgb = noise(32, 32, 3).sigmoid()
    own = model((rgb.permute(2, 0, 1)[None] - 0.5) / 0.5).predicted_depth[0]
    own = torch.nn.functional.interpolate(own[None, None], (32, 32), mode="bicubic")[0, 0]  # it answers at twice the size
    assert torch.allclose(public.load_depth_folder(tmp_path).prediction(rgb), own, atol=1e-5)


def test_metric_depth_is_read_as_distance(tmp_path):
    tiny.depth(tmp_path, "depth_anything", depth_estimation_type="metric", max_depth=10)
    assert public.load_depth_folder(tmp_path).convention == "distance"


def test_working_size_scales_as_little_as_possible(tmp_path):
    tiny.depth(tmp_path, "depth_anything")
    net = public.load_depth_folder(tmp_path)  # side 28, multiple of 7, proportions kept
    assert net.working_size(56, 112) == (28, 56) and net.working_size(7, 14) == (14, 28)


def test_depth_folders_that_do_not_fit(tmp_path, vision):
    with pytest.raises(InputError, match="a depth estimator"):
        public.load_depth_folder(vision)
    tiny.depth(tmp_path)
    with pytest.raises(InputError, match="convention"):
        public.load_depth_folder(tmp_path, convention="upwards")
    path = tmp_path / "model.safetensors"
    state = load_file(str(path))
    first = next(k for k in state if "fusion_stage.layers.0.residual_layer1" in k)
    save_file({k: v for k, v in state.items() if k != first}, str(path), metadata={"format": "pt"})
    public.load_depth_folder(tmp_path)  # never evaluated, and missing in published files
    state.pop("head.head.0.weight")
    save_file(state, str(path), metadata={"format": "pt"})
    with pytest.raises(InputError, match="missing: head.head.0.weight"):
        public.load_depth_folder(tmp_path)
