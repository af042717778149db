"""What is attacked: Gunicorn alone, and behind nginx or tollgate. Each on free ports, with all its files in one directory."""

import contextlib
import pathlib
import socket
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).parent
START_SECONDS = 20.0
WORKERS = 4

NGINX = """
daemon off;
pid {directory}/nginx.pid;
error_log {directory}/nginx.log;
worker_processes auto;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_body_temp_path {directory}/client_body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location / {{ proxy_pass http://127.0.0.1:{app}; }}
    }}
}}
"""

TOLLGATE = """
listen.address = "127.0.0.1:{port}"
log.access = "off"
[upstream]
address = "127.0.0.1:{app}"
max_in_flight = {workers}
queue = {{ size = 256, timeout = "30s", fair = {fair} }}
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def running(command, port, directory, name):
    """The process of a command, from when its port takes connections."""
    with open(directory / f"{name}.out", "ab") as out:
        process = subprocess.Popen(command, cwd=directory, stdout=out, stderr=out)
    try:
        deadline = time.monotonic() + START_SECONDS
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"{name} does not start:\n{(directory / f'{name}.out').read_text()}")
            time.sleep(0.05)
        yield
    finally:
        # An attacker may hold a worker for as long as it likes: nobody waits for a graceful end.
        process.terminate()
        try:
            process.wait(3)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextlib.contextmanager
def gunicorn(directory):
    port = free_port()
    command = [sys.executable, "-m", "gunicorn", "--bind", f"127.0.0.1:{port}", "--workers", str(WORKERS)]
    command += ["--timeout", "120", "--graceful-timeout", "1", "--chdir", str(HERE), "app:app"]
    with running(command, port, directory, "gunicorn"):
        yield port


@contextlib.contextmanager
def nginx(directory):
    with gunicorn(directory) as app:
        port, file = free_port(), directory / "nginx.conf"
        file.write_text(NGINX.format(directory=directory, port=port, app=app))
        # Not every user finds it: Debian has it in /usr/sbin.
        command = ["/usr/sbin/nginx", "-c", str(file), "-e", str(directory / "nginx.log")]
        with running(command, port, directory, "nginx"):
            yield port


@contextlib.contextmanager
def tollgate(binary, directory, fair=True):
    with gunicorn(directory) as app:
        port, file = free_port(), directory / "tollgate.toml"
        fair = "true" if fair else "false"
        file.write_text(TOLLGATE.format(port=port, app=app, workers=WORKERS, fair=fair))
        with running([str(binary), "run", "--config", str(file)], port, directory, "tollgate"):
            yield port
