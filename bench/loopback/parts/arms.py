"""The three client sides: the engine with its load manager, the engine with a fixed limit, the engine behind Envoy."""

import json

from .processes import Problem, ask, free_ports, wait_until_ready

SAGA = """\
apiVersion: tidegate/v1
kind: Saga
name: top-up
version: 1
description: The one call of the loopback comparison.
owner: bench

input:
  type: object
  additionalProperties: false
  required: [n]
  properties:
    n: {{type: integer}}

timeout: {deadline_ms}ms

steps:
  - name: charge
    call:
      participant: charge
      method: POST
      path: /charges
      body:
        n: ${{input.n}}
    compensate: none
"""

PARTICIPANT = """\
  - name: {name}
    owner: bench
    connector: http
    endpoints:
{endpoints}
    idempotency:
      header: Idempotency-Key
      for: 24h
    settles_within: 0s
    timeout: {timeout_ms}ms
    retry:
      attempts: {attempts}
      backoff: {backoff_ms}ms
      max_backoff: {max_backoff_ms}ms
    limits:
      max_in_flight: {limit}
{learn}{answers}"""

# What Envoy's limit refuses has surely not run; the engine must neither judge the participant by it nor hold it.
# Of all statuses that Envoy can be given, the load manager takes no notice of this one.
EXCEEDED = 421
NOT_RUN = f"""\
    answers:
      - when: ${{response.status == {EXCEEDED}}}
        outcome: not_executed
        reason: above the limit of the proxy
"""

PARTICIPANTS = "apiVersion: tidegate/v1\nkind: Participants\n\nparticipants:\n"


def participant(name, urls, timeout_ms, limit, learn=None, attempts=3, backoff_ms=100, max_backoff_ms=10_000, answers=""):
    return PARTICIPANT.format(
        name=name,
        endpoints="\n".join(f"      - {url}" for url in urls),
        timeout_ms=timeout_ms,
        attempts=attempts,
        backoff_ms=backoff_ms,
        max_backoff_ms=max_backoff_ms,
        limit=limit,
        learn=f'      learn: "{learn}"\n' if learn else "",
        answers=answers,
    )


def systems(scenario):
    """The names of the endpoints; they sort as they count."""
    return [f"charge-{n:02}" for n in range(scenario.endpoints)]


class Stand:
    """The participants, real HTTP servers with a capacity."""

    def __init__(self, binary, processes, folder, scenario, seed):
        self.names = systems(scenario)
        ports = free_ports(1 + len(self.names))
        self.base = f"http://127.0.0.1:{ports[0]}"
        # Each system has its own door on the next port, in the order of their names.
        self.doors = ports[1:]
        self.urls = [f"http://127.0.0.1:{port}" for port in self.doors]
        file = folder / "stand.yaml"
        file.write_text(PARTICIPANTS + "\n".join(participant(name, ["http://127.0.0.1:1"], 1000, 1) for name in self.names))
        processes.start("stand", [binary, "stand", file, "--listen", f"127.0.0.1:{ports[0]}", "--seed", seed])
        wait_until_ready(processes, "stand", self.base + "/_stand/")
        for name in self.names:
            self.put(f"systems/{name}/capacity", json.dumps({"capacity": scenario.capacity()}))

    def put(self, path, body):
        status, text = ask("PUT", f"{self.base}/_stand/{path}", body)
        if status != 200:
            raise Problem(f"the stand refused {body[:300]}: {status} {text[:300]}")

    def state(self):
        status, text = ask("GET", self.base + "/_stand/", timeout_s=5)
        if status != 200:
            raise Problem(f"the stand does not answer: {status} {text[:200]}")
        return json.loads(text)["systems"]


