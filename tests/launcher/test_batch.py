"""``launch.py batch``: finished work is remembered, servers that end are replaced, deadly pictures set aside."""

from lift123.launcher import batch, jobs, settings

PROMPT = {"1": {"class_type": "LoadImage", "inputs": {"image": "sample.png"}}}

def test_batch_remembers_finished_work_until_its_files_go(tmp_path):
    picture, result = tmp_path / "a.png", tmp_path / "a.glb"
    picture.write_bytes(b"pixels")
    result.write_bytes(b"glTF")
    key = batch.key_of(picture, PROMPT, "a cat")
    assert key != batch.key_of(picture, PROMPT, "a dog") != batch.key_of(picture, {}, "a dog")
    batch.Ledger(tmp_path / "batch.json").add(key, [result])
    again = batch.Ledger(tmp_path / "batch.json")
    assert again.done(key) and not again.done("other")
    result.unlink()
    assert not again.done(key)


class DyingServer:
    """Ends in every picture of ``deadly``, fails in those of ``bad``; counts its starts."""

    def __init__(self, deadly, bad, log):
        self.deadly, self.bad, self.log, self.up, self.client = deadly, bad, log, True, self

    def __enter__(self):
        self.log.append("start")
        return self

    def __exit__(self, *_):
        self.up = False

    def alive(self):
        return self.up

    def get(self, path, timeout=0):
        return {}

    def upload(self, picture, folder):
        return picture.name


def test_a_batch_outlives_its_servers(tmp_path, monkeypatch, capsys):
    """a, b fails, c ends the server: c is tried again at the end, then set aside; --retry begins anew."""
    pictures = [tmp_path / f"{name}.png" for name in "abcd"]
    for picture in pictures:
        picture.write_bytes(picture.name.encode())
    log, deadly, bad, paths = [], {"c.png"}, {"b.png"}, settings.Paths(tmp_path / "repo", tmp_path / "home")
    paths.home.mkdir()

    def run(server, prompt, line, alive):
        name = prompt["1"]["inputs"]["image"]
        log.append(name)
        if name in deadly:
            server.up = False
            raise jobs.PromptFailed("ComfyUI closed the connection")
        if name in bad:
            raise jobs.PromptFailed("no object")
        (tmp_path / f"{name}.glb").touch()
        return name

    monkeypatch.setattr(jobs, "run", run)
    monkeypatch.setattr(jobs, "saved_files", lambda entry, output: [tmp_path / f"{entry}.glb"])

    def command(retry=False):
        log.clear()
        return batch.run_batch(paths, pictures, {"1": {"class_type": "LoadImage", "inputs": {}}}, "",
                               lambda: DyingServer(deadly, bad, log), lambda files: None, retry)

    assert command() == 2 and log == ["start", "a.png", "b.png", "c.png", "start", "d.png", "c.png"]
    told = capsys.readouterr()
    assert "b.png: no object" in told.err and told.err.count("c.png: set aside") == 1 and "2 done, 2 failed" in told.out
    assert "model 1 of 4: a.png" in told.out and "model 3 of 4: c.png" in told.out
    assert command() == 2 and log == ["start", "b.png"], "neither the done ones nor the deadly one"
    bad.clear()
    deadly.clear()
    assert command(retry=True) == 0 and log == ["start", "b.png", "c.png"]
    assert command() == 0 and log == []
