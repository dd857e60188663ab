"""The bundled demonstration checkpoint: its dialogues, tokenizer, training, export, evaluation."""
