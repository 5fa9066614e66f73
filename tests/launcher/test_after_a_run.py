"""What the launcher does between a prompt's end and its server's."""

import json
import os
import threading
import time

from lift123.launcher import commands, jobs


def test_a_server_may_end_once_it_has_removed_what_it_kept_of_finished_stages(tmp_path):
    folder, begun = tmp_path / "lift123" / "unfinished", time.time()
    folder.mkdir(parents=True)
    jobs.wait_until_settled(tmp_path, begun)
    earlier, mine = folder / "nerf_1_done_a.safetensors", folder / "nerf_2_done_b.safetensors"
    for file in (earlier, mine, folder / "nerf_3_0.safetensors"):  # the last is the state of a stage that was interrupted
        file.touch()
    os.utime(earlier, (begun - 9, begun - 9))
    threading.Timer(0.4, mine.unlink).start()
    jobs.wait_until_settled(tmp_path, begun, seconds=60)
    assert not mine.exists() and earlier.exists()
    mine.touch()
    start = time.monotonic()
    jobs.wait_until_settled(tmp_path, begun, seconds=0.3)
    assert mine.exists() and time.monotonic() - start >= 0.3, "another server's may be as new"


def test_what_stages_said_is_read_from_manifests(tmp_path):
    told = tmp_path / "a_manifest.json"
    told.write_text(json.dumps({"settings": {"stages": [{"stage": "Canonicalize", "said": "LOOK no head"}, {"stage": "S-LRM"}]}}))
    other, broken = tmp_path / "b_manifest.json", tmp_path / "c_manifest.json"
    other.write_text("{}"), broken.write_text("{half")
    assert commands.remarks([tmp_path / "a.glb", told, other, broken, tmp_path / "gone_manifest.json"]) == ["LOOK no head"]
