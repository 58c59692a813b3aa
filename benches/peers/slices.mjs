// One slice of a peer written for Node: the lines that the bench sends, the clock, the figures.
//
// A line is `CASE MILLISECONDS`, the answer one JSON object. A closed loop as in pools/drive.rs:
// the next task is sent when an answer has come, and every answer is checked outside the timed
// part. The end of standard input ends the script.

import { createInterface } from 'node:readline';

import { look } from './jobs.mjs';

const WINDOW = 256;
const SAMPLES_MIN = 8;
const SAMPLES_MAX = 20_000;

/**
 * @param pool `call(x)`, `look(bytes)` and `back(bytes)`, each a promise of the answer;
 * `consumes`: bytes that were given to it are gone.
 * @param about what the bench says of this peer, its version.
 */
export async function serve(pool, about) {
  const payload = Uint8Array.from({ length: 1 << 20 }, (_, index) => index % 251);
  const prepare = pool.consumes ? () => payload.slice() : () => payload;
  const right = look(payload);
  const cases = {
    sequential: (ms) => latencies(ms, (n) => n, (x) => pool.call(x), (answer, x) => answer === x),
    pipelined: (ms) => pipelined(ms, (x) => pool.call(x)),
    in: (ms) => latencies(ms, prepare, (bytes) => pool.look(bytes), (answer) => answer === right),
    back: (ms) => latencies(ms, prepare, (bytes) => pool.back(bytes), (answer) => same(answer, payload)),
  };
  tell({ about });
  for await (const line of createInterface({ input: process.stdin })) {
    const [name, ms] = line.split(' ');
    try {
      if (!Object.hasOwn(cases, name)) throw new Error(`${name} is no case`);
      tell(await cases[name](Number(ms)));
    } catch (error) {
      tell({ error: String(error?.stack ?? error) });
    }
  }
  process.exit();
}

function tell(answer) {
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}

function same(answer, payload) {
  return answer.byteLength === payload.byteLength && Buffer.compare(answer, payload) === 0;
}

/** One task after the other, for so long. */
async function latencies(ms, prepare, once, isRight) {
  const samples = [];
  const begun = performance.now();
  const until = begun + ms;
  while (samples.length < SAMPLES_MAX && (samples.length < SAMPLES_MIN || performance.now() < until)) {
    const input = prepare(samples.length);
    const start = performance.now();
    const answer = await once(input);
    samples.push(performance.now() - start);
    if (!isRight(answer, input)) throw new Error('it answered something else');
  }
  const seconds = (performance.now() - begun) / 1e3;
  samples.sort((a, b) => a - b);
  // As `nearest` in kit/stats.rs: the sample at or above.
  const quantile = (q) => Math.round(samples[Math.ceil(q * (samples.length - 1))] * 1e6);
  return { tasks: samples.length, seconds, p50_ns: quantile(0.5), p99_ns: quantile(0.99) };
}

/** As many tasks as go, so many in flight, for so long; then the rest is waited for. */
async function pipelined(ms, call) {
  const begun = performance.now();
  const until = begun + ms;
  let sent = 0;
  const place = async () => {
    while (performance.now() < until) {
      const x = sent++;
      if ((await call(x)) !== x) throw new Error('it answered something else');
    }
  };
  await Promise.all(Array.from({ length: WINDOW }, place));
  return { tasks: sent, seconds: (performance.now() - begun) / 1e3 };
}
