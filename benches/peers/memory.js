'use strict';
// Workers of Node, as many as asked for: processes of the cluster module, or worker_threads.
//
//   node memory.js cluster|threads COUNT
//
// Answers the commands of benches/memory/host.rs, one a line, in the same way. What a worker does
// is the same, too; bytes travel as bytes (advanced serialization, structured clone).

const cluster = require('node:cluster');
const { createHash } = require('node:crypto');
const { once } = require('node:events');
const { createInterface } = require('node:readline');
const threads = require('node:worker_threads');

const INPUT_BYTES = 64 * 1024;
const PASSES = 8;
const PIECE_BYTES = 16 * 1024;
const KEPT_BYTES = 1024;

if (cluster.isWorker) {
  serve(process, (message) => process.send(message));
  process.on('disconnect', () => process.exit());
} else if (!threads.isMainThread) {
  serve(threads.parentPort, (message) => threads.parentPort.postMessage(message));
} else {
  host(process.argv[2], Number(process.argv[3])).catch((error) => {
    console.error(error);
    process.exit(1);
  });
}

function serve(port, send) {
  let held = [];
  const kept = [];
  port.on('message', (message) => {
    if (message.hash !== undefined) {
      let digest;
      for (let pass = 0; pass < PASSES; pass += 1) {
        digest = createHash('sha256').update(message.hash).digest('hex');
      }
      send(digest);
    } else if (message.hold !== undefined) {
      const pieces = message.hold * 1024 * 1024 / PIECE_BYTES;
      held = Array.from({ length: pieces }, (_, at) => Buffer.alloc(PIECE_BYTES, at % 255 + 1));
      if (message.keep) kept.push(Buffer.alloc(KEPT_BYTES, 1));
      send('held');
    } else {
      held = [];
      send('released');
    }
  });
}

function processes() {
  cluster.setupPrimary({ serialization: 'advanced' });
  return {
    start: () => cluster.fork(),
    send: (worker, message) => worker.send(message),
    pids: (workers) => workers.map((worker) => worker.process.pid),
    async end(worker) {
      worker.disconnect();
      await once(worker, 'exit');
    },
  };
}

function inOneProcess() {
  return {
    start: () => new threads.Worker(__filename),
    send: (worker, message) => worker.postMessage(message),
    pids: () => [],
    end: (worker) => worker.terminate(),
  };
}

async function host(kind, count) {
  const mode = kind === 'cluster' ? processes() : inOneProcess();
  let workers = Array.from({ length: count }, mode.start);
  const ask = async (worker, message) => {
    const answer = once(worker, 'message');
    mode.send(worker, message);
    return (await answer)[0];
  };
  const askAll = async (message, expected) => {
    const answers = await Promise.all(workers.map((worker) => ask(worker, message)));
    if (answers.some((answer) => answer !== expected)) throw new Error(`answers: ${answers}`);
  };
  const input = Buffer.alloc(INPUT_BYTES, 7);
  const digest = createHash('sha256').update(input).digest('hex');
  for await (const line of createInterface({ input: process.stdin })) {
    const [command, first, second] = line.split(' ');
    if (command === 'hold') {
      await askAll({ hold: Number(first), keep: second === 'keep' }, 'held');
      console.log('held');
    } else if (command === 'release') {
      await askAll({}, 'released');
      console.log('released');
    } else if (command === 'work') {
      await Promise.all(workers.map(async (worker) => {
        for (let done = 0; done < Number(first); done += 1) {
          if (await ask(worker, { hash: input }) !== digest) throw new Error('a wrong digest');
        }
      }));
      console.log(`worked ${first} ${first}`);
    } else if (command === 'renew') {
      await Promise.all(workers.map(mode.end));
      workers = Array.from({ length: count }, mode.start);
      await askAll({}, 'released');
      console.log(`renewed ${count}`);
    } else if (command === 'workers') {
      console.log(['workers', ...mode.pids(workers)].join(' '));
    } else {
      throw new Error(`no such command: ${line}`);
    }
  }
  await Promise.all(workers.map(mode.end));
}
