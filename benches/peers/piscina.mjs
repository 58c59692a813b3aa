// The thread pool piscina, as its documentation uses it: the jobs are the exports of a file.
//
// node piscina.mjs THREADS FOLDER_OF_NODE_MODULES

import { createRequire } from 'node:module';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { serve } from './slices.mjs';

const [threads, folder] = process.argv.slice(2);
const require = createRequire(join(folder, 'peers.js'));
const { Piscina, version } = require('piscina');

const pool = new Piscina({
  filename: fileURLToPath(new URL('jobs.mjs', import.meta.url)),
  minThreads: Number(threads),
  maxThreads: Number(threads),
});
const peer = {
  call: (x) => pool.run(x, { name: 'call' }),
  look: (bytes) => pool.run(bytes, { name: 'look' }),
  back: (bytes) => pool.run(bytes, { name: 'back' }),
};
await serve(peer, `piscina ${version}, node ${process.version}`);
