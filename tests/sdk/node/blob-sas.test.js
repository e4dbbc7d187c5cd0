// @azure/storage-blob: shared access signatures of each kind, user delegation keys, and clients without either.
import assert from "node:assert/strict";
import { after } from "node:test";
import { client, connection, fresh, it, refused } from "./cases.js";

const storage = client("@azure/storage-blob");
const { BlobServiceClient, BlobClient, ContainerClient, BlobSASPermissions, ContainerSASPermissions } = storage;
const { account, key, endpoint } = connection.blob;
const credential = new storage.StorageSharedKeyCredential(account, key);
const once = { retryOptions: { maxTries: 1 } };
const blobs = new BlobServiceClient(endpoint, credential, once);
const later = (minutes) => new Date(Date.now() + minutes * 60_000);
const expiresOn = later(60);

const container = blobs.getContainerClient(fresh("sas"));
await container.create();
await container.uploadBlockBlob("one", "1", 1);
await container.uploadBlockBlob("two", "2", 1);
after(() => container.delete());

const said = (error) => error.code ?? error.details?.errorCode ?? error.response?.headers.get("x-ms-error-code");
async function rejected(call, status, code) {
  const error = await refused(call);
  assert.deepEqual([error.statusCode, said(error)], [status, code]);
}
const CALLS = {
  read: (c) => c.getBlobClient("one").downloadToBuffer(),
  list: (c) => c.listBlobsFlat().next(),
  create: (c) => c.getBlockBlobClient(fresh("new")).upload("n", 1, { conditions: { ifNoneMatch: "*" } }),
  replace: (c) => c.getBlockBlobClient("one").upload("1", 1),
  tags: (c) => c.getBlobClient("one").setTags({ a: "b" }),
  delete: async (c) => {
    await container.uploadBlockBlob("victim", "", 0);
    await c.getBlobClient("victim").delete();
  },
};
/** The calls of those above that a SAS allows; every other one is rejected for what it lacks. */
async function allowed(client) {
  const through = [];
  for (const [name, call] of Object.entries(CALLS)) {
    try {
      await call(client);
      through.push(name);
    } catch (error) {
      assert.equal(error.statusCode, 403, `${name}: ${error.message}`);
      assert.match(said(error), /^Authorization(Permission|ResourceType|Service)Mismatch$|^UnauthorizedBlobOverwrite$/, name);
    }
  }
  return through.join(" ");
}
const blobSas = (values = {}, name = "one", by = credential) =>
  storage.generateBlobSASQueryParameters(
    { containerName: container.containerName, blobName: name, permissions: BlobSASPermissions.parse("r"), expiresOn, ...values },
    by,
  );
const withSas = (sas, name = "one") => new BlobClient(`${container.getBlobClient(name).url}?${sas}`, undefined, once);
const read = async (sas, name) => (await withSas(sas, name).downloadToBuffer()).toString();

it("a SAS of a container allows what its letters say", async () => {
  for (const [letters, calls] of [
    ["r", "read"],
    ["l", "list"],
    ["c", "create"],
    ["w", "create replace"],
    ["t", "tags"],
    ["d", "delete"],
    ["racwdlt", "read list create replace tags delete"],
  ]) {
    const permissions = ContainerSASPermissions.parse(letters);
    const url = await container.generateSasUrl({ permissions, expiresOn });
    assert.equal(await allowed(new ContainerClient(url, undefined, once)), calls, letters);
  }
});

it("a SAS of the account allows what its letters, services and types say", async () => {
  for (const [letters, services, types, calls] of [
    ["rwdlact", "b", "sco", "read list create replace tags delete"],
    ["rwdlact", "b", "o", "read create replace tags delete"],
    ["rwdlact", "b", "c", "list"],
    ["rwdlact", "q", "sco", ""],
    ["r", "bqtf", "sco", "read"],
    ["wt", "b", "o", "create replace tags"],
  ]) {
    const sas = storage.generateAccountSASQueryParameters(
      {
        permissions: storage.AccountSASPermissions.parse(letters),
        services: storage.AccountSASServices.parse(services).toString(),
        resourceTypes: storage.AccountSASResourceTypes.parse(types).toString(),
        expiresOn,
        protocol: storage.SASProtocol.HttpsAndHttp,
      },
      credential,
    );
    const signed = new BlobServiceClient(`${endpoint}?${sas}`, undefined, once);
    assert.equal(await allowed(signed.getContainerClient(container.containerName)), calls, `${letters} ${services} ${types}`);
  }
  const url = blobs.generateAccountSasUrl(expiresOn, storage.AccountSASPermissions.parse("rl"), "s");
  const found = [];
  for await (const each of new BlobServiceClient(url, undefined, once).listContainers()) found.push(each.name);
  assert.ok(found.includes(container.containerName));
});

it("a SAS of a blob is for that blob, in every version that the client makes", async () => {
  for (const version of [undefined, "2015-04-05", "2018-11-09", "2019-12-12", "2020-12-06", "2022-11-02"]) {
    const sas = blobSas(version && { version });
    assert.equal(await read(sas), "1", version);
    await rejected(() => read(sas, "two"), 403, "AuthenticationFailed");
  }
  const lists = new ContainerClient(`${container.url}?${blobSas()}`, undefined, once);
  assert.equal((await refused(() => lists.listBlobsFlat().next())).statusCode, 403);
});

