"""Arrivals on time whatever the answers do: an open loop over a bounded set of keep-alive connections."""

import asyncio
import json
import time
import urllib.parse

CONNECTIONS = 48
ANSWER_S = 20


class Load:
    """Submits one transaction per arrival; keeps when each should have come and what was answered."""

    def __init__(self, base, arrivals):
        parts = urllib.parse.urlsplit(base)
        self.host, self.port = parts.hostname, parts.port
        self.arrivals = arrivals
        self.came = {}
        self.answers = {}
        self.began = 0.0
        self.late_max_s = 0.0

    async def run(self):
        queue = asyncio.Queue()
        senders = [asyncio.create_task(self.sender(queue)) for _ in range(CONNECTIONS)]
        self.began = time.time()
        clock = time.monotonic()
        for n, at in enumerate(self.arrivals):
            wait = at - (time.monotonic() - clock)
            if wait > 0.001:
                await asyncio.sleep(wait)
            self.came[f"n{n}"] = self.began + at
            queue.put_nowait((n, clock + at))
        for _ in senders:
            queue.put_nowait(None)
        await asyncio.gather(*senders)

    async def sender(self, queue):
        connection = None
        while (order := await queue.get()) is not None:
            n, due = order
            self.late_max_s = max(self.late_max_s, time.monotonic() - due)
            for fresh in (False, True):
                try:
                    if connection is None or fresh:
                        connection = await asyncio.open_connection(self.host, self.port)
                    status = await asyncio.wait_for(self.submit(*connection, n), ANSWER_S)
                    break
                # A connection that the server closed between two requests; the key makes a repeat safe.
                except (OSError, asyncio.IncompleteReadError, TimeoutError, ValueError):
                    status, connection = 0, None
            self.answers[status] = self.answers.get(status, 0) + 1
        if connection is not None:
            connection[1].close()

    async def submit(self, reader, writer, n):
        body = json.dumps({"definition": "top-up", "input": {"n": n}}).encode()
        head = (
            f"POST /v1/transactions?wait=0s HTTP/1.1\r\nHost: {self.host}:{self.port}\r\nContent-Type: application/json\r\n"
            f"Idempotency-Key: n{n}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        writer.write(head.encode() + body)
        await writer.drain()
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        await reader.readexactly(length)
        return int(head[9:12])
