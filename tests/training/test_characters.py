"""Training on one's own characters: files that the pack wrote, the paper's views, every stage, resuming, the toybox's recipe."""

import json
from dataclasses import replace

import character_bank
import character_pictures
import characters
import numpy as np
import pytest
import slrm_pictures
import stdgen_networks
import subjects
import torch
from conftest import ROOT
from helpers.slrm_tiny import TINY, filled
from lift123.pipelines.core.errors import InputError
from lift123.pipelines.core.layers import LayeredMesh
from lift123.pipelines.core.mesh import Mesh
from lift123.pipelines.core.ortho import VIEW_AZIMUTHS
from lift123.pipelines.io.glb_reader import read_glb_parts
from lift123.pipelines.loaders import embedded_characters as small
from lift123.pipelines.loaders import own_characters
from lift123.pipelines.loaders.slrm_files import load_slrm
from lift123.pipelines.stages.characters.canonicalize import CanonicalSettings, canonicalize
from lift123.pipelines.stages.characters.export import write_character
from lift123.pipelines.stages.characters.multiview import MultiViewSettings, draw_views
from lift123.pipelines.stages.characters.picture import CharacterPicture
from lift123.pipelines.toybox.characters import make_character, train_character
from lift123.pipelines.toybox.objects import train_seed

