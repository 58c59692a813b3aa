// Node's child_process.fork behind a pool written by hand. Numbers cross in the default
// serialization, JSON; bytes in one of `serialization: 'advanced'`, since JSON writes each byte
// out as text: two pools, of which one works at a time.
//
// node child_process.mjs PROCESSES

import { fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';

import { Pool, answer, dies } from './pool.mjs';
import { serve } from './slices.mjs';

const CHILD = 'child';

function start(count, serialization) {
  const ports = Array.from({ length: count }, () => {
    const child = fork(fileURLToPath(import.meta.url), [CHILD], { serialization });
    child.on('exit', dies('child'));
    return {
      post: (message) => child.send(message),
      listen: (hear) => child.on('message', hear),
    };
  });
  return new Pool(ports);
}

if (process.argv[2] === CHILD) {
  process.on('message', (message) => process.send(answer(message)));
} else {
  const processes = Number(process.argv[2]);
  const numbers = start(processes, 'json');
  const payloads = start(processes, 'advanced');
  const peer = {
    call: (x) => numbers.run('call', x),
    look: (bytes) => payloads.run('look', bytes),
    back: (bytes) => payloads.run('back', bytes),
  };
  await serve(peer, `node ${process.version}`);
}
