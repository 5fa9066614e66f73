"""Photographs in the real ComfyUI: cut out by color, by core's remover, with MoGe's depth and normals; files stand in
for the networks (``helpers.stub_models``)."""

import re

import pytest
from helpers.graphs import SMALL, api, changed, exported, stage, ui
from lift123.launcher.shipped import TITLES

PHOTOS = {"photo_quickstart": "two_donuts", "photo_normals": "teddy_bear"}


def test_loaders_of_core_let_the_browser_offer_missing_files():
    """Names, addresses and folders as ComfyUI's own templates have them."""
    for name, count in (("photo_remover", 1), ("photo_normals", 2)):
        loaders = [n for n in ui(name)["nodes"] if n["type"] in ("LoadBackgroundRemovalModel", "LoadMoGeModel")]
        assert len(loaders) == count
        for node in loaders:
            (model,) = node["properties"]["models"]
            assert model["name"] == node["widgets_values"][0] and model["url"].endswith(f"{model['directory']}/{model['name']}")


@pytest.mark.parametrize("name", PHOTOS)
def test_an_opaque_photograph_becomes_a_glb(comfy, weights, data_folder, name):  # noqa: F811
    photo = comfy.upload(data_folder / "objects" / PHOTOS[name] / "photo.jpg")
    prompt = changed(api(name), **{**SMALL, "LoadImage": {"image": photo}, "CutOut": {"detail": 96}, "Evaluate": {"size": 64}})
    shown = max(int(k) for k in prompt if ":" not in k) + 1
    prompt[str(shown)] = {"class_type": "MaskToImage", "inputs": {"mask": [stage(prompt, "ReferenceView"), 2]}}
    prompt[str(shown + 1)] = {"class_type": "PreviewImage", "inputs": {"images": [str(shown), 0]}}
    glb, manifest = exported(comfy, comfy.run(prompt, timeout=900))
    assert glb.name.startswith(name) and {"NeRF stage 1", "DMTet refine"} <= set(manifest["timings_seconds"])


def test_without_a_cut_out_the_photograph_is_refused_with_both_ways_on(comfy, data_folder):
    from helpers.comfy_server import PromptFailed

    photo = comfy.upload(data_folder / "objects" / "two_donuts" / "photo.jpg")
    prompt = changed(api("consistent123_quickstart"), **{**SMALL, "LoadImage": {"image": photo}})
    with pytest.raises(PromptFailed, match=re.escape(TITLES["photo_quickstart"])) as refusal:
        comfy.run(prompt)
    assert "Remove Background" in str(refusal.value) and TITLES["photo_remover"] in str(refusal.value)
