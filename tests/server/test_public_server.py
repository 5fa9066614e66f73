"""Public networks through the loader nodes in the real server: tiny random ones, in the published layouts, as priors."""

import pytest
from helpers import public_tiny as tiny
from helpers.comfy_server import PromptFailed


@pytest.fixture(scope="module")
def networks(comfy):
    """One network of every kind in the server's models folder."""
    models = comfy.base / "models"
    tiny.zero123(models / "diffusers" / "kxic" / "tiny-zero123")
    tiny.sd(models / "diffusers" / "tiny-sdxl", "sdxl")
    tiny.clip_open(models / "lift123_clip" / "tiny-clip")
    tiny.depth(models / "lift123_depth" / "tiny-depth", "depth_anything")
    return models


def graph(**changes):
    """A toy object, its estimated depth, two public priors and the CLIP boundary; four iterations."""
    sds = {"guidance": 5.0, "weight": 1.0, "t_min": 0.2, "t_max": 0.6, "fixed_t": False, "reduction": "mean",
           "weighting": "sigma2"}
    prompt = {
        "toy": ("ToyObject", {"size": 64, "azimuth": 0.0, "elevation": 0.0, "seed": 7}),
        "depth": ("LoadDepth", {"checkpoint": "tiny-depth"}),
        "picture": ("DepthPicture", {"image": ["toy", 0], "depth_network": ["depth", 0], "mask_marks": "object",
                                     "mask": ["toy", 1]}),
        "view": ("ReferenceView", {
            "image": ["toy", 0], "mask": ["toy", 1], "depth": ["picture", 0], "prompt": "a bear", "negative": "", "size": 64,
            "border": 0.2, "recenter": True, "elevation": 0.0, "radius": 3.2, "fovy": 20.0, "mask_marks": "object",
            "depth_convention": "inverse-depth"}),
        "zero123": ("LoadViewPrior", {"checkpoint": "embedded", "hub_name": "kxic/tiny-zero123"}),
        "sdxl": ("LoadTextPrior", {"checkpoint": "tiny-sdxl"}),
        "clip": ("LoadClip", {"checkpoint": "tiny-clip"}),
        "prior_3d": ("ViewPrior", {"view_network": ["zero123", 0], "angle_scaling": True, **sds}),
        "prior_2d": ("TextPrior", {"text_network": ["sdxl", 0], "prompt": "", "negative": "blur", **sds}),
        "both": ("CombinePriors", {"prior_a": ["prior_3d", 0], "prior_b": ["prior_2d", 0],
                                   **{f"weight_{x}": 1.0 for x in "abcd"}}),
        "boundary": ("ClipBoundary", {"clip": ["clip", 0], "prompt": "", "interval": 2, "views": 2, "window": 1, "delta": 1e-3,
                                      "floor": 0.2, "ceiling": 0.8, "size": 32, "rate": "absolute"}),
        "nerf": ("NerfStage1", {"reference": ["view", 0], "prior": ["both", 0], "boundary": ["boundary", 0], "iterations": 4,
                                "seed": 0, "preset": "quickstart", "render_size": 32, "reference_size": 32,
                                "preview_every": 2}),
        "save": ("SaveScene", {"scene": ["nerf", 0], "filename_prefix": "lift123/public"}),
    }
    for key, inputs in changes.items():
        prompt[key][1].update(inputs)
    return {key: {"class_type": f"Lift123_{kind}", "inputs": inputs} for key, (kind, inputs) in prompt.items()}


def with_defaults(comfy, prompt):
    """The prompt with every further required widget at its default."""
    for node in prompt.values():
        for name, (kind, *options) in comfy.info[node["class_type"]]["input"].get("required", {}).items():
            default = (options[0] if options else {}).get("default", kind[0] if isinstance(kind, list) and kind else None)
            if name not in node["inputs"] and default is not None:
                node["inputs"][name] = default
    return prompt


def test_a_stage_runs_under_public_networks(comfy, networks):
    entry = comfy.run(with_defaults(comfy, graph()), timeout=300)
    assert any(path.name.startswith("public_") for path in comfy.output.rglob("*.safetensors")), entry["outputs"]


def test_wrong_sockets_and_missing_files_stop_the_queue(comfy, networks):
    for change, words in ((dict(sdxl={"hub_name": "kxic/tiny-zero123"}), "picture-conditioned"),
                          (dict(zero123={"hub_name": "tiny-sdxl"}), "Zero-1-to-3"),
                          (dict(sdxl={"checkpoint": "v1-5-pruned-emaonly.safetensors"}), "models/checkpoints/"),
                          (dict(depth={"checkpoint": "dpt-large"}), "models/lift123_depth/dpt-large/")):
        with pytest.raises(PromptFailed, match=words):
            comfy.run(with_defaults(comfy, graph(**change)))


def test_a_download_waits_for_consent(comfy):
    prompt = {"1": {"class_type": "Lift123_DownloadWeights", "inputs": {"name": "dpt-large", "accept_license": False}}}
    with pytest.raises(PromptFailed, match="consent to the license of dpt-large: MIT"):
        comfy.run(prompt)
    assert not (comfy.base / "models" / "lift123_depth" / "dpt-large").exists()


def test_the_browser_knows_the_packs_model_folders(comfy):
    assert {"lift123_clip", "lift123_depth"} <= set(comfy.client.get("/models"))
