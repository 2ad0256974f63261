"""What schemathesis does not know by itself: NDJSON, one JSON value a line."""

import json

import schemathesis

NDJSON = "application/x-ndjson"


@schemathesis.serializer(NDJSON)
def one_line(_context, value):
    """A body of one line; text and bytes as they are."""
    if isinstance(value, bytes):
        return value
    return (value if isinstance(value, str) else json.dumps(value)).encode() + b"\n"


@schemathesis.deserializer(NDJSON)
def first_line(_context, response):
    """The answer to the first line: each has the shape of the contract."""
    return json.loads(response.content.splitlines()[0])
