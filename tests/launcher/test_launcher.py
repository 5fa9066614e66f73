"""The launcher's parts that need no server: websocket client, set-up steps, source unpacking, graph edits, events."""

import base64
import hashlib
import io
import json
import socket
import struct
import subprocess
import sys
import tarfile
import threading
from pathlib import Path

import pytest
from helpers.checkout import fake_paths
from lift123.launcher import browser, commands, environment, graph, jobs, settings, source, terminal
from lift123.launcher.server import HttpError, free_port
from lift123.launcher.shipped import twin_file
from lift123.launcher.websocket import WebSocket, WebSocketClosed

ROOT = Path(__file__).resolve().parent.parent.parent
PROMPT = {
    "1": {"class_type": "LoadImage", "inputs": {"image": "sample.png"}},
    "2": {"class_type": "Lift123_ReferenceView", "inputs": {"image": ["1", 0], "prompt": "a mug"}},
    "3": {"class_type": "Lift123_NerfStage1", "inputs": {"reference": ["2", 0], "seed": 7}},
    "4": {"class_type": "Lift123_BakeExport", "inputs": {"scene": ["3", 0], "filename_prefix": "lift123/object"}},
    "5": {"class_type": "Sampler", "inputs": {"seed": ["3", 1]}},
}


class ScriptedServer:
    """A websocket server for one client, written from RFC 6455: sends ``chunks`` as they are, keeps what it gets."""

    def __init__(self, chunks, accept=True):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.chunks, self.accept, self.received = chunks, accept, b""
        self.go_on = threading.Event()
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self):
        connection, _ = self.listener.accept()
        with connection:
            head = b""
            while b"\r\n\r\n" not in head:
                head += connection.recv(4096)
            key = next(line.split(b": ")[1] for line in head.split(b"\r\n") if line.startswith(b"Sec-WebSocket-Key"))
            proof = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
            status = b"101 Switching Protocols" if self.accept else b"403 Forbidden"
            answer = b"HTTP/1.1 " + status + b"\r\nSec-WebSocket-Accept: " + proof + b"\r\n\r\n"
            connection.sendall(answer + self.chunks[0])  # the first frame may share a packet with the handshake
            for chunk in self.chunks[1:]:
                self.go_on.wait(0.05)
                connection.sendall(chunk)
            connection.settimeout(0.5)
            try:
                while data := connection.recv(4096):
                    self.received += data
            except OSError:
                pass


def frame(opcode: int, payload: bytes, final: bool = True) -> bytes:
    """An unmasked server frame with the shortest length form."""
    size = len(payload)
    length = bytes([size]) if size < 126 else b"\x7e" + struct.pack(">H", size) if size < 65536 else (
        b"\x7f" + struct.pack(">Q", size))
    return bytes([(0x80 if final else 0) | opcode]) + length + payload


def unmask(data: bytes) -> list:
    """(opcode, payload) of client frames shorter than 64 KiB."""
    frames = []
    while data:
        size, start = data[1] & 0x7F, 2
        assert data[1] & 0x80, "client frames must be masked"
        if size == 126:
            size, start = struct.unpack(">H", data[2:4])[0], 4
        mask, body = data[start : start + 4], data[start + 4 : start + 4 + size]
        frames.append((data[0] & 0x0F, bytes(b ^ mask[i % 4] for i, b in enumerate(body))))
        data = data[start + 4 + size :]
    return frames


def test_websocket_messages_of_every_length_form_and_fragments():
    big = bytes(range(256)) * 300
    chunks = [
        frame(1, b"hello") + frame(2, b"x" * 125)[:10], frame(2, b"x" * 125)[10:] + frame(2, b"y" * 126),
        frame(2, big)[:1], frame(2, big)[1:5], frame(2, big)[5:],
        frame(1, b"one ", final=False) + frame(9, b"ping!") + frame(0, b"two", final=True),
    ]
    server = ScriptedServer(chunks)
    client = WebSocket("127.0.0.1", server.port, "/ws")
    assert client.receive(5) == "hello"
    assert client.receive(5) == b"x" * 125
    assert client.receive(5) == b"y" * 126
    assert client.receive(5) == big
    assert client.receive(5) == "one two"
    client.send("text \u00fc")
    client.send(b"z" * 300)
    client.close()
    server.thread.join(5)
    assert unmask(server.received) == [(10, b"ping!"), (1, "text \u00fc".encode()), (2, b"z" * 300), (8, b"\x03\xe8")]


