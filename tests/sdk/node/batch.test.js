// @azure/batch: the core of what the Python suites do in full.
import assert from "node:assert/strict";
import { after, before } from "node:test";
import { client, connection, fresh, it, refused, text, until } from "./cases.js";

const { BatchServiceClient, BatchSharedKeyCredentials } = client("@azure/batch");
const { BlobServiceClient, ContainerSASPermissions } = client("@azure/storage-blob");

const { account, key, endpoint } = connection.batch;
const batch = new BatchServiceClient(new BatchSharedKeyCredentials(account, key), endpoint, { noRetryPolicy: true });
const blobs = BlobServiceClient.fromConnectionString(connection.connection_string);

const poolOf = (id, nodes, more = {}) => ({
  id,
  vmSize: "STANDARD_D2S_V3",
  virtualMachineConfiguration: {
    imageReference: { publisher: "canonical", offer: "0001-com-ubuntu-server-jammy", sku: "22_04-lts" },
    nodeAgentSKUId: "batch.node.ubuntu 22.04",
  },
  targetDedicatedNodes: nodes,
  ...more,
});
const taskOf = (id, script = "true", more = {}) => ({ id, commandLine: `/bin/sh -c '${script}'`, ...more });

const pool = fresh("pool");
const jobs = [];
async function newJob(more = {}) {
  const id = fresh("job");
  await batch.job.add({ id, poolInfo: { poolId: pool }, ...more });
  jobs.push(id);
  return id;
}
const finished = (job) =>
  until(`the tasks of ${job} are completed`, async () => {
    const tasks = await batch.task.list(job);
    return tasks.every((task) => task.state === "completed") && Object.fromEntries(tasks.map((t) => [t.id, t]));
  });
const idle = async (id, count) => {
  const nodes = await batch.computeNodeOperations?.list?.(id) ?? (await batch.computeNode.list(id));
  return nodes.length === count && nodes.every((node) => node.state === "idle") && nodes;
};

before(async () => {
  await batch.pool.add(poolOf(pool, 2, { taskSlotsPerNode: 2 }));
  await until("two nodes are idle", () => idle(pool, 2));
});
after(async () => {
  for (const job of jobs) await batch.job.deleteMethod(job).catch(() => {});
  await batch.pool.deleteMethod(pool);
});

it("the tutorial: inputs, start task, outputs", async () => {
  const [container, own] = [blobs.getContainerClient(fresh("io")), fresh("pool")];
  await container.create();
  const expiresOn = new Date(Date.now() + 3_600_000);
  const url = await container.generateSasUrl({ permissions: ContainerSASPermissions.parse("racwl"), expiresOn });
  const input = container.getBlockBlobClient("in.txt");
  await input.upload("words", 5);
  await batch.pool.add(
    poolOf(own, 1, {
      startTask: { commandLine: '/bin/sh -c "echo ready > $AZ_BATCH_NODE_SHARED_DIR/r"', waitForSuccess: true },
    }),
  );
  const [node] = await until("idle", () => idle(own, 1));
  assert.equal(node.startTaskInfo.exitCode, 0);
  const job = fresh("job");
  await batch.job.add({ id: job, poolInfo: { poolId: own } });
  const task = taskOf("t", "cat $AZ_BATCH_NODE_SHARED_DIR/r in.txt; tr a-z A-Z < in.txt > out.txt", {
    resourceFiles: [{ httpUrl: url.replace("?", "/in.txt?"), filePath: "in.txt" }],
    outputFiles: [
      {
        filePattern: "out.txt",
        destination: { container: { containerUrl: url, path: "out/result.txt" } },
        uploadOptions: { uploadCondition: "taskSuccess" },
      },
    ],
  });
  await batch.task.add(job, task);
  const { t } = await finished(job);
  assert.equal(t.executionInfo.result, "success", JSON.stringify(t.executionInfo));
  const file = await batch.file.getFromTask(job, "t", "stdout.txt");
  assert.equal(await text(file.readableStreamBody), "ready\nwords");
  assert.equal((await container.getBlobClient("out/result.txt").downloadToBuffer()).toString(), "WORDS");
  await batch.job.deleteMethod(job);
  await batch.pool.deleteMethod(own);
  await until("the pool is gone", async () => (await batch.pool.exists(own)).body === false);
});

it("a failing task says why", async () => {
  const job = await newJob();
  await batch.task.addCollection(job, [taskOf("seven", "exit 7"), { id: "none", commandLine: "no-such" }]);
  const { seven, none } = await finished(job);
  assert.equal(seven.executionInfo.exitCode, 7);
  assert.equal(seven.executionInfo.failureInfo.code, "FailureExitCode");
  assert.equal(none.executionInfo.failureInfo.code, "CommandProgramNotFound");
  const { taskCounts } = await batch.job.getTaskCounts(job);
  assert.deepEqual([taskCounts.completed, taskCounts.failed], [2, 2]);
});

