"""Amounts, in cents."""


def parse(text: str) -> int:
    """Cents of an amount such as `12.50` or `-3`."""
    sign = -1 if text.startswith("-") else 1
    units, _, cents = text.lstrip("-").partition(".")
    return sign * (int(units) * 100 + int(cents or 0))


def shown(cents: int) -> str:
    """An amount as people write it: `12.50`."""
    return f"{cents // 100}.{cents % 100:02}"


def shares(cents: int, people: int) -> list[int]:
    """An amount in equal parts; what is left over goes to the first ones, a cent each."""
    share = cents // people
    return [share] * people
