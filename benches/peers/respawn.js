'use strict';
// A child of child_process.fork that is killed again and again: 'exit', fork again, first answer.
//
// Reads how many kills, one number a line; answers each line with as many times in nanoseconds,
// from the kill until the new child has answered a message.

const { fork } = require('node:child_process');
const { once } = require('node:events');
const { createInterface } = require('node:readline');
const { setTimeout: pause } = require('node:timers/promises');

const PAUSE_MS = 3; // as in benches/respawn/main.rs, in the whole milliseconds that timers have

if (process.argv[2] === 'worker') {
  process.on('message', () => process.send(process.pid));
  process.on('disconnect', () => process.exit());
} else {
  main().catch((error) => {
    console.error(error);
    process.exit(1);
  });
}

async function started() {
  const child = fork(__filename, ['worker']);
  child.send('who');
  const [pid] = await once(child, 'message');
  if (pid !== child.pid) throw new Error(`child ${child.pid} says it is ${pid}`);
  return child;
}

async function main() {
  let child = await started();
  console.log('ready');
  for await (const line of createInterface({ input: process.stdin })) {
    const samples = [];
    for (let left = Number(line); left > 0; left -= 1) {
      await pause(PAUSE_MS);
      const begun = process.hrtime.bigint();
      child.kill('SIGKILL');
      await once(child, 'exit');
      child = await started();
      samples.push(process.hrtime.bigint() - begun);
    }
    console.log(samples.join(' '));
  }
  child.disconnect();
}
