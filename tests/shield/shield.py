"""Slow clients against Gunicorn alone, behind nginx, and behind tollgate; and one caller's flood against another.

Fails if an attack makes a normal client of tollgate wait more than 1.5 times as long as without one, p99 against p99,
or if a caller that asks for one thing at a time waits for two service times while another one floods.
"""

import argparse
import contextlib
import pathlib
import statistics
import subprocess
import sys
import tempfile
import threading

from client import Client, Starved, measure, quantile
from servers import HERE, gunicorn, nginx, tollgate

ATTACKS = {"slow head": "head", "slow body": "body", "slow reader": "reader"}
# A server that cuts slow clients off does so after some seconds, and they come again.
LEAST_SECONDS = 10.0
WARM_UP_REQUESTS = 50
MOST_RATIO = 1.5
MOST_WAIT = 2.0
SERVICE_SECONDS = 0.05
FLOOD_CONNECTIONS = 64


@contextlib.contextmanager
def attack(port, kind, connections):
    command = [sys.executable, str(HERE / "attack.py"), str(port), kind, str(connections)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            process.stdout.readline()
            yield
        finally:
            process.kill()


def told(durations):
    return [quantile(durations, share) * 1e3 for share in (0.5, 0.99)]


def under_attack(server, options):
    """p50 and p99 in milliseconds by situation, the median over all rounds; None where the client starved."""
    found = {}
    for _ in range(options.rounds):
        for name, kind in {"no attack": None, **ATTACKS}.items():
            if name in found and found[name] is None:
                continue
            # Each attack meets a server that nobody has worn out before.
            with tempfile.TemporaryDirectory() as directory, server(pathlib.Path(directory)) as port:
                measure(port, "/quick", WARM_UP_REQUESTS)
                held = attack(port, kind, options.connections) if kind else contextlib.nullcontext()
                with held:
                    try:
                        figures = told(measure(port, "/quick", options.requests, seconds=LEAST_SECONDS))
                    except Starved:
                        found[name] = None
                        continue
            found.setdefault(name, []).append(figures)
    middle = lambda rounds: [statistics.median(part) for part in zip(*rounds)]
    return {name: rounds and middle(rounds) for name, rounds in found.items()}


def print_attacks(servers, options):
    """A row for each server and situation; returns what went wrong."""
    wrong = []
    print(f"{'':18}{'':14}{'p50 ms':>9}{'p99 ms':>9}{'p99 ratio':>11}")
    for server, start in servers.items():
        figures = under_attack(start, options)
        for situation, row in figures.items():
            base = figures["no attack"]
            if row is None:
                print(f"{server:18}{situation:14}{'starved':>29}", flush=True)
            else:
                ratio = row[1] / base[1] if base else float("nan")
                print(f"{server:18}{situation:14}{row[0]:9.1f}{row[1]:9.1f}{ratio:11.2f}", flush=True)
            if server == "tollgate" and (row is None or base is None or row[1] > MOST_RATIO * base[1]):
                wrong.append(f"{situation}: a normal client waits too long")
    return wrong


def flood(port, stop):
    client = Client(port, "127.0.0.2")
    while not stop.is_set():
        with contextlib.suppress(OSError):
            client.get("/work")
    client.close()


def waits(port, requests):
    """How long a caller waits that asks for one thing at a time while another floods, in service times."""
    stop = threading.Event()
    threads = [threading.Thread(target=flood, args=(port, stop)) for _ in range(FLOOD_CONNECTIONS)]
    for thread in threads:
        thread.start()
    try:
        measure(port, "/work", 5, "127.0.0.3")
        durations = measure(port, "/work", requests, "127.0.0.3")
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    # The server's own work is within the wait: nobody can tell it apart from outside.
    return [max(0.0, took - SERVICE_SECONDS) / SERVICE_SECONDS for took in durations]


def print_fairness(binary, options):
    wrong = []
    print(f"\n{FLOOD_CONNECTIONS} connections of one caller against 1 of another: the wait of the other, in service times")
    print(f"{'':18}{'p50':>9}{'p99':>9}")
    for name, fair in {"in turn": True, "in order": False}.items():
        with tempfile.TemporaryDirectory() as directory, tollgate(binary, pathlib.Path(directory), fair) as port:
            try:
                found = waits(port, options.fair_requests)
            except Starved:
                print(f"{name:18}{'starved':>18}", flush=True)
                if fair:
                    wrong.append("in turn: the single caller starves")
                continue
        p50, p99 = quantile(found, 0.5), quantile(found, 0.99)
        print(f"{name:18}{p50:9.2f}{p99:9.2f}", flush=True)
        if fair and p99 >= MOST_WAIT:
            wrong.append("in turn: the single caller waits too long")
        if not fair and p99 < MOST_WAIT:
            wrong.append("in order: the single caller does not wait, so this contest shows nothing")
    return wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tollgate", type=pathlib.Path, nargs="?", help="the binary; without it only the others are attacked")
    parser.add_argument("--connections", type=int, default=200, help="of an attack (200)")
    parser.add_argument("--requests", type=int, default=1000, help="of the normal client in each situation (1000)")
    parser.add_argument("--fair-requests", type=int, default=300, help="of the single caller (300)")
    parser.add_argument("--rounds", type=int, default=3, help="of which the median is told (3)")
    parser.add_argument("--only", choices=["gunicorn", "nginx", "tollgate", "fair"], help="one part alone")
    options = parser.parse_args()
    binary = options.tollgate and options.tollgate.resolve()
    servers = {"Gunicorn alone": gunicorn, "nginx": nginx}
    if binary:
        servers["tollgate"] = lambda directory: tollgate(binary, directory)
    if options.only:
        servers = {name: start for name, start in servers.items() if options.only == name.split()[0].lower()}
    wrong = print_attacks(servers, options) if servers else []
    if binary and options.only in (None, "fair"):
        wrong += print_fairness(binary, options)
    for what in wrong:
        print(f"not as promised: {what}", file=sys.stderr)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
