// @azure/storage-blob: lists by page and by iterator, tags, conditions, leases, batches.
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after } from "node:test";
import { client, connection, fresh, it, refused } from "./cases.js";

const { BlobServiceClient, ContainerClient, ContainerSASPermissions } = client("@azure/storage-blob");
const blobs = BlobServiceClient.fromConnectionString(connection.connection_string, { retryOptions: { maxTries: 1 } });

const containers = [];
async function newContainer(options) {
  const container = blobs.getContainerClient(fresh("c"));
  await container.create(options);
  containers.push(container);
  return container;
}
after(async () => {
  for (const container of containers) await container.deleteIfExists();
});
async function newBlob(content = "content", options) {
  const blob = (await newContainer()).getBlockBlobClient("b");
  await blob.upload(content, content.length, options);
  return blob;
}
const all = async (iterator) => {
  const found = [];
  for await (const each of iterator) found.push(each);
  return found;
};
async function rejected(call, status, code) {
  const error = await refused(call);
  // An answer without a body has its code in a header.
  const said = error.code ?? error.details?.errorCode ?? error.response?.headers.get("x-ms-error-code");
  assert.deepEqual([error.statusCode, said], [status, code]);
}

it("pages are resumed with a continuation token", async () => {
  const container = await newContainer();
  const names = Array.from({ length: 25 }, (_, n) => `d${n % 2}/${String(n).padStart(2, "0")}`).sort();
  await Promise.all(names.map((name) => container.uploadBlockBlob(name, "", 0)));
  const first = (await container.listBlobsFlat().byPage({ maxPageSize: 10 }).next()).value;
  assert.equal(first.segment.blobItems.length, 10);
  const { continuationToken } = first;
  const rest = await all(container.listBlobsFlat().byPage({ maxPageSize: 10, continuationToken }));
  assert.deepEqual(rest.map((page) => page.segment.blobItems.length), [10, 5]);
  const found = [first, ...rest].flatMap((page) => page.segment.blobItems.map((item) => item.name));
  assert.deepEqual(found, names);
  assert.equal(rest.at(-1).continuationToken, "");
  const iterator = container.listBlobsFlat({ prefix: "d1/" });
  assert.equal((await iterator.next()).value.name, "d1/01");
  assert.equal((await all(iterator)).length, 11);
});

it("folders come by page too", async () => {
  const container = await newContainer();
  for (const name of ["top", "a/1", "a/b/2", "c/3", "d"]) await container.uploadBlockBlob(name, "", 0);
  const pages = await all(container.listBlobsByHierarchy("/").byPage({ maxPageSize: 2 }));
  const said = ({ segment: { blobPrefixes = [], blobItems } }) => [...blobPrefixes, ...blobItems].map((each) => each.name);
  assert.deepEqual(pages.map(said), [["a/", "c/"], ["d", "top"]]);
  const within = await all(container.listBlobsByHierarchy("/", { prefix: "a/" }));
  assert.deepEqual(within.map((each) => [each.kind, each.name]), [["prefix", "a/b/"], ["blob", "a/1"]]);
});

it("a list returns what it is asked to include", async () => {
  const container = await newContainer();
  const blob = container.getBlockBlobClient("b");
  await blob.upload("12345", 5, { metadata: { Owner: "me" }, tags: { k: "v" }, tier: "Cold" });
  await (await container.getBlobClient("copy").beginCopyFromURL(blob.url)).pollUntilDone();
  const [plain] = await all(container.listBlobsFlat());
  assert.deepEqual([plain.metadata, plain.tags, plain.properties.contentLength], [undefined, undefined, 5]);
  const options = { includeMetadata: true, includeTags: true, includeCopy: true, includeSnapshots: true, includeVersions: true };
  const [one, copy] = await all(container.listBlobsFlat(options));
  assert.deepEqual([one.metadata, one.tags, one.properties.accessTier], [{ Owner: "me" }, { k: "v" }, "Cold"]);
  assert.deepEqual([copy.metadata, copy.properties.copyStatus], [{ Owner: "me" }, "success"]);
  const seen = await blob.getProperties();
  assert.equal(one.properties.etag, seen.etag.replaceAll('"', ""));
  assert.deepEqual(one.properties.lastModified, seen.lastModified);
  await rejected(() => all(container.listBlobsFlat({ includeUncommitedBlobs: true })), 501, "NotImplemented");
});

