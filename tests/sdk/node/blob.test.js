// @azure/storage-blob: the core of what the Python suites do in full.
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { Readable } from "node:stream";
import { client, connection, fresh, it, refused } from "./cases.js";

const { BlobSASPermissions, BlobServiceClient, ContainerClient, ContainerSASPermissions } = client("@azure/storage-blob");
const blobs = BlobServiceClient.fromConnectionString(connection.connection_string, { retryOptions: { maxTries: 1 } });
const expiresOn = new Date(Date.now() + 3_600_000);

async function newContainer() {
  const container = blobs.getContainerClient(fresh("c"));
  await container.create();
  return container;
}

it("twenty megabytes go up in parallel blocks and as a stream, and come back the same", async () => {
  const container = await newContainer();
  const content = randomBytes(20 << 20);
  const blob = container.getBlockBlobClient("large");
  await blob.uploadData(content, { blockSize: 1 << 20, concurrency: 4, maxSingleShotSize: 1 << 20 });
  assert.equal((await blob.getBlockList("committed")).committedBlocks.length, 20);
  assert.ok((await blob.downloadToBuffer(0, undefined, { concurrency: 4 })).equals(content));
  await blob.uploadStream(Readable.from([content.subarray(0, 5 << 20), content.subarray(5 << 20)]), 3 << 20, 2);
  assert.ok((await blob.downloadToBuffer()).equals(content));
});

it("ranges, metadata, headers and conditions", async () => {
  const blob = (await newContainer()).getBlockBlobClient("b");
  const { etag } = await blob.upload("0123456789", 10, {
    metadata: { k: "v" },
    blobHTTPHeaders: { blobContentType: "text/x" },
  });
  assert.equal((await blob.downloadToBuffer(2, 3)).toString(), "234");
  const seen = await blob.getProperties();
  assert.deepEqual([seen.metadata, seen.contentType, seen.contentLength], [{ k: "v" }, "text/x", 10]);
  await blob.setMetadata({ other: "1" }, { conditions: { ifMatch: etag } });
  for (const [call, status, code] of [
    [() => blob.setMetadata({}, { conditions: { ifMatch: etag } }), 412, "ConditionNotMet"],
    [() => blob.upload("", 0, { conditions: { ifNoneMatch: "*" } }), 409, "BlobAlreadyExists"],
    [() => blob.downloadToBuffer(100, 1), 416, "InvalidRange"],
  ]) {
    const error = await refused(call);
    assert.deepEqual([error.statusCode, error.code], [status, code]);
  }
  await blob.delete();
  assert.equal(await blob.exists(), false);
});

it("blobs are listed in pages and by folder", async () => {
  const container = await newContainer();
  const names = Array.from({ length: 30 }, (_, n) => `${"ab"[n % 2]}/${String(n).padStart(2, "0")}`).sort();
  for (const name of names) await container.getBlockBlobClient(name).upload("", 0);
  const pages = [];
  for await (const page of container.listBlobsFlat().byPage({ maxPageSize: 12 })) {
    pages.push(page.segment.blobItems.map((item) => item.name));
  }
  assert.deepEqual(pages.map((page) => page.length), [12, 12, 6]);
  assert.deepEqual(pages.flat(), names);
  const folders = [];
  for await (const item of container.listBlobsByHierarchy("/")) folders.push(`${item.kind} ${item.name}`);
  assert.deepEqual(folders, ["prefix a/", "prefix b/"]);
});

it("names are keys", async () => {
  const container = await newContainer();
  for (const name of ["with space", "a//b", "q?x=1#y", "percent%2F%", "ünï/日本/😀", "plus+", "back\\slash", "'\"&<>"]) {
    const blob = container.getBlockBlobClient(name);
    await blob.upload(name, Buffer.byteLength(name));
    assert.equal((await blob.downloadToBuffer()).toString(), name);
    const found = [];
    for await (const item of container.listBlobsFlat()) found.push(item.name);
    assert.deepEqual(found, [name]);
    await blob.delete();
  }
});

it("copies are done at once", async () => {
  const container = await newContainer();
  const [from, to] = ["from", "to"].map((name) => container.getBlockBlobClient(name));
  await from.upload("content", 7, { metadata: { k: "v" } });
  assert.equal((await (await to.beginCopyFromURL(from.url)).pollUntilDone()).copyStatus, "success");
  assert.equal((await to.downloadToBuffer()).toString(), "content");
  await to.syncCopyFromURL(await from.generateSasUrl({ permissions: BlobSASPermissions.parse("r"), expiresOn }));
  const readable = await from.generateSasUrl({ permissions: BlobSASPermissions.parse("r"), expiresOn });
  await to.syncUploadFromURL(readable);
  assert.equal((await to.downloadToBuffer()).toString(), "content");
  await to.stageBlockFromURL("QUFB", readable, 2, 3);
  await to.commitBlockList(["QUFB"]);
  assert.equal((await to.downloadToBuffer()).toString(), "nte");
});

it("a SAS allows what it says", async () => {
  const container = await newContainer();
  await container.getBlockBlobClient("one").upload("1", 1);
  const through = async (letters) => {
    const permissions = ContainerSASPermissions.parse(letters);
    const sas = new ContainerClient(await container.generateSasUrl({ permissions, expiresOn }));
    const done = [];
    for (const [name, call] of [
      ["read", () => sas.getBlobClient("one").downloadToBuffer()],
      ["list", () => sas.listBlobsFlat().next()],
      ["write", () => sas.getBlockBlobClient("one").upload("2", 1)],
      ["delete", () => sas.getBlobClient("one").delete()],
    ]) {
      try {
        await call();
        done.push(name);
      } catch (error) {
        assert.deepEqual([error.statusCode, error.code ?? error.details.errorCode], [403, "AuthorizationPermissionMismatch"]);
      }
    }
    return done;
  };
  assert.deepEqual(await through("r"), ["read"]);
  assert.deepEqual(await through("l"), ["list"]);
  assert.deepEqual(await through("w"), ["write"]);
  assert.deepEqual(await through("d"), ["delete"]);
});

it("a blob without a name is none, and its deletion leaves the container", async () => {
  const container = await newContainer();
  await container.getBlockBlobClient("kept").upload("x", 1);
  assert.equal((await refused(() => container.deleteBlob(""))).statusCode, 400);
  assert.equal((await container.getBlobClient("kept").downloadToBuffer()).toString(), "x");
});

it("many are deleted in one request", async () => {
  const container = await newContainer();
  const clients = ["a", "b"].map((name) => container.getBlockBlobClient(name));
  for (const blob of clients) await blob.upload("", 0);
  const answer = await blobs.getBlobBatchClient().deleteBlobs([...clients, container.getBlobClient("none")]);
  assert.deepEqual(answer.subResponses.map((each) => each.status), [202, 202, 404]);
});