def test_websocket_timeout_keeps_half_a_frame():
    whole = frame(1, b"slow message")
    server = ScriptedServer([whole[:4], b"", b"", b"", b"", b"", b"", whole[4:]])
    client = WebSocket("127.0.0.1", server.port, "/ws")
    with pytest.raises(TimeoutError):
        client.receive(0.05)
    assert client.receive(5) == "slow message"
    client.close()


def test_websocket_refusal_and_close():
    with pytest.raises(ConnectionError, match="403"):
        WebSocket("127.0.0.1", ScriptedServer([b""], accept=False).port, "/ws")
    client = WebSocket("127.0.0.1", ScriptedServer([frame(8, b"")]).port, "/ws")
    with pytest.raises(WebSocketClosed):
        client.receive(5)
    client.close()


def test_free_port_avoids_a_taken_one():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert free_port(port) != port
    assert 1024 <= free_port() < 65536


def test_setup_runs_each_step_once_and_again_only_when_its_input_changes(tmp_path, monkeypatch):
    monkeypatch.delenv("LIFT123_COMFYUI", raising=False)
    monkeypatch.setenv("LIFT123_TORCH_BUILD", "keep")
    paths, ran = fake_paths(tmp_path), []
    monkeypatch.setattr(environment, "_works", lambda paths: True)
    monkeypatch.setattr(environment, "pip", lambda paths, title, *arguments: ran.append(arguments[-1]))
    environment.ensure(paths)
    torch_steps = [f"torchvision=={settings.TORCHVISION}", f"torchaudio=={settings.TORCHAUDIO}"]
    assert ran == [*torch_steps, str(paths.comfyui / "requirements.txt"), str(paths.root / "requirements.txt")]
    ran.clear()
    environment.ensure(paths)
    assert ran == []
    environment.ensure(paths, tests=True)
    assert ran == [str(paths.root / "requirements-test.txt")]
    ran.clear()
    (paths.root / "requirements.txt").write_text("something else\n")
    environment.ensure(paths, tests=True)
    assert ran == [str(paths.root / "requirements.txt")]


def test_an_interrupted_setup_goes_on_where_it_stopped(tmp_path, monkeypatch):
    monkeypatch.delenv("LIFT123_COMFYUI", raising=False)
    monkeypatch.setenv("LIFT123_TORCH_BUILD", "keep")
    paths, ran = fake_paths(tmp_path), []

    def pip(paths, title, *arguments):
        ran.append(title)
        if title == "ComfyUI's packages" and len(ran) < 4:
            raise KeyboardInterrupt

    monkeypatch.setattr(environment, "_works", lambda paths: True)
    monkeypatch.setattr(environment, "pip", pip)
    with pytest.raises(KeyboardInterrupt):
        environment.ensure(paths)
    environment.ensure(paths)
    assert ran[3:] == ["ComfyUI's packages", "Lift123's packages"], "torch must not be installed twice"


def test_a_broken_stamp_means_nothing_is_done(tmp_path):
    (tmp_path / "stamp.json").write_text("{ not json")
    assert environment.Stamp(tmp_path / "stamp.json").done == {}


def test_a_failing_command_is_told_with_its_last_lines(tmp_path):
    paths = settings.Paths(tmp_path, tmp_path / "home")
    code = "import sys; print('the reason'); sys.exit(3)"
    with pytest.raises(settings.LaunchError, match=r"(?s)Trying failed.*the reason"):
        environment.run_logged([sys.executable, "-c", code], "Trying", paths)
    assert "the reason" in (paths.home / "setup.log").read_text()


