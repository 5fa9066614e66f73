"""Batches: keys of runs, records, lists of elements, and errors that end one run only."""

import copy
import hashlib
import json
import os

import numpy as np
import pytest
import torch
from helpers.comfy_modules import prepare
from PIL import Image

prepare()
import folder_paths
from comfy_execution.graph import ExecutionBlocker
from comfy_execution.utils import CurrentNodeContext
from lift123.host import runs
from lift123.host.base import Node
from lift123.nodes import batch, results
from lift123.nodes.export import read_metrics
from lift123.pipelines.core.errors import InputError
from lift123.pipelines.io import runs as records
from lift123.pipelines.io.manifest import run_manifest, write_manifest

GRAPH = {
    "1": {"class_type": "Lift123_BatchList", "inputs": {"folder": "x", "name": "b"}},
    "2": {"class_type": "Lift123_ReferenceView", "inputs": {"image": ["1", 0], "size": 64}},
    "3": {"class_type": "Lift123_BakeExport", "inputs": {"scene": ["2", 0], "filename_prefix": ["1", 5]}},
    "4": {"class_type": "PreviewImage", "inputs": {"images": ["2", 1]}},
}


@pytest.fixture
def folders(tmp_path, monkeypatch):
    for name in ("input", "output"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(folder_paths, "get_input_directory", lambda: str(tmp_path / "input"))
    monkeypatch.setattr(folder_paths, "get_output_directory", lambda: str(tmp_path / "output"))
    return tmp_path


def changed(**inputs):
    graph = copy.deepcopy(GRAPH)
    graph["2"]["inputs"].update(inputs)
    return graph


def test_keys_depend_on_what_leads_to_a_node_only():
    key = records.run_key(GRAPH, "3", {"1": "a"})
    assert records.run_key(changed(size=65), "3", {"1": "a"}) != key != records.run_key(GRAPH, "3", {"1": "b"})
    other = {f"n{k}": {"class_type": v["class_type"], "_meta": {"title": "?"}, "is_changed": [1], "inputs": {
        name: [f"n{x[0]}", x[1]] if isinstance(x, list) else x for name, x in v["inputs"].items()}} for k, v in GRAPH.items()}
    other["n1"]["inputs"] = {"folder": "elsewhere"}  # the list's own settings do not matter, the element does
    other["n4"]["class_type"] = "SaveImage"
    assert records.run_key(other, "n3", {"n1": "a"}) == key
    rewired = copy.deepcopy(GRAPH)
    rewired["3"]["inputs"]["scene"] = ["2", 1]
    assert records.run_key(rewired, "3", {"1": "a"}) != key
    assert records.upstream(GRAPH, "3") == {"1", "2", "3"}


def test_records_become_a_table(tmp_path):
    def put(name, seed, psnr=None, item="", error=""):
        data = run_manifest("lift123", {}, seed, {"NeRF": 1.5, "Mesh": 2}, results={
            "faces": 10, **({} if psnr is None else {"metrics": {"metrics": {"psnr": psnr, "x": None}}})},
            batch={"item": item, "value": item, "key": "k"} if item else None)
        path = tmp_path / "sub" / f"{name}{'_failed' if error else '_manifest'}.json"
        path.parent.mkdir(exist_ok=True)
        write_manifest(path, data | ({"error": error} if error else {}))
        order.append(path)
        os.utime(path, (len(order), len(order)))

    order = []
    put("a_00001", 1, 20.0, "a.png")
    put("a_00002", 1, 30.0, "a.png")
    put("b_00001", 1, 10.0, "b.png")
    put("c", 0, item="c.png", error="ReferenceView: no object")
    (tmp_path / "sub" / "noise_manifest.json").write_text("{broken")
    (tmp_path / "sub" / "alien_manifest.json").write_text("[1]")
    found = records.gather(tmp_path, "sub")
    assert [(r.name, r.status) for r in found] == [("a_00002", "done"), ("b_00001", "done"), ("c", "failed")]
    assert len(records.gather(tmp_path, "", newest_only=False)) == 4
    head, rows = records.table(found)
    assert head[:2] == ["run", "status"] and head[-1] == "error" and {"psnr", "seconds", "seed"} <= set(head)
    assert rows[0][head.index("psnr")] == 30 and rows[0][head.index("seconds")] == 3.5
    assert rows[2][head.index("error")] == "ReferenceView: no object"
    assert rows[3][0] == "mean" and rows[3][head.index("psnr")] == 20 and rows[3][head.index("seed")] is None
    assert rows[4][0] == "standard error" and rows[4][head.index("psnr")] == pytest.approx(10)
    short, cells = records.digest(head, rows)
    assert short == ["run", "status", "value", "seconds", "error", "faces"] and len(cells) == 5
    assert all(len(row) == len(head) for row in rows)
    order.append(None)
    put("c_00001", 1, 1.0, "c.png")  # mended later: the failure is gone
    assert [r.status for r in records.gather(tmp_path)] == ["done"] * 3


def test_numbers_and_lines():
    with pytest.raises(InputError, match="at most 1000"):
        batch.numbers("0:999:1 " * 30000)
    assert batch.numbers("0, 1.5 ;2\n10:20:5") == [0, 1.5, 2, 10, 15, 20]
    assert batch.numbers("0:1:0.1")[-1] == 1.0 and len(batch.numbers("0:1:0.1")) == 11 and batch.numbers("3:1:-1") == [3, 2, 1]
    for bad in ("1:2:0", "a", "1:x", "0:1:-1", "0:1e9:1"):
        with pytest.raises(InputError, match="values"):
            batch.numbers(bad)
    elements, contents = batch.listed(batch.TEXTS, "", "a red car\n\n a red car \n../../etc", "n")
    assert contents == ["a red car", "a red car", "../../etc"]
    assert [e.prefix for e in elements] == ["lift123/n/a_red_car", "lift123/n/a_red_car-2", "lift123/n/etc"]
    assert len({json.dumps(e.identity) for e in elements}) == 3
    with pytest.raises(InputError, match="lines of text"):
        batch.listed(batch.TEXTS, "", "\n", "n")


def picture(path, alpha=255, size=40):
    pixels = np.zeros((size, size, 4), np.uint8)
    pixels[8:-8, 8:-8] = (200, 50, 20, alpha)
    Image.fromarray(pixels).save(path)


def run_list(graph=GRAPH, **inputs):
    values = {"folder": "", "values": "", "name": "b", "at_most": 0, "skip_done": True, "source": batch.PICTURES,
              "pace": batch.ALL_IN_ONE} | inputs
    clone = batch.BatchList.PREPARE_CLASS_CLONE(None)
    clone.hidden = type("Hidden", (), {"prompt": graph, "unique_id": "1"})
    return clone.execute(**values).args


def finish_run(folders, prefix):
    """What Bake and Export leaves, without baking."""
    note = runs.batch_record(prefix, GRAPH, "3")
    path = folders / "output" / f"{prefix}_00001_manifest.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_manifest(path, run_manifest("lift123", {}, 0, batch=note, results={"faces": len(prefix)}))


def test_pictures_run_broken_ones_are_recorded_and_done_ones_skipped(folders):
    for name in "acd":
        picture(folders / "input" / f"{name}_cup.png")
    (folders / "input" / "a_cup.txt").write_text(" a fine cup\n")
    (folders / "input" / "b.png").write_bytes(b"no picture")
    images, masks, texts, numbers, integers, prefixes, report = run_list()[:7]
    broken = [isinstance(p, ExecutionBlocker) for p in prefixes]
    assert broken == [False, True, False, False] and all(isinstance(x[1], ExecutionBlocker) for x in (images, masks, texts))
    assert images[0].shape == (1, 40, 40, 3) and texts[0] == "a fine cup" and texts[2] == "c cup" and integers[3] == 3
    assert masks[0][0, 0, 0] == 1 and masks[0][0, 20, 20] == 0  # 1 = background, as Load Image
    assert "4 in the list: 3 to run, 0 already done, 1 broken" in report
    failure = json.loads((folders / "output" / "lift123/b/b_failed.json").read_text())
    assert "b.png" in failure["error"] and str(folders) not in failure["error"] and failure["batch"]["item"] == "b.png"

    finish_run(folders, prefixes[0])
    again = run_list()
    assert isinstance(again[5][0], ExecutionBlocker) and again[5][2] == prefixes[2] and "1 already done" in again[6]
    assert not isinstance(run_list(skip_done=False)[5][0], ExecutionBlocker)
    other = run_list(changed(size=65))
    assert other[5][0] == prefixes[0] and "0 already done" in other[6]  # another graph is another run
    picture(folders / "input" / "a_cup.png", alpha=254)
    assert run_list()[5][0] == prefixes[0]  # another picture of that name, too

    one = run_list(at_most=1)
    assert [not isinstance(p, ExecutionBlocker) for p in one[5]] == [True, False, False, False] and "3 left for later" in one[6]
    for prefix in (prefixes[0], prefixes[2], prefixes[3]):
        finish_run(folders, prefix)
    assert "1 broken" in run_list(at_most=1)[6]  # what failed before comes last, but it comes
    for path in (folders / "input").iterdir():
        path.unlink()
    with pytest.raises(InputError, match="folder"):
        run_list()
    with pytest.raises(InputError, match="inside"):
        run_list(folder="../output")


def test_every_element_with_every_second_value(folders):
    """Two lines times three seeds are six runs; each is known as done by both of its values."""
    out = run_list(source=batch.TEXTS, values="a cup\na hat", also="0:2")
    assert out[2] == ["a cup"] * 3 + ["a hat"] * 3 and out[8] == [0, 1, 2] * 2 and out[7][5] == 2.0 and out[9][1] == "1"
    assert out[5][:2] == ["lift123/b/a_cup--0", "lift123/b/a_cup--1"] and len(set(out[5])) == 6 and "6 in the list" in out[6]
    finish_run(folders, out[5][1])
    again = run_list(source=batch.TEXTS, values="a cup\na hat", also="0:2")
    assert [isinstance(p, ExecutionBlocker) for p in again[8]] == [False, True, False, False, False, False]
    assert not isinstance(run_list(source=batch.TEXTS, values="a cup", also="7, 8")[8][1], ExecutionBlocker)
    words = run_list(source=batch.NUMBERS, values="1.5", also="red!\nred?")
    assert words[9] == ["red!", "red?"] and words[7] == [0.0, 1.0]
    assert words[5] == ["lift123/b/1p5--red-1", "lift123/b/1p5--red-2"], "no two runs share their files"
    assert run_list(source=batch.NUMBERS, values="1")[7:] == ([0.0], [0], [""])
    with pytest.raises(InputError, match="also"):
        run_list(source=batch.NUMBERS, values="1:600", also="1 2")


@pytest.mark.parametrize("name, folder", [
    ("cups", "cups"), (" a/b ", "a/b"), ("CON", "CON_"), ("x:y", "x_y"), ("end. ", "end"), ("a\\nul.txt", "a/nul_.txt")])
def test_a_name_by_wire_becomes_a_folder_below_lift123(folders, name, folder):
    assert run_list(source=batch.NUMBERS, values="1", name=name)[5] == [f"lift123/{folder}/1"]
    assert batch.BatchList.validate_inputs(name) is True


@pytest.mark.parametrize("name", ["../../x", "a/../../../x", "..\\x", "", " ", "...", "a/.."])
def test_a_name_by_wire_cannot_lead_out(folders, name):
    with pytest.raises(InputError, match="name: expected a word for the results' folder"):
        run_list(source=batch.NUMBERS, values="1", name=name)
    assert "name: expected" in batch.BatchList.validate_inputs(name)
    assert [p.name for p in folders.iterdir()] == ["input", "output"] and not list((folders / "output").iterdir())


def test_a_picture_that_may_not_be_read_does_not_stop_the_others(folders, monkeypatch):
    for name in "ab":
        picture(folders / "input" / f"{name}.png")
    (folders / "input" / "c.png").write_bytes(b"")
    read, forbidden = batch._content, PermissionError(13, "Permission denied")

    def content(path, *rest):
        if path.name == "c.png":
            raise forbidden
        return read(path, *rest)

    monkeypatch.setattr(batch, "_content", content)
    assert [isinstance(p, ExecutionBlocker) for p in run_list()[5]] == [False, False, True]
    assert "c.png: expected a picture" in json.loads((folders / "output/lift123/b/c_failed.json").read_text())["error"]


def test_elements_never_have_names_of_devices(folders):
    out = run_list(source=batch.TEXTS, values="con\nNUL\ncom1\ncom: 7")
    assert out[5] == ["lift123/b/con_", "lift123/b/NUL_", "lift123/b/com1_", "lift123/b/com_7"]


def test_unlinked_prefix_is_pointed_out(folders):
    graph = copy.deepcopy(GRAPH)
    graph["3"]["inputs"]["filename_prefix"] = "fixed"
    assert "connect 'prefix'" in run_list(graph, source=batch.NUMBERS, values="1 2")[6]
    images, _, texts, numbers, integers, *_ = run_list(source=batch.NUMBERS, values="1 2.6")
    assert numbers == [1, 2.6] and integers == [1, 3] and texts == ["1", "2.6"] and isinstance(images[0], ExecutionBlocker)


class Fails(Node):
    @classmethod
    def define_schema(cls):
        from comfy_api.latest import io

        return io.Schema(node_id="Fails", display_name="Fails", outputs=[io.Int.Output("a"), io.Int.Output("b")])

    @classmethod
    def run(cls):
        raise InputError("x", "y", "z", "w.")


def test_an_error_ends_one_run_of_a_batch_but_any_other_prompt(folders, monkeypatch):
    run_list(source=batch.TEXTS, values="one\ntwo\nthree")
    with pytest.raises(InputError):
        Fails.execute()  # no server
    monkeypatch.setattr(runs, "running_graph", lambda prompt_id: GRAPH if prompt_id == "p" else {"3": GRAPH["4"]})
    with CurrentNodeContext("q", "3", 1), pytest.raises(InputError):
        Fails.execute()  # another prompt, without a list
    with CurrentNodeContext("p", "3", 1):
        out = Fails.PREPARE_CLASS_CLONE(None).execute()  # as the server calls it: on a locked copy
    assert len(out.args) == 2 and all(isinstance(a, ExecutionBlocker) and a.message is None for a in out.args)
    failures = sorted((folders / "output/lift123/b").glob("*_failed.json"))
    assert [f.name for f in failures] == ["two_failed.json"]
    assert json.loads(failures[0].read_text())["error"] == "Fails: x: expected y, got z. w."
    runs.forget_failure("lift123/b/two")
    assert not failures[0].exists()


def test_results_gathers_files(folders):
    run_list(source=batch.TEXTS, values="one\ntwo")
    for name in ("one", "two"):
        finish_run(folders, f"lift123/b/{name}")
        Image.new("RGB", (6 * 64, 64), "red").save(folders / f"output/lift123/b/{name}_00001_sheet.png")
    table, picture, sheet, csv, plot = results.Results.execute(
        folder="lift123/b", filename_prefix="lift123/r", newest_only=True).args
    assert csv.splitlines()[0].startswith("run,status") and len(csv.splitlines()) == 5 and "lift123/b/two_00001" in table
    assert sheet.shape[2] == 2 * 192 and torch.allclose(sheet[0, 96, 96], torch.tensor([1.0, 0, 0])) and picture.ndim == 4
    assert {p.name for p in (folders / "output/lift123").glob("r_*")} == {
        "r_00001_.csv", "r_00001_table.png", "r_00001_sheet.png", "r_00001_plot.png"}
    assert plot.shape[1:] == (340, 520, 3), "faces over the batch's values"
    table = results.Results.execute(folder="lift123/b", filename_prefix="lift123/r2", newest_only=True, means=results.PER_NAME,
                                  after=["1", 0], after_b=["2", 0]).args[0]
    assert "two_00001" in table and "mean" not in table
    with pytest.raises(InputError, match="none below"):
        results.Results.execute(folder="nothing", filename_prefix="lift123/r", newest_only=True)
    for wrong in ({"plot_over": "nonsense"}, {"plot_metrics": "faces, nonsense"}):
        with pytest.raises(InputError, match="nonsense"):
            results.Results.execute(folder="lift123/b", filename_prefix="lift123/r", newest_only=True, **wrong)
    with pytest.raises(InputError, match="inside"):
        results.Results.execute(folder="../..", filename_prefix="lift123/r", newest_only=True)


def test_means_per_name():
    """Variants of one graph, queued twice: a mean for each that has two runs."""
    def run(name, iou, folder="f"):
        return records.Run(name, folder, 0.0, "", "", values={"seed": 1, "iou": iou})

    found = [run("exp_00001", 0.5), run("exp_00002", 0.7), run("log_00001", 0.1), run("exp_2_00001", 9.0)]
    head, rows = records.table(found, "name")
    column = head.index("iou")
    assert [row[0] for row in rows[4:]] == ["mean f/exp", "standard error f/exp"]
    assert rows[4][column] == pytest.approx(0.6) and rows[5][column] == pytest.approx(0.1)
    assert [row[0] for row in records.table(found)[1][4:]] == ["mean", "standard error"]


def test_means_per_category():
    """A category is a folder; its mean stands where it has two runs, and the mean of all runs comes last."""
    def run(name, folder, iou):
        return records.Run(name, folder, 0.0, "", "", values={"iou": iou})

    found = [run("apple", "c10/fruits", 0.2), run("pear", "c10/fruits", 0.6), run("pie", "c10/food", 1.0)]
    head, rows = records.table(found, "category")
    assert [row[0] for row in rows[3:]] == ["mean c10/fruits", "standard error c10/fruits", "mean", "standard error"]
    assert [row[head.index("iou")] for row in rows[3::2]] == pytest.approx([0.4, 0.6])


def test_weights_of_public_networks_are_recorded_by_name_and_hash(tmp_path, monkeypatch):
    """A folder's files and a single file, the embedded networks, and nothing for loaders of other things."""
    from lift123.host import checkpoints
    from lift123.nodes.export import LOADERS, used_weights

    for name in ("diffusers/mine/cc_projection/a.safetensors", "diffusers/mine/unet/b.bin", "diffusers/mine/notes.txt",
                 "checkpoints/one.ckpt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    monkeypatch.setattr(checkpoints, "roots", lambda category: [tmp_path / category])
    monkeypatch.setattr(folder_paths, "get_full_path", lambda kind, name: str(tmp_path / kind / name))

    def graph(*nodes):
        return {str(k): {"class_type": kind, "inputs": inputs} for k, (kind, inputs) in enumerate(nodes)}

    found = used_weights(graph(("Lift123_LoadViewPrior", {"checkpoint": "mine"}), ("Lift123_LoadScene", {"file": "x"}),
                               ("CheckpointLoaderSimple", {"ckpt_name": "one.ckpt"}),
                               ("Lift123_LoadTextPrior", {"checkpoint": "absent"}), ("LoadImage", {"image": "x.png"})))
    assert [name for name, _ in found] == ["mine/cc_projection/a.safetensors", "mine/unet/b.bin", "one.ckpt"]
    written = run_manifest("lift123", {}, 0, weights=found)["weights"]
    assert written[0] == {"name": "mine/cc_projection/a.safetensors", "bytes": 42, "sha256": hashlib.sha256(
        b"diffusers/mine/cc_projection/a.safetensors").hexdigest()}
    own = [name for name, _ in used_weights(graph(("Lift123_LoadEmbedded", {})))]
    assert "view_lift.safetensors" in own and own == [n for n, _ in used_weights(graph(
        ("Lift123_LoadClip", {"checkpoint": "embedded"})))]
    from lift123.nodes import all_nodes

    known = {n.GET_SCHEMA().node_id: [i.id for i in n.GET_SCHEMA().inputs] for n in all_nodes()}
    for node, inputs in LOADERS.items():
        assert f"Lift123_{node}" not in known or {name for name, _ in inputs if name} <= set(known[f"Lift123_{node}"])


def test_metrics_must_be_evaluates():
    assert read_metrics('{"metrics": {}}') == {"metrics": {}}
    with pytest.raises(InputError, match="metrics"):
        read_metrics("PSNR 20")


def test_trouble_in_finding_the_batch_never_hides_the_error(monkeypatch):
    from lift123.host import base
    from lift123.host import runs as node_runs

    class Failing(base.Node):
        @classmethod
        def define_schema(cls):
            from comfy_api.latest import io

            return io.Schema(node_id="Failing", inputs=[])

        @classmethod
        def run(cls):
            raise ValueError("the first error")

    asked = []

    def broken(schema, problem):
        asked.append(problem)
        raise ImportError("the host has changed")

    monkeypatch.setattr(node_runs, "absorb", broken)
    with pytest.raises(ValueError, match="the first error"):
        Failing.execute()
    assert len(asked) == 1
