"""What a run was worth: commits in time, their latency, calls for each, and when things were well again."""

import datetime
import json
import urllib.parse

from .processes import Problem, ask

NEVER = "never"


def transactions(engine):
    """Every transaction of the engine: key, when decided, how."""
    cursor, found = None, []
    while True:
        query = {"limit": 1000, **({"cursor": cursor} if cursor else {})}
        status, text = ask("GET", f"{engine.base}/v1/transactions?{urllib.parse.urlencode(query)}")
        if status != 200:
            raise Problem(f"the engine does not list its transactions: {status} {text[:300]}")
        page = json.loads(text)
        found += page["items"]
        cursor = page.get("next_cursor")
        if not cursor:
            return found


def seconds(text):
    return datetime.datetime.fromisoformat(text).timestamp()


def percentile(sorted_values, share):
    if not sorted_values:
        return None
    return sorted_values[min(len(sorted_values) - 1, max(0, round(share * len(sorted_values) + 0.5) - 1))]


def score(scenario, load, items, calls, in_flight):
    """`calls` reached the participant in the whole run; `in_flight` are looks at it every half second."""
    committed = {}
    outcomes = {}
    for item in items:
        word = item["outcome"] or item["state"]
        outcomes[item.get("reason") or word] = outcomes.get(item.get("reason") or word, 0) + 1
        if item["outcome"] == "completed":
            committed[item["idempotency_key"]] = seconds(item["decided_at"])
    end = load.began + scenario.duration_s
    cohorts = {}
    latencies, in_time, arrived = [], 0, 0
    for key, came in load.came.items():
        decided = committed.get(key)
        good = decided is not None and decided - came <= scenario.deadline_s
        cohort = cohorts.setdefault(int(came - load.began), [0, 0])
        cohort[0] += 1
        cohort[1] += good
        if came - load.began < scenario.measure_from_s or came > end:
            continue
        arrived += 1
        in_time += good
        if decided is not None:
            latencies.append((decided - came) * 1e3)
    latencies.sort()
    commits = sum(good for _, good in cohorts.values())
    settled = sorted(n for at, n in in_flight if at >= scenario.measure_from_s)
    return {
        "arrived": arrived,
        "goodput_per_s": in_time / (scenario.duration_s - scenario.measure_from_s),
        "good_share": in_time / arrived if arrived else None,
        "p50_ms": percentile(latencies, 0.5),
        "p99_ms": percentile(latencies, 0.99),
        "calls": calls,
        "calls_per_commit": calls / commits if commits else None,
        "recovered_s": recovered(scenario, cohorts),
        "in_flight_p50": percentile(settled, 0.5),
        "in_flight_max": max((n for _, n in in_flight), default=None),
        "outcomes": outcomes,
        "answers": {str(status): n for status, n in sorted(load.answers.items())},
        "sent_late_max_ms": load.late_max_s * 1e3,
    }


def recovered(scenario, cohorts, span_s=5):
    """Seconds after the trigger until, for five seconds on end, 95 % of what arrived was committed in time."""
    if scenario.trigger_s is None:
        return None
    first = int(scenario.trigger_s[1])
    for start in range(first, int(scenario.duration_s) - span_s + 1):
        window = [cohorts.get(second, (0, 0)) for second in range(start, start + span_s)]
        arrived, good = (sum(column) for column in zip(*window))
        if arrived and good / arrived >= 0.95:
            return start - first
    return NEVER
