// Node's worker_threads behind a pool written by hand. Bytes are copied there and back, as
// `postMessage` does by itself, or with the argument `transfer` moved: then the sender loses them.
//
// node worker_threads.mjs THREADS [transfer]

import { fileURLToPath } from 'node:url';
import { Worker, isMainThread, parentPort, workerData } from 'node:worker_threads';

import { Pool, answer, dies } from './pool.mjs';
import { serve } from './slices.mjs';

function moved(value, moves) {
  return moves && value instanceof Uint8Array ? [value.buffer] : [];
}

if (isMainThread) {
  const [threads, transfer] = process.argv.slice(2);
  const moves = transfer === 'transfer';
  const ports = Array.from({ length: Number(threads) }, () => {
    const worker = new Worker(fileURLToPath(import.meta.url), { workerData: moves });
    worker.on('error', dies('thread'));
    return {
      post: (message) => worker.postMessage(message, moved(message.input, moves)),
      listen: (hear) => worker.on('message', hear),
    };
  });
  const pool = new Pool(ports);
  const peer = {
    consumes: moves,
    call: (x) => pool.run('call', x),
    look: (bytes) => pool.run('look', bytes),
    back: (bytes) => pool.run('back', bytes),
  };
  await serve(peer, `node ${process.version}`);
} else {
  parentPort.on('message', (message) => {
    const told = answer(message);
    parentPort.postMessage(told, moved(told.output, workerData));
  });
}
