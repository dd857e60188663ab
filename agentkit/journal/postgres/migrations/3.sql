-- The conversation that a run is a turn of; empty for none.
ALTER TABLE agentkit.runs ADD COLUMN conversation text NOT NULL DEFAULT '';

CREATE INDEX runs_by_conversation ON agentkit.runs (conversation, created) WHERE conversation <> '';
