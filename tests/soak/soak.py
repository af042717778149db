"""Lets tollgate run for minutes under everything at once, and looks whether it is as it was before.

A real Flask app under Gunicorn, clients over HTTP/1.1, HTTP/2 and TLS, clients that misbehave. Meanwhile the configuration is
read again every few seconds, tollgate is replaced by a new process now and then, and workers of the app are killed. At the
end memory and descriptors must be flat, every record whole, and no answer unexplained.
"""

import argparse
import json
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time

import clients
import servers

RELOAD_EVERY = 3.0
REPLACE_EVERY = 60.0
KILL_EVERY = 7.0
SAMPLE_EVERY = 1.0
# A process is not looked at before it has warmed up, and its buffers are filled.
WARM_SECONDS = 15.0
# What memory may grow by after that: pages that the allocator has and gives back late.
MEMORY_SHARE, MEMORY_KIB = 1.25, 8 * 1024
# Descriptors at rest, beyond those of a process that has just begun: idle connections to the app end by themselves.
DESCRIPTORS = 8
REST_SECONDS = 5.0


class Disturber:
    """What happens to tollgate and its app while they serve."""

    def __init__(self, site):
        self.site, self.samples, self.done = site, [], {"reloads": 0, "replaced": 0, "killed": 0}

    def run(self, until):
        now = time.monotonic()
        due = {"sample": now, "reload": now + 1, "replace": now + REPLACE_EVERY, "kill": now + 2}
        while time.monotonic() < until:
            time.sleep(0.05)
            now = time.monotonic()
            if now >= due["sample"]:
                due["sample"] = now + SAMPLE_EVERY
                self.sample(now)
            if now >= due["reload"]:
                due["reload"] = now + RELOAD_EVERY
                self.site.reload()
                self.done["reloads"] += 1
            if now >= due["kill"]:
                due["kill"] = now + KILL_EVERY
                self.done["killed"] += self.site.kill_a_worker()
            if now >= due["replace"] and until - now > WARM_SECONDS * 2:
                due["replace"] = now + REPLACE_EVERY
                self.site.replace()
                self.done["replaced"] += 1

    def sample(self, now):
        process = self.site.tollgate
        if process.poll() is not None:
            raise SystemExit(f"tollgate ended with {process.returncode}:\n{self.site.said()}")
        memory, descriptors = servers.memory_kib(process.pid), servers.descriptors(process.pid)
        self.samples.append((process.pid, now, memory, descriptors))

    def growth(self):
        """For each process memory when it was warm and at its end, KiB."""
        grown = []
        for pid in dict.fromkeys(pid for pid, *_ in self.samples):
            of_process = [(now, memory) for sampled, now, memory, _ in self.samples if sampled == pid]
            warm = [memory for now, memory in of_process if now >= of_process[0][0] + WARM_SECONDS]
            if len(warm) >= 10:
                tenth = max(len(warm) // 5, 2)
                grown.append((max(warm[:tenth]), max(warm[-tenth:])))
        return grown


def records_of(path):
    """Whole records, and lines that are none."""
    whole, broken = [], []
    with open(path, "rb") as lines:
        for line in lines:
            try:
                record = json.loads(line)
            except ValueError:
                record = None
            if isinstance(record, dict) and "outcome" in record:
                whole.append(record)
            else:
                broken.append(line)
    return whole, broken


def soak(binary, minutes, directory):
    problems = []
    with servers.site(binary, directory) as site:
        time.sleep(1)
        at_rest = servers.descriptors(site.tollgate.pid)
        stop = threading.Event()
        tally = clients.Tally()
        threads = clients.start(site, tally, stop)
        disturber = Disturber(site)
        disturber.run(time.monotonic() + minutes * 60)
        stop.set()
        for thread in threads:
            thread.join(30)
            if thread.is_alive():
                problems.append(f"{thread.name} still waits for an answer")
        time.sleep(REST_SECONDS)
        descriptors, memory = servers.descriptors(site.tollgate.pid), servers.memory_kib(site.tollgate.pid)
        site.end(problems)
        events = site.said()
    print(f"{disturber.done['reloads']} reloads, {disturber.done['replaced']} replacements,",
          f"{disturber.done['killed']} killed workers of the app")
    print(tally.table())
    for warm, end in disturber.growth():
        print(f"memory: {warm} KiB warm, {end} KiB at the end")
        if end > warm * MEMORY_SHARE + MEMORY_KIB:
            problems.append(f"memory grew from {warm} to {end} KiB")
    print(f"at rest: {descriptors} descriptors ({at_rest} at first), {memory} KiB")
    if descriptors > at_rest + DESCRIPTORS:
        problems.append(f"{descriptors} descriptors stay open, {at_rest} at first")
    whole, broken = records_of(site.records)
    answered = tally.answered()
    print(f"{len(whole)} records of {answered} answers")
    if broken:
        problems.append(f"{len(broken)} lines are no records, the first: {broken[0][:200]}")
    if len(whole) < answered:
        problems.append(f"{len(whole)} records of {answered} answers")
    if "panicked" in events:
        problems.append(f"something panicked:\n{events}")
    if disturber.done["reloads"] and "reload failed" in events:
        problems.append("a reload failed")
    return problems + tally.problems()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("binary", type=pathlib.Path)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 31))
    asked = parser.parse_args()
    random.seed(asked.seed)
    print(f"seed {asked.seed}", flush=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with tempfile.TemporaryDirectory() as directory:
        try:
            problems = soak(asked.binary.resolve(), asked.minutes, pathlib.Path(directory))
        except subprocess.CalledProcessError as error:
            problems = [f"{error}\n{error.stderr}"]
    for problem in problems:
        print(f"problem: {problem}", file=sys.stderr)
    print("soak: " + ("flat and whole" if not problems else f"{len(problems)} problems"))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