CONFIG = replace(TINY, lora_rank=0)
QUIET = lambda *a, **k: None  # noqa: E731


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two characters as Export Character writes them, one of them also in another pose; and a file without layers."""
    place = tmp_path_factory.mktemp("mine")
    for index in (0, 1):
        toy = train_character(index)
        write_character(place / f"doll_{index}.glb", toy.posed({}, 16))
    write_character(place / "doll_1.pose1.glb", toy.posed(toy.pose(0), 16))
    return place


@pytest.fixture(autouse=True)
def coarse(monkeypatch):
    monkeypatch.setattr(character_bank, "CELLS", 16)
    monkeypatch.setattr(character_pictures, "CELLS", 16)


def arguments(*words):
    return characters.options().parse_args([str(w) for w in words])


def test_a_file_of_the_pack_is_the_character_that_was_written(folder):
    first, second = subjects.subjects_of(str(folder), say=QUIET)
    toy = subjects.Toy(train_character(0))
    assert (first.caption, first.poses, second.poses) == ("doll 0", 0, 1) and first.key != second.key
    made, true = first.layers(16), toy.layers(16).framed()
    assert made.names == true.names
    for name in true:
        assert len(made[name].faces) == len(true[name].faces)
        assert torch.allclose(made[name].vertices.amax(0), true[name].vertices.amax(0), atol=1e-3)
        assert made[name].vertex_colors is not None
    points = torch.rand(200, 3, generator=torch.Generator().manual_seed(0)) * 1.6 - 0.8
    ours, field = first.distances(points), toy.distances(points)
    assert ours.shape == (200, 4) and float((ours - field)[field.abs() < 0.3].abs().mean()) < 0.03, "of cells of 0.14"
    far = field.abs() > 0.14
    assert torch.equal(ours[far] < 0, field[far] < 0)
    assert not first.is_face(points).any() and first.with_arms(10) is None
    posed, standing = second.picture(0, 32, 0.625, 16), first.picture(0, 32, 0.625, 16)
    assert posed.shape == standing.shape == (32, 20, 4) and float((posed - standing).abs().max()) > 0.5


def test_a_vrm_is_a_subject_in_a_pose_whose_arms_move(tmp_path):
    from lift123.pipelines.io.vrm import VrmMeta, write_vrm
    from lift123.pipelines.rigging.motions import pose_from_text
    from lift123.pipelines.stages.characters.rig import in_meters
    from lift123.pipelines.toybox.characters.rig import true_rigged

    toy = train_character(1)
    truth = true_rigged(toy, toy.posed({}, 16))
    write_vrm(tmp_path / "doll.vrm", in_meters(truth), VrmMeta())
    (doll,) = subjects.subjects_of(str(tmp_path), say=QUIET)
    down = pose_from_text('{"leftUpperArm": [0, 0, -45], "rightUpperArm": [0, 0, 45]}')
    want = truth.posed(down.frame(truth.rig, 0)).framed()
    for name in want:
        assert float((doll.layers(0)[name].vertices - want[name].vertices).norm(dim=1).mean()) < 2e-3, name
    raised = doll.with_arms(20.0)
    assert raised is not None and raised.key != doll.key and raised.caption == doll.caption == "doll"
    wide = [s.layers(0)["body"].vertices.amax(0) - s.layers(0)["body"].vertices.amin(0) for s in (doll, raised)]
    assert float(wide[1][0] / wide[1][1]) > float(wide[0][0] / wide[0][1]) + 0.02


def test_names_textures_faces_and_foreign_files(folder, tmp_path):
    from lift123.pipelines.io.glb import write_glb_nodes

    square = Mesh(torch.tensor([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]]), torch.tensor([[0, 1, 2], [0, 2, 3]]))
    uvs = torch.tensor([[0.0, 1], [1, 1], [1, 0], [0, 0]])
    painted = replace(square, uvs=uvs, face_uvs=square.faces, texture=torch.eye(2)[..., None].expand(2, 2, 3).contiguous())
    head = Mesh(square.vertices + torch.tensor([0.0, 1.0, 0.0]), square.faces)
    write_glb_nodes(tmp_path / "odd.glb", {"Body.001": painted, "Face": head, "Clothes": square, "sword": square}, "root")
    assert set(read_glb_parts(tmp_path / "odd.glb", subjects.PARTS)) == {"body", "face", "clothing"}
    (odd,) = subjects.subjects_of(str(tmp_path), say=QUIET)
    layers = odd.layers(0)
    assert layers.names == ("body", "clothing") and len(layers["body"].vertices) > 80, "cut finer for its texture"
    colors = layers["body"].vertex_colors
    assert colors is not None and float(colors.max()) > 0.9 and float(colors.min()) < 0.1
    up = torch.tensor([[0.0, 0.9, 0.0], [0.0, -0.9, 0.0]])
    assert odd.is_face(up).tolist() == [True, False]
    write_glb_nodes(tmp_path / "plain.glb", {"thing": square}, "root")
    said = []
    assert len(subjects.subjects_of(str(tmp_path), say=said.append)) == 1
    assert "plain.glb" in said[0] and "nodes named body" in said[0]
    with pytest.raises(InputError, match="toybox"):
        subjects.subjects_of(str(tmp_path / "none"))
    (tmp_path / "odd.glb").unlink()
    with pytest.raises(InputError, match="none that can be used"):
        subjects.subjects_of(str(tmp_path), say=QUIET)


def test_the_papers_views_show_what_is_there(folder, tmp_path):
    """Front and back share an outline; the depth of a ball is a ball's; classes are those of the layers."""
    toy = subjects.Toy(train_character(0))
    protocol = character_pictures.Protocol(32, randoms=3)
    arrays = character_pictures.draw(toy, protocol, 0)
    assert arrays["rgba"].shape == (3, 8 + 2 + 5 + 3, 32, 32, 4) and arrays["classes"].shape == arrays["rgba"].shape[:-1]
    outline = arrays["rgba"][0, ..., 3] > 127
    assert (outline[0] == outline[4][:, ::-1]).mean() > 0.97, "front and back mirror each other"
    assert outline[8].mean() < 0.7 * outline[0].mean(), "from above a figure is small"
    assert outline[10].mean() > outline[0].mean() and not outline[10][0].any(), "a close-up has the head's top inside"
    assert {0, 2, 3} <= set(np.unique(arrays["classes"][0])) and 0 not in arrays["classes"][1] and 3 not in arrays["classes"][2]
    character_pictures.make_pictures(tmp_path, [toy], protocol, QUIET)
    bank = character_pictures.PictureBank(tmp_path)
    cameras, truth = bank.truth(0, 0, [0, 4], 32)
    assert [round(abs(float(a)), 3) for a in cameras.azimuth] == [0.0, 3.142]
    points = cameras.rays().origins + truth.depth[..., None] * cameras.rays().directions
    solid = truth.alpha > 0.99
    vertices = toy.layers(16).merged().vertices
    apart = torch.cdist(points[solid], vertices).amin(1)
    assert float(apart.max()) < 0.12, "depth leads back to the surface"
    assert torch.allclose(truth.normal[solid].norm(dim=-1), torch.ones(int(solid.sum())), atol=1e-3)
    views = [bank.truth(0, 0, [k], 32)[0].azimuth[0] % (2 * torch.pi) for k in character_pictures.SHOWN]
    assert torch.allclose(torch.stack(views), torch.tensor(VIEW_AZIMUTHS), atol=1e-4), "what is shown are the standard views"
    half = bank.truth(0, 1, [0], 16)[1]
    assert half.rgb.shape == (1, 16, 16, 3) and float((half.alpha.mean() - truth.alpha[0].mean()).abs()) < 0.1


