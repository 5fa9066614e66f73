"""What is wrong with a graph that can be told from it alone: each rule is a sentence, as the node would say it later.

A rule takes (graph in API format, key of a node) and raises the node's own InputError.  It is silent where the graph does not
tell: words or numbers that come by wire, scenes from files, nodes of other packs.  :data:`RULES` says who is asked what; a
node in it calls ``wires.crossed`` in its ``validate_inputs``.
"""

from __future__ import annotations

from ..pipelines.core.errors import InputError
from ..pipelines.io.runs import is_link, upstream

OURS = "Lift123_"
PRIORS = {"Lift123_ViewPrior": "view", "Lift123_TextPrior": "text", "Lift123_RgsdPrior": "depth_text"}
MIXED = {  # nodes that hand on a prior made of others: the inputs these come by
    "Lift123_CombinePriors": ("prior_a", "prior_b", "prior_c", "prior_d"), "Lift123_TradeOffPrior": ("prior_3d", "prior_2d"),
    "Lift123_DynamicPrior": ("prior_3d", "prior_2d"), "Lift123_DynamicStage2": ("prior_3d", "prior_2d"),
}
DYNAMIC = ("Lift123_DynamicPrior", "Lift123_DynamicStage2")
PICTURES = {"Lift123_ReferenceView": "Reference View", "Lift123_WordsOnly": "Words Only",
            "Lift123_EditScene": "Edit Scene"}
NEED_WORDS = {"Lift123_TextPrior": "Text Prior", "Lift123_ClipBoundary": "CLIP Boundary", "Lift123_ClipLoss": "CLIP Loss"}
NEED_DEPTH = {"Lift123_RgsdPrior": "RGSD Prior", "Lift123_DepthOrderLoss": "Depth Order Loss"}
SOURCED = ("dds",)
SCENES = {"Lift123_NerfStage1": "nerf", "Lift123_DynamicStage2": "nerf", "Lift123_DMTetRefine": "mesh",
          "Lift123_MeshToScene": "mesh"}
REMEDIES = {"prior_3d": ("view", "Connect View Prior here and Text Prior to prior_2d."),
            "prior_2d": ("text", "Connect Text Prior here and View Prior to prior_3d.")}


def refuse(graph: dict, key: str) -> None:
    """InputError where node ``key`` would refuse what it is given, as far as the graph alone tells."""
    for rule in RULES.get(str(graph[key].get("class_type", "")).removeprefix(OURS), ()):
        rule(graph, key)


def crossed_priors(graph: dict, key: str) -> None:
    """The other kind of prior; a clock inside of a sum."""
    node = graph[key]
    inputs, kind = node.get("inputs", {}), node.get("class_type")
    for name, (wanted, remedy) in REMEDIES.items():
        found = prior_kinds(graph, inputs.get(name))
        if found is not None and wanted not in found:
            raise InputError(name, f"a prior that contains a {wanted.capitalize()} Prior", "one without", remedy)
    if kind == "Lift123_CombinePriors":
        for name in MIXED[kind]:
            if "dynamic" in (prior_kinds(graph, inputs.get(name)) or ()):
                raise InputError(name, "View, Text or Combined Priors", "a Dynamic Prior inside Combine Priors",
                                 "Its clock belongs to the stage: combine its two inputs instead.")


def prior_kinds(graph: dict, wire, depth: int = 50) -> set[str] | None:
    """Kinds of networks behind a prior's wire ("dynamic" for one with a clock); None where that cannot be told."""
    kind = _maker(graph, wire)
    if kind in PRIORS:
        return {PRIORS[kind]}
    if kind not in MIXED or not depth:
        return None
    inputs = graph[str(wire[0])].get("inputs", {})
    parts = [prior_kinds(graph, inputs[name], depth - 1) for name in MIXED[kind] if name in inputs]
    if not parts or any(part is None for part in parts):
        return None
    return set().union(*(part for part in parts if part), {"dynamic"} if kind in DYNAMIC else ())


def _maker(graph: dict, wire) -> str | None:
    """The class of the node at the other end of a wire."""
    return graph[str(wire[0])].get("class_type") if is_link(wire, graph) else None


def other_scene(graph: dict, key: str) -> None:
    """A mesh where a NeRF goes on."""
    if SCENES.get(_maker(graph, _inputs(graph, key).get("scene")) or "", "nerf") != "nerf":
        raise InputError("scene", "a NeRF scene", "a mesh scene", "Use DMTet Refine for meshes.")


def wordless(graph: dict, key: str) -> None:
    """A Text Prior, a CLIP Boundary or CLIP Loss without a prompt, at a stage none of whose pictures has one."""
    nodes = [graph[k] for k in upstream(graph, key)]
    pictures = [n for n in nodes if n.get("class_type") in PICTURES]
    elsewhere = any(n.get("class_type") == "Lift123_LoadScene" for n in nodes)  # a scene brings words of its own
    if not pictures or elsewhere or any(_words(n) for n in pictures):
        return
    for node in nodes:
        kind = node.get("class_type")
        if kind in NEED_WORDS and not _words(node) and not is_link(node.get("inputs", {}).get("image"), graph):
            raise InputError("prompt", f"a description of the object, for {NEED_WORDS[kind]}", "nothing",
                             f"Write it in {_titles(pictures)} or in {NEED_WORDS[kind]}, for example 'a red teapot'.")


def no_surface(graph: dict, key: str) -> None:
    """RGSD where there is no surface to compare."""
    for name in ("prior", "prior_3d", "prior_2d"):
        if "depth_text" in _known_kinds(graph, _inputs(graph, key).get(name)):
            raise InputError(name, "a prior that works on a NeRF", "RGSD Prior, which compares the texture of a surface",
                             "Wire RGSD Prior into DMTet Refine, with what = texture.")


