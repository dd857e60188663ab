"""Between Python and what a model is told: signatures, JSON Schema, and what Gemma sees of it."""