class Engine:
    """`tidegate serve` on a fresh folder with one saga and one participant."""

    def __init__(self, binary, processes, folder, scenario, declared):
        (port,) = free_ports(1)
        self.base = f"http://127.0.0.1:{port}"
        processes.start("engine", [binary, "serve", "--data", folder / "data", "--listen", f"127.0.0.1:{port}"])
        wait_until_ready(processes, "engine", self.base + "/readyz")
        files = [
            {"path": "participants.yaml", "text": PARTICIPANTS + declared},
            {"path": "top-up.yaml", "text": SAGA.format(deadline_ms=round(scenario.deadline_s * 1e3))},
        ]
        status, text = ask("POST", self.base + "/v1/apply", json.dumps({"files": files}))
        if status != 200:
            raise Problem(f"the engine did not take the definition: {status} {text[:1500]}")


class Arm:
    """One client side. `start` gives the engine; `lab` is the arm's name in the lab."""

    name = title = lab = ""

    def __init__(self, options):
        self.options = options

    def start(self, processes, folder, scenario, stand):
        raise NotImplementedError

    def figures(self):
        """What else it has to say after a run."""
        return {}


class Ours(Arm):
    name, title, lab = "tidegate", "engine, load manager", "tidegate"

    def start(self, processes, folder, scenario, stand):
        declared = participant("charge", stand.urls, scenario.timeout_ms, scenario.max_in_flight, learn=self.options.learn)
        return Engine(self.options.tidegate, processes, folder, scenario, declared)


class Static(Arm):
    name, title, lab = "static", "engine, fixed limit", "static"

    def start(self, processes, folder, scenario, stand):
        learn = "off" if self.options.declares_learn else None
        declared = participant("charge", stand.urls, scenario.timeout_ms, scenario.initial_limit, learn=learn)
        return Engine(self.options.tidegate, processes, folder, scenario, declared)


class BehindEnvoy(Arm):
    name, title, lab = "envoy", "engine behind Envoy", "envoy"

    def start(self, processes, folder, scenario, stand):
        port, admin = free_ports(2)
        self.admin = f"http://127.0.0.1:{admin}"
        file = folder / "envoy.json"
        file.write_text(json.dumps(envoy(self.options.envoy_settings, scenario, stand.doors, port, admin), indent=1))
        # A base id that is drawn lets several Envoys live on one machine.
        processes.start("envoy", [
            self.options.envoy, "-c", file, "--concurrency", 1, "--log-level", "error", "--use-dynamic-base-id",
            "--disable-hot-restart",
        ])
        wait_until_ready(processes, "envoy", self.admin + "/ready")
        settings = self.options.envoy_settings
        declared = participant(
            "charge",
            [f"http://127.0.0.1:{port}"],
            scenario.timeout_ms,
            scenario.max_in_flight,
            learn="off" if self.options.declares_learn else None,
            attempts=settings["attempts"],
            backoff_ms=settings["backoff_ms"],
            max_backoff_ms=settings["max_backoff_ms"],
            answers=NOT_RUN,
        )
        return Engine(self.options.tidegate, processes, folder, scenario, declared)

    def figures(self):
        status, text = ask("GET", self.admin + "/stats?format=json&filter=adaptive_concurrency|admission_control|outlier", timeout_s=5)
        if status != 200:
            return {}
        wanted = ("rq_blocked", "rq_rejected", "min_rtt_msecs", "concurrency_limit", "ejections_enforced_total")
        stats = json.loads(text)["stats"]
        return {s["name"].split(".")[-1]: s["value"] for s in stats if s.get("name", "").split(".")[-1] in wanted}


ARMS = {arm.name: arm for arm in (Ours, Static, BehindEnvoy)}

# What "well tuned" means here; README.md says how these were found. Times in seconds, shares in percent.
ENVOY = {
    "update_interval_s": 0.1,
    "min_rtt_interval_s": 300,
    "percentile": 50,
    "buffer": 25,
    "request_count": 50,
    # 0: it is measured.
    "fixed_min_rtt_ms": 0,
    "min_concurrency": 5,
    "min_concurrency_limit": 3,
    "sampling_window_s": 10,
    "sr_threshold": 50,
    "max_rejection": 80,
    "ejection_s": 5,
    "attempts": 30,
    "backoff_ms": 200,
    "max_backoff_ms": 1000,
}


