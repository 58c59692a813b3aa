// A pool as one writes it by hand: the least busy port gets the task, the answer finds its promise
// by a number.

import * as jobs from './jobs.mjs';

export class Pool {
  #ports;
  #open = new Map();
  #sent = 0;

  /** @param ports each has `post(message, input)` and `listen(function)` */
  constructor(ports) {
    this.#ports = ports.map((port) => ({ port, busy: 0 }));
    for (const place of this.#ports) {
      place.port.listen(({ id, output }) => {
        place.busy -= 1;
        const settle = this.#open.get(id);
        this.#open.delete(id);
        settle(output);
      });
    }
  }

  run(job, input) {
    const place = this.#ports.reduce((best, other) => (other.busy < best.busy ? other : best));
    const id = this.#sent++;
    place.busy += 1;
    return new Promise((settle) => {
      this.#open.set(id, settle);
      place.port.post({ id, job, input });
    });
  }
}

/** What is done with a message in a thread or process of the pool. */
export function answer({ id, job, input }) {
  return { id, output: jobs[job](input) };
}

/** A peer that dies takes its bench with it: an answer would never come. */
export function dies(name) {
  return (end) => {
    console.error(`a ${name} has ended: ${end}`);
    process.exit(1);
  };
}