def shape_changes(graph: dict, key: str) -> None:
    """RGSD, or a mesh that is to stay untouched, where the shape is to change."""
    inputs = _inputs(graph, key)
    if inputs.get("what", "both") == "texture" or not isinstance(inputs.get("what"), str):
        return
    if "depth_text" in _known_kinds(graph, inputs.get("prior")):
        raise InputError("what", "'texture', with RGSD Prior", repr(inputs["what"]),
                         "RGSD keeps its targets while the shape stays: set what to texture.")
    if _maker(graph, inputs.get("scene")) == "Lift123_MeshToScene" and (
            graph[str(inputs["scene"][0])].get("inputs", {}).get("surface", "untouched") == "untouched"):
        raise InputError("what", "'texture', because this scene's surface is to stay untouched", repr(inputs["what"]),
                         "Choose 'texture', or set Mesh to Scene's surface to 'refinable'.")


def no_depth(graph: dict, key: str) -> None:
    """RGSD or Depth Order Loss at a picture without depth."""
    nodes = {graph[k].get("class_type"): graph[k] for k in upstream(graph, key)}
    needs = next((word for kind, word in NEED_DEPTH.items() if kind in nodes), None)
    pictures = [graph[k] for k in upstream(graph, key) if graph[k].get("class_type") in PICTURES]
    known = {"Lift123_EstimateDepth", "Lift123_LoadScene"} & set(nodes)
    if needs is None or known or not pictures or any("depth" in picture.get("inputs", {}) for picture in pictures):
        return
    raise InputError("reference", f"a picture with depth, for {needs}", "one without",
                     "Put Estimate Depth behind Reference View, or wire a depth picture into it.")


def blind(graph: dict, key: str) -> None:
    """A View Prior, or nothing at all, where there is no picture."""
    inputs = _inputs(graph, key)
    if _maker(graph, inputs.get("reference")) not in ("Lift123_WordsOnly", "Lift123_EditScene"):
        return
    if "view" in _known_kinds(graph, inputs.get("prior")):
        raise InputError("prior", "a Text Prior, because there is no picture", "a View Prior",
                         "It looks at a picture: use Reference View, or leave it out.")
    if not any(is_link(inputs.get(name), graph) for name in ("prior", "losses")):
        raise InputError("prior", "a prior or a loss, because there is no picture to learn from", "nothing",
                         "Connect a Text Prior.")


def no_source(graph: dict, key: str) -> None:
    """A distillation that compares with the scene before the edit, without that scene; words that push at a picture's prior."""
    inputs = _inputs(graph, key)
    kind, how = _maker(graph, inputs.get("distillation")), inputs.get("distillation")
    if kind != "Lift123_Distillation" or how is None:
        return
    given = graph[str(how[0])].get("inputs", {})
    if given.get("method") in SOURCED and not is_link(given.get("source"), graph):
        raise InputError("distillation", f"the scene as it was, for {given['method']}", "none",
                         "Connect the scene to be edited to Distillation's source input.")
    if given.get("perp_neg") is True and graph[key].get("class_type") == "Lift123_ViewPrior":
        raise InputError("distillation", "perp_neg with a Text Prior", "a View Prior",
                         "Only words can push each other away: turn perp_neg off here.")


def no_mesh(graph: dict, key: str) -> None:
    """A start from a mesh without one."""
    inputs = _inputs(graph, key)
    if inputs.get("shape") == "mesh" and not is_link(inputs.get("mesh"), graph):
        raise InputError("mesh", "a mesh, for shape = mesh", "nothing", "Connect one, or choose ball or figure.")


def too_many_rungs(graph: dict, key: str) -> None:
    """More rungs than steps."""
    steps, rungs = (_inputs(graph, key).get(name) for name in ("steps", "rungs"))
    if isinstance(steps, int) and isinstance(rungs, int) and rungs > steps:
        raise InputError("rungs", f"at most steps ({steps})", str(rungs), "Lower rungs or raise steps.")


def two_normal_maps(graph: dict, key: str) -> None:
    """A normal map and a mesh to bake one from."""
    if all(is_link(_inputs(graph, key).get(name), graph) for name in ("normal_map", "fine")):
        raise InputError("normal_map", "a map or a fine mesh", "both", "Disconnect one of them.")


RULES = {  # node without its prefix -> what may be wrong with it
    "NerfStage1": (crossed_priors, other_scene, no_surface, blind, wordless, no_depth),
    "DynamicStage2": (crossed_priors, other_scene, no_surface, wordless, no_depth),
    "DMTetRefine": (crossed_priors, shape_changes, wordless, no_depth),
    "DynamicPrior": (crossed_priors,), "CombinePriors": (crossed_priors,), "TradeOffPrior": (crossed_priors,),
    "ViewPrior": (no_source,), "TextPrior": (no_source,), "InitialShape": (no_mesh,),
    "RgnvEnhance": (too_many_rungs,), "InvertReconstruct": (too_many_rungs,), "ExportMesh": (two_normal_maps,),
}


def _inputs(graph: dict, key: str) -> dict:
    return graph[key].get("inputs", {})


def _known_kinds(graph: dict, wire) -> set[str]:
    """:func:`prior_kinds`, empty where they cannot be told."""
    return prior_kinds(graph, wire) or set()


def _titles(pictures: list[dict]) -> str:
    return PICTURES[pictures[0]["class_type"]]


def _words(node: dict) -> bool:
    """Whether a node's prompt says something, or comes by wire, where it may."""
    prompt = node.get("inputs", {}).get("prompt", "")
    return not isinstance(prompt, str) or bool(prompt.strip())