def test_a_ball_seen_by_the_protocol():
    ball = make_character(0).posed({}, 16)["body"]
    unit = torch.nn.functional.normalize(ball.vertices, dim=-1) * 0.5
    made = subjects.Made("ball", "a ball", LayeredMesh({"body": Mesh(unit, ball.faces, torch.full_like(unit, 0.5))}))
    cameras = character_pictures.Protocol(16, randoms=8).cameras(0.5, 3)
    assert len(cameras) == 23 and bool((cameras.half_height[10:15] == character_pictures.CLOSE_HALF).all())
    assert float(cameras.elevation[8]) > 1.5 and float(cameras.elevation[9]) < -1.5
    other = character_pictures.Protocol(16, randoms=8).cameras(0.5, 4)
    assert torch.equal(cameras.c2w[:15], other.c2w[:15]) and not torch.allclose(cameras.c2w[15:], other.c2w[15:])
    assert made.key == "ball"


def test_every_stage_runs_on_files_and_goes_on(folder, tmp_path):
    words = [folder, "--work", tmp_path, "--size", 32, "--randoms", 2, "--batch", 1, "--compared", 1, "--samples", 8]
    weights = characters.run(arguments(*words, "--steps", 1), CONFIG)
    assert characters.stages_of(arguments(folder)) == (*characters.ALWAYS, *characters.RECIPES["paper"])
    names = {small.MULTIVIEW_FILE, small.CANONICAL_FILE, "stdgen_slrm.safetensors", "characters.json"}
    assert {p.name for p in weights.iterdir()} == names
    told = json.loads((weights / "characters.json").read_text())
    assert told["size"] == [32, 20] and told["characters"] == 2
    network = load_slrm(weights / "stdgen_slrm.safetensors", config=CONFIG).network
    assert network.config.kind == "mesh" and all(bool(p.isfinite().all()) for p in network.parameters())
    own = own_characters.load_canonical(weights), own_characters.load_multiview(weights)
    assert [n.size for n in own] == [(32, 20)] * 2
    front = CharacterPicture(torch.zeros(32, 20, 3), torch.nn.functional.pad(torch.ones(20, 8), (6, 6, 6, 6)))
    a_pose = canonicalize(own[0], front, CanonicalSettings(steps=1)).picture
    assert draw_views(own[1], a_pose, MultiViewSettings(levels=(0,), steps=1)).color.shape == (1, 6, 32, 32, 3)
    before = {name: (weights / name).read_bytes() for name in names}
    drawn = (tmp_path / "pictures" / "000000.npz").stat().st_mtime_ns
    again = ["--stages", "bank", "canonical", "pictures", "slrm1", "slrm2", "slrm3"]
    characters.run(arguments(*words, "--steps", 2, *again), CONFIG)
    steps = [torch.load(tmp_path / name / "checkpoint.pt", weights_only=True)["step"]
             for name in ("stdgen_multiview", "stdgen_canonical", "slrm_stage1", "slrm_stage2", "slrm_stage3")]
    assert steps == [1, 2, 2, 2, 2] and (tmp_path / "pictures" / "000000.npz").stat().st_mtime_ns == drawn, "not drawn again"
    changed = {n for n in names if (weights / n).read_bytes() != before[n]}
    assert changed == {small.CANONICAL_FILE, "stdgen_slrm.safetensors"}
    with pytest.raises(InputError, match="Train slrm2 first"):
        slrm_pictures.begin(3, tmp_path / "empty", None, CONFIG)
    with pytest.raises(InputError, match="--stages slrm3"):
        slrm_pictures.begin(1, tmp_path / "empty", weights / "stdgen_slrm.safetensors", CONFIG)


