"""The bundled demonstration model: for first runs, tests and examples.

Nothing that serves a real Gemma 4 needs this folder: no other part of the library imports it, and
it takes the extra `local`. Its checkpoint lies beside it, in `tiny/`.
"""

from agentkit.models.embedded.model import EmbeddedModel

__all__ = ["EmbeddedModel"]
