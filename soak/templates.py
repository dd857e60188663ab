"""Whether Gemma's own chat templates are here, which some proofs render with."""

from __future__ import annotations

from tests.gemma4.official import FILES, TEMPLATES


def require_templates() -> None:
    """Ends a proof that has no templates.

    Raises:
        SystemExit: They are not there; it says how to name their folder.
    """
    if not (TEMPLATES / FILES["large"]).is_file():
        raise SystemExit(f"no templates in {TEMPLATES}; AGENTKIT_TEMPLATES names their folder")