def test_characters_are_held_out_by_their_keys(folder, tmp_path, monkeypatch):
    """The paper's 99 to 1; the same ones in any order; what is drawn and trained on are the others."""
    toys = subjects.subjects_of("toybox", 100)
    train, aside = characters.set_aside(toys, 0.01)
    assert (len(train), len(aside)) == (99, 1) and not {s.key for s in train} & {s.key for s in aside}
    assert {s.key for s in characters.set_aside(toys[::-1], 0.01)[1]} == {s.key for s in aside}
    assert characters.set_aside(toys, 0.0) == (toys, [])
    for share, count, words in ((1.0, 3, "below 1"), (-0.1, 3, "below 1"), (0.5, 1, "leaves none")):
        with pytest.raises(SystemExit, match=words):
            characters.set_aside(toys[:count], share)
    drawn = []
    monkeypatch.setitem(characters.STAGE, "bank", lambda args, kept, weights, config: drawn.extend(kept))
    weights = characters.run(arguments(folder, "--work", tmp_path, "--stages", "bank", "--held-out", "0.01"))
    told = json.loads((weights / "characters.json").read_text())
    assert told["characters"] == len(drawn) == 1 and len(told["held_out"]) == 1 and drawn[0].key not in told["held_out"]


def test_folders_of_ones_own_say_their_size(tmp_path):
    from lift123.pipelines.loaders.embedded import save_module
    from lift123.pipelines.networks.stdgen.slrm import Slrm
    from lift123.pipelines.networks.stdgen.slrm_config import SMALL_SLRM

    assert own_characters.size_of(tmp_path) == small.SMALL_SIZE
    for damaged in ('{"size": "large"}', "[]", '{"size": [1, 1]}', "no json"):
        (tmp_path / "characters.json").write_text(damaged)
        with pytest.raises(InputError, match=r"characters.json: expected the record"):
            own_characters.size_of(tmp_path)
    save_module(Slrm(SMALL_SLRM), tmp_path / "stdgen_slrm.safetensors")
    assert own_characters.load_slrm_folder(tmp_path).config == SMALL_SLRM


def test_the_third_stage_begins_with_the_seconds_surface(folder, tmp_path):
    """Distance of stage 3 is the iso-density minus what stage 2 has, and nothing is displaced."""
    from lift123.pipelines.loaders.embedded import save_module

    nerf = filled(replace(CONFIG, kind="nerf"), scale=0.1)
    save_module(nerf, tmp_path / "slrm_stage2.safetensors")
    mesh, tuned = slrm_pictures.begin(3, tmp_path, None, CONFIG)
    features = torch.rand(1, 50, 3 * CONFIG.plane_channels)
    raw = nerf.decoder.net(features)[..., 0]
    assert not tuned and torch.allclose(mesh.decoder.sdf(features), 10 - raw, atol=2e-2)
    assert float(mesh.decoder.deformation(features).detach().abs().max()) == 0
    level = slrm_pictures.iso_density(nerf, torch.rand(6, 24, 24, 3))
    assert level < 10, "nowhere so dense: a level that is crossed"
    assert all(p.requires_grad for p in mesh.parameters())


