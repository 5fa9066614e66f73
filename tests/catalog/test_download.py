"""Downloads against a local server: resume, checksum, cancel, redirects, mirrors, refusals, no connection."""

import socket

import pytest
from helpers.small_server import BODY, DIGEST, serving
from lift123.pipelines.catalog import download, registry
from lift123.pipelines.catalog.registry import WeightFile, Weights
from lift123.pipelines.core.errors import InputError


@pytest.fixture
def server():
    with serving() as running:
        yield running


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(download, "CHUNK", 1 << 16)


def test_a_whole_file_with_progress_and_checksum(server, tmp_path):
    seen = []
    done = download.fetch(server.url + "/a/model.bin", tmp_path / "sub" / "model.bin", len(BODY), DIGEST,
                          lambda *step: seen.append(step))
    assert done.path.read_bytes() == BODY and done.sha256 == DIGEST and "as published" in done.note
    assert [p.name for p in done.path.parent.iterdir()] == ["model.bin"], "no part is left"
    assert seen[-1] == ("model.bin", len(BODY), len(BODY)) and len(seen) > 4
    assert [b for _, b, _ in seen] == sorted(b for _, b, _ in seen)


class Canceled(BaseException):
    """What ComfyUI raises is a BaseException, too."""


@pytest.mark.parametrize("tags", [True, False])
def test_cancel_and_resume(server, tmp_path, tags):
    server.tags = tags

    def stop(_, have, total):
        if have > total // 2:
            raise Canceled

    target, url = tmp_path / "model.bin", server.url + "/a/model.bin"
    with pytest.raises(Canceled):
        download.fetch(url, target, on_progress=stop)
    kept = (tmp_path / "model.bin.part").stat().st_size
    assert not target.exists() and len(BODY) // 2 < kept < len(BODY)
    download.fetch(url, target, sha256=DIGEST)
    assert target.read_bytes() == BODY and server.asked[-1][1] == f"bytes={kept}-" and bool(server.asked[-1][2]) == tags


def test_a_broken_connection_is_resumed(server, tmp_path):
    server.cut = 300_000
    with pytest.raises(InputError, match="300000 bytes, then the connection ended. Run it again"):
        download.fetch(server.url + "/a/model.bin", tmp_path / "model.bin")
    server.cut = None
    download.fetch(server.url + "/a/model.bin", tmp_path / "model.bin", sha256=DIGEST)
    assert server.asked[-1][1] == "bytes=300000-" and (tmp_path / "model.bin").read_bytes() == BODY


def test_a_file_that_changed_meanwhile_is_fetched_from_its_beginning(server, tmp_path):
    server.cut = 300_000
    with pytest.raises(InputError):
        download.fetch(server.url + "/a/model.bin", tmp_path / "model.bin")
    server.cut, server.files["/a/model.bin"] = None, BODY[::-1]
    download.fetch(server.url + "/a/model.bin", tmp_path / "model.bin")
    assert (tmp_path / "model.bin").read_bytes() == BODY[::-1]


def test_a_complete_part_needs_no_more_bytes_than_the_server_wants_to_send(server, tmp_path):
    """A part as long as the file: the server answers 416, and the file is fetched once more, whole."""
    server.cut = 300_000
    with pytest.raises(InputError):
        download.fetch(server.url + "/a/model.bin", tmp_path / "model.bin")
    server.cut = None
    (tmp_path / "model.bin.part").write_bytes(BODY)
    download.fetch(server.url + "/a/model.bin", tmp_path / "model.bin", sha256=DIGEST)
    assert (tmp_path / "model.bin").read_bytes() == BODY


def test_a_part_of_another_address_is_not_continued(server, tmp_path):
    (tmp_path / "model.bin.part").write_bytes(b"something else")
    download.fetch(server.url + "/a/model.bin", tmp_path / "model.bin", sha256=DIGEST)
    assert server.asked[-1][1] is None


@pytest.mark.parametrize("given", [dict(sha256="0" * 64), dict(size=len(BODY) + 1)], ids=["checksum", "size"])
def test_another_file_than_expected_is_not_kept(server, tmp_path, given):
    with pytest.raises(InputError, match="holds another file"):
        download.fetch(server.url + "/a/model.bin", tmp_path / "model.bin", **given)
    assert not (tmp_path / "model.bin").exists()


