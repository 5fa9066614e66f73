"""Mistakes that the graph alone tells: refused by ComfyUI's own check before anything runs, at the node that is wrong."""

import asyncio
import json

import pytest
from helpers.comfy_modules import prepare

prepare()
from lift123.host import graph_rules, wires
from lift123.nodes import all_nodes
from lift123.pipelines.distill.registry import METHODS

NODES = {node.GET_SCHEMA().node_id: node for node in all_nodes()}
WIDGETS = ("INT", "FLOAT", "BOOLEAN", "COMBO", "STRING")


def node(name, **given):
    """A node in API format: its widgets' defaults, and what is given."""
    schema = NODES[f"Lift123_{name}"].GET_SCHEMA()
    widgets = {i.id: i.default for i in schema.inputs if i.get_io_type() in WIDGETS and getattr(i, "default", None) is not None}
    return {"class_type": f"Lift123_{name}", "inputs": {**widgets, **given}}


def graph(**more):
    """A picture with words, networks, and a saved NeRF; more nodes, or others in their place."""
    return {"toy": node("ToyObject"), "see": node("ReferenceView", image=["toy", 0], mask=["toy", 1], prompt="a box"),
            "net": node("LoadEmbedded"), "p3": node("ViewPrior", view_network=["net", 0]),
            "p2": node("TextPrior", text_network=["net", 1]), "one": node("NerfStage1", reference=["see", 0], prior=["p3", 0]),
            "rgsd": node("RgsdPrior", depth_text_network=["net", 4]), "end": node("SaveScene", scene=["one", 0])} | more


def refused(made: dict) -> dict:
    """Node -> its errors as one text; {} for a graph that ComfyUI takes."""
    import execution

    import nodes as core

    async def queue():
        request = wires.on_prompt({"prompt": json.loads(json.dumps(made))})
        return await execution.validate_prompt("1", request["prompt"], None)

    known = dict(core.NODE_CLASS_MAPPINGS)
    core.NODE_CLASS_MAPPINGS.update(NODES)
    try:
        _, _, _, errors = asyncio.run(queue())
    finally:
        core.NODE_CLASS_MAPPINGS.clear()
        core.NODE_CLASS_MAPPINGS.update(known)
    return {key: " ".join(f"{e['message']} {e['details']}" for e in found["errors"]) for key, found in errors.items()}


def mesh(**given):
    return {"mesh": node("DMTetRefine", **{"scene": ["one", 0], **given}), "end": node("SaveScene", scene=["mesh", 0])}


