"""What one comparison of the `math` verifier costs, cold, warm and when it has to be stopped.

.venv/bin/python benchmarks/mathematics.py
"""

from __future__ import annotations

import time

from satisfice.verifiers.algebra.client import shared
from satisfice.verifiers.math_ import equivalent

PAIRS = [
    ("17", "18"), ("1/3", "0.333333"), ("[0,1)", "0 <= x < 1"),
    (r"\begin{pmatrix}1&2\\3&4\end{pmatrix}", "[[1,2],[3,4]]"), ("x^2-1", "(x-1)(x+1)"),
    (r"\frac{\sqrt{3}}{3}", "1/sqrt(3)"), (r"\sin^2 x", r"1-\cos^2 x"), (r"\int_0^1 x^2 dx", "1/3"),
]  # fmt: skip
ENDLESS = r"\sum_{n=1}^{10^9} \sin(n^2)"


def seconds(a: str, b: str, limit: float = 60.0) -> float:
    """What one call takes."""
    start = time.perf_counter()
    equivalent(a, b, limit)
    return time.perf_counter() - start


def main() -> None:
    """Prints one line each."""
    print(f"cold (starts the process, loads sympy): {seconds('x+1', '1+x'):.2f} s")
    for a, b in PAIRS:
        times = sorted(seconds(a, b) for _ in range(60))
        print(f"{a} = {b}: median {1000 * times[30]:.2f} ms, 95 % below {1000 * times[57]:.2f} ms")
    print(f"stopped at 1 s: {seconds('1', ENDLESS, 1.0):.2f} s")
    print(f"the call after that: {seconds('x+1', '1+x'):.2f} s")
    shared.close()


if __name__ == "__main__":
    main()
