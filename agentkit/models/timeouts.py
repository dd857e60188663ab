"""How long one model call may take, part by part."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """The clocks of one model call, in seconds.

    Attributes:
        connect: To a TCP (and TLS) connection.
        first_event: From the request to the first data event: queueing and prefill.
        idle: Between two data events. Comments (keep-alives) do not count.
        total: The whole call, all attempts and waits together.
        retry: As long as this after the first attempt began, a new one may begin. A vLLM that
            restarts needs minutes.

    Raises:
        ValueError: A clock does not run: only `retry` may be 0, for no second attempt.
    """

    connect: float = 5.0
    first_event: float = 120.0
    idle: float = 60.0
    total: float = 1800.0
    retry: float = 300.0

    def __post_init__(self) -> None:
        for clock in ("connect", "first_event", "idle", "total"):
            if not (given := getattr(self, clock)) > 0:
                raise ValueError(f"{clock} is {given}; give seconds above 0")
        if not self.retry >= 0:
            raise ValueError(f"retry is {self.retry}; give seconds, or 0 for no second attempt")
