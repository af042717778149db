"""Gunicorn with the demo app, and tollgate before it: on free ports, with all files in one directory."""

import contextlib
import os
import pathlib
import random
import signal
import socket
import subprocess
import sys
import time

import clients

APP = pathlib.Path(__file__).parent.parent / "app"
START_SECONDS = 30.0
END_SECONDS = 60.0

CONFIGURATION = """
[listen]
address = "127.0.0.1:{port}"
h2c = true
header_timeout = "2s"
drain_timeout = "20s"

[listen.tls]
address = "127.0.0.1:{tls_port}"
certificate = "{directory}/certificate.pem"
private_key = "{directory}/key.pem"

[upstream]
address = "127.0.0.1:{app}"
max_in_flight = 8
queue = {{ size = 512, timeout = "20s" }}

[store]
snapshot = "{directory}/limits.snapshot"

[limits.all]
key = "header:X-API-Key"
rate = "{rate}/second"

[limits.tight]
key = "header:X-API-Key"
rate = "5/second"

[[routes]]
name = "limited"
match = "/"
limits = ["tight"]

[[routes]]
name = "rest"
match = "/*"
limits = ["all"]

[log]
access = "{directory}/records.jsonl"

[admin]
address = "unix:{directory}/admin.sock"
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def memory_kib(pid):
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0])


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def wait_for(condition, what, seconds=START_SECONDS):
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit(f"waited in vain: {what}")
        time.sleep(0.02)


def answers(port):
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


class Site:
    def __init__(self, binary, directory):
        self.binary, self.directory = binary, directory
        self.port, self.tls_port, self.app_port = free_port(), free_port(), free_port()
        self.file, self.records = directory / "tollgate.toml", directory / "records.jsonl"
        self.events = directory / "events"
        self.app = self.tollgate = None
        self.codes = []

    def write(self):
        """Another rate each time: a reload that changes something."""
        names = {"port": self.port, "tls_port": self.tls_port, "app": self.app_port, "directory": self.directory}
        new = self.directory / "tollgate.toml.new"
        new.write_text(CONFIGURATION.format(rate=random.randrange(100_000, 200_000), **names))
        new.replace(self.file)

    def start_app(self):
        command = [sys.executable, "-m", "gunicorn", "--bind", f"127.0.0.1:{self.app_port}", "--workers", "2"]
        command += ["--worker-class", "gthread", "--threads", "4", "--chdir", str(APP), "demo:app"]
        self.app = self.spawn(command, "gunicorn")
        wait_for(lambda: answers(self.app_port), "gunicorn starts")

    def start_tollgate(self, *options):
        command = [str(self.binary), "run", "--config", str(self.file), "--workers", "2", *options]
        ready = self.said().count('"ready"')
        process = self.spawn(command, "events")
        wait_for(lambda: process.poll() is not None or self.said().count('"ready"') > ready, "tollgate is ready")
        if process.poll() is not None:
            raise SystemExit(f"tollgate does not start:\n{self.said()}")
        return process

    def spawn(self, command, name):
        with open(self.directory / name, "ab") as out:
            return subprocess.Popen(command, cwd=self.directory, stdout=out, stderr=out)

    def said(self):
        return self.events.read_text() if self.events.exists() else ""

    def reload(self):
        self.write()
        self.tollgate.send_signal(signal.SIGHUP)

    def replace(self):
        old = self.tollgate
        self.tollgate = self.start_tollgate("--replaces", str(old.pid))
        self.codes.append(old.wait(END_SECONDS))

    def kill_a_worker(self):
        pids = pathlib.Path(f"/proc/{self.app.pid}/task/{self.app.pid}/children").read_text().split()
        if not pids:
            return 0
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(random.choice(pids)), signal.SIGKILL)
        return 1

    def client_tls(self):
        return clients.context(self.directory / "certificate.pem")

    def end(self, problems):
        self.tollgate.terminate()
        self.codes.append(self.tollgate.wait(END_SECONDS))
        if any(self.codes):
            problems.append(f"exit codes {self.codes}")


@contextlib.contextmanager
def site(binary, directory):
    made = Site(binary, directory)
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30"]
    command += ["-subj", "/CN=soak", "-addext", "subjectAltName=DNS:soak", "-keyout", str(directory / "key.pem")]
    subprocess.run(command + ["-out", str(directory / "certificate.pem")], check=True, capture_output=True, text=True)
    (directory / "key.pem").chmod(0o600)
    made.write()
    try:
        made.start_app()
        made.tollgate = made.start_tollgate()
        yield made
    finally:
        for process in (made.tollgate, made.app):
            if process is not None and process.poll() is None:
                process.kill()
                process.wait()