def envoy(s, scenario, doors, port, admin):
    """A bootstrap for Envoy 1.40: adaptive concurrency, admission control, outlier detection, least request."""

    def at(number):
        return {"socket_address": {"address": "127.0.0.1", "port_value": number}}

    def seconds(value):
        return f"{value:.3f}s"

    def typed(name, **fields):
        return {"@type": f"type.googleapis.com/envoy.{name}", **fields}

    # The proxy gives up just before its caller does, so that a timeout is a sample and not a cancelled request.
    route_timeout_s = max(0.05, scenario.timeout_ms / 1e3 - 0.05)
    adaptive = typed(
        "extensions.filters.http.adaptive_concurrency.v3.AdaptiveConcurrency",
        gradient_controller_config={
            "sample_aggregate_percentile": {"value": s["percentile"]},
            "concurrency_limit_params": {
                "max_concurrency_limit": scenario.max_in_flight,
                "concurrency_update_interval": seconds(s["update_interval_s"]),
                "min_concurrency_limit": s["min_concurrency_limit"],
            },
            "min_rtt_calc_params": {
                **({"fixed_value": seconds(s["fixed_min_rtt_ms"] / 1e3)} if s["fixed_min_rtt_ms"] else {"interval": seconds(s["min_rtt_interval_s"])}),
                "request_count": s["request_count"],
                "jitter": {"value": 15},
                "min_concurrency": s["min_concurrency"],
                "buffer": {"value": s["buffer"]},
            },
        },
        enabled={"default_value": True, "runtime_key": "adaptive_concurrency.enabled"},
        concurrency_limit_exceeded_status={"code": EXCEEDED},
    )
    admission = typed(
        "extensions.filters.http.admission_control.v3.AdmissionControl",
        enabled={"default_value": True, "runtime_key": "admission_control.enabled"},
        success_criteria={"http_criteria": {"http_success_status": [{"start": 100, "end": 500}]}},
        sampling_window=seconds(s["sampling_window_s"]),
        aggression={"default_value": 1.0, "runtime_key": "admission_control.aggression"},
        sr_threshold={"default_value": {"value": s["sr_threshold"]}, "runtime_key": "admission_control.sr_threshold"},
        rps_threshold={"default_value": 1, "runtime_key": "admission_control.rps_threshold"},
        max_rejection_probability={
            "default_value": {"value": s["max_rejection"]}, "runtime_key": "admission_control.max_rejection",
        },
    )
    router = typed("extensions.filters.http.router.v3.Router")
    # Admission control stands behind the limit: what the limit refuses says nothing about the participant.
    filters = [
        {"name": "adaptive_concurrency", "typed_config": adaptive},
        {"name": "admission_control", "typed_config": admission},
        {"name": "router", "typed_config": router},
    ]
    manager = typed(
        "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix="loopback",
        route_config={
            "virtual_hosts": [{
                "name": "stand",
                "domains": ["*"],
                "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "stand", "timeout": seconds(route_timeout_s)}}],
            }]
        },
        http_filters=filters,
    )
    cluster = {
        "name": "stand",
        "type": "STATIC",
        "connect_timeout": "1s",
        "lb_policy": "LEAST_REQUEST",
        "load_assignment": {
            "cluster_name": "stand",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": at(door)}} for door in doors]}],
        },
        # Out of the way: the limit is the adaptive one.
        "circuit_breakers": {"thresholds": [{k: 100_000 for k in ("max_connections", "max_pending_requests", "max_requests", "max_retries")}]},
    }
    if len(doors) > 1:
        cluster["outlier_detection"] = {
            "consecutive_5xx": 5,
            "interval": "1s",
            "base_ejection_time": seconds(s["ejection_s"]),
            "max_ejection_percent": 40,
        }
    return {
        "admin": {"address": at(admin)},
        "static_resources": {
            "listeners": [{
                "name": "loopback",
                "address": at(port),
                "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
            }],
            "clusters": [cluster],
        },
        "layered_runtime": {"layers": [{"name": "static", "static_layer": {"overload.global_downstream_max_connections": 50_000}}]},
    }