def test_the_toybox_is_the_embedded_networks_recipe(tmp_path, monkeypatch):
    """The same bank, and the same weights to the last bit, as the scripts of the embedded networks give."""
    words = ["toybox", "--work", tmp_path / "a", "--count", 1, "--size", 32, "--steps", 1]
    assert characters.stages_of(arguments("toybox")) == (*characters.ALWAYS, *characters.RECIPES["embedded"])
    weights = characters.run(arguments(*words, "--stages", "bank", "multiview"))
    character_bank.make_bank(tmp_path / "b" / "characters", [train_seed(0)], 32, 1, log=QUIET)
    for name in ("color.npy", "normal.npy", "alpha.npy", "semantic.npy", "input.npy", "seeds.json", "done.json"):
        assert (tmp_path / "a" / "characters" / name).read_bytes() == (tmp_path / "b" / "characters" / name).read_bytes()
    script = ["stdgen_networks.py", "multiview", "--work", tmp_path / "b", "--weights", tmp_path / "b", "--steps", 1]
    monkeypatch.setattr("sys.argv", [str(word) for word in script])
    stdgen_networks.main()
    assert (weights / small.MULTIVIEW_FILE).read_bytes() == (tmp_path / "b" / small.MULTIVIEW_FILE).read_bytes()


def test_train_embedded_makes_all_nine_networks(tmp_path, monkeypatch):
    """Every file of weights that ships has a stage that writes it, and StdGEN's stages are those of train-characters."""
    import train

    writes = {"vae": "vae", "clip": "clip", "depth": "depth", "lift": "view_lift", "text": "text_unet",
              "depth_text": "depth_text_unet", "multiview": "stdgen_multiview", "canonical": "stdgen_canonical",
              "slrm": "stdgen_slrm"}
    shipped = {p.stem for p in (ROOT / "pipelines" / "embedded").glob("*.safetensors")}
    assert len(writes) == 9 and {file for files in writes.values() for file in files.split()} == shipped
    assert set(writes) <= set(train.STAGES) and train.STAGES[-1] == "slrm"
    ran = []
    stages = {name: lambda *a, name=name: ran.append((name, len(a[1]))) for name in characters.STAGES}
    monkeypatch.setattr(characters, "STAGE", stages)
    words = ["train.py", "all", "--work", tmp_path, "--weights", tmp_path, "--characters", 1]
    monkeypatch.setattr("sys.argv", [str(word) for word in words])
    monkeypatch.setattr(train, "OBJECTS", ())
    monkeypatch.setattr(train, "STAGES", tuple(train.CHARACTERS))
    train.main()
    assert ran == [(name, 1) for name in characters.stages_of(arguments("toybox")) if name != "arms"]
    assert not (tmp_path / "characters.json").exists()


def test_arms_are_raised_where_there_is_a_skeleton(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(character_bank, "CELLS", 8)
    toys, files = subjects.subjects_of("toybox", 1), subjects.subjects_of(str(folder), say=QUIET)
    variants = subjects.arm_variants([*toys, *files], 2)
    assert [v.arms for v in variants] == [-10.0, 10.0] and len({v.key for v in variants}) == 2
    width = [float(v.layers(16)["body"].vertices[:, 0].amax() / v.layers(16)["body"].vertices[:, 1].amax())
             for v in (variants[0], toys[0], variants[1])]
    assert width == sorted(width) and width[2] > width[0] + 0.02, "higher arms reach farther out"
    args = arguments("toybox", "--work", tmp_path, "--size", 16, "--arms", 2)
    for draw in (characters.draw_views, characters.draw_arms):
        draw(args, toys, None, None)
    single, joined = characters.bank_of(args)
    assert (single.count, joined.count) == (1, 3)
    assert torch.equal(joined.get("color", 0, 0), single.get("color", 0, 0))
    assert not torch.equal(joined.get("color", 1, 0), joined.get("color", 2, 0))
