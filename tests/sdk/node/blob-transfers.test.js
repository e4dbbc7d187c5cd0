// @azure/storage-blob: contents that go up and come back in parallel, as files and as streams, and transfers that are aborted.
import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createReadStream } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { Readable } from "node:stream";
import { after } from "node:test";
import { client, connection, fresh, it, refused, text } from "./cases.js";

const { BlobServiceClient } = client("@azure/storage-blob");
const blobs = BlobServiceClient.fromConnectionString(connection.connection_string, { retryOptions: { maxTries: 1 } });
const MIB = 1 << 20;
const md5 = (content) => createHash("md5").update(content).digest();

const containers = [];
async function newContainer() {
  const container = blobs.getContainerClient(fresh("c"));
  await container.create();
  containers.push(container);
  return container;
}
const folder = await mkdtemp(path.join(tmpdir(), "dropmill-node-"));
after(async () => {
  await rm(folder, { recursive: true });
  for (const container of containers) await container.deleteIfExists();
});
const names = async (container) => {
  const found = [];
  for await (const item of container.listBlobsFlat()) found.push(item.name);
  return found;
};

it("a file goes up in parallel blocks and is downloaded to a file, whole and in part", async () => {
  const blob = (await newContainer()).getBlockBlobClient("file");
  const [from, to] = ["from", "to"].map((name) => path.join(folder, fresh(name)));
  const content = randomBytes(12 * MIB + 345);
  await writeFile(from, content);
  const seen = [];
  const onProgress = ({ loadedBytes }) => seen.push(loadedBytes);
  const options = { blockSize: MIB, concurrency: 5, maxSingleShotSize: MIB, onProgress, metadata: { from: "file" } };
  await blob.uploadFile(from, { ...options, blobHTTPHeaders: { blobContentType: "text/x", blobContentMD5: md5(content) } });
  assert.equal(seen.at(-1), content.length);
  assert.deepEqual(seen, seen.toSorted((a, b) => a - b));
  assert.equal((await blob.getBlockList("committed")).committedBlocks.length, 13);
  const answer = await blob.downloadToFile(to);
  assert.deepEqual([answer.contentType, answer.metadata], ["text/x", { from: "file" }]);
  assert.ok(Buffer.from(answer.contentMD5).equals(md5(content)));
  assert.ok((await readFile(to)).equals(content));
  await blob.downloadToFile(to, 5 * MIB, 1000);
  assert.ok((await readFile(to)).equals(content.subarray(5 * MIB, 5 * MIB + 1000)));
});

it("a buffer of the caller is filled in parallel chunks", async () => {
  const blob = (await newContainer()).getBlockBlobClient("b");
  const content = randomBytes(5 * MIB + 1);
  await blob.uploadData(content);
  const buffer = Buffer.alloc(content.length);
  await blob.downloadToBuffer(buffer, 0, undefined, { blockSize: 700_000, concurrency: 4 });
  assert.ok(buffer.equals(content));
  const part = Buffer.alloc(2 * MIB);
  await blob.downloadToBuffer(part, MIB, 2 * MIB, { blockSize: 500_000, concurrency: 3 });
  assert.ok(part.equals(content.subarray(MIB, 3 * MIB)));
});

it("a stream of a file goes up in blocks", async () => {
  const blob = (await newContainer()).getBlockBlobClient("stream");
  const [from, content] = [path.join(folder, fresh("stream")), randomBytes(6 * MIB)];
  await writeFile(from, content);
  await blob.uploadStream(createReadStream(from), MIB, 3, { tags: { kind: "stream" }, tier: "Cool" });
  assert.ok((await blob.downloadToBuffer()).equals(content));
  const seen = await blob.getProperties();
  assert.deepEqual([seen.tagCount, seen.accessTier], [1, "Cool"]);
});

it("contents without a byte", async () => {
  const container = await newContainer();
  const from = path.join(folder, fresh("empty"));
  await writeFile(from, "");
  await container.getBlockBlobClient("file").uploadFile(from);
  await container.getBlockBlobClient("data").uploadData(Buffer.alloc(0));
  await container.getBlockBlobClient("stream").uploadStream(Readable.from([]));
  for (const name of ["file", "data", "stream"]) {
    const blob = container.getBlobClient(name);
    assert.equal((await blob.getProperties()).contentLength, 0);
    assert.equal(await text((await blob.download()).readableStreamBody), "");
  }
});

it("a hundred blobs go up and come back at the same time", async () => {
  const container = await newContainer();
  const all = Array.from({ length: 100 }, (_, n) => [`n/${String(n).padStart(3, "0")}`, randomBytes(1000 + n)]);
  await Promise.all(all.map(([name, content]) => container.uploadBlockBlob(name, content, content.length)));
  assert.deepEqual(await names(container), all.map(([name]) => name));
  const back = await Promise.all(all.map(([name]) => container.getBlobClient(name).downloadToBuffer()));
  assert.ok(back.every((content, n) => content.equals(all[n][1])));
});

it("an upload that is aborted leaves what was there", async () => {
  const container = await newContainer();
  const blob = container.getBlockBlobClient("kept");
  await blob.upload("before", 6);
  const controller = new AbortController();
  const onProgress = ({ loadedBytes }) => loadedBytes > 0 && controller.abort();
  const options = { blockSize: MIB, concurrency: 2, maxSingleShotSize: MIB, abortSignal: controller.signal, onProgress };
  assert.equal((await refused(() => blob.uploadData(randomBytes(20 * MIB), options))).name, "AbortError");
  assert.equal((await blob.downloadToBuffer()).toString(), "before");
  const other = container.getBlockBlobClient("never");
  const stopped = AbortSignal.abort();
  assert.equal((await refused(() => other.upload("x", 1, { abortSignal: stopped }))).name, "AbortError");
  assert.deepEqual(await names(container), ["kept"]);
});