WRONG = {
    "RGSD without a surface": (
        dict(one=node("NerfStage1", reference=["see", 0], prior=["rgsd", 0])), "one", "DMTet Refine, with what = texture"),
    "RGSD inside a sum, without a surface": (
        dict(sum=node("CombinePriors", prior_a=["p3", 0], prior_b=["rgsd", 0]),
             one=node("NerfStage1", reference=["see", 0], prior=["sum", 0])), "one", "compares the texture of a surface"),
    "RGSD while the shape changes": (mesh(prior=["rgsd", 0]), "mesh", "set what to texture"),
    "RGSD without depth": (mesh(prior=["rgsd", 0], what="texture"), "mesh", "Put Estimate Depth behind Reference View"),
    "an untouched mesh that is to change": (
        mesh(scene=["put", 0]) | dict(file=node("MeshToFile3D", mesh=["bake", 1]), bake=node("BakeExport", scene=["one", 0]),
                                      put=node("MeshToScene", mesh=["file", 0], reference=["see", 0])), "mesh", "refinable"),
    "CLIP without words": (
        dict(see=node("ReferenceView", image=["toy", 0], mask=["toy", 1]), edge=node("ClipBoundary", clip=["net", 2]),
             one=node("NerfStage1", reference=["see", 0], boundary=["edge", 0])), "one", "in Reference View or in CLIP Boundary"),
    "a text prior without words, and no picture": (
        dict(see=node("WordsOnly"), one=node("NerfStage1", reference=["see", 0], prior=["p2", 0])), "one", "in Words Only or in"),
    "a view prior without a picture": (dict(see=node("WordsOnly", prompt="a box")), "one", "there is no picture"),
    "nothing to learn from": (
        dict(see=node("WordsOnly", prompt="a box"), one=node("NerfStage1", reference=["see", 0])), "one", "Connect a Text Prior"),
    "DDS without a source": (
        dict(how=node("Distillation", method="dds"), p3=node("ViewPrior", view_network=["net", 0], distillation=["how", 0])),
        "p3", "Distillation's source input"),
    "Perp-Neg with a view prior": (
        dict(how=node("Distillation", perp_neg=True), p3=node("ViewPrior", view_network=["net", 0], distillation=["how", 0])),
        "p3", "turn perp_neg off"),
    "no mesh to begin with": (
        dict(start=node("InitialShape", reference=["see", 0], shape="mesh"),
             one=node("NerfStage1", reference=["see", 0], scene=["start", 0])), "start", "shape = mesh"),
    "depth order without depth": (
        dict(order=node("DepthOrderLoss"), one=node("NerfStage1", reference=["see", 0], losses=["order", 0])), "one",
        "for Depth Order Loss"),
    "angles that are none": (
        dict(side=node("PhotoLoss", images=["toy", 0], azimuths="left"),
             one=node("NerfStage1", reference=["see", 0], losses=["side", 0])), "side", "azimuths: expected numbers"),
    "colors that are none": (
        dict(few=node("PaletteLoss", colors="red"), one=node("NerfStage1", reference=["see", 0], losses=["few", 0])), "few",
        "#ff8800"),
    "options that are none": (
        dict(how=node("Distillation", options="scale"), p3=node("ViewPrior", view_network=["net", 0], distillation=["how", 0])),
        "how", "scale"),
    "two normal maps": (
        dict(bake=node("BakeExport", scene=["one", 0]), end=node("ExportMesh", mesh=["bake", 1], fine=["bake", 1],
                                                                 normal_map=["bake", 2])), "end", "Disconnect one of them"),
}


@pytest.mark.parametrize("name", WRONG)
def test_it_is_refused_at_its_node(name):
    more, key, words = WRONG[name]
    found = refused(graph(**more))
    assert set(found) - {key} <= {"end", "mesh"} and words in found[key], found


RIGHT = {
    "as it is": {},
    "RGSD on a texture, with depth": mesh(prior=["rgsd", 0], what="texture") | dict(
        see=node("ReferenceView", image=["toy", 0], mask=["toy", 1], depth=["toy", 2], prompt="a box")),
    "RGSD, with estimated depth": mesh(prior=["rgsd", 0], what="texture") | dict(
        deep=node("EstimateDepth", reference=["see", 0], depth_network=["net", 3]),
        one=node("NerfStage1", reference=["deep", 0], prior=["p3", 0])),
    "words by wire": dict(see=node("ReferenceView", image=["toy", 0], mask=["toy", 1], prompt=["toy", 3]),
                          one=node("NerfStage1", reference=["see", 0], prior=["p2", 0])),
    "CLIP Loss with a picture": dict(
        see=node("ReferenceView", image=["toy", 0], mask=["toy", 1]), like=node("ClipLoss", clip=["net", 2], image=["toy", 0]),
        one=node("NerfStage1", reference=["see", 0], losses=["like", 0])),
    "a refinable mesh that changes": mesh(scene=["put", 0]) | dict(
        bake=node("BakeExport", scene=["one", 0]), put=node("MeshToScene", mesh=["bake", 1], reference=["see", 0],
                                                            surface="refinable")),
    "angles by wire": dict(side=node("PhotoLoss", images=["toy", 0], azimuths=["toy", 3]),
                           one=node("NerfStage1", reference=["see", 0], losses=["side", 0])),
}


@pytest.mark.parametrize("name", RIGHT)
def test_what_may_be_right_is_taken(name):
    assert refused(graph(**RIGHT[name])) == {}


def test_every_rule_belongs_to_a_node_that_asks():
    import inspect

    for name in graph_rules.RULES:
        source = inspect.getsource(NODES[f"Lift123_{name}"].validate_inputs)
        assert "crossed()" in source or "readable(" in source, name
    assert set(graph_rules.SOURCED) == {name for name, method in METHODS.items() if method.sourced}
    named = {*graph_rules.PRIORS, *graph_rules.MIXED, *graph_rules.PICTURES, *graph_rules.NEED_WORDS, *graph_rules.NEED_DEPTH}
    assert named <= set(NODES)