def test_the_hubs_own_checksum_is_used_where_the_table_has_none(server, tmp_path):
    server.moved["/hub"] = server.url + "/a/model.bin"
    server.linked = {"X-Linked-ETag": f'"{DIGEST}"', "X-Linked-Size": str(len(BODY))}
    assert "as its server states" in download.fetch(server.url + "/hub", tmp_path / "a.bin").note
    server.linked = {"X-Linked-ETag": '"' + "1" * 64 + '"'}
    with pytest.raises(InputError, match="SHA-256 1111"):
        download.fetch(server.url + "/hub", tmp_path / "b.bin")
    server.linked = {}
    assert "size only" in download.fetch(server.url + "/hub", tmp_path / "c.bin").note


def test_no_way_out_of_http(server, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("x")
    server.moved["/hub"] = secret.as_uri()
    with pytest.raises(InputError):
        download.fetch(server.url + "/hub", tmp_path / "a.bin")
    assert not (tmp_path / "a.bin").exists()


WRONG = {
    "a page": dict(said={"Content-Type": "text/html; charset=utf-8"}),
    "a page that says it is a file": dict(files={"/a/model.bin": b" \n<!DOCTYPE HTML><html>Sign in</html>"}),
    "a page of this network's door": dict(files={"/a/model.bin": b"<html><body>Welcome to our hotel</body></html>" * 99}),
    "packed": dict(said={"Content-Encoding": "gzip"}),
    "nothing": dict(status=204, said={"Content-Length": None}, files={"/a/model.bin": b""}),
    "a part that nobody asked for": dict(status=206),
    "no length and no end": dict(said={"Content-Length": None}, endless=True),
}


@pytest.mark.parametrize("what", WRONG)
def test_something_else_than_a_file_is_not_kept(server, tmp_path, what):
    for name, value in WRONG[what].items():
        setattr(server, name, value)
    with pytest.raises(InputError, match="nothing was kept") as error:
        download.fetch(server.url + "/a/model.bin", tmp_path / "model.bin", most=3 * len(BODY))
    assert list(tmp_path.iterdir()) == [] and error.value.remedy.endswith(".")
    assert server.sent < 1 << 28, "an endless body is left soon"


def test_lengths_have_to_agree(server, tmp_path):
    server.moved["/hub"], server.linked = server.url + "/a/model.bin", {"X-Linked-Size": str(len(BODY) + 1)}
    with pytest.raises(InputError, match=r"bytes \(the hub\).*bytes \(the server\)"):
        download.fetch(server.url + "/hub", tmp_path / "a.bin")
    with pytest.raises(InputError, match=r"7 bytes \(the table\)"):
        download.fetch(server.url + "/a/model.bin", tmp_path / "a.bin", size=7)
    server.said = {"Content-Length": None}
    with pytest.raises(InputError, match="got more"):
        download.fetch(server.url + "/a/model.bin", tmp_path / "a.bin", size=len(BODY) - 1)
    with pytest.raises(InputError, match="then the connection ended"):
        download.fetch(server.url + "/a/model.bin", tmp_path / "a.bin", size=len(BODY) + 1)


@pytest.mark.parametrize("span", [
    "bytes 0-1048575/1048576", "bytes 300001-1048575/1048576", "bytes 300000-400000/1048576", "", "x"])
def test_another_part_than_the_one_that_was_asked_for_is_refused(server, tmp_path, span):
    server.cut = 300_000
    with pytest.raises(InputError, match="Run it again"):
        download.fetch(server.url + "/a/model.bin", tmp_path / "model.bin")
    server.cut, server.said = None, {"Content-Range": span}
    with pytest.raises(InputError, match="expected bytes from 300000 on"):
        download.fetch(server.url + "/a/model.bin", tmp_path / "model.bin")
    server.said = {}
    download.fetch(server.url + "/a/model.bin", tmp_path / "model.bin", sha256=DIGEST)
    assert (tmp_path / "model.bin").read_bytes() == BODY, "and the next time it begins anew"


def test_no_way_into_this_network(server, tmp_path, monkeypatch):
    """A public hub may send to another public place, not to this machine or its neighbors."""
    public = {"127.0.0.1"}  # the test's server plays the hub
    real = download.is_local
    monkeypatch.setattr(download, "is_local", lambda host: host not in public and real(host))
    for address in ("http://localhost:1/x", "http://[::1]:1/x", "http://10.0.0.7/x", "http://192.168.1.1/x", "http://0.0.0.0/x",
                    "http://169.254.169.254/latest/meta-data", "http://[fe80::1]/x", "http://127.1:1/x"):
        server.moved["/hub"] = address
        with pytest.raises(InputError, match="a redirect into this network"):
            download.fetch(server.url + "/hub", tmp_path / "a.bin")
    server.moved["/hub"] = server.url + "/a/model.bin"
    assert download.fetch(server.url + "/hub", tmp_path / "a.bin").sha256 == DIGEST
    assert not any(real(host) for host in ("93.184.216.34", "2606:2800:220:1::1"))


def test_encryption_is_not_given_up():
    guard = download._Guard("https://93.184.216.34/x")
    with pytest.raises(InputError, match="a redirect to http:"):
        guard.redirect_request(None, None, 302, "", {}, "http://93.184.216.34/x")


def test_a_hub_that_answers_itself_is_believed(server, tmp_path):
    """Small files come without a redirect, their checksum beside them; a later server cannot change what the first said."""
    server.said = {"X-Linked-ETag": f'"{DIGEST}"', "X-Linked-Size": str(len(BODY))}
    assert "as its server states" in download.fetch(server.url + "/a/model.bin", tmp_path / "a.bin").note
    server.said = {"X-Linked-ETag": '"' + "1" * 64 + '"'}
    server.moved["/hub"], server.linked = server.url + "/a/model.bin", {"X-Linked-ETag": f'"{DIGEST}"'}
    assert "as its server states" in download.fetch(server.url + "/hub", tmp_path / "b.bin").note


@pytest.mark.parametrize("code", [401, 403])
def test_gated_files_name_the_page_and_the_place(server, tmp_path, code):
    server.refused["/a/model.bin"] = code
    with pytest.raises(InputError, match=f"HTTP {code}. Its page asks for an account") as error:
        download.fetch(server.url + "/a/model.bin", tmp_path / "model.bin")
    assert str(tmp_path / "model.bin") in str(error.value) and "/a/model.bin" in str(error.value)


def offline_url() -> str:
    """An address where nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}/"


def test_offline_says_which_file_goes_where(tmp_path):
    with pytest.raises(InputError, match="a connection to 127.0.0.1") as error:
        download.fetch(offline_url() + "x/model.bin", tmp_path / "model.bin")
    assert str(tmp_path / "model.bin") in error.value.remedy and "x/model.bin" in error.value.remedy


# ------------------------------------------------------------------------------------------ entries


def entry(*sources, files=(WeightFile("unet/model.safetensors", others=("unet/model.bin",)), WeightFile("config.json"))):
    return Weights("tiny", "text", tuple(files), sources, "MIT", "https://example.org", 0.001)


def test_mirrors_and_alternatives_are_tried_in_order(server, tmp_path):
    server.files = {"/b/unet/model.bin": b"\0weights", "/b/config.json": b"{}"}
    done = download.fetch_weights(entry(offline_url(), server.url + "/a/", server.url + "/b/"), tmp_path)
    assert [d.path.relative_to(tmp_path).as_posix() for d in done] == ["unet/model.bin", "config.json"]
    assert download.fetch_weights(entry(server.url + "/b/"), tmp_path) == [], "everything is there"


def test_an_interrupted_entry_continues_with_the_first_missing_file(server, tmp_path):
    server.files = {"/b/unet/model.safetensors": BODY}
    with pytest.raises(InputError, match="config.json of tiny, got no such file"):
        download.fetch_weights(entry(server.url + "/b/"), tmp_path)
    server.files["/b/config.json"] = b"{}"
    asked = len(server.asked)
    download.fetch_weights(entry(server.url + "/b/"), tmp_path)
    assert [path for path, *_ in server.asked[asked:]] == ["/b/config.json"]


def test_a_full_disk_is_noticed_before_the_first_byte(server, tmp_path):
    big = Weights("tiny", "text", (WeightFile("a"),), (server.url + "/b/",), "MIT", "", 1e9)
    with pytest.raises(InputError, match="GB of room"):
        download.fetch_weights(big, tmp_path)
    assert server.asked == []


# ------------------------------------------------------------------------------------------ the table


def test_the_table_is_complete_and_consistent():
    assert len(registry.BY_NAME) == len(registry.TABLE), "names are unique"
    for w in registry.TABLE:
        assert (w.kind in registry.KINDS) != bool(w.folder) and w.category
        assert w.license and w.license_url.startswith("https://") and w.gigabytes > 0
        assert w.sources and all(s.startswith("https://") and s.endswith("/") for s in w.sources)
        assert all(f.size is None or f.size > 0 for f in w.files)
        assert all(f.sha256 is None or (len(f.sha256) == 64 and int(f.sha256, 16)) for f in w.files)
        assert not any(p.startswith("/") or ".." in p for f in w.files for p in f.paths())
        assert w.single == (len(w.files) == 1 and w.files[0].path == w.name)
        known = sum(f.size or 0 for f in w.files)
        assert known <= w.gigabytes * 1.1e9 and (not known or known > w.gigabytes * 0.7e9)
    for wanted in ("zero123-xl", "zero123-105000", "zero123-165000", "stable-zero123", "stable-diffusion-v1-5",
                   "stable-diffusion-2-1-base", "stable-diffusion-xl-base-1.0", "105000.ckpt", "stable_zero123.ckpt"):
        assert wanted in registry.BY_NAME
    assert not any("/stabilityai/stable-diffusion-2" in s for w in registry.TABLE for s in w.sources), "withdrawn in 2025"
    with pytest.raises(InputError, match="zero123-xl"):
        registry.known("nothing")


def test_poses_follow_the_name():
    poses = {n: registry.pose_of(n) for n in ("stable_zero123.ckpt", "kxic/stable-zero123", "zero123-xl", "kxic/zero123-xl",
                                              "my-Stable-Zero", "105000.ckpt")}
    assert list(poses.values()) == ["stable", "stable", "zero123", "zero123", "stable", "zero123"]


def test_template_metadata_is_what_the_frontend_reads():
    """Its dialog wants a file-like widget value, an https address of the same format, and a model folder."""
    (model,) = registry.template_models("v1-5-pruned-emaonly.safetensors")
    assert model["name"] == "v1-5-pruned-emaonly.safetensors" and model["directory"] == "checkpoints"
    assert model["url"].startswith("https://huggingface.co/") and model["url"].endswith(".safetensors")
    assert model["hash_type"] == "SHA256" and len(model["hash"]) == 64
    assert registry.template_models("embedded") == []
    folder = {(m["directory"], m["name"]): m["url"] for m in registry.template_models("dpt-hybrid-midas")}
    assert set(folder) == {("lift123_depth/dpt-hybrid-midas", n) for n in (
        "config.json", "preprocessor_config.json", "model.safetensors")}
    assert all(url.startswith("https://") and url.endswith(name) for (_, name), url in folder.items())
    places = {m["directory"] for m in registry.template_models("StdGEN-multiview-1024")}
    assert {"diffusers/StdGEN-multiview-1024", "diffusers/StdGEN-multiview-1024/unet"} <= places
    (clip,) = registry.template_models("clip-vit-base-patch16.safetensors")
    assert clip["url"].endswith("open_clip_model.safetensors") and clip["directory"] == "lift123_clip"


def test_any_complete_set_of_weights_counts_as_present(tmp_path):
    weights = registry.known("zero123-xl")
    names = {f.path for f in weights.missing(tmp_path)}
    assert names == {f.path for f in weights.files}
    for f in weights.files:
        path = f.paths()[min(1, len(f.others))]  # the second mirror's layout and pickles
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    assert weights.missing(tmp_path) == []
    (tmp_path / "unet" / "diffusion_pytorch_model.bin").rename(tmp_path / "unet" / "diffusion_pytorch_model.fp16_ema.safetensors")
    assert weights.missing(tmp_path) == []
    (tmp_path / "unet" / "diffusion_pytorch_model.fp16_ema.safetensors").unlink()
    assert [f.path for f in weights.missing(tmp_path)] == ["unet/diffusion_pytorch_model.safetensors"]


@pytest.mark.parametrize("body", [
    b"", b"\xef\xbb\xbf<!doctype html>sorry", b"<!-- x --> <html>sorry", b"<?xml version='1.0'?><Error/>"])
def test_what_is_no_file_is_not_kept(server, tmp_path, body):
    server.files["/a/model.bin"] = body
    with pytest.raises(InputError, match="download"):
        download.fetch(server.url + "/a/model.bin", tmp_path / "model.bin")
    assert not list(tmp_path.iterdir())


def test_a_part_of_another_file_is_not_gone_on_with(server, tmp_path):
    """Without a tag and a checksum nothing tells one file from the next of the same name."""
    server.tags, server.cut = False, 1000
    with pytest.raises(InputError, match="then the connection ended"):
        download.fetch(server.url + "/a/model.bin", tmp_path / "model.bin")
    other = server.files["/a/model.bin"] = bytes(reversed(BODY))
    server.cut = None
    download.fetch(server.url + "/a/model.bin", tmp_path / "model.bin")
    assert (tmp_path / "model.bin").read_bytes() == other and server.asked[-1][1] is None


def test_a_redirect_to_no_address_is_refused(server, tmp_path):
    server.moved["/a/model.bin"] = "http://[::1"
    with pytest.raises(InputError, match="a redirect to no address"):
        download.fetch(server.url + "/a/model.bin", tmp_path / "model.bin")
