"""The ablation graphs: each row is the variant that ``benchmarks/ablations.py`` defines, and one of them runs in ComfyUI."""

from dataclasses import replace

import ablations
import pytest
from helpers.graphs import ABLATIONS, SMALL, api, built, changed
from lift123.pipelines import consistent123, magic123


def defined(name):
    """The ablation at the preset that its graph shows; L = 20 needs more checks than the quickstart makes."""
    base = consistent123.QUICKSTART
    if name == "boundary":
        base = replace(base, boundary=replace(base.boundary, interval=2))
    known = ablations.consistent_ablations(base) + ablations.magic_ablations(magic123.QUICKSTART)
    return next(a for a in known if a.name == name)


class Row:
    """One variant of a graph: the stages behind its Bake and Export node."""

    def __init__(self, prompt, done, key):
        self.prompt, self.done = prompt, done
        self.name = prompt[key]["inputs"]["filename_prefix"].rsplit("/", 1)[1]
        self.evaluate = prompt[prompt[key]["inputs"]["metrics"][0]]["inputs"]
        self.mesh = self.second = None
        scene = prompt[key]["inputs"]["scene"]
        assert self.evaluate["source"] == scene and prompt[self.evaluate["truth"][0]]["class_type"] == "Lift123_ToyObject"
        while True:
            node = prompt[scene[0]]
            kind = node["class_type"].removeprefix("Lift123_")
            if kind == "NerfStage1":
                self.first, self.first_key = node["inputs"], scene[0]
                return
            self.mesh, self.second = (node["inputs"], self.second) if kind == "DMTetRefine" else (self.mesh, node["inputs"])
            scene = node["inputs"]["scene"]

    def wired(self, inputs, entry="prior"):
        key, slot = inputs[entry]
        return self.done[key][slot]

    def config(self, inputs, usual):
        from lift123.nodes.stages import overridden, presets

        values = {k: v for k, v in inputs.items() if not isinstance(v, list) and k not in ("preset", "seed", "what")}
        return overridden(getattr(presets()[inputs["preset"]], usual), **values)

    def ramp(self):
        """(3D prior, 2D prior, form, clock, stretch, full_2d) of the dynamic prior, from stage 2 or from a node."""
        if self.second is None:
            spec = self.wired(self.first)
            return spec.prior_3d, spec.prior_2d, spec.form, spec.clock, spec.stretch, spec.full_2d
        node = self.second
        clock = {"phase_local": "local"}.get(node["clock"], node["clock"])
        ends = (self.wired(node, "prior_3d"), self.wired(node, "prior_2d"))
        return *ends, node["form"], clock, node["stretch"], node["full_2d"]


def rows_of(graph):
    prompt, done = built(graph, "TradeOffPrior")
    exports = sorted((k for k, n in prompt.items() if n["class_type"] == "Lift123_BakeExport"), key=int)
    results = next(n["inputs"] for n in prompt.values() if n["class_type"] == "Lift123_Results")
    waits = [v[0] for k, v in results.items() if k.startswith("after")]
    assert waits == exports and results["folder"] == f"lift123/{graph}" and results["means"] == "per name"
    assert all(prompt[k]["inputs"]["filename_prefix"].startswith(f"lift123/{graph}/") for k in exports)
    return [Row(prompt, done, key) for key in exports]


def check_stages(row, variant):
    preset = variant.preset
    assert row.config(row.first, "nerf") == preset.nerf
    if row.mesh:
        assert row.config(row.mesh, "mesh") == preset.mesh


def check_priors(view, text, preset):
    assert (view.settings, view.guidance, view.angle_scaling) == (preset.view, preset.view_guidance, preset.angle_scaling)
    assert (text.settings, text.guidance) == (preset.text, preset.text_guidance)


@pytest.mark.parametrize("name", ["two_stages", "schedules", "loss_weights", "boundary", "strategies"])
def test_rows_are_consistent123s_variants(name):
    rows, ablation = rows_of(f"ablation_{name}"), defined(name)
    assert [row.name for row in rows] == [v.name for v in ablation.variants]
    for row, variant in zip(rows, ablation.variants):
        check_stages(row, variant)
        preset = variant.preset
        if variant.use == "view":
            assert row.second is None and "boundary" not in row.first
            assert row.wired(row.first) == row.wired(row.mesh) and row.wired(row.first).settings == preset.view
            continue
        view, text, *ramp = row.ramp()
        check_priors(view, text, preset)
        assert ramp == [preset.form, preset.clock, preset.stretch, preset.full_2d]
        assert row.wired(row.first, "boundary").rule == preset.boundary if preset.boundary else "boundary" not in row.first
        if row.second is not None:  # the ramp goes on in the mesh stage: the prior comes out of this row's stage 2
            key, slot = row.mesh["prior"]
            assert row.prompt[key]["inputs"] is row.second and slot == 1 and row.wired(row.first) == view
    first = {row.name: row.first_key for row in rows}
    if name == "schedules":
        assert len(set(first.values())) == 1, "the first phase is run once"
    if name == "strategies":
        assert first["default"] == first["strategy-b"] and len(set(first.values())) == 3


@pytest.mark.parametrize("name", ["prior_trade_off", "coarse_fine"])
def test_rows_are_magic123s_variants(name):
    rows, ablation = rows_of(f"ablation_{name}"), defined(name)
    expected = [v.name for v in ablation.variants]
    if name == "coarse_fine":
        expected = [x for n in expected for x in (f"{n}-nerf", n)]
        assert [row.mesh is None for row in rows] == [True, False] * 3
        assert [rows[k].first_key == rows[k + 1].first_key for k in range(0, 6, 2)] == [True] * 3
    assert [row.name for row in rows] == expected
    by_name = {v.name: v for v in ablation.variants}
    for row in rows:
        variant = by_name[row.name.removesuffix("-nerf")]
        check_stages(row, variant)
        prior, preset = row.wired(row.first), variant.preset
        assert row.mesh is None or row.wired(row.mesh) == prior
        if variant.use == "both":
            (text, w2), (view, w3) = prior.parts
            check_priors(view, text, preset)
            assert (w2(0.5), w3(0.5)) == magic123.trade_off(variant.ratio, magic123.BALANCES[preset.balance])
        else:
            assert prior.kinds() == {variant.use} and prior.settings == getattr(preset, variant.use)


def test_every_ablation_graph_is_checked_here():
    assert {n.removeprefix("ablation_") for n in ABLATIONS} == {
        "two_stages", "schedules", "loss_weights", "boundary", "strategies", "prior_trade_off", "coarse_fine"}


# --------------------------------------------------------------------------------------- server


def test_variants_run_side_by_side_and_end_in_one_table(comfy, weights):  # noqa: F811
    tiny = {**SMALL, "NerfStage1": {**SMALL["NerfStage1"], "iterations": 6}, "Evaluate": {"size": 64},
            "ToyObject": {"size": 64}, "ReferenceView": {"size": 64}}
    tiny["BakeExport"] = {**SMALL["BakeExport"], "frames": 6}
    prompt = changed(api("ablation_schedules"), **tiny)
    entry = comfy.run(prompt, timeout=900)
    key = next(k for k, n in prompt.items() if n["class_type"] == "Lift123_Results")
    text = entry["outputs"][key]["text"][0]
    lines = [line.split("|")[1].strip() for line in text.splitlines() if line.startswith("| lift123/")]
    assert lines == [f"lift123/ablation_schedules/{n}_00001" for n in ("default", "linear", "log")]
    assert "3 done, 0 failed" in text and "iou" in text and "clip_similarity" in text
