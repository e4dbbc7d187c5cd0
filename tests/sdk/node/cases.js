// What both files of tests have: the connection, waiting, and cases that may be expected to fail.
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { setTimeout } from "node:timers/promises";
import path from "node:path";

// The clients lie in the driver's cache, not beside these files.
export const client = createRequire(path.join(process.env.DROPMILL_NODE_MODULES, "here.js"));
export const connection = JSON.parse(readFileSync(process.env.DROPMILL_CONNECTION, "utf8"));
const expected = JSON.parse(process.env.DROPMILL_EXPECTED ?? "{}");

let count = 0;
/** A name that nothing else has. */
export const fresh = (what) => `${what}-node-${process.pid}-${++count}`;

/** A case. One that expected.toml lists must fail, with the words that stand there. */
export function it(name, body) {
  const line = expected[name];
  if (!line) return test(name, { timeout: 120_000 }, body);
  return test(`${name} # EXPECTED`, { timeout: 120_000 }, async () => {
    let failure;
    try {
      await body();
    } catch (error) {
      failure = `${error.message} ${error.code ?? ""}`;
    }
    if (failure === undefined) throw new Error(`expected.toml lists "${name}", and it passes`);
    if (!failure.includes(line.error)) throw new Error(`expected to fail with ${line.error}, not: ${failure}`);
  });
}

/** Asks until the answer is true, and gives it back. */
export async function until(what, look, seconds = 60) {
  const end = Date.now() + seconds * 1000;
  for (;;) {
    const answer = await look();
    if (answer) return answer;
    if (Date.now() > end) throw new Error(`not within ${seconds} s: ${what}`);
    await setTimeout(30);
  }
}

/** What went wrong with a call that must be refused. */
export async function refused(call) {
  try {
    await call();
  } catch (error) {
    return error;
  }
  throw new Error("it was not refused");
}

export async function text(stream) {
  const parts = [];
  for await (const part of stream) parts.push(Buffer.from(part));
  return Buffer.concat(parts).toString();
}
