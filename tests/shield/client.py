"""A client that measures: one connection, one request after the other."""

import socket
import time

# A request that takes longer has no answer as far as its user is concerned.
PATIENCE_SECONDS = 5.0
# So many of them in a row, and there is no point in waiting for more.
STARVED_AFTER = 3


class Starved(Exception):
    """Requests are not answered any more."""


class Client:
    def __init__(self, port, source=None):
        self.port, self.source, self.connection = port, source, None

    def get(self, path):
        """Asks, over the same connection if the server keeps it; returns how long it took."""
        begun = time.monotonic()
        try:
            if self.connection is None:
                source = (self.source, 0) if self.source else None
                self.connection = socket.create_connection(("127.0.0.1", self.port), PATIENCE_SECONDS, source)
                self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.connection.settimeout(PATIENCE_SECONDS)
            self.connection.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            status, stays = self.read()
        except OSError:
            self.close()
            raise
        took = time.monotonic() - begun
        if not stays:
            self.close()
        return status, took

    def read(self):
        data = b""
        while b"\r\n\r\n" not in data:
            data += self.more()
        head, _, body = data.partition(b"\r\n\r\n")
        status = int(head.split(b" ")[1])
        fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
        length = int(fields[b"content-length"])
        while len(body) < length:
            body += self.more()
        return status, fields.get(b"connection", b"") != b"close"

    def more(self):
        data = self.connection.recv(65536)
        if not data:
            raise ConnectionError("the server closed the connection")
        return data

    def close(self):
        if self.connection is not None:
            self.connection.close()
            self.connection = None


def measure(port, path, requests, source=None, seconds=0.0):
    """How long each request took, in seconds; so many requests, and for so long, at least. Raises Starved."""
    client, durations, failures, lost = Client(port, source), [], 0, 0
    end = time.monotonic() + seconds
    while len(durations) < requests or time.monotonic() < end:
        try:
            status, took = client.get(path)
        except OSError:
            status, took = None, PATIENCE_SECONDS
        if status == 200:
            failures = 0
        else:
            # Whoever is refused at once is as badly off as who waits in vain.
            failures, lost, took = failures + 1, lost + 1, max(took, PATIENCE_SECONDS)
            if failures == STARVED_AFTER or lost > requests // 50:
                raise Starved
        durations.append(took)
    client.close()
    return durations


def quantile(values, share):
    values = sorted(values)
    return values[min(len(values) - 1, int(len(values) * share))]
