"""CPU time of `import satisfice`, above an empty interpreter, and what it loads.

python benchmarks/import_time.py [--rounds 15]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys

HEAVY = ("litellm", "numba", "scipy", "matplotlib", "numpy", "pydantic", "fastapi", "pyarrow", "xllamacpp", "jinja2")
PROBE = """import json, sys, time
t = time.process_time()
{work}
print(json.dumps([time.process_time() - t, sorted(sys.modules)]))"""


def probe(work: str) -> tuple[float, set[str]]:
    out = subprocess.run(
        [sys.executable, "-c", PROBE.format(work=work)], capture_output=True, check=True, env=os.environ
    )
    seconds, modules = json.loads(out.stdout)
    return seconds, {name.partition(".")[0] for name in modules}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    for label, work in (
        ("import satisfice", "import satisfice"),
        ("from satisfice import solve", "from satisfice import solve"),
        (
            "import litellm (for scale)",
            "import os; os.environ['LITELLM_LOCAL_MODEL_COST_MAP'] = 'True'; import litellm",
        ),
    ):
        count = 2 if "litellm" in work else rounds
        results = [probe(work) for _ in range(count)]
        times = [1000 * seconds for seconds, _ in results]
        loaded = ", ".join(name for name in HEAVY if name in results[0][1]) or "none"
        middle, best = statistics.median(times), min(times)
        print(f"{label:32} median {middle:7.1f} ms CPU (best {best:.1f}, n={count}); heavy: {loaded}")


if __name__ == "__main__":
    main()
