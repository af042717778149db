"""Clients of the soak: those that behave, whose answers are looked at, and those that do not."""

import collections
import random
import socket
import ssl
import subprocess
import threading
import time

PATIENCE_SECONDS = 40.0
# Answers that need no explanation.
EXPECTED = {200, 429}
# While workers of the app die and come back: a request lost with its worker, and none of them there for a while.
EXPLAINED = {502, 503, 504}
# Of all requests, so many may be lost with the app's workers.
LOST_SHARE = 0.02


class Tally:
    """What came of requests, by kind of client."""

    def __init__(self):
        self.counts, self.odd, self.lock = collections.Counter(), [], threading.Lock()

    def note(self, kind, what):
        with self.lock:
            self.counts[kind, what] += 1
            if isinstance(what, int) and what not in EXPECTED | EXPLAINED:
                self.odd.append((kind, what))

    def answered(self):
        """Whole answers of clients that behave."""
        return sum(count for (_, what), count in self.counts.items() if isinstance(what, int))

    def problems(self):
        problems = [f"{kind} got {what}" for kind, what in self.odd[:10]]
        total = sum(self.counts.values())
        lost = sum(count for (_, what), count in self.counts.items() if what not in EXPECTED)
        if lost > total * LOST_SHARE:
            problems.append(f"{lost} of {total} requests were lost")
        return problems

    def table(self):
        rows = sorted(self.counts.items(), key=lambda row: (row[0][0], str(row[0][1])))
        return "\n".join(f"  {kind:10} {what!s:28} {count:8}" for (kind, what), count in rows)


class Http1:
    """One connection at a time, with or without TLS."""

    def __init__(self, port, tls):
        self.port, self.tls, self.connection = port, tls, None

    def ask(self, method, path, body=b""):
        """The status of the answer, or the name of what went wrong. A kept connection may be gone: then once more."""
        for fresh in (False, True):
            reused = self.connection is not None
            try:
                return self.exchange(method, path, body)
            except ConnectionResetError:
                self.close()
                if not reused or fresh:
                    return "reset"
            except EOFError:
                self.close()
                if not reused or fresh:
                    return "closed"
            except Truncated:
                self.close()
                return "cut"
            except (TimeoutError, socket.timeout):
                self.close()
                return "no answer"
            except OSError as error:
                self.close()
                if not reused or fresh:
                    return type(error).__name__
        return "no answer"

    def exchange(self, method, path, body):
        if self.connection is None:
            plain = socket.create_connection(("127.0.0.1", self.port), PATIENCE_SECONDS)
            self.connection = self.tls.wrap_socket(plain) if self.tls else plain
        key = random.randrange(50)
        head = f"{method} {path} HTTP/1.1\r\nHost: soak\r\nX-API-Key: key-{key}\r\nContent-Length: {len(body)}\r\n\r\n"
        self.connection.sendall(head.encode() + body)
        answer = self.more(b"", EOFError)
        while b"\r\n\r\n" not in answer:
            answer = self.more(answer, Truncated)
        head, _, rest = answer.partition(b"\r\n\r\n")
        fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
        if fields.get(b"transfer-encoding") == b"chunked":
            # The last chunk is the last thing on the connection until it is used again.
            while not rest.endswith(b"0\r\n\r\n"):
                rest = self.more(rest[-64:], Truncated)
        else:
            left = int(fields.get(b"content-length", b"0")) - len(rest)
            while left > 0:
                left -= len(self.more(b"", Truncated))
        if fields.get(b"connection") == b"close":
            self.close()
        return int(head.split(b" ")[1])

    def more(self, before, error):
        data = self.connection.recv(65536)
        if not data:
            raise error()
        return before + data

    def close(self):
        if self.connection is not None:
            self.connection.close()
            self.connection = None


class Truncated(Exception):
    """The connection ended within an answer."""


def behaving(site, tally, stop, tls):
    kind = "tls" if tls else "http/1.1"
    client = Http1(site.tls_port if tls else site.port, site.client_tls() if tls else None)
    while not stop.is_set():
        kept = random.random() < 0.9
        match random.randrange(10):
            case 0:
                what = client.ask("POST", "/upload", random.randbytes(random.randrange(300_000)))
            case 1:
                what = client.ask("GET", f"/download?bytes={random.randrange(1_000_000)}")
            case 2:
                what = client.ask("GET", "/slow?seconds=0.05")
            case 3:
                what = client.ask("GET", "/")
            case _:
                what = client.ask("GET", "/json")
        tally.note(kind, what)
        if what in (502, 503, 504):
            time.sleep(0.05)
        if not kept:
            client.close()
    client.close()


def multiplexing(site, tally, stop):
    """h2load, in short runs: it ends with its connection when tollgate is replaced."""
    while not stop.is_set():
        for url in (f"http://127.0.0.1:{site.port}/json", f"https://127.0.0.1:{site.tls_port}/json"):
            command = ["h2load", "--requests=300", "--clients=2", "--max-concurrent-streams=20", url]
            said = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False).stdout
            codes = next((line for line in said.splitlines() if line.startswith("status codes")), "")
            for count, code in (part.split()[:2] for part in codes.removeprefix("status codes: ").split(", ") if part):
                status = int(code[0]) * 100 + (2 if code[0] == "5" else 0)
                for _ in range(int(count)):
                    tally.note("http/2", status)


def misbehaving(site, stop):
    """Nobody looks at these answers; each kind is as rude as it can be."""
    while not stop.is_set():
        try:
            connection = socket.create_connection(("127.0.0.1", random.choice([site.port, site.tls_port])), 5)
            connection.settimeout(1)
            match random.randrange(7):
                case 0:
                    connection.sendall(random.randbytes(2_000))
                case 1:
                    connection.sendall(b"GET /json HTTP/1.1\r\nHost: a\r\nX-Slow: ")
                    time.sleep(0.5)
                case 2:
                    connection.sendall(b"POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\nhalf")
                case 3:
                    connection.sendall(b"GET /download?bytes=3000000 HTTP/1.1\r\nHost: a\r\n\r\n")
                    connection.recv(100)
                case 4:
                    connection.sendall(b"GET /json HTTP/1.1\r\nHost: a\r\n\r\n" * 50)
                case 5:
                    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0"
                    connection.sendall(preface + b"\0\0\x08\6\0\0\0\0\0abcdefgh" * 3_000)
                case _:
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            connection.close()
        except OSError:
            pass
        time.sleep(0.02)


def start(site, tally, stop):
    wanted = [("http/1.1", behaving, (site, tally, stop, False))] * 4
    wanted += [("tls", behaving, (site, tally, stop, True))] * 2
    wanted += [("http/2", multiplexing, (site, tally, stop)), ("rude", misbehaving, (site, stop))]
    threads = [threading.Thread(name=name, target=run, args=arguments) for name, run, arguments in wanted]
    for thread in threads:
        thread.daemon = True
        thread.start()
    return threads


def context(certificate):
    tls = ssl.create_default_context(cafile=certificate)
    tls.check_hostname = False
    return tls
