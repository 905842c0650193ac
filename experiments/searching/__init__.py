"""Workflow search: Monte Carlo tree search over `workflow` documents (AFlow, Zhang et al. 2024, 2410.10762; ADAS, Hu et
al. 2024, 2408.08435), judged on a bank or live, with every workflow that was tried on record.

`searching.search` chooses on training questions, `judging.judge` judges what was chosen on others, once."""
