"""What a run starts, asks and ends: processes by their number, free ports, HTTP with the standard library."""

import contextlib
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request

READY_S = 30
STOP_S = 10


class Problem(Exception):
    """What went wrong and what to do, in one sentence."""


class Processes:
    """What this run started; each leads a group of its own, and is ended by that number."""

    def __init__(self, folder):
        self.folder = folder
        self.running = {}

    def start(self, name, command):
        log = self.folder / f"{name}.log"
        with open(log, "ab") as out:
            child = subprocess.Popen(
                [str(word) for word in command], stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
            )
        self.running[name] = child
        return child

    def log(self, name):
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def check(self, name):
        child = self.running[name]
        if child.poll() is not None:
            raise Problem(f"{name} ended with {child.returncode}: {self.log(name)[-800:]}")

    def cpu_s(self, name):
        """Processor seconds used so far."""
        with contextlib.suppress(OSError, KeyError, ValueError):
            fields = open(f"/proc/{self.running[name].pid}/stat").read().rsplit(")", 1)[1].split()
            return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        return 0.0

    def stop(self, name):
        child = self.running.pop(name, None)
        if child is None:
            return
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                (os.killpg if number == signal.SIGKILL else os.kill)(child.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(STOP_S)
                break
        # What it started and left behind, if anything, is still in its group.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)

    def stop_all(self):
        for name in reversed(list(self.running)):
            self.stop(name)


def free_ports(count):
    """Ports that follow each other, free on loopback a moment ago."""
    for _ in range(200):
        with contextlib.ExitStack() as held:
            first = held.enter_context(socket.socket())
            first.bind(("127.0.0.1", 0))
            base = first.getsockname()[1]
            try:
                for port in range(base + 1, base + count):
                    held.enter_context(socket.socket()).bind(("127.0.0.1", port))
            except (OSError, OverflowError):
                continue
            return list(range(base, base + count))
    raise Problem(f"found no {count} free ports in a row on 127.0.0.1")


def ask(method, url, body=None, timeout_s=30):
    """Status and text; a status that is no success is an answer like any other."""
    data = body.encode() if isinstance(body, str) else body
    request = urllib.request.Request(url, data=data, method=method, headers={"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=timeout_s) as got:
            return got.status, got.read().decode(errors="replace")
    except urllib.error.HTTPError as refused:
        return refused.code, refused.read().decode(errors="replace")
    except (OSError, urllib.error.URLError) as why:
        return 0, str(why)


def wait_until_ready(processes, name, url):
    until = time.monotonic() + READY_S
    while time.monotonic() < until:
        processes.check(name)
        status, text = ask("GET", url, timeout_s=2)
        if status == 200:
            return
        time.sleep(0.1)
    raise Problem(f"{name} was not ready after {READY_S} s: {status} {text[:300]}; {processes.log(name)[-500:]}")