it("containers are listed by page with their metadata", async () => {
  const stem = fresh("list");
  const names = Array.from({ length: 5 }, (_, n) => `${stem}-${n}`);
  for (const name of names) await blobs.createContainer(name, { metadata: { n: name.at(-1) } });
  const pages = await all(blobs.listContainers({ prefix: stem, includeMetadata: true }).byPage({ maxPageSize: 2 }));
  assert.deepEqual(pages.map((page) => page.containerItems.length), [2, 2, 1]);
  const items = pages.flatMap((page) => page.containerItems);
  assert.deepEqual(items.map((item) => [item.name, item.metadata.n]), names.map((name, n) => [name, String(n)]));
  for (const name of names) await blobs.deleteContainer(name);
  assert.deepEqual(await all(blobs.listContainers({ prefix: stem })), []);
  await rejected(() => blobs.deleteContainer(names[0]), 404, "ContainerNotFound");
});

it("blobs are found by their tags, by page", async () => {
  const container = await newContainer();
  const kind = container.containerName;
  for (let n = 0; n < 5; n++) {
    const tags = { kind, n: String(n) };
    await container.getBlockBlobClient(`b${n}`).upload("", 0, { tags });
  }
  const where = `kind='${kind}' AND n>='2'`;
  const found = await all(blobs.findBlobsByTags(where));
  assert.deepEqual(found.map((each) => [each.name, each.containerName]), [["b2", kind], ["b3", kind], ["b4", kind]]);
  const pages = await all(container.findBlobsByTags(`kind='${kind}'`).byPage({ maxPageSize: 2 }));
  assert.deepEqual(pages.map((page) => page.blobs.length), [2, 2, 1]);
  const blob = container.getBlobClient("b4");
  await blob.setTags({ other: "a b" });
  assert.deepEqual((await blob.getTags()).tags, { other: "a b" });
  assert.equal((await all(blobs.findBlobsByTags(where))).length, 2);
  await rejected(() => blob.setTags({ bad: "<>" }), 400, "InvalidTags");
  await rejected(() => all(blobs.findBlobsByTags("no expression")), 400, "InvalidQueryParameterValue");
});

it("conditions on the version", async () => {
  const blob = await newBlob();
  const { etag } = await blob.getProperties();
  const other = '"0x8D0000000000000"';
  const fails = { ifMatch: other };
  assert.equal((await blob.downloadToBuffer(0, undefined, { conditions: { ifMatch: etag } })).toString(), "content");
  await rejected(() => blob.download(0, undefined, { conditions: fails }), 412, "ConditionNotMet");
  await rejected(() => blob.download(0, undefined, { conditions: { ifNoneMatch: etag } }), 304, "ConditionNotMet");
  await rejected(() => blob.getProperties({ conditions: { ifNoneMatch: etag } }), 304, "ConditionNotMet");
  for (const call of [
    (conditions) => blob.upload("new", 3, { conditions }),
    (conditions) => blob.setHTTPHeaders({ blobContentType: "text/x" }, { conditions }),
    (conditions) => blob.setMetadata({ a: "b" }, { conditions }),
    (conditions) => blob.commitBlockList([], { conditions }),
    (conditions) => blob.delete({ conditions }),
  ]) {
    await rejected(() => call(fails), 412, "ConditionNotMet");
    await rejected(() => call({ ifNoneMatch: etag }), 412, "ConditionNotMet");
  }
  assert.equal((await blob.getProperties()).etag, etag);
  await rejected(() => blob.upload("new", 3, { conditions: { ifNoneMatch: "*" } }), 409, "BlobAlreadyExists");
  await rejected(() => blob.download(0, 1, { conditions: { tagConditions: "k='v'" } }), 501, "NotImplemented");
  await blob.delete({ conditions: { ifMatch: etag } });
  await rejected(() => blob.upload("new", 3, { conditions: { ifMatch: "*" } }), 412, "ConditionNotMet");
});

it("conditions on the moment", async () => {
  const blob = await newBlob();
  const { lastModified } = await blob.getProperties();
  const [before, behind] = [-60_000, 60_000].map((by) => new Date(lastModified.getTime() + by));
  for (const [conditions, status] of [
    [{ ifModifiedSince: before }, 200],
    [{ ifModifiedSince: lastModified }, 304],
    [{ ifUnmodifiedSince: lastModified }, 200],
    [{ ifUnmodifiedSince: behind }, 200],
    [{ ifUnmodifiedSince: before }, 412],
  ]) {
    if (status === 200) await blob.getProperties({ conditions });
    else await rejected(() => blob.getProperties({ conditions }), status, "ConditionNotMet");
  }
  await rejected(() => blob.delete({ conditions: { ifModifiedSince: lastModified } }), 412, "ConditionNotMet");
  await blob.delete({ conditions: { ifUnmodifiedSince: lastModified } });
});

