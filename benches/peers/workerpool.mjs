// The pool workerpool with processes, as its documentation uses it: a script that registers the
// jobs. Numbers cross in the default serialization, bytes in the advanced one; see
// child_process.mjs.
//
// node workerpool.mjs PROCESSES FOLDER_OF_NODE_MODULES

import { createRequire } from 'node:module';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

import * as jobs from './jobs.mjs';
import { serve } from './slices.mjs';

const CHILD = 'child';

const [count, folder] = process.argv.slice(2);
const require = createRequire(join(folder, 'peers.js'));
const workerpool = require('workerpool');

function start(serialization) {
  return workerpool.pool(fileURLToPath(import.meta.url), {
    workerType: 'process',
    minWorkers: Number(count),
    maxWorkers: Number(count),
    forkArgs: [CHILD, folder],
    forkOpts: { serialization },
  });
}

if (count === CHILD) {
  workerpool.worker({ ...jobs });
} else {
  const numbers = start('json');
  const payloads = start('advanced');
  const peer = {
    call: (x) => numbers.exec('call', [x]),
    look: (bytes) => payloads.exec('look', [bytes]),
    back: (bytes) => payloads.exec('back', [bytes]),
  };
  const { version } = require('workerpool/package.json');
  await serve(peer, `workerpool ${version}, node ${process.version}`);
}
