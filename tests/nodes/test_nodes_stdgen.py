"""StdGEN's nodes on a toy character with true views and layers, and with small random networks where one is needed."""

import json
from dataclasses import replace

import pytest
import torch
from helpers.comfy_modules import prepare

prepare()
from comfy_execution.graph import ExecutionBlocker
from helpers.stdgen_wires import SAMPLER, SEED, SIZE
from lift123.host import checkpoints
from lift123.host.convert import to_comfy_mesh
from lift123.nodes import characters, layers, layers_out
from lift123.pipelines import stdgen
from lift123.pipelines.core.character_views import LEVEL_NAMES, CharacterViews
from lift123.pipelines.core.errors import InputError, StopStage
from lift123.pipelines.core.layers import LAYER_NAMES, LayeredMesh
from lift123.pipelines.core.mesh import Mesh
from lift123.pipelines.io.glb_reader import read_glb
from lift123.pipelines.loaders import embedded_characters as small
from lift123.pipelines.stages.characters import refine_layers as stage
from lift123.pipelines.stages.characters.handedness import mirrored_layers
from lift123.pipelines.stages.characters.refined_layers import RefinedLayers
from lift123.pipelines.toybox.characters import make_character, render_levels
from lift123.pipelines.toybox.characters.character import HALF
from lift123.pipelines.toybox.characters.mesher import mesh_field

LEVELS = "complete + no hair + body"


@pytest.fixture(scope="module")
def rough():
    """The same character's layers as meshes of a few hundred faces, with colors."""
    field = make_character(SEED).field()

    def mesh(name):
        points, faces = mesh_field(lambda p: field.sdf(name, p), 16, HALF)
        return Mesh(points, faces, field.color(name, points).float())

    return RefinedLayers(LayeredMesh({name: mesh(name) for name in field.names}))


@pytest.fixture(scope="module", autouse=True)
def quick():
    """The quickstart's refinement with a few steps and small pictures."""
    preset = stdgen.QUICKSTART
    few = {name: replace(getattr(preset.refine, name), steps=2) for name in ("body", "outer", "detail")}
    short = replace(preset.refine, size=32, even=2, preview_every=0, **few)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(stdgen.PRESETS, preset.name, replace(preset, refine=short))
        yield short


@pytest.fixture(scope="module")
def refined(rough, toy):
    """(layers, report) of Refine Layers."""
    return refine(rough, toy[3])


def refine(given, views, **more):
    settings = {"preset": "stdgen quickstart", "steps": 0, "again": False, "seed": 0, **more}
    return layers.RefineLayers.execute(layers=given, views=views, **settings).result


def scene_of(glb: bytes) -> dict:
    """The JSON chunk of a GLB file: after 12 bytes of header and 8 of its own."""
    return json.loads(glb[20 : 20 + int.from_bytes(glb[12:16], "little")])


def same(a: Mesh, b: Mesh) -> bool:
    return torch.equal(a.vertices, b.vertices) and torch.equal(a.faces, b.faces) and (
        (a.vertex_colors is None and b.vertex_colors is None) or torch.equal(a.vertex_colors, b.vertex_colors))


def only(views: CharacterViews, *names) -> CharacterViews:
    index = [views.levels.index(n) for n in names]
    return CharacterViews(views.color[index], views.normal[index], views.alpha[index], tuple(names))


# ------------------------------------------------------------------------------------------- pictures


def test_a_toy_character_comes_with_everything_known(toy):
    image, mask, a_pose, views, given, caption = toy
    assert image.shape[0] == 1 and image.shape[1] == SIZE and mask.shape == image.shape[:3]
    assert a_pose.shape == (1, SIZE, SIZE, 3) and torch.equal(a_pose[0], views.color[0, 0])
    assert views.levels == LEVEL_NAMES and given.layers.names == LAYER_NAMES and caption
    assert bool((image[0][mask[0] == 0] == 1).all()), "on white"
    fine = make_character(SEED).layers
    assert torch.equal(views.alpha, render_levels(fine, SIZE).alpha), "cells are about the layers only"
    assert all(len(fine[n].faces) > len(given.layers[n].faces) for n in LAYER_NAMES)


