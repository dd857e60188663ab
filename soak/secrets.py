"""100 secrets, each given in one of the ways in which secrets are given, and every place that keeps
what a run says, with the secret written in four encodings: none holds one.
"""

from __future__ import annotations

import random
import sys

import anyio

from soak.proof import prove
from tests.sinks import ENCODINGS, GIVERS, leaks, random_secret

_SECRETS = 100
_AT_ONCE = 10


def batch(number: int) -> dict[str, int]:
    """Ten secrets, all registered before the first is looked for."""
    rng = random.Random(number)
    ways = list(GIVERS)
    secrets: list[str] = []
    for place in range(_AT_ONCE):
        way = ways[(number * _AT_ONCE + place) % len(ways)]
        secrets.append(random_secret(rng, way))
        GIVERS[way](secrets[-1])
    found = [f"{where} of {secret!r}" for secret in secrets for where in anyio.run(leaks, secret)]
    assert found == [], found
    return {"secrets": len(secrets), "encodings": len(secrets) * len(ENCODINGS), "found": 0}


if __name__ == "__main__":
    sys.exit(prove("secrets", _SECRETS // _AT_ONCE, batch))
