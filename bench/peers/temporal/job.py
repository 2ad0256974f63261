"""The job on Temporal: one workflow, three activities, undone in reverse if one fails.

Worker and HTTP front are one process: the front starts a workflow for every POST and answers with its result.
"""

import asyncio
import json
import os
from datetime import timedelta

import aiohttp
from aiohttp import web
from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

STEPS = ("reserve", "charge", "notify")
UNDO = ("release", "refund", None)
MEMO = "top-up of a prepaid account, bought in the web shop"
QUEUE = "jobs"
session = None


@activity.defn
async def call(job: dict, step: str) -> bool:
    body = {"id": job["id"], "msisdn": job["msisdn"], "amount": job["amount"], "step": step, "memo": MEMO}
    async with session.post(f"{os.environ['PARTICIPANTS']}/{step}", json=body) as response:
        await response.read()
        response.raise_for_status()
    return True


@workflow.defn
class Job:
    @workflow.run
    async def run(self, job: dict) -> str:
        patience = {"start_to_close_timeout": timedelta(seconds=10)}
        for index, step in enumerate(STEPS):
            try:
                await workflow.execute_activity(call, args=[job, step], retry_policy=RetryPolicy(maximum_attempts=5), **patience)
            except ActivityError:
                for undo in filter(None, reversed(UNDO[: index + 1])):
                    await workflow.execute_activity(call, args=[job, undo], **patience)
                return "aborted"
        return "completed"


async def main():
    global session
    session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1024))
    for attempt in range(100):
        try:
            client = await Client.connect(os.environ["SERVER"])
            break
        except RuntimeError:
            if attempt == 99:
                raise
            await asyncio.sleep(0.2)

    async def answer(request):
        job = await request.json()
        state = await client.execute_workflow(Job.run, job, id=job["id"], task_queue=QUEUE)
        return web.Response(text=json.dumps({"state": state}), content_type="application/json")

    front = web.Application()
    front.router.add_post("/transactions", answer)
    runner = web.AppRunner(front, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", int(os.environ["PORT"])).start()
    # The sandbox re-imports modules for every workflow; this one needs none, and the rival should not pay for it.
    worker = Worker(client, task_queue=QUEUE, workflows=[Job], activities=[call], workflow_runner=UnsandboxedWorkflowRunner(),
                    max_concurrent_activities=256, max_concurrent_workflow_tasks=256)
    await worker.run()


asyncio.run(main())