it("errors have their codes", async () => {
  const job = await newJob();
  await batch.task.add(job, taskOf("one"));
  for (const [call, status, code] of [
    [() => batch.task.add(job, taskOf("one")), 409, "TaskExists"],
    [() => batch.task.get(job, "none"), 404, "TaskNotFound"],
    [() => batch.job.get("none"), 404, "JobNotFound"],
    [() => batch.pool.get("none"), 404, "PoolNotFound"],
    [() => batch.task.list(job, { taskListOptions: { filter: "no filter" } }), 400, "InvalidQueryParameterValue"],
  ]) {
    const error = await refused(call);
    assert.deepEqual([error.statusCode, error.body.code], [status, code]);
  }
});

it("a wrong key may nothing", async () => {
  const wrong = new BatchServiceClient(new BatchSharedKeyCredentials(account, "d3Jvbmc="), endpoint);
  assert.ok([401, 403].includes((await refused(() => wrong.pool.list())).statusCode));
});

it("lists come in pages, filtered and selected", async () => {
  const job = await newJob();
  await batch.job.disable(job, "requeue");
  for (let from = 0; from < 120; from += 60) {
    const some = Array.from({ length: 60 }, (_, n) => taskOf(`${"ab"[n % 2]}${from + n}`));
    const { value } = await batch.task.addCollection(job, some);
    assert.ok(value.every((each) => each.status === "success"));
  }
  const options = { filter: "startswith(id,'a')", select: "id,state", maxResults: 25 };
  let page = await batch.task.list(job, { taskListOptions: options });
  const pages = [page.length];
  while (page.odatanextLink) {
    page = await batch.task.listNext(page.odatanextLink);
    pages.push(page.length);
  }
  assert.deepEqual(pages, [25, 25, 10]);
  assert.deepEqual([page[0].commandLine, page[0].state], [undefined, "active"]);
});

it("files are listed and read in part", async () => {
  const job = await newJob();
  await batch.task.add(job, taskOf("t", "echo 0123456789; mkdir d; echo x > d/f"));
  const { t } = await finished(job);
  const files = await batch.file.listFromTask(job, "t", { recursive: true });
  assert.ok(["stdout.txt", "wd/d", "wd/d/f"].every((name) => files.some((file) => file.name === name)));
  const options = { fileGetFromTaskOptions: { ocpRange: "bytes=2-4" } };
  assert.equal(await text((await batch.file.getFromTask(job, "t", "stdout.txt", options)).readableStreamBody), "234");
  const onNode = `${t.nodeInfo.taskRootDirectory}/stdout.txt`;
  const file = await batch.file.getFromComputeNode(pool, t.nodeInfo.nodeId, onNode);
  assert.equal(await text(file.readableStreamBody), "0123456789\n");
  const seen = await batch.file.getPropertiesFromTask(job, "t", "stdout.txt");
  assert.equal(seen.contentLength, 11);
});

it("jobs are disabled, enabled, changed and terminated", async () => {
  const job = await newJob();
  await batch.task.add(job, taskOf("long", "sleep 1000"));
  const runs = async () => (await batch.task.get(job, "long")).state === "running";
  await until("it runs", runs);
  await batch.job.disable(job, "requeue");
  await until("disabled", async () => (await batch.job.get(job)).state === "disabled");
  await batch.job.enable(job);
  await until("it runs again", runs);
  await batch.job.patch(job, { priority: 5 });
  assert.equal((await batch.job.get(job)).priority, 5);
  await batch.task.terminate(job, "long");
  await until("it ended", async () => (await batch.task.get(job, "long")).state === "completed");
  await batch.job.terminate(job, { jobTerminateParameter: { terminateReason: "because" } });
  const seen = await until("ended", async () => {
    const seen = await batch.job.get(job);
    return seen.state === "completed" && seen;
  });
  assert.ok(seen.executionInfo.endTime instanceof Date);
});

it("pools are resized and deleted", async () => {
  const own = fresh("pool");
  await batch.pool.add(poolOf(own, 1));
  await until("one node", () => idle(own, 1));
  await batch.pool.resize(own, { targetDedicatedNodes: 2 });
  await until("two nodes", () => idle(own, 2));
  await batch.pool.deleteMethod(own);
  await until("gone", async () => !(await batch.pool.list()).some((each) => each.id === own));
});
