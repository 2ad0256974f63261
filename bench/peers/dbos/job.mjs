// The job on DBOS: one workflow, three steps, each recorded in PostgreSQL before the next; undone in reverse if one fails.
// An HTTP front starts the workflow and answers with its result. Node's own modules only, besides the SDK.
import http from "node:http";
import { DBOS } from "@dbos-inc/dbos-sdk";

const STEPS = ["reserve", "charge", "notify"];
const UNDO = ["release", "refund", null];
const MEMO = "top-up of a prepaid account, bought in the web shop";
const participants = new URL(process.env.PARTICIPANTS);
const agent = new http.Agent({ keepAlive: true, maxSockets: 1024 });

function call(job, step) {
  const body = JSON.stringify({ id: job.id, msisdn: job.msisdn, amount: job.amount, step, memo: MEMO });
  return new Promise((resolve, reject) => {
    const request = http.request(
      {
        agent,
        host: participants.hostname,
        port: participants.port,
        path: `/${step}`,
        method: "POST",
        headers: { "content-type": "application/json", "content-length": Buffer.byteLength(body) },
      },
      (response) => {
        response.resume();
        response.on("end", () =>
          response.statusCode === 200 ? resolve(true) : reject(new Error(`${step} answered ${response.statusCode}`)),
        );
        response.on("error", reject);
      },
    );
    request.on("error", reject);
    request.end(body);
  });
}

const job = DBOS.registerWorkflow(
  async (input) => {
    for (const [index, step] of STEPS.entries()) {
      try {
        await DBOS.runStep(() => call(input, step), { name: step });
      } catch {
        for (const undo of UNDO.slice(0, index + 1).reverse().filter(Boolean)) {
          await DBOS.runStep(() => call(input, undo), { name: undo, retriesAllowed: true });
        }
        return { state: "aborted" };
      }
    }
    return { state: "completed" };
  },
  { name: "job" },
);

DBOS.setConfig({ name: "bench-peers", systemDatabaseUrl: process.env.DATABASE, runAdminServer: false, logLevel: "warn" });
await DBOS.launch();

http
  .createServer((request, response) => {
    const parts = [];
    request.on("data", (part) => parts.push(part));
    request.on("end", async () => {
      let [status, answer] = [200, null];
      try {
        answer = await job(JSON.parse(Buffer.concat(parts).toString()));
      } catch (error) {
        [status, answer] = [500, { error: String(error) }];
      }
      response.writeHead(status, { "content-type": "application/json" });
      response.end(JSON.stringify(answer));
    });
  })
  .listen(Number(process.env.PORT), "127.0.0.1");
