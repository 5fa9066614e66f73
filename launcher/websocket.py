"""A small WebSocket client (RFC 6455): text and binary messages, fragments, ping and pong.  No extensions."""

import base64
import hashlib
import os
import socket
import struct

_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, section 1.3
_CONTINUATION, _TEXT, _BINARY, _CLOSE, _PING, _PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA


class WebSocketClosed(ConnectionError):
    """The other side closed the connection."""


class WebSocket:
    """A connected client.  ``receive`` returns str for text, bytes for binary messages.

    Raises ConnectionError when the handshake is refused and TimeoutError when nothing arrives in time; after a
    TimeoutError the connection is still usable (bytes of an unfinished frame are kept).
    """

    def __init__(self, host: str, port: int, path: str, timeout: float = 10.0):
        self._socket = socket.create_connection((host, port), timeout=timeout)
        self._buffer = bytearray()
        self._parts = bytearray()
        self._kind = _TEXT
        try:
            self._handshake(host, port, path)
        except BaseException:
            self._socket.close()
            raise

    def _handshake(self, host: str, port: int, path: str) -> None:
        key = base64.b64encode(os.urandom(16)).decode()
        self._socket.sendall(
            f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        while b"\r\n\r\n" not in self._buffer:
            self._fill()
        head, _, rest = bytes(self._buffer).partition(b"\r\n\r\n")
        self._buffer = bytearray(rest)
        lines = head.decode("latin-1").split("\r\n")
        headers = {k.strip().lower(): v.strip() for k, _, v in (line.partition(":") for line in lines[1:])}
        expected = base64.b64encode(hashlib.sha1((key + _GUID).encode()).digest()).decode()
        if " 101 " not in lines[0] + " " or headers.get("sec-websocket-accept") != expected:
            raise ConnectionError(f"no WebSocket at {host}:{port}{path}: {lines[0]}")

    def _fill(self) -> None:
        chunk = self._socket.recv(65536)
        if not chunk:
            raise WebSocketClosed("connection closed by the server")
        self._buffer += chunk

    def _frame(self) -> tuple:
        """(final, opcode, payload) of the next frame.  Consumes the buffer only when the frame is whole."""
        buffer = self._buffer
        while True:
            if len(buffer) >= 2:
                size, start = buffer[1] & 0x7F, 2
                if size == 126:
                    size, start = (struct.unpack_from(">H", buffer, 2)[0] if len(buffer) >= 4 else None), 4
                elif size == 127:
                    size, start = (struct.unpack_from(">Q", buffer, 2)[0] if len(buffer) >= 10 else None), 10
                if size is not None and len(buffer) >= start + size:
                    first, payload = buffer[0], bytes(buffer[start : start + size])
                    del buffer[: start + size]
                    return bool(first & 0x80), first & 0x0F, payload
            self._fill()

    def _write(self, opcode: int, payload: bytes) -> None:
        mask = os.urandom(4)  # clients must mask (section 5.3)
        size = len(payload)
        head = bytes([0x80 | opcode])
        if size < 126:
            head += bytes([0x80 | size])
        else:
            head += bytes([0x80 | 126]) + struct.pack(">H", size) if size < 65536 else b"\xff" + struct.pack(">Q", size)
        self._socket.sendall(head + mask + bytes(b ^ mask[i & 3] for i, b in enumerate(payload)))

    def send(self, message) -> None:
        """Sends a text (str) or binary (bytes) message."""
        text = isinstance(message, str)
        self._write(_TEXT if text else _BINARY, message.encode() if text else bytes(message))

    def receive(self, timeout=None):
        """The next message; ``timeout`` in seconds (None waits for ever)."""
        self._socket.settimeout(timeout)
        while True:
            final, opcode, payload = self._frame()
            if opcode == _PING:
                self._write(_PONG, payload)
            elif opcode == _CLOSE:
                raise WebSocketClosed("connection closed by the server")
            elif opcode in (_TEXT, _BINARY, _CONTINUATION):
                if opcode != _CONTINUATION:
                    self._kind = opcode
                self._parts += payload
                if final:
                    message, self._parts = bytes(self._parts), bytearray()
                    return message.decode("utf-8", "replace") if self._kind == _TEXT else message

    def close(self) -> None:
        """Says goodbye and closes; never raises."""
        try:
            self._write(_CLOSE, struct.pack(">H", 1000))
        except OSError:
            pass
        self._socket.close()
