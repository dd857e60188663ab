"""Where money comes in."""

from shop.prices import PRICES, discount


class Till:
    """Adds up a sale."""

    def __init__(self) -> None:
        self.total = 0

    def ring_up(self, tea: str, grams: int) -> int:
        """Cents for an amount of tea."""
        cents = discount(PRICES[tea] * grams // 100, grams)
        self.total += cents
        return cents
