"""Folders and tables as lists of items: types, sweeps, names, and names that lead out of the folder."""

import json

import pytest
from lift123.cluster import graphs, items
from lift123.launcher.settings import LaunchError

PROMPT = {
    "1": {"class_type": "LoadImage", "inputs": {"image": "none.png"}},
    "2": {"class_type": "Lift123_ReferenceView", "inputs": {"image": ["1", 0], "prompt": "x", "size": 256, "border": 0.2}},
    "3": {"class_type": "Lift123_NerfStage1", "inputs": {"reference": ["2", 0], "seed": 0, "iterations": 5, "fine": True},
          "_meta": {"title": "Coarse"}},
    "4": {"class_type": "Lift123_DMTetRefine", "inputs": {"scene": ["3", 0], "iterations": 7}},
}


def table(tmp_path, text, name="t.csv"):
    (tmp_path / name).write_text(text, encoding="utf-8")
    return items.read(tmp_path / name, PROMPT)


def test_a_table_sets_node_inputs_by_name(tmp_path):
    found = table(tmp_path, "\ufeffpicture;prompt;seed;iterations;Coarse.fine;border\na.png;a cat;7;9;no;0.5\nb c.png;;;;;\n")
    assert [i.name for i in found] == ["a", "b c"] and found[0].seed == 7 and found[1].seed is None
    made = graphs.prompt_of(PROMPT, found[0], "lift123/x.png", "words")
    assert made["1"]["inputs"]["image"] == "lift123/x.png" and made["2"]["inputs"]["prompt"] == "a cat"
    assert made["3"]["inputs"] == {"reference": ["2", 0], "seed": 7, "iterations": 9, "fine": False}
    assert made["4"]["inputs"]["iterations"] == 9 and made["2"]["inputs"]["border"] == 0.5
    assert graphs.prompt_of(PROMPT, found[1], "y.png", "words")["2"]["inputs"]["prompt"] == "words"
    one = table(tmp_path, "picture,DMTetRefine.iterations\na.png,3\n")[0]
    made = graphs.prompt_of(PROMPT, one, "y.png", "")
    assert (made["3"]["inputs"]["iterations"], made["4"]["inputs"]["iterations"]) == (5, 3)
    assert PROMPT["4"]["inputs"]["iterations"] == 7, "the workflow itself stays"


def test_sweeps_cross_and_names_stay_apart(tmp_path):
    lines = [{"picture": "A.png", "iterations": [1, 2]}, {"picture": "sub/a.png"}, {"name": "CON", "seed": 3}]
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    found = items.read(tmp_path / "t.jsonl", PROMPT, ["seed=0:2", "border=0.1,0.3"])
    assert len(found) == 4 * 3 * 2 and len({i.name.lower() for i in found}) == 24
    assert found[0].name == "A--iterations-1--seed-0--border-0.1" and found[0].inputs == (("iterations", 1), ("border", 0.1))
    assert {i.seed for i in found} == {0, 1, 2}
    assert len({graphs.key_of(graphs.prompt_of(PROMPT, i, "p.png" if i.picture else "", ""), {}) for i in found}) == 24
    again = table(tmp_path, "name\nx\nX\nx?\n")
    assert [i.name for i in again] == ["x", "X-2", "x_"]


@pytest.mark.parametrize("name", ["../a.png", "/etc/a.png", "a/../../b.png", "C:\\a.png", "..\\a.png", "~/a.png", "link/a.png"])
def test_pictures_stay_in_the_tables_folder(tmp_path, name):
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "in" / "link").symlink_to(tmp_path / "out")
    with pytest.raises(LaunchError, match="line 2.*leads out"):
        table(tmp_path / "in", f"picture\n{name}\n")


@pytest.mark.parametrize("text, said", [
    ("picture,iterations\na.png,2.5\n", "line 2: iterations: expected int"),
    ("picture,border\na.png,nan\n", "border: expected float"),
    ("picture,nothing\na.png,1\n", "no node of this workflow has a free input 'nothing'"),
    ("picture,reference\na.png,1\n", "no node of this workflow has a free input 'reference'"),
    ("picture,seed\na.png,-1\n", "seed: expected an integer"),
    ("a,a\n1,2\n", "each once"),
    ("picture\na.png,b\n", "2 cells under 1 columns"),
    ("", "name the columns"),
    ("picture\n", "nothing to do"),
])
def test_bad_tables_are_refused_with_their_line(tmp_path, text, said):
    with pytest.raises(LaunchError, match=said):
        table(tmp_path, text)


def test_bad_json_lines_and_sweeps_are_refused(tmp_path):
    for text, said in (("{", "line 1: no JSON"), ("[1]", "expected an object"), ("[" * 100_000, "no JSON")):
        with pytest.raises(LaunchError, match=said):
            table(tmp_path, text, "t.jsonl")
    (tmp_path / "a.png").touch()
    for text in ("seed", "=1", "seed=", "seed=3:1", "seed=0:1:0", "seed=0:1:1e-9", "nothing=1"):
        with pytest.raises(LaunchError):
            items.read(tmp_path, PROMPT, [text])


def test_a_batch_list_becomes_one_element():
    prompt = {"l": {"class_type": "Lift123_BatchList", "inputs": {"folder": "x"}},
              "r": {"class_type": "Lift123_ReferenceView", "inputs": {"image": ["l", 0], "mask": ["l", 1], "prompt": ["l", 2]}},
              "e": {"class_type": "Lift123_BakeExport", "inputs": {"scene": ["r", 0], "filename_prefix": ["l", 5]}},
              "t": {"class_type": "Lift123_Results", "inputs": {"after": ["e", 0]}},
              "p": {"class_type": "PreviewImage", "inputs": {"images": ["t", 1]}}}
    made = graphs.with_list(prompt, {"l": ["", "", "a cat", 0.0, 0, "lift123/x/a"]}, "pic.png")
    loader = made["r"]["inputs"]["image"][0]
    assert made[loader] == {"class_type": "LoadImage", "inputs": {"image": "pic.png"}, "_meta": {"title": "Load Image"}}
    assert made["r"]["inputs"] == {"image": [loader, 0], "mask": [loader, 1], "prompt": "a cat"}
    assert made["e"]["inputs"]["filename_prefix"] == "lift123/x/a" and set(made) == {"r", "e", loader}
