"""The open graph's Batch List as a table for the cluster, and the route that takes it."""

import json
import sys

import pytest
from helpers.batches import probe_graph, put_pictures
from helpers.comfy_modules import prepare

prepare()

from lift123.cluster import graphs, items  # noqa: E402
from lift123.nodes import to_cluster  # noqa: E402
from lift123.pipelines.core.errors import InputError  # noqa: E402


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """ComfyUI's input and output folders."""
    import folder_paths

    monkeypatch.setattr(folder_paths, "get_input_directory", lambda: str(tmp_path / "input"))
    monkeypatch.setattr(folder_paths, "get_output_directory", lambda: str(tmp_path / "output"))
    put_pictures(tmp_path / "input" / "six", ["red_mug", "b"], {})
    return tmp_path


def test_a_batch_list_is_sent_as_a_table(folders, monkeypatch):
    monkeypatch.setattr(to_cluster, "DRIVER", folders / "driver.py")
    monkeypatch.setattr(to_cluster, "_sent", [])
    (folders / "driver.py").write_text("import sys; open(sys.argv[0] + '.told', 'w').write(sys.argv[1]); print('no Ray')")
    graph = probe_graph("six", foreign=False)
    graph["list"]["inputs"]["also"] = "3, 4"
    assert to_cluster.state()["running"] is False and "No batch" in to_cluster.stop()
    assert "4 items" in to_cluster.send(graph, "auto", 2)
    assert to_cluster._sent[0].process.wait() == 0
    told = json.loads((folders / "driver.py.told").read_text())
    assert (told["cluster"], told["workers"], told["name"]) == ("auto", 2, "six")
    work = json.loads((folders / "output/lift123/six/cluster_graph.json").read_text())
    found = items.read(folders / "output/lift123/six/cluster_table.jsonl", work, (), folders / "input")
    assert [i.name for i in found] == ["b--3", "b--4", "red_mug--3", "red_mug--4"]
    made = graphs.prompt_of(work, found[3], "x.png", "")
    assert made["reference"]["inputs"]["prompt"] == "red mug" and "results" not in made and "list" not in made
    assert made["export"]["inputs"]["filename_prefix"] == "lift123/six/red_mug--4"
    assert made[made["reference"]["inputs"]["image"][0]]["inputs"]["image"] == "x.png"
    assert "has ended: 0 done" in to_cluster.state()["text"]
    assert sys.executable


@pytest.mark.parametrize("address", ["", "http://x", "auto; rm", "ray://", "ray://a b"])
def test_addresses_and_graphs_are_checked(folders, address):
    with pytest.raises(InputError, match="cluster: expected auto"):
        to_cluster.send(probe_graph("six"), address, 0)
    with pytest.raises(InputError, match="one Batch List"):
        to_cluster.rows({})
    graph = probe_graph("six")
    graph["list"]["inputs"]["folder"] = ["toy", 3]
    with pytest.raises(InputError, match="folder: expected a value"):
        to_cluster.rows(graph)
