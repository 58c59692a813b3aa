"""A ProcessPoolExecutor whose only worker is killed again and again.

Reads how many kills, one number a line; answers each line with as many times in nanoseconds, from
the kill until a new worker has answered. The executor is broken by the first death, so whoever
uses it makes a new one. Forked workers: the fastest of Python's start methods.
"""

import os
import signal
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context

PAUSE_S = 0.0025  # the same as in benches/respawn/main.rs: everybody sleeps before the kill
PATIENCE_S = 30


def who():
    return os.getpid()


def start():
    return ProcessPoolExecutor(max_workers=1, mp_context=get_context("fork"))


def main():
    pool = start()
    old = pool.submit(who).result(timeout=PATIENCE_S)
    print("ready", flush=True)
    for line in sys.stdin:
        samples = []
        for _ in range(int(line)):
            time.sleep(PAUSE_S)
            begun = time.perf_counter_ns()
            os.kill(old, signal.SIGKILL)
            new = old
            while new == old:
                try:
                    new = pool.submit(who).result(timeout=PATIENCE_S)
                except BrokenProcessPool:
                    pool.shutdown(wait=False)
                    pool = start()
            samples.append(time.perf_counter_ns() - begun)
            old = new
        print(*samples, flush=True)
    pool.shutdown()


if __name__ == "__main__":
    main()
