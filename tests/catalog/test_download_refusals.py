"""Downloads that go wrong in a server's or a disk's own way: complaints, trickles, blocked places, addresses within."""

import ipaddress

import pytest
from helpers.small_server import BODY, DIGEST, serving
from lift123.pipelines.catalog import addresses, download
from lift123.pipelines.catalog.registry import WeightFile, Weights
from lift123.pipelines.core.errors import InputError


@pytest.fixture
def server():
    with serving() as running:
        yield running


@pytest.mark.parametrize("name, body", [
    ("model.bin", b'{"error": "Repository not found"}'), ("model.safetensors", b"Not Found"), ("model.ckpt", b"x" * 3000),
    ("config.json", b'{"error": "Access denied", "status": 403}'), ("merges.txt", b'{"message": "moved"}'),
    ("a.pth", '\u00a1Ups!'.encode())])
def test_a_complaint_of_the_server_is_no_file(server, tmp_path, name, body):
    server.files["/a/" + name] = body
    with pytest.raises(InputError, match="holds another file than the table says"):
        download.fetch(server.url + "/a/" + name, tmp_path / name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name, body", [
    ("config.json", b'{"error": 1, "hidden_size": 4}'), ("vocab.json", b'{"a": 0}'), ("empty.json", b"{}"),
    ("merges.txt", b"#v\na b"),
    ("model.safetensors", b"\x08\0\0\0\0\0\0\0{}      "), ("old.pth", b"\x80\x02}q\0."), ("new.pth", b"PK\x03\x04...")])
def test_small_files_that_are_right_are_kept(server, tmp_path, name, body):
    server.files["/a/" + name] = body
    assert download.fetch(server.url + "/a/" + name, tmp_path / name).path.read_bytes() == body


def test_a_trickle_is_given_up_and_gone_on_with_later(server, tmp_path, monkeypatch):
    clock = iter(range(0, 10**9, 7))
    monkeypatch.setattr(download.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(download, "CHUNK", 3)
    with pytest.raises(InputError, match="1024 bytes per second of model.bin, got 27 bytes in 60 s"):
        download.fetch(server.url + "/a/model.bin", tmp_path / "model.bin", len(BODY), DIGEST)
    assert (tmp_path / "model.bin.part").stat().st_size == 27
    monkeypatch.undo()
    assert download.fetch(server.url + "/a/model.bin", tmp_path / "model.bin", len(BODY), DIGEST).size == len(BODY)
    assert server.asked[-1][1] == "bytes=27-"


@pytest.mark.parametrize("what", ["a file for a folder", "a folder for the file", "a folder for the part", "no right",
                                  "a folder for the memo"])
def test_places_that_cannot_be_written(server, tmp_path, what, monkeypatch):
    target = tmp_path / "sub" / "model.bin"
    if what == "a file for a folder":
        (tmp_path / "sub").write_bytes(b"")
    elif what == "a folder for the file":
        target.mkdir(parents=True)
    elif what == "no right":
        def refuse(*_, **__):
            raise PermissionError(13, "Permission denied", str(tmp_path / "sub"))
        monkeypatch.setattr(download.Path, "mkdir", refuse)
    else:
        (tmp_path / "sub" / ("model.bin.part" + (".json" if "memo" in what else ""))).mkdir(parents=True)
    with pytest.raises(InputError, match="a place for model.bin that can be written") as error:
        download.fetch(server.url + "/a/model.bin", target)
    assert "extra_model_paths" in str(error.value)
    if what != "no right":
        weights = Weights("tiny", "text", (WeightFile("sub/model.bin"),), (server.url + "/a/",), "MIT", "", 0.001)
        with pytest.raises(InputError):
            download.fetch_weights(weights, tmp_path)


@pytest.mark.parametrize("address, public", [
    ("64:ff9b::808:808", True), ("64:ff9b::7f00:1", False), ("64:ff9b::c0a8:101", False), ("2002:0808:0808::1", True),
    ("2002:7f00:1::", False), ("2002:a00:1::", False), ("::ffff:10.0.0.1", False), ("::ffff:8.8.8.8", True), ("::7f00:1", False),
    ("224.0.0.1", False), ("ff0e::1", False), ("0.0.0.0", False), ("::", False), ("::1", False), ("240.0.0.1", False),
    ("255.255.255.255", False), ("100.64.0.1", False), ("fd00::1", False), ("8.8.8.8", True), ("2606:2800:220:1::1", True)])
def test_which_addresses_are_public(address, public):
    assert addresses.is_public(ipaddress.ip_address(address)) == public
    assert addresses.is_local(address) != public or ":" in address
