"""Gemma 4's own language as pure text and data: tokens, escape, render, parse, grammar, profiles.

Nothing here does I/O. The format is the one of Google's canonical chat template of 2026-07-09.
"""
