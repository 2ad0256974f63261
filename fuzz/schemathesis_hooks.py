"""What schemathesis does not know by itself: NDJSON, what there is to ask for, and that a request may ask to wait."""

import itertools
import json
import re
from pathlib import Path

import schemathesis

NDJSON = "application/x-ndjson"


@schemathesis.serializer(NDJSON)
def lines(_context, value):
    """One JSON value a line; what is no array is one line; text and bytes as they are."""
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return value.encode()
    values = value if isinstance(value, list) else [value]
    return "".join(json.dumps(one) + "\n" for one in values).encode()


@schemathesis.deserializer(NDJSON)
def array(_context, response):
    """The lines of an answer as an array, which is what the contract's schema is of."""
    return [json.loads(line) for line in response.content.splitlines()]


TELECOM = Path(__file__).parent.parent / "examples/telecom"
# One that ends at once, and one that waits for a signal: to cancel, to retry, to give the signal to.
SUBMISSIONS = [
    {
        "definition": "top-up",
        "input": {"msisdn": "491701234567", "amount_minor": 500, "currency": "EUR", "card_token": "tok_1"},
    },
    {
        "definition": "number-port-out",
        "input": {"msisdn": "491701234567", "port_request_id": "p-1", "recipient": "ABC01"},
    },
]
SIGNAL = {
    "definition": "number-port-out",
    "key": "subscriber/491701234567",
    "signal": "window_set",
    "body": {"decision": "WITHDRAWN"},
}
THERE = {"/v1/definitions/{name}": "top-up", "/v1/participants/{name}": "billing"}
REPEATED = ("fuzzing", "stateful")
SHORT = "100ms"
LONGER = re.compile(r"0*([1-9]|[1-5][0-9]|60)s|0*1m|0*([1-9][0-9]{2,3}|[1-5][0-9]{4}|60000)ms")
numbers = itertools.count()


def half(value):
    """Half of all values, the same ones each time."""
    return len(str(value)) % 2 == 1


def good_and_random(case):
    """Whether the contract allows it, and it is none of the cases that are made for each operation once."""
    meta = case.meta
    return bool(meta) and meta.generation.mode.value == "positive" and meta.phase.name.value in REPEATED


@schemathesis.hook
def before_call(_context, case, _kwargs):
    """Half of what is good and random names what is there, and no wait is long."""
    operation = case.operation.definition.raw.get("operationId")
    if good_and_random(case):
        if operation == "submit":
            case.query.setdefault("wait", SHORT)
            if half(case.body):
                number = next(numbers)
                case.headers["Idempotency-Key"] = f"good-{number}"
                case.body = dict(SUBMISSIONS[number % len(SUBMISSIONS)])
        if operation == "signal" and half(case.body):
            case.body = dict(SIGNAL)
        if operation == "apply" and half(case.body):
            file = TELECOM / "top-up.yaml"
            case.body = {"files": [{"path": file.name, "text": file.read_text(encoding="utf-8")}]}
        for path, name in THERE.items():
            if case.path.startswith(path) and half(case.path_parameters["name"]):
                case.path_parameters["name"] = name
    if operation in ("submit", "get_transaction"):
        said = case.query.get("wait")
        if isinstance(said, str) and LONGER.fullmatch(said):
            case.query["wait"] = SHORT
