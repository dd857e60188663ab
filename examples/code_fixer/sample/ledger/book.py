"""Who owes whom."""

from ledger.money import shares


class Book:
    """Balances of people in cents: what they paid less what they used."""

    def __init__(self) -> None:
        self._balances: dict[str, int] = {}

    def spend(self, payer: str, cents: int, users: list[str]) -> None:
        """One pays for several, perhaps also for themselves."""
        self._add(payer, cents)
        for user, share in zip(users, shares(cents, len(users)), strict=True):
            self._add(user, share)

    def balance(self, name: str) -> int:
        """What a person is owed, or owes if below zero."""
        return self._balances.get(name, 0)

    def _add(self, name: str, cents: int) -> None:
        self._balances[name] = self.balance(name) + cents
