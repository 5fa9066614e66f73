"""A local server that a test can make say and send anything."""

import contextlib
import hashlib
import http.server
import threading

BODY = bytes(range(256)) * 4096  # 1 MiB
DIGEST = hashlib.sha256(BODY).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves ``server.files``; understands Range and If-Range; ``server.cut``: bytes after which it hangs up."""

    def do_GET(self):  # noqa: N802 (the name http.server wants)
        server = self.server
        server.asked.append((self.path, self.headers.get("Range"), self.headers.get("If-Range")))
        if self.path in server.moved:
            self.send_response(302)
            self.send_header("Location", server.moved[self.path])
            for name, value in server.linked.items():
                self.send_header(name, value)
            return self.end_headers()
        if self.path in server.refused:
            return self.send_error(server.refused[self.path])
        if self.path not in server.files:
            return self.send_error(404)
        body, start = server.files[self.path], 0
        tag = f'"{hashlib.md5(body).hexdigest()}"'
        wanted = self.headers.get("Range")
        if wanted and self.headers.get("If-Range") in (None, tag):
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            if start >= len(body):
                return self.send_error(416)
        self.send_response(server.status or (206 if start else 200))
        said = {"Content-Length": str(len(body) - start)}
        if start:
            said["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
        for name, value in {**said, **server.said}.items():
            if value is not None:
                self.send_header(name, value)
        if server.tags:
            self.send_header("ETag", tag)
        self.end_headers()
        rest = body[start:]
        self.wfile.write(rest if server.cut is None else rest[: server.cut])
        while server.endless and server.sent < 1 << 30:
            server.sent += self.wfile.write(BODY)

    def log_message(self, *_):
        """Silence."""


@contextlib.contextmanager
def serving():
    """A running server."""
    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    running.files, running.moved, running.linked, running.refused = {"/a/model.bin": BODY}, {}, {}, {}
    running.asked, running.cut, running.tags = [], None, True
    running.said, running.status, running.endless, running.sent = {}, None, False, 0
    running.url = f"http://127.0.0.1:{running.server_address[1]}"
    thread = threading.Thread(target=running.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield running
    running.shutdown()
    running.server_close()
