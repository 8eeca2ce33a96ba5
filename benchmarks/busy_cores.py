"""What a step with a thread for every core costs beside other busy processes, by how long OpenMP's threads spin.

    python benchmarks/busy_cores.py --busy 2

Every setting in a process of its own, by turns; median seconds of a forward and backward pass of twenty convolutions
and some small products. Linux wheels of torch have GNU's OpenMP, which reads GOMP_SPINCOUNT; qrecipe's commands set
it to 10000.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys

SETTINGS: dict[str, dict[str, str]] = {
    "as it is (300,000 turns)": {},
    "GOMP_SPINCOUNT=10000": {"GOMP_SPINCOUNT": "10000"},
    "OMP_WAIT_POLICY=PASSIVE": {"OMP_WAIT_POLICY": "PASSIVE"},
    "OMP_NUM_THREADS=1": {"OMP_NUM_THREADS": "1"},
}
STEP = """
import sys, time, torch
from torch import nn
torch.manual_seed(0)
layers = [part for _ in range(20) for part in (nn.Conv2d(32, 32, 3, padding=1), nn.ReLU())]
net = nn.Sequential(nn.Conv2d(3, 32, 4, 4), *layers)
images, small = torch.randn(16, 3, 64, 64), [torch.randn(8, 100, 64) for _ in range(50)]
def step():
    net(images).sum().backward()
    for value in small:
        torch.softmax(value @ value.transpose(1, 2), -1)
step()
start = time.perf_counter()
for _ in range(int(sys.argv[1])):
    step()
print((time.perf_counter() - start) / int(sys.argv[1]))
"""


def seconds(setting: dict[str, str], steps: int) -> float:
    """Of a step, in a fresh process."""
    names = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "OMP_NUM_THREADS")
    clean = {name: value for name, value in os.environ.items() if name not in names}
    command = [sys.executable, "-c", STEP, str(steps)]
    return float(subprocess.run(command, env={**clean, **setting}, capture_output=True, check=True, text=True).stdout)


def main(busy: int, rounds: int, steps: int) -> None:
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(busy)]
    try:
        found = {name: list[float]() for name in SETTINGS}
        for _ in range(rounds):
            for name, setting in SETTINGS.items():
                found[name].append(seconds(setting, steps))
    finally:
        for other in others:
            other.kill()
    print(f"| beside {busy} busy processes, {os.cpu_count()} cores | seconds a step | |\n|---|---|---|")
    first = statistics.median(next(iter(found.values())))
    for name, values in found.items():
        own = statistics.median(values)
        print(f"| {name} | {own:.3f} | {own / first:.2f}x |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--busy", type=int, default=2, help="other processes (default: 2)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=10)
    arguments = parser.parse_args()
    main(arguments.busy, arguments.rounds, arguments.steps)
