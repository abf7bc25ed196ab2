"""Random walks: hypothesis draws sequences of calls on one object, each held against a fresh one.

What is kept between calls (packed weights, caches, memory, modes) is wrong only in sequences that
nobody thought of, so these tests draw them. Short and repeatable by default; LSTMFAST_WALKS=10000
is the long form: so many sequences of each machine, from a new seed.
"""

import importlib.util
import os
import sys
from pathlib import Path

from hypothesis import HealthCheck, settings

sys.path.append(str(Path(__file__).parents[1]))  # the oracle

WALKS = int(os.environ.get("LSTMFAST_WALKS", "0"))
settings.register_profile(
    "walks",
    max_examples=WALKS or 25,
    stateful_step_count=12,
    derandomize=not WALKS,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
settings.load_profile("walks")

collect_ignore = [] if importlib.util.find_spec("torch") else ["test_walk_torch.py"]
