"""Our prices against litellm's own reckoning, over its whole list: `python benchmarks/prices.py [--seed 0]`.

Every priced chat model, `--draws` random usages each (prompts on both sides of the tiers, cached and written tokens,
reasoning), at a working hour and at an off-peak one. litellm reckons in floats; equal means within a nano-dollar and a
millionth. Nothing is called, and nothing is fetched.
"""

from __future__ import annotations

import argparse
import random
from collections import Counter
from datetime import UTC, datetime
from typing import Any

from satisfice.core.completions import Usage
from satisfice.models import pricelist
from satisfice.models.lite import _usage, load_litellm

HOURS = (datetime(2026, 6, 1, 2, tzinfo=UTC), datetime(2026, 6, 6, 18, tzinfo=UTC))  # a Monday, a Saturday


def drawn(dice: random.Random) -> tuple[Usage, Any]:
    """A usage, as ours and as litellm's."""
    from litellm.types.utils import CompletionTokensDetailsWrapper, PromptTokensDetailsWrapper
    from litellm.types.utils import Usage as Theirs

    prompt, completion = dice.choice([100, 5_000, 150_000, 200_000, 300_000]), dice.choice([10, 1_000])
    cached, written = dice.choice([0, prompt // 2]), dice.choice([0, prompt // 5])
    thought = dice.choice([0, completion // 2])
    theirs = Theirs(
        prompt_tokens=prompt,
        completion_tokens=completion,
        total_tokens=prompt + completion,
        prompt_tokens_details=PromptTokensDetailsWrapper(
            cached_tokens=cached, cache_creation_tokens=written, text_tokens=prompt - cached - written
        ),
        completion_tokens_details=CompletionTokensDetailsWrapper(
            reasoning_tokens=thought, text_tokens=completion - thought
        ),
        cache_creation_input_tokens=written,
        cache_read_input_tokens=cached,
    )
    return Usage(prompt, completion, cached, thought, written), theirs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--draws", type=int, default=6)
    options = parser.parse_args()
    litellm = load_litellm()
    from litellm.litellm_core_utils.llm_cost_calc.utils import generic_cost_per_token

    dice, seen, above = random.Random(options.seed), Counter[str](), Counter[str]()
    for name in pricelist.names():
        listed = pricelist.look_up(name)
        if listed is None or listed.price is None:
            seen["models without a price"] += 1
            continue
        price, provider = listed.price, str(litellm.model_cost[name].get("litellm_provider"))
        seen["models"] += 1
        for when in HOURS:
            for _ in range(options.draws):
                usage, theirs = drawn(dice)
                seen["usages read otherwise"] += _usage(theirs) != usage
                prompt, completion = generic_cost_per_token(name, theirs, provider, current_time=when)
                said = (prompt + completion) * 1e9
                mine = price.at(when).cost(usage) - price.per_call
                seen["reckoned"] += 1
                seen["above the worst case"] += price.at(when).cost(usage) > price.worst(usage.prompt, usage.completion)
                if abs(mine - said) <= 1 + said * 1e-6:
                    seen["equal"] += 1
                else:
                    seen["below litellm" if mine < said else "above litellm"] += 1
                    above[f"{provider}{' written' if usage.cache_write else ''}"] += mine > said
    for key, count in seen.items():
        print(f"{key:24} {count:7,}")
    print("above, by provider:", dict(above.most_common()))


if __name__ == "__main__":
    main()
