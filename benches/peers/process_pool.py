"""Python's concurrent.futures.ProcessPoolExecutor, used as its documentation does.

A line is `CASE MILLISECONDS`, the answer one JSON object; a closed loop as in pools/drive.rs. The
end of standard input ends the script.

python3 process_pool.py PROCESSES
"""

import json
import math
import multiprocessing
import platform
import sys
import traceback
from collections import deque
from concurrent.futures import ProcessPoolExecutor
from time import perf_counter_ns

WINDOW = 256
SAMPLES_MIN = 8
SAMPLES_MAX = 20_000
PAYLOAD = bytes(index % 251 for index in range(1 << 20))


def call(x):
    return x


def back(payload):
    return payload


def look(payload):
    """One byte of each page."""
    return sum(payload[::4096])


def check(is_right):
    if not is_right:
        raise ValueError("it answered something else")


def latencies(pool, ms, job, task):
    """One task after the other, for so long."""
    samples = []
    begun = perf_counter_ns()
    until = begun + ms * 1_000_000
    while len(samples) < SAMPLES_MAX and (len(samples) < SAMPLES_MIN or perf_counter_ns() < until):
        given, right = task(len(samples))
        start = perf_counter_ns()
        answer = pool.submit(job, given).result()
        samples.append(perf_counter_ns() - start)
        check(answer == right)
    seconds = (perf_counter_ns() - begun) / 1e9
    samples.sort()

    def quantile(q):
        """As `nearest` in kit/stats.rs: the sample at or above."""
        return samples[math.ceil(q * (len(samples) - 1))]

    return {
        "tasks": len(samples),
        "seconds": seconds,
        "p50_ns": quantile(0.5),
        "p99_ns": quantile(0.99),
    }


def pipelined(pool, ms):
    """As many tasks as go, so many in flight, for so long; then the rest is waited for."""
    begun = perf_counter_ns()
    until = begun + ms * 1_000_000
    in_flight = deque()
    sent = done = 0
    while True:
        is_open = perf_counter_ns() < until
        while is_open and len(in_flight) < WINDOW:
            in_flight.append(pool.submit(call, sent))
            sent += 1
        if not in_flight:
            break
        check(in_flight.popleft().result() == done)
        done += 1
    return {"tasks": done, "seconds": (perf_counter_ns() - begun) / 1e9}


def main():
    right = look(PAYLOAD)
    cases = {
        "sequential": lambda pool, ms: latencies(pool, ms, call, lambda n: (n, n)),
        "pipelined": pipelined,
        "in": lambda pool, ms: latencies(pool, ms, look, lambda _: (PAYLOAD, right)),
        "back": lambda pool, ms: latencies(pool, ms, back, lambda _: (PAYLOAD, PAYLOAD)),
    }
    method = multiprocessing.get_start_method()
    about = f"python {platform.python_version()}, workers by {method}"
    print(json.dumps({"about": about}), flush=True)
    with ProcessPoolExecutor(max_workers=int(sys.argv[1])) as pool:
        for line in sys.stdin:
            name, ms = line.split()
            try:
                told = cases[name](pool, int(ms))
            except Exception:
                told = {"error": traceback.format_exc()}
            print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main()