def test_linking_the_pack_is_repeatable_and_replaces_what_is_stale(tmp_path):
    paths, nodes = settings.Paths(tmp_path / "repo", tmp_path / "repo" / ".lift123"), tmp_path / "custom_nodes"
    paths.root.mkdir()
    (paths.root / "__init__.py").write_text("here = True\n")
    for _ in range(2):
        environment.link_pack(paths, nodes)
        assert (nodes / "lift123" / "__init__.py").read_text() == "here = True\n"
    (nodes / "lift123").unlink()
    (nodes / "lift123").symlink_to(tmp_path / "gone")
    environment.link_pack(paths, nodes)
    assert (nodes / "lift123" / "__init__.py").is_file()
    environment.copy_pack(paths, tmp_path / "copy")
    assert (tmp_path / "copy" / "__init__.py").is_file() and not (tmp_path / "copy" / ".lift123").exists()


def test_unpacking_takes_only_the_vendored_tree(tmp_path):
    archive = tmp_path / "package-1.0.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        for name in ("p-1.0/setup.py", "p-1.0/vendor/ComfyUI/main.py", "p-1.0/vendor/ComfyUI/app/a.py",
                     "p-1.0/vendor/ComfyUI/../../evil.py", "p-1.0/vendor/other/x.py"):
            member = tarfile.TarInfo(name)
            member.size = 1
            tar.addfile(member, io.BytesIO(b"#"))
    source.unpack_vendored(archive, tmp_path / "out")
    files = {p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*.py")}
    assert files == {"out/main.py", "out/app/a.py"}
    with pytest.raises(settings.LaunchError, match="vendor/ComfyUI"):
        with tarfile.open(tmp_path / "empty-1.tar.gz", "w:gz"):
            pass
        source.unpack_vendored(tmp_path / "empty-1.tar.gz", tmp_path / "nothing")


def test_a_named_comfyui_must_be_one(tmp_path, monkeypatch):
    monkeypatch.setenv("LIFT123_COMFYUI", str(tmp_path))
    paths = settings.Paths(tmp_path, tmp_path / "home")
    with pytest.raises(settings.LaunchError, match="comfyui_version"):
        source.ensure(paths, None)
    (tmp_path / "comfyui_version.py").write_text("__version__ = '0.31.0'")
    source.ensure(paths, None)  # taken as it is, whatever its version
    assert paths.comfyui == tmp_path.resolve()


def test_graph_edits_return_copies():
    before = json.dumps(PROMPT)
    edited = graph.with_prefix(graph.with_seed(graph.with_picture(PROMPT, "lift123/cat.png", "a cat"), 99), "batch/cat")
    assert json.dumps(PROMPT) == before
    assert edited["1"]["inputs"]["image"] == "lift123/cat.png"
    assert edited["2"]["inputs"]["prompt"] == "a cat"
    assert edited["3"]["inputs"]["seed"] == 99 and edited["5"]["inputs"]["seed"] == ["3", 1]
    assert edited["4"]["inputs"]["filename_prefix"] == "batch/cat/object"
    assert graph.with_seed(PROMPT, None) == PROMPT
    with pytest.raises(settings.LaunchError, match="Load Image"):
        graph.with_picture({"1": PROMPT["3"]}, "x.png", "x")


def test_a_toy_character_gives_way_to_a_picture_unless_its_truth_is_used():
    shipped = json.loads(twin_file("stdgen_quickstart").read_text(encoding="utf-8"))
    (key,) = (k for k, n in shipped.items() if n["class_type"] == "LoadImage")
    shipped[key] = {"class_type": "Lift123_ToyCharacter", "inputs": {"size": 128, "pose": 0, "cells": 32, "seed": 7}}
    edited = graph.with_picture(shipped, "lift123/me.png", "x")
    stage = next(k for k, n in shipped.items() if n["class_type"] == "Lift123_Canonicalize")
    assert edited[key]["class_type"] == "LoadImage" and edited[key]["inputs"] == {"image": "lift123/me.png"}
    assert shipped[stage]["inputs"]["mask_marks"] == "auto" and all(edited[k] == n for k, n in shipped.items() if k != key)
    set_by_hand = {**shipped, stage: {**shipped[stage], "inputs": {**shipped[stage]["inputs"], "mask_marks": "object"}}}
    assert graph.with_picture(set_by_hand, "me.png", "x")[stage]["inputs"]["mask_marks"] == "background"
    toy = json.loads(twin_file("stdgen_toy").read_text(encoding="utf-8"))
    with pytest.raises(settings.LaunchError, match="Load Image"):
        graph.with_picture(toy, "x.png", "x")


def event(kind: str, **data) -> str:
    """A JSON websocket message of prompt p."""
    return json.dumps({"type": kind, "data": {"prompt_id": "p", **data}})


def test_events_become_one_line():
    job = jobs.Job("p", {"1": "Load", "2": "NeRF stage 1"})
    assert not jobs.apply_event(job, json.dumps({"type": "status", "data": {}}))
    assert not jobs.apply_event(job, json.dumps({"type": "executing", "data": {"prompt_id": "other", "node": "1"}}))
    jobs.apply_event(job, event("executing", node="2"))
    states = {"1": {"state": "finished", "value": 1, "max": 1}, "2": {"state": "running", "value": 30, "max": 120}}
    assert jobs.apply_event(job, event("progress_state", nodes=states))
    assert jobs.apply_event(job, struct.pack(">II", 3, 1) + b"2" + b"loss 0.1 |\n ETA 12 s")
    assert not jobs.apply_event(job, struct.pack(">II", 1, 1) + b"jpeg bytes")
    assert job.line() == "2/2 NeRF stage 1 [#####...............] 30/120  loss 0.1 | ETA 12 s"
    jobs.apply_event(job, struct.pack(">II", 3, 1) + b"2" + b"NeRF 31/120 | rgb 0.1")
    assert job.line() == "2/2 NeRF stage 1 [#####...............]  NeRF 31/120 | rgb 0.1"
    jobs.apply_event(job, event("execution_success"))
    assert job.ended and job.error is None


def test_failures_are_one_clear_line():
    job = jobs.Job("p", {"2": "Reference View"})
    jobs.apply_event(job, event("execution_error", node_id="2", exception_message="empty mask\n", traceback=["at x"]))
    assert job.ended and str(job.error) == "Reference View: empty mask" and job.error.detail == "at x"
    job = jobs.Job("p", {})
    jobs.apply_event(job, event("execution_interrupted", node_id="2"))
    assert job.error.interrupted
    error = {"type": "value_smaller_than_min", "message": "Value 1 smaller than min of 32", "details": "size"}
    body = {"error": {"message": "Prompt outputs failed validation"}, "node_errors": {"2": {"errors": [error]}}}
    told = jobs.rejection(HttpError(400, body), {"2": "Reference View"})
    assert str(told) == "Reference View: Value 1 smaller than min of 32 size"
    assert str(jobs.rejection(HttpError(500, "boom"), {})) == "HTTP 500: boom"


def test_saved_files_are_the_output_files_once_and_in_order(tmp_path):
    glb = {"filename": "a_00001_.glb", "subfolder": "lift123", "type": "output"}
    entry = {"outputs": {"4": {"3d": [glb], "text": ["x"]}, "5": {"images": [{"filename": "t.png", "type": "temp"}, glb]}}}
    assert jobs.saved_files(entry, tmp_path) == [tmp_path / "lift123" / "a_00001_.glb"]


def test_previews_of_a_graph_without_files_are_fetched(tmp_path):
    class Server:
        asked = []

        def raw(self, path):
            self.asked.append(path)
            return f"bytes {len(self.asked)}".encode()

    shown = [{"filename": f"a {k}.png", "subfolder": "x", "type": "temp"} for k in (1, 2)]
    entry = {"outputs": {"4": {"images": shown}, "5": {"images": [{"filename": "b.png", "type": "output"}], "text": ["t"]}}}
    files = jobs.keep_previews(Server(), entry, tmp_path / "new", "views")
    assert [f.name for f in files] == ["views_01.png", "views_02.png"] and files[1].read_bytes() == b"bytes 2"
    assert Server.asked[0] == "/view?filename=a+1.png&subfolder=x&type=temp"
    assert jobs.keep_previews(Server(), {"outputs": {}}, tmp_path / "none", "views") == [] and not (tmp_path / "none").exists()


def test_progress_line_rewrites_on_a_terminal_and_is_sparse_in_a_log():
    log = io.StringIO()
    line = terminal.ProgressLine(log, interval=100)
    line.show("one")
    line.show("two")
    line.close()
    assert log.getvalue() == "one\n"
    screen = io.StringIO()
    screen.isatty = lambda: True
    line = terminal.ProgressLine(screen)
    line.show("one")
    line.show("two")
    line.close()
    assert [part.strip() for part in screen.getvalue().split("\r")] == ["", "one", "two"]
    assert terminal.bar(0.5, 4) == "[##..]" and terminal.bar(7, 4) == "[####]"


def test_commands_fail_with_one_line_and_a_code(tmp_path, capsys):
    assert commands.main(["demo", str(tmp_path / "missing.png")]) == 1
    assert "no picture at" in capsys.readouterr().err
    assert commands.main(["batch", str(tmp_path)]) == 1
    assert "no pictures in" in capsys.readouterr().err
    assert commands.main(["bench", "no-such-benchmark"]) == 1
    assert commands.main(["demo", "--workflow", "no-such-workflow"]) == 1
    captured = capsys.readouterr().err
    assert "no workflow" in captured and "Traceback" not in captured
    (tmp_path / "ui.json").write_text('{"nodes": [], "links": []}')
    assert commands.main(["demo", "--workflow", str(tmp_path / "ui.json")]) == 1
    assert "API format" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        commands.main(["demo", "--no-such-option"])


def test_launch_py_helps():
    done = subprocess.run([sys.executable, str(ROOT / "launch.py"), "--help"], capture_output=True, text=True)
    assert done.returncode == 0
    for word in ("demo", "serve", "test", "batch", "bench", "sync", "train-embedded", "train-characters"):
        assert word in done.stdout


def test_training_hands_its_words_to_its_scripts(monkeypatch):
    calls = []
    monkeypatch.setattr(commands, "_run_script", lambda paths, script, extra: calls.append((script.name, extra)) or 0)
    assert commands.main(["train-characters", "mine", "--steps", "5"]) == commands.main(["train-characters", "help"]) == 0
    assert commands.main(["train-embedded"]) == 0
    assert calls == [("characters.py", ["mine", "--steps", "5"]), ("characters.py", ["--help"]), ("train.py", ["all"])]


def test_sync_runs_its_script_in_the_environment(monkeypatch):
    calls = []
    monkeypatch.setattr(environment, "ensure", lambda paths, tests=False: None)
    monkeypatch.setattr(commands.subprocess, "run", lambda command, **more: calls.append(command) or subprocess.CompletedProcess(
        command, 1))
    assert commands.main(["sync", "--check"]) == 1 and calls[0][1:] == [str(ROOT / "sync" / "run.py"), "--check"]
    commands.main(["sync"])
    assert calls[1][2:] == [] and calls[1][0] == str(settings.default_paths().python)


def test_missing_node_is_a_reason_or_an_error(tmp_path, monkeypatch):
    paths = settings.Paths(tmp_path, tmp_path / "home")
    monkeypatch.setattr(browser.shutil, "which", lambda name: None)
    monkeypatch.delenv("LIFT123_REQUIRE_BROWSER", raising=False)
    assert "Node.js" in browser.ensure(paths)
    monkeypatch.setenv("LIFT123_REQUIRE_BROWSER", "1")
    with pytest.raises(settings.LaunchError, match=r"Node\.js"):
        browser.ensure(paths)


def test_gpu_is_not_looked_for_where_there_is_none(tmp_path, monkeypatch):
    paths = settings.Paths(tmp_path, tmp_path / "home")
    assert environment.uses_gpu(paths, "gpu") and not environment.uses_gpu(paths, "cpu")
    monkeypatch.setattr(environment.shutil, "which", lambda name: None)
    monkeypatch.setattr(environment.sys, "platform", "linux")
    monkeypatch.setattr(environment.os.path, "exists", lambda path: False)
    assert not environment.uses_gpu(paths)