def test_canonicalize_gives_a_picture_and_what_was_shown(toy, networks):
    image, mask = toy[:2]
    given = {"image": image, "canonical": networks[0], "mask_marks": "object", "complete": False, **SAMPLER}
    a_pose, shown, _ = characters.Canonicalize.execute(mask=mask, **given).result
    assert a_pose.shape == shown.shape == (1, *small.SMALL_SIZE, 3)
    assert float(a_pose.min()) >= 0 and float(a_pose.max()) <= 1
    assert float((shown[0] < 0.9).any(-1).float().mean()) > 0.05, "the figure"
    inverse = characters.Canonicalize.execute(mask=1 - mask, **{**given, "mask_marks": "background"}).result
    assert torch.equal(inverse[1], shown), "core Load Image marks the background"
    touching = torch.cat([mask, mask], 1)[:, : SIZE // 2 + 4]
    cut = image[:, : touching.shape[1]]
    with pytest.raises(InputError, match="whole figure"):
        characters.Canonicalize.execute(mask=touching, **{**given, "image": cut})
    *_, remarks = characters.Canonicalize.execute(mask=touching, **{**given, "image": cut, "complete": True}).result
    assert "taken as whole" in remarks
    for wrong in ({"mask": torch.zeros_like(mask)}, {"image": torch.ones_like(image)}):
        with pytest.raises(InputError, match="mask|background|figure"):
            characters.Canonicalize.execute(**{**given, **wrong})
    with pytest.raises(InputError, match="two"):
        characters.Canonicalize.execute(mask=torch.cat([mask, mask], 2), **{**given, "image": torch.cat([image, image], 2)})


def test_the_head_is_the_picture_s_own_when_asked_or_a_sentence_says_why_not(toy, networks):
    image, mask = toy[:2]
    given = {"image": image, "canonical": networks[0], "mask_marks": "object", "complete": False, **SAMPLER, "mask": mask}
    drawn, _, before = characters.Canonicalize.execute(**given).result
    same, _, report = characters.Canonicalize.execute(**given, head="as drawn").result
    assert torch.equal(same, drawn) and report == before
    picture, _, report = characters.Canonicalize.execute(**given, head="from the picture").result
    said = report.splitlines()[-1]
    if said.startswith("LOOK"):
        assert torch.equal(picture, drawn) and "head's own pixels are not taken over" in said
    else:
        assert picture.shape[1] > drawn.shape[1] and "The head is the picture's own" in said


def test_a_figure_in_a_pose_is_kept_when_asked_and_the_network_is_not(toy, networks):
    class Absent:
        def load(self, device):
            raise AssertionError("the network is not needed")

    a_pose = toy[2]
    given = {"canonical": Absent(), "mask_marks": "auto", "complete": False, **SAMPLER}
    kept, shown, report = characters.Canonicalize.execute(image=a_pose, when="auto", **given).result
    assert "A-pose already" in report and torch.equal(kept, shown)
    assert kept.shape[2] == round(kept.shape[1] * 640 / 1024), "the published canvas"
    before, after = (int((picture[0] < 0.8).any(-1).any(1).sum()) for picture in (a_pose, kept))
    assert abs(before - after) <= 2, "not larger or smaller, but for its soft rim"
    raised = characters.Canonicalize.execute(image=toy[0], when="never", **given)
    assert "as it is" in raised.result[2]
    with pytest.raises(AssertionError, match="not needed"):
        characters.Canonicalize.execute(image=a_pose, when="always", **given)
    with pytest.raises(AssertionError, match="not needed"):
        characters.Canonicalize.execute(image=a_pose, **given)


def test_multi_view_makes_the_levels_asked_for_and_keeps_known_ones(toy, networks):
    given = {"image": toy[2], "multiview": networks[1], **SAMPLER}
    views, colors, normals = characters.CharacterMultiView.execute(levels="complete + no hair", **given).result
    side = small.SMALL_SIZE[0]
    assert views.levels == LEVEL_NAMES[:2] and views.color.shape == (2, 6, side, side, 3)
    assert colors.shape == normals.shape == (12, side, side, 3)
    more = characters.CharacterMultiView.execute(levels=LEVELS, views=views, **given).result[0]
    assert more.levels == LEVEL_NAMES and torch.equal(more.color[:2], views.color), "not made again"
    assert not torch.equal(more.color[2], more.color[0])


def test_views_come_apart_and_together_again(toy):
    views, parts = toy[3], []
    for level in LEVEL_NAMES:
        parts.append(characters.ViewsToImages.execute(views=views, level=level).result)
        assert [tuple(p.shape) for p in parts[-1]] == [(6, SIZE, SIZE, 3), (6, SIZE, SIZE, 3), (6, SIZE, SIZE)]
    colors, normals = (torch.cat([p[i] for p in parts]) for i in (0, 1))
    back = characters.ImagesToViews.execute(colors=colors, normals=normals).result[0]
    inside = views.alpha == 1
    assert back.levels == LEVEL_NAMES and torch.allclose(back.normal[inside], views.normal[inside], atol=1e-2)
    assert float((back.alpha[inside]).mean()) == 1
    one = characters.ImagesToViews.execute(colors=colors[:6], normals=normals[:6]).result[0]
    assert one.levels == ("complete",)
    for count, match in ((5, "6 pictures"), (8, "6 pictures"), (20, "18 pictures")):
        with pytest.raises(InputError, match=match):
            characters.ImagesToViews.execute(colors=colors[:1].repeat(count, 1, 1, 1), normals=normals[:1].repeat(count, 1, 1, 1))
    with pytest.raises(InputError, match="order"):
        order = [2, 1, 0, 3, 4, 5]
        characters.ImagesToViews.execute(colors=colors[:6][order], normals=normals[:6][order])
    with pytest.raises(InputError, match="complete, no hair"):
        characters.ViewsToImages.execute(views=only(views, *LEVEL_NAMES[:2]), level=LEVEL_NAMES[2])


def test_a_network_that_is_not_here_is_named_with_its_place(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints, "roots", lambda category: [tmp_path])
    for node, name, place in ((characters.LoadCanonicalizer, "StdGEN-canonicalize-1024", "models/diffusers/"),
                              (characters.LoadMultiView, "StdGEN-multiview-1024", "models/diffusers/"),
                              (characters.LoadSlrm, "StdGEN-mesh-slrm.pth", "models/")):
        said = node.validate_inputs(name)
        assert name in said and place in said and "huggingface.co/hyz317/StdGEN" in said and "research only" in said
        with pytest.raises(InputError, match=name):
            node.execute(checkpoint=name).result[0].load(torch.device("cpu"))
    monkeypatch.setattr(checkpoints, "has_embedded", lambda kind: False)
    for network in characters.LoadCharacterEmbedded.execute().result:
        with pytest.raises(InputError, match=network.kind):
            network.load(torch.device("cpu"))


# --------------------------------------------------------------------------------------------- layers


def test_s_lrm_gives_layers(toy, networks):
    made = characters.LiftLayers.execute(views=toy[3], slrm=networks[2], dilate="as trained").result[0]
    assert isinstance(made, RefinedLayers) and not made.finished and len(made.layers)
    assert all(made.layers[n].vertex_colors is not None and len(made.layers[n].faces) for n in made.layers)
    with pytest.raises(InputError, match="level 0"):
        characters.LiftLayers.execute(views=only(toy[3], "body"), slrm=networks[2], dilate="as trained")


def test_six_colors_are_enough_for_s_lrm_and_the_refinement_asks_for_normals(toy, networks, rough):
    """Its remedies name inputs that the nodes have."""
    views = characters.ImagesToViews.execute(colors=toy[3].color.flatten(0, 1)).result[0]
    one = {"slrm": networks[2], "dilate": "as trained"}
    made, known = (characters.LiftLayers.execute(views=v, **one).result[0].layers for v in (views, toy[3]))
    assert not views.has_normals and made.names and all(same(made[n], known[n]) for n in made), "S-LRM looks at colors only"
    with pytest.raises(InputError, match="Connect normals to Images to Character Views.* into Project Colors"):
        refine(rough, views)
    painted = layers_out.ProjectColors.execute(layers=rough, views=views, subdivide=0, paint="all layers").result[0]
    assert all(m.vertex_colors is not None for m in painted.layers.layers.values())
    with pytest.raises(InputError, match="name the body in 'keep'"):
        refine(rough, only(toy[3], *LEVEL_NAMES[:2]))
    kept = refine(rough, only(toy[3], *LEVEL_NAMES[:2]), keep="body")[0]
    assert same(kept.layers["body"], rough.layers["body"]) and not same(kept.layers["hair"], rough.layers["hair"])


def test_a_figure_in_one_piece_is_refined_and_painted_by_the_complete_view(toy, networks, rough):
    views, one = toy[3], {"slrm": networks[2], "dilate": "as trained"}
    given = layers.JoinLayers.execute(whole=to_comfy_mesh(rough.layers.merged()), fit=False).result[0]
    lifted = characters.LiftLayers.execute(views=views, pieces="one piece", **one).result[0]
    assert given.whole and lifted.whole and given.layers.names == lifted.layers.names == ("body",)
    complete = only(views, "complete")
    done, report = refine(given, complete)
    assert done.whole and done.complete and done.layers.names == ("body",) and "hair" not in report
    assert RefinedLayers.unpack(*done.pack()).whole, "also from a file"
    painted = [layers_out.ProjectColors.execute(layers=done, views=v, subdivide=0, paint="all layers").result[0]
               for v in (complete, views)]
    assert same(*(p.layers["body"] for p in painted)), "the level without hair is not looked at"
    with pytest.raises(InputError, match="level 'complete'"):
        refine(given, only(views, "body"))
    with pytest.raises(InputError, match="pieces"):
        layers.ReplaceLayers.execute(old=rough, new=given, replace="hair")
    with pytest.raises(InputError, match="got both"):
        mesh = to_comfy_mesh(rough.layers["body"])
        layers.JoinLayers.execute(whole=mesh, hair=mesh, fit=False)


@pytest.mark.parametrize("dilate, wanted", [("as trained", None), ("yes", True), ("no", False)])
def test_dilation_is_the_networks_own_unless_told(toy, networks, monkeypatch, dilate, wanted):
    """The embedded network's cells are too large for what the released one does."""
    from lift123.pipelines.stages.characters import lift_layers

    seen, found = [], toy[4].layers
    monkeypatch.setattr(lift_layers, "lift_layers", lambda views, network, config, on_step: (seen.append(config), found)[1])
    characters.LiftLayers.execute(views=toy[3], slrm=networks[2], dilate=dilate)
    assert [c.dilate for c in seen] == [wanted]


def test_an_absent_layer_stops_what_hangs_on_it(rough):
    bald = RefinedLayers(rough.layers.replaced("hair", None))
    got = layers.SplitLayers.execute(layers=bald).result
    assert [isinstance(v, ExecutionBlocker) for v in got] == [False, False, True] * 2
    assert got[0].vertices.shape[0] == 1 and len(read_glb(got[3].get_bytes()).faces)


def test_layers_from_elsewhere_share_one_frame(rough):
    given = rough.layers
    parts = layers.SplitLayers.execute(layers=RefinedLayers(given.transformed(3.0, torch.tensor([1.0, 2.0, 3.0])))).result
    joined = layers.JoinLayers.execute(fit=True, body=parts[0], hair=parts[5]).result[0].layers
    assert joined.names == ("body", "hair")
    points = joined.merged().vertices
    assert float((points.amax(0) - points.amin(0)).max()) == pytest.approx(2, abs=1e-4)
    kept = layers.JoinLayers.execute(fit=False, body=parts[0]).result[0].layers
    assert torch.allclose(kept["body"].vertices, given["body"].vertices * 3 + torch.tensor([1.0, 2.0, 3.0]), atol=1e-5)
    with pytest.raises(InputError, match="at least one mesh"):
        layers.JoinLayers.execute(fit=True)


def test_refine_works_from_inside_out_and_leaves_finished_characters_alone(toy, rough, refined):
    done, report = refined
    assert done.finished == done.layers.names == LAYER_NAMES and done.complete
    assert not any(same(done.layers[n], rough.layers[n]) for n in LAYER_NAMES)
    assert "clothing in body" in report and "hair in clothing" in report
    once_more, said = refine(done, toy[3])
    assert all(same(once_more.layers[n], done.layers[n]) for n in LAYER_NAMES) and "finished already" in said
    over, _ = refine(done, toy[3], again=True)
    assert all(same(over.layers[n], done.layers[n]) for n in LAYER_NAMES), "from the same beginning to the same end"


def test_refine_refuses_what_it_cannot_do(toy, rough):
    with pytest.raises(InputError, match="hair outermost"):
        refine(rough, only(toy[3], *LEVEL_NAMES[1:]))
    with pytest.raises(InputError, match="at least one layer"):
        refine(RefinedLayers(LayeredMesh({})), toy[3])
    body = rough.layers["body"]
    thick = Mesh(body.vertices, torch.cat([body.faces, body.faces[:1].flip(1), body.faces[:1]]))
    with pytest.raises(InputError, match="layer body"):
        refine(RefinedLayers(LayeredMesh({"body": thick})), toy[3])


def test_a_stopped_refinement_goes_on_from_its_file_to_the_same_end(rough, folder, quick):
    """Save -> Load -> Refine: only unfinished layers, which are carried along as if there had been no pause.

    The layers come mirrored, as the released script hands them on, and are turned once only.
    """
    aside = rough.layers["hair"].transformed(1.0, torch.tensor([0.4, 0.0, 0.0]))
    lopsided = rough.layers.select(("body",)).replaced("hair", aside)
    views = render_levels(lopsided, 32)
    given = RefinedLayers(mirrored_layers(lopsided))
    whole, _ = refine(given, views)
    assert whole.was_mirrored

    def stop(step):
        if step.stage == "Refine hair":
            raise StopStage

    half = stage.refine_layers(given.start, views, quick, on_step=stop)
    assert half.finished == ("body",)
    name = layers.SaveLayers.execute(layers=half, filename_prefix="lift123/half").result[0]
    assert (folder / name).is_file() and layers.LoadLayers.validate_inputs(name) is True
    read = layers.LoadLayers.execute(file=name).result[0]
    assert read.finished == ("body",) and same(read.layers["body"], half.layers["body"])
    resumed, _ = refine(read, views)
    assert same(resumed.layers["body"], half.layers["body"]) and resumed.complete
    assert all(same(resumed.layers[n], whole.layers[n]) for n in ("body", "hair"))


def test_files_of_others_are_refused(folder):
    from safetensors.torch import save_file

    save_file({"x": torch.zeros(1)}, str(folder / "other.safetensors"))
    (folder / "torn.safetensors").write_bytes(b"\x10")
    for name, match in (("other.safetensors", "lift123-layers"), ("torn.safetensors", "damaged")):
        with pytest.raises(InputError, match=match):
            layers.LoadLayers.execute(file=name)
    assert "absent.safetensors" in layers.LoadLayers.validate_inputs("absent.safetensors")
    assert layers.LoadLayers.fingerprint_inputs("absent.safetensors") == "absent"


def test_replaced_layers_are_refined_and_painted_alone(toy, rough, refined):
    """StdGEN Sec. 4.5: what stays, stays bit for bit, colors included."""
    views, paint = toy[3], {"views": toy[3], "subdivide": 0}
    painted = layers_out.ProjectColors.execute(layers=refined[0], paint="all layers", **paint).result[0]
    other = RefinedLayers(rough.layers.replaced("hair", rough.layers["hair"].transformed(1.02)))
    mixed = layers.ReplaceLayers.execute(old=painted, new=other, replace="hair").result[0]
    assert mixed.finished == ("body", "clothing") and same(mixed.layers["hair"], other.layers["hair"])
    done, report = refine(mixed, views)
    assert "Replaced: hair" in report and done.complete and not same(done.layers["hair"], other.layers["hair"])
    assert done.layers["hair"].vertex_colors is None
    final, said = layers_out.ProjectColors.execute(layers=done, paint="layers without colors", **paint).result
    assert all(same(final.layers[n], painted.layers[n]) for n in ("body", "clothing"))
    assert final.layers["hair"].vertex_colors is not None and said.startswith("hair") and "body" not in said
    bald = RefinedLayers(rough.layers.replaced("hair", None))
    shaved = layers.ReplaceLayers.execute(old=painted, new=bald, replace="hair").result[0]
    assert shaved.layers.names == ("body", "clothing")
    assert all(same(refine(shaved, views)[0].layers[n], painted.layers[n]) for n in shaved.layers), "nothing to refine"
    dressed = layers.ReplaceLayers.execute(old=painted, new=other, replace="clothing and hair").result[0]
    assert dressed.finished == ("body",)


# --------------------------------------------------------------------------------------------- output


def test_colors_come_from_the_level_that_shows_a_layer(toy, rough):
    bare = RefinedLayers(rough.layers.map(lambda m: Mesh(m.vertices, m.faces)))
    painted, report = layers_out.ProjectColors.execute(layers=bare, views=toy[3], subdivide=0, paint="all layers").result
    for name in LAYER_NAMES:
        got, want = painted.layers[name].vertex_colors, toy[4].layers[name].vertex_colors
        assert f"{name}:" in report and float((got.mean(0) - want.mean(0)).abs().max()) < 0.15, name
    with pytest.raises(InputError, match="body outermost"):
        layers_out.ProjectColors.execute(layers=bare, views=only(toy[3], LEVEL_NAMES[0]), subdivide=0, paint="all layers")


def test_previews_show_layers_together_apart_and_cut_open(rough):
    shown = {m: layers_out.PreviewLayers.execute(layers=rough, mode=m, size=64, at=0.0).result for m in layers_out.MODES}
    assert all(images.shape[:2] == (6, 64) for images, _ in shown.values())
    width = {m: float(mesh.vertices[0, :, 0].amax() - mesh.vertices[0, :, 0].amin()) for m, (_, mesh) in shown.items()}
    assert width["apart"] > 1.5 * width["together"]
    front, side = (shown[m][1].vertices[0] for m in layers_out.MODES[2:])
    assert float(front[:, 2].max()) < 1e-5 and float(side[:, 0].max()) < 1e-5, "cut at the middle"
    with pytest.raises(InputError, match="at least one layer"):
        layers_out.PreviewLayers.execute(layers=RefinedLayers(LayeredMesh({})), mode="apart", size=64, at=0.0)


@pytest.mark.parametrize("colors", ["vertex colors", "textures"])
def test_export_writes_named_nodes_a_sheet_and_a_manifest(rough, folder, colors):
    given = rough if colors == "vertex colors" else RefinedLayers(rough.layers.select(("body",)))
    glb, sheet, report = layers_out.ExportCharacter.execute(
        layers=given, filename_prefix="lift123/toy", height=1.5, facing="+z", colors=colors, texture_size=64,
        face_budget=300).result
    written, manifest, picture = (next(folder.glob(f"lift123/toy_*{end}")) for end in (".glb", "manifest.json", "sheet.png"))
    assert written.read_bytes() == glb.get_bytes() and picture.stat().st_size and sheet.ndim == 4
    scene = scene_of(glb.get_bytes())
    root, = (scene["nodes"][i] for i in scene["scenes"][0]["nodes"])
    assert root["name"] == "character" and [scene["nodes"][i]["name"] for i in root["children"]] == list(given.layers.names)
    assert bool(scene.get("images")) == (colors == "textures")
    told = json.loads(manifest.read_text())["results"]
    assert set(told["layers"]) == set(given.layers.names) and told["glb"] and len(told["checks"]) == len(report.splitlines())
    assert "1.50 m tall" in report
