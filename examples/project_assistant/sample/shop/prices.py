"""Cents for 100 grams."""

PRICES = {"assam": 790, "sencha": 1290, "rooibos": 450}

BULK_GRAMS = 1000


def discount(cents: int, grams: int) -> int:
    """A tenth less from a kilogram on."""
    return cents - cents // 10 if grams >= BULK_GRAMS else cents
