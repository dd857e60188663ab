"""A recorded run as one HTML file that needs no network."""

from agentkit.trace.page.html import document
from agentkit.trace.page.run import page_of, page_script, page_style

__all__ = ["document", "page_of", "page_script", "page_style"]
