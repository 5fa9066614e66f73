"""A batch in the real server, one run each: killed servers, broken pictures, other packs' errors, stopping."""

import json

from helpers.batches import FAILS, FOREIGN, KILLS, assets, completed, probe_graph, put_pictures, running, wait_until
from helpers.comfy_server import start

NAMES = list("abcdefghi")


def test_a_batch_keeps_what_is_done(tmp_path):
    """Nine pictures: one is none (b), one fails in another pack's node (g), one ends the server twice (d)."""
    (tmp_path / "custom_nodes").mkdir()
    (tmp_path / "custom_nodes" / "probe.py").write_text(FOREIGN, encoding="utf-8")
    put_pictures(tmp_path / "input" / "nine", NAMES, {"d": KILLS, "g": FAILS}, broken=("b",))
    output = tmp_path / "output"
    done = {1: "ac", 2: "acefhi", 3: "acefhi"}  # after each server: d is tried again when all others are through
    for attempt in (1, 2, 3):
        with start(tmp_path, arguments=["--disable-api-nodes"]) as comfy:
            comfy.client.queue(completed(comfy.info, probe_graph("nine")), client_id="somebody")
            if attempt < 3:
                assert wait_until(lambda server=comfy.server: not server.alive()), "picture d ends the server"
            else:
                assert wait_until(lambda client=comfy.client: not running(client))
                history = comfy.client.get("/history").values()
        assert assets(output, "nine") == [f"{name}_00001_.glb" for name in done[attempt]]
    assert all(entry["prompt"][3]["client_id"] == "somebody" for entry in history)
    errors = {p.name[0]: json.loads(p.read_text())["error"] for p in (output / "lift123/nine").glob("*_failed.json")}
    assert sorted(errors) == ["b", "d", "g"]
    assert "cannot be read" in errors["b"] and "does not like it" in errors["g"] and "2 servers that ended" in errors["d"]
    assert not list((output / "lift123/nine").glob("*_started.json"))
    tables = sorted((output / "lift123").glob("nine_table_*.csv"))
    assert len(tables) == 1, "the table is made once, at the end"
    rows = [line.split(",")[:2] for line in tables[0].read_text().splitlines()]
    assert [r[1] for r in rows if r[0].startswith("lift123/")] == [
        "failed" if n in "bdg" else "done" for n in NAMES]


def test_a_batch_can_be_stopped_and_interrupted_and_goes_on(comfy):
    put_pictures(comfy.base / "input" / "four", list("abcd"), {})
    prompt = completed(comfy.info, probe_graph("four", foreign=False))

    def begin():
        comfy.client.queue(prompt)
        assert wait_until(lambda: comfy.client.get("/lift123/batch")["running"])
        return comfy.client.get("/lift123/batch")["running"][0]

    first = begin()
    assert (first["item"], first["position"], first["total"], first["follows"]) == ("a.png", 1, 4, True)
    assert comfy.client.post("/lift123/batch/stop", {})["stopping"] == [first["prompt_id"]]
    assert wait_until(lambda: not running(comfy.client)) and assets(comfy.output, "four") == ["a_00001_.glb"]
    table = comfy.client.history(first["prompt_id"])["outputs"]["results"]["text"][0]
    assert "1 done, 0 failed" in table, "the last run of a stopped batch makes the table"

    assert begin()["position"] == 2
    comfy.client.interrupt()
    assert wait_until(lambda: not running(comfy.client)) and assets(comfy.output, "four") == ["a_00001_.glb"]
    place = comfy.output / "lift123" / "four"
    assert not list(place.glob("*_failed.json")) and not list(place.glob("*_started.json"))

    begin()
    assert wait_until(lambda: not running(comfy.client))
    assert assets(comfy.output, "four") == [f"{name}_00001_.glb" for name in "abcd"]
    said = [entry["outputs"]["list"]["text"][0] for entry in comfy.client.get("/history").values()
            if "list" in entry["outputs"] and "d.png" in entry["outputs"]["list"]["text"][0]]
    assert said and said[-1].startswith("model 4 of 4: d.png")
