-- Runs and their entries, as a journal's file has them; beside each run, where its record ends.
CREATE TABLE agentkit.runs (
    run_id text PRIMARY KEY,
    -- The number of the newest lease, who holds it (JSON; empty for nobody), which taking it was,
    -- and when it ends, by this server's clock.
    epoch bigint NOT NULL,
    owner text NOT NULL,
    taking text NOT NULL,
    lease_until timestamptz NOT NULL,
    -- Seconds since 1970.
    created double precision NOT NULL,
    -- The last entry: its number, its seal and its kind; and the calls that were to run by then.
    seq bigint NOT NULL,
    digest bytea NOT NULL,
    kind text NOT NULL,
    calls integer NOT NULL
) WITH (fillfactor = 70); -- room to update a row within its page

CREATE INDEX runs_created ON agentkit.runs (created DESC);

CREATE TABLE agentkit.events (
    run_id text NOT NULL,
    seq bigint NOT NULL,
    epoch bigint NOT NULL,
    at double precision NOT NULL,
    kind text NOT NULL,
    -- JSON, byte for byte as it was sealed; to look into it, cast it to jsonb.
    body text NOT NULL,
    digest bytea NOT NULL,
    -- Where registered secrets stand in the body.
    hidden text,
    PRIMARY KEY (run_id, seq)
);
