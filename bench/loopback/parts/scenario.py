"""A scenario file of the lab, as far as the stand can play it: rates of arrival, capacities, what changes when.

The files are the lab's own format, so that one file gives both the prediction and the measurement. What the stand
cannot do (sharing workers, caches, token buckets, series) is refused here and not approximated.
"""

import math
import pathlib
import random
import tomllib
from dataclasses import dataclass, field

from .processes import Problem

PARTICIPANT = {
    "workers", "service_ms", "shape", "shape_sigma", "network_ms", "timeout_ms", "endpoints", "initial_limit",
    "max_in_flight", "queue_max", "when_full", "changes",
}
CHANGE = {"at_s", "endpoints", "capacity", "slow", "fail"}
WHEN_FULL = {"429": "overload 429 silent", "429-retry-after": "overload 429 retry 1s", "503": "overload 503 silent"}


@dataclass
class Scenario:
    name: str
    about: str
    path: pathlib.Path
    duration_s: float
    measure_from_s: float
    deadline_s: float
    trigger_s: tuple | None
    workers: int
    service_ms: float
    shape: str
    timeout_ms: int
    endpoints: int
    initial_limit: int
    max_in_flight: int
    queue_max: int
    when_full: str
    changes: list
    rates: list = field(default_factory=list)

    @property
    def per_s(self):
        """What all endpoints together can do."""
        return self.workers * self.endpoints * 1e3 / self.service_ms

    def capacity(self, factor=1.0):
        """The stand's words for one endpoint."""
        servers = max(1, round(self.workers * factor))
        return f"servers {servers} queue {self.queue_max} {self.shape} {self.when_full}"

    def schedule(self, systems):
        """What changes, as the stand's lines; `systems` are the endpoints' names."""
        lines = []

        def line(at_s, system, **what):
            lines.append({"at": f"{round(at_s * 1e3)}ms", "system": system, **what})

        for change in self.changes:
            for system in [systems[n] for n in change.get("endpoints", range(len(systems)))]:
                at_s = change["at_s"]
                if "capacity" in change:
                    line(at_s, system, capacity=self.capacity(change["capacity"]))
                if "slow" in change:
                    by_ms = round(self.service_ms * (change["slow"] - 1))
                    line(at_s, system, fault=f"slow {by_ms}ms" if by_ms > 0 else "well")
                if change.get("fail") == 1:
                    # Without capacity of its own it fails at once, which is the point.
                    line(at_s, system, capacity="boundless")
                    line(at_s, system, fault="errors 500")
                elif "fail" in change:
                    line(at_s, system, capacity=self.capacity())
                    line(at_s, system, fault="well" if change["fail"] == 0 else f"errors 500 {change['fail']:.0%}")
        return lines

    def arrivals(self, seed):
        """Poisson arrivals in seconds, the same for every arm."""
        chance = random.Random(f"{self.name}/{seed}")
        times, now = [], 0.0
        most = max(rate for _, rate in self.rates)
        while True:
            now += chance.expovariate(most)
            if now >= self.duration_s:
                return times
            rate = [rate for at, rate in self.rates if at <= now][-1]
            if chance.random() * most < rate:
                times.append(now)


def read(path):
    with open(path, "rb") as file:
        try:
            raw = tomllib.load(file)
        except tomllib.TOMLDecodeError as why:
            raise Problem(f"{path}: not TOML: {why}") from None

    def wrong(what):
        return Problem(f"{path}: {what}")

    if len(raw.get("participants", {})) != 1 or len(raw.get("definitions", {})) != 1:
        raise wrong("the loopback plays one participant and one definition")
    ((_, participant),) = raw["participants"].items()
    ((_, definition),) = raw["definitions"].items()
    if len(definition.get("steps", [])) != 1 or set(definition["steps"][0]) != {"call"}:
        raise wrong("the loopback plays one plain step")
    for unknown in set(participant) - PARTICIPANT:
        raise wrong(f"the stand cannot play {unknown}")
    changes = sorted(participant.get("changes", []), key=lambda change: change["at_s"])
    for change in changes:
        for unknown in set(change) - CHANGE:
            raise wrong(f"the stand cannot play a change of {unknown}")
    mean_ms = participant["service_ms"]
    match participant.get("shape", "exponential"):
        case "constant":
            shape = f"fixed {round(mean_ms)}ms"
        case "exponential":
            shape = f"exponential {round(mean_ms)}ms"
        case "lognormal":
            sigma = participant.get("shape_sigma", 1.0)
            shape = f"lognormal {round(mean_ms)}ms {round(mean_ms * math.exp(2.326347874 * sigma - sigma * sigma / 2))}ms"
        case other:
            raise wrong(f"the stand has no {other} service times")
    when_full = participant.get("when_full", "503")
    if when_full not in WHEN_FULL:
        raise wrong(f"when_full must be one of {', '.join(WHEN_FULL)}")
    scenario = Scenario(
        name=raw["name"],
        about=raw.get("about", ""),
        path=path,
        duration_s=raw["duration_s"],
        measure_from_s=raw.get("measure_from_s", 0),
        deadline_s=raw["deadline_s"],
        trigger_s=tuple(raw["trigger_s"]) if "trigger_s" in raw else None,
        workers=participant["workers"],
        service_ms=mean_ms,
        shape=shape,
        timeout_ms=participant["timeout_ms"],
        endpoints=participant.get("endpoints", 1),
        initial_limit=participant.get("initial_limit", 20),
        max_in_flight=participant.get("max_in_flight", 1000),
        queue_max=participant.get("queue_max", 100_000),
        when_full=WHEN_FULL[when_full],
        changes=changes,
    )
    arrivals = raw["arrivals"]
    for unknown in set(arrivals) - {"load", "per_s", "changes"}:
        raise wrong(f"the loopback cannot play arrivals by {unknown}")
    for point in [{"at_s": 0, **arrivals}, *arrivals.get("changes", [])]:
        rate = point["per_s"] if "per_s" in point else point["load"] * scenario.per_s
        scenario.rates.append((point["at_s"], rate))
    return scenario