it("a download that is aborted ends, and the next one is whole", async () => {
  const blob = (await newContainer()).getBlockBlobClient("b");
  const content = randomBytes(20 * MIB);
  await blob.uploadData(content);
  const controller = new AbortController();
  const { readableStreamBody } = await blob.download(0, undefined, { abortSignal: controller.signal });
  const read = async () => {
    for await (const _ of readableStreamBody) controller.abort();
  };
  assert.equal((await refused(read)).name, "AbortError");
  assert.ok((await blob.downloadToBuffer()).equals(content));
});

it("sums of requests and of ranges are checked", async () => {
  const blob = (await newContainer()).getBlockBlobClient("b");
  const content = Buffer.from("0123456789");
  const block = Buffer.from("1").toString("base64");
  const wrong = { transactionalContentMD5: md5("other") };
  const error = await refused(() => blob.stageBlock(block, content, 10, wrong));
  assert.deepEqual([error.statusCode, error.code], [400, "Md5Mismatch"]);
  const staged = await blob.stageBlock(block, content, 10, { transactionalContentMD5: md5(content) });
  assert.ok(Buffer.from(staged.contentMD5).equals(md5(content)));
  await blob.commitBlockList([block]);
  const range = await blob.download(2, 3, { rangeGetContentMD5: true });
  assert.ok(Buffer.from(range.contentMD5).equals(md5("234")));
  assert.ok((await blob.download(2, 3, { rangeGetContentCrc64: true })).contentCrc64.length === 8);
});

it("blocks wait, are committed in any order, and go when they are not named", async () => {
  const blob = (await newContainer()).getBlockBlobClient("b");
  const ids = ["a", "b", "c"].map((name) => Buffer.from(name).toString("base64"));
  for (const id of ids) await blob.stageBlock(id, Buffer.from(id, "base64"), 1);
  const waiting = await blob.getBlockList("uncommitted");
  assert.deepEqual(waiting.uncommittedBlocks.map((block) => [block.name, block.size]), ids.map((id) => [id, 1]));
  assert.equal(await blob.exists(), false);
  await blob.commitBlockList([ids[2], ids[0]], { metadata: { k: "v" }, tags: { t: "1" } });
  assert.equal((await blob.downloadToBuffer()).toString(), "ca");
  const { committedBlocks, uncommittedBlocks } = await blob.getBlockList("all");
  assert.deepEqual([committedBlocks.length, uncommittedBlocks?.length ?? 0], [2, 0]);
  assert.deepEqual((await blob.getTags()).tags, { t: "1" });
  const error = await refused(() => blob.commitBlockList([ids[1]]));
  assert.deepEqual([error.statusCode, error.code], [400, "InvalidBlockList"]);
});

it("an append blob grows under conditions", async () => {
  const blob = (await newContainer()).getAppendBlobClient("log");
  assert.equal((await blob.createIfNotExists()).succeeded, true);
  assert.equal((await blob.createIfNotExists()).succeeded, false);
  const first = await blob.appendBlock("one,", 4);
  assert.deepEqual([first.blobAppendOffset, first.blobCommittedBlockCount], ["0", 1]);
  await blob.appendBlock("two", 3, { conditions: { appendPosition: 4, maxSize: 7 } });
  for (const [conditions, code] of [
    [{ appendPosition: 4 }, "AppendPositionConditionNotMet"],
    [{ maxSize: 7 }, "MaxBlobSizeConditionNotMet"],
    [{ ifMatch: first.etag }, "ConditionNotMet"],
  ]) {
    const error = await refused(() => blob.appendBlock("three", 5, { conditions }));
    assert.deepEqual([error.statusCode, error.code], [412, code]);
  }
  assert.equal((await blob.downloadToBuffer()).toString(), "one,two");
  assert.equal((await blob.getProperties()).blobType, "AppendBlob");
});

it("what the service does not have is rejected with 501", async () => {
  const container = await newContainer();
  const blob = container.getBlockBlobClient("b");
  await blob.upload("a,b", 3);
  for (const [name, call] of [
    ["page blobs", () => container.getPageBlobClient("p").create(512)],
    ["snapshots", () => blob.createSnapshot()],
    ["undelete", () => blob.undelete()],
    ["queries", () => blob.query("select * from BlobStorage")],
    ["the archive tier", () => blob.setAccessTier("Archive")],
    ["legal holds", () => blob.setLegalHold(true)],
    ["sealing", () => container.getAppendBlobClient("b").seal()],
    ["policies of access", () => container.setAccessPolicy(undefined, [{ id: "p", accessPolicy: { permissions: "r" } }])],
    ["properties of the service", () => blobs.setProperties({ hourMetrics: { enabled: false, version: "1.0" } })],
  ]) {
    const error = await refused(call);
    assert.deepEqual([name, error.statusCode, error.code], [name, 501, "NotImplemented"]);
  }
  assert.equal((await blob.downloadToBuffer()).toString(), "a,b");
  assert.deepEqual(await names(container), ["b"]);
});