it("copies have conditions on both ends", async () => {
  const from = await newBlob("source");
  const to = (await newContainer()).getBlockBlobClient("to");
  const copy = async (options) => (await to.beginCopyFromURL(from.url, options)).pollUntilDone();
  await rejected(() => copy({ sourceConditions: { ifMatch: '"0x1"' } }), 412, "SourceConditionNotMet");
  const { etag } = await from.getProperties();
  await copy({ sourceConditions: { ifMatch: etag }, conditions: { ifNoneMatch: "*" }, metadata: { own: "1" } });
  assert.deepEqual((await to.getProperties()).metadata, { own: "1" });
  await rejected(() => copy({ conditions: { ifNoneMatch: "*" } }), 409, "BlobAlreadyExists");
  const { copyId, copyStatus } = await to.getProperties();
  assert.equal(copyStatus, "success");
  await rejected(() => to.abortCopyFromURL(copyId), 409, "NoPendingCopyOperation");
});

it("a lease on a blob goes through all its states", async () => {
  const blob = await newBlob();
  const [own, other] = [randomUUID(), randomUUID()];
  const lease = blob.getBlobLeaseClient(own);
  assert.equal((await lease.acquireLease(15)).leaseId, own);
  const { leaseState, leaseStatus, leaseDuration } = await blob.getProperties();
  assert.deepEqual([leaseState, leaseStatus, leaseDuration], ["leased", "locked", "fixed"]);
  await rejected(() => blob.getBlobLeaseClient(other).acquireLease(15), 409, "LeaseAlreadyPresent");
  await rejected(() => blob.upload("x", 1), 412, "LeaseIdMissing");
  await rejected(() => blob.upload("x", 1, { conditions: { leaseId: other } }), 412, "LeaseIdMismatchWithBlobOperation");
  await blob.upload("mine", 4, { conditions: { leaseId: own } });
  await lease.renewLease();
  await lease.changeLease(other);
  assert.equal(lease.leaseId, other);
  await blob.setMetadata({ by: "holder" }, { conditions: { leaseId: other } });
  await lease.releaseLease();
  await blob.upload("free", 4);
  await lease.acquireLease(-1);
  assert.equal((await lease.breakLease(0)).leaseTime, 0);
  assert.equal((await blob.getProperties()).leaseState, "broken");
  await rejected(() => lease.renewLease(), 409, "LeaseIsBrokenAndCannotBeRenewed");
  await blob.delete();
  await rejected(() => lease.acquireLease(15), 404, "BlobNotFound");
});

it("a lease on a container keeps it", async () => {
  const container = await newContainer();
  const lease = container.getBlobLeaseClient();
  await lease.acquireLease(-1);
  assert.equal((await container.getProperties()).leaseDuration, "infinite");
  await rejected(() => container.delete(), 412, "LeaseIdMissing");
  await container.setMetadata({ a: "b" }, { conditions: { leaseId: lease.leaseId } });
  await container.delete({ conditions: { leaseId: lease.leaseId } });
  assert.equal(await container.exists(), false);
});

it("a batch deletes and changes tiers, each part with an answer of its own", async () => {
  const container = await newContainer();
  const three = ["a", "b c/ü", "leased"].map((name) => container.getBlockBlobClient(name));
  for (const blob of three) await blob.upload("", 0);
  await three[2].getBlobLeaseClient().acquireLease(-1);
  const batches = container.getBlobBatchClient();
  const tiers = await batches.setBlobsAccessTier(three.slice(0, 2), "Cool");
  assert.deepEqual([tiers.subResponsesSucceededCount, tiers.subResponsesFailedCount], [2, 0]);
  assert.equal((await three[1].getProperties()).accessTier, "Cool");
  const gone = await batches.deleteBlobs([...three, container.getBlobClient("none")]);
  assert.deepEqual(gone.subResponses.map((each) => [each.status, each.errorCode]), [
    [202, undefined],
    [202, undefined],
    [412, "LeaseIdMissing"],
    [404, "BlobNotFound"],
  ]);
  assert.deepEqual((await all(container.listBlobsFlat())).map((item) => item.name), ["leased"]);
});

it("a batch of 256 with a SAS that may delete, and one with a SAS that may not", async () => {
  const container = await newContainer();
  const names = Array.from({ length: 256 }, (_, n) => `b${n}`);
  await Promise.all(names.map((name) => container.uploadBlockBlob(name, "", 0)));
  const through = async (letters) => {
    const permissions = ContainerSASPermissions.parse(letters);
    const url = await container.generateSasUrl({ permissions, expiresOn: new Date(Date.now() + 3_600_000) });
    const signed = new ContainerClient(url);
    return signed.getBlobBatchClient().deleteBlobs(names.map((name) => signed.getBlobClient(name)));
  };
  const without = await through("rl");
  assert.deepEqual(new Set(without.subResponses.map((each) => each.status)), new Set([403]));
  assert.equal((await all(container.listBlobsFlat())).length, 256);
  assert.equal((await through("d")).subResponsesSucceededCount, 256);
  assert.deepEqual(await all(container.listBlobsFlat()), []);
});
