"""Agents on a Gemma 4 that you serve yourself with vLLM."""