it("a SAS sets headers of the answer", async () => {
  const headers = { cacheControl: "no-store", contentDisposition: "attachment; filename=x", contentType: "text/x" };
  const more = { contentEncoding: "identity", contentLanguage: "de" };
  const seen = await withSas(blobSas({ ...headers, ...more })).getProperties();
  for (const [name, value] of Object.entries({ ...headers, ...more })) assert.equal(seen[name], value);
});

it("a SAS is bound to moments, addresses and the protocol", async () => {
  assert.equal(await read(blobSas({ startsOn: later(-5) })), "1");
  assert.equal(await read(blobSas({ ipRange: { start: "127.0.0.0", end: "127.255.255.255" } })), "1");
  for (const [values, code] of [
    [{ startsOn: later(5) }, "AuthenticationFailed"],
    [{ expiresOn: later(-1) }, "AuthenticationFailed"],
    [{ ipRange: { start: "10.0.0.1" } }, "AuthorizationSourceIPMismatch"],
    [{ protocol: storage.SASProtocol.Https }, "AuthorizationProtocolMismatch"],
  ]) {
    await rejected(() => read(blobSas(values)), 403, code);
  }
});

it("a SAS that is widened, foreign or names a policy is rejected", async () => {
  const sas = blobSas().toString();
  for (const other of [
    sas.replace("sp=r", "sp=rwd"),
    sas.replace("sr=b", "sr=c"),
    sas.replace(/se=[^&]*/, "se=2099-01-01T00%3A00%3A00Z"),
    sas.replace("sig=", "sig=A"),
    `${sas}&rsct=text%2Fhtml`,
    blobSas({}, "one", new storage.StorageSharedKeyCredential(account, "d3Jvbmc=")).toString(),
    blobSas({ identifier: "policy" }).toString(),
  ]) {
    await rejected(() => read(other), 403, "AuthenticationFailed");
  }
});

it("a user delegation SAS allows what it says, no longer than its key", async () => {
  const delegation = await blobs.getUserDelegationKey(later(-5), expiresOn);
  assert.deepEqual([delegation.signedService, Boolean(delegation.value)], ["b", true]);
  const permissions = BlobSASPermissions.parse("r");
  const url = await container.getBlobClient("one").generateUserDelegationSasUrl({ permissions, expiresOn }, delegation);
  const signed = new BlobClient(url, undefined, once);
  assert.equal((await signed.downloadToBuffer()).toString(), "1");
  await rejected(() => signed.delete(), 403, "AuthorizationPermissionMismatch");
  const by = (values = {}) =>
    storage.generateBlobSASQueryParameters(
      { containerName: container.containerName, permissions: ContainerSASPermissions.parse("rl"), expiresOn, ...values },
      delegation,
      account,
    );
  assert.equal(await allowed(new ContainerClient(`${container.url}?${by()}`, undefined, once)), "read list");
  assert.equal(await read(by({ correlationId: "4c1f4b3c-2a1a-4b3f-8d8e-5f0e5f0e5f0e" })), "1");
  await rejected(() => read(by().toString().replace("skoid=0", "skoid=1")), 403, "AuthenticationFailed");
  const short = await blobs.getUserDelegationKey(later(30), expiresOn);
  const early = await container.getBlobClient("one").generateUserDelegationSasUrl({ permissions, expiresOn }, short);
  await rejected(() => new BlobClient(early, undefined, once).downloadToBuffer(), 403, "AuthenticationFailed");
});

it("a user delegation key is not for more than seven days, and not for a SAS", async () => {
  assert.equal((await refused(() => blobs.getUserDelegationKey(later(-5), later(8 * 24 * 60)))).statusCode, 400);
  const url = blobs.generateAccountSasUrl(expiresOn, storage.AccountSASPermissions.parse("rwdlacup"), "sco");
  const signed = new BlobServiceClient(url, undefined, once);
  assert.equal((await refused(() => signed.getUserDelegationKey(later(-5), expiresOn))).statusCode, 403);
});

it("bearer tokens and requests without a signature are rejected", async () => {
  const url = container.getBlobClient("one").url;
  // The client sends tokens over TLS alone.
  const token = { getToken: async () => ({ token: "of-nobody", expiresOnTimestamp: Date.now() + 3_600_000 }) };
  assert.match((await refused(() => new BlobClient(url, token, once).getProperties())).message, /non-TLS|https/i);
  const sent = await fetch(url, { headers: { authorization: "Bearer of-nobody", "x-ms-version": "2024-11-04" } });
  assert.deepEqual([sent.status, sent.headers.get("x-ms-error-code")], [400, "InvalidAuthenticationInfo"]);
  for (const call of [
    () => new BlobClient(url, undefined, once).downloadToBuffer(),
    () => new BlobServiceClient(endpoint, undefined, once).listContainers().next(),
    () => new BlobServiceClient(endpoint, undefined, once).getUserDelegationKey(later(-5), expiresOn),
  ]) {
    assert.ok([401, 403, 404, 409].includes((await refused(call)).statusCode));
  }
  const wrong = new BlobServiceClient(endpoint, new storage.StorageSharedKeyCredential(account, "d3Jvbmc="), once);
  await rejected(() => wrong.listContainers().next(), 403, "AuthenticationFailed");
});
