-- Runs that were submitted, for workers to take.
ALTER TABLE agentkit.runs
    -- Empty for a run that was not submitted; else `queued` until it needs no worker any more, then
    -- `ended`, `paused` (for a person), `cancelled` or `failed`.
    ADD COLUMN state text NOT NULL DEFAULT '',
    -- The name and the fingerprint of the agent that it is for.
    ADD COLUMN agent text NOT NULL DEFAULT '',
    ADD COLUMN fingerprint text NOT NULL DEFAULT '',
    ADD COLUMN tenant text NOT NULL DEFAULT '',
    -- Of two runs of a tenant the one with the lower number goes first.
    ADD COLUMN priority integer NOT NULL DEFAULT 0,
    -- When it may be taken, by this server's clock, how often it was, and why it last ended early.
    ADD COLUMN due timestamptz NOT NULL DEFAULT now(),
    ADD COLUMN tries integer NOT NULL DEFAULT 0,
    ADD COLUMN problem text NOT NULL DEFAULT '',
    -- Somebody wants it to end.
    ADD COLUMN cancelled boolean NOT NULL DEFAULT false,
    -- Until when somebody follows it, who is to be told of new entries.
    ADD COLUMN followed_until timestamptz NOT NULL DEFAULT '-infinity';

CREATE INDEX runs_queued ON agentkit.runs (tenant, priority, created) WHERE state = 'queued';
CREATE INDEX runs_at_work ON agentkit.runs (tenant) WHERE state = 'queued' AND owner <> '';

-- Workers are told of new work and of runs that are to end, and whoever follows a run of its entries.
-- A notice takes a lock of the whole server when it is committed, so entries that nobody follows are
-- told to nobody. Its text is bounded, so a run is named by a digest.
CREATE FUNCTION agentkit.tell_workers() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('agentkit_work', '');
    RETURN NULL;
END $$;

CREATE FUNCTION agentkit.tell_followers() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('agentkit_run', md5(NEW.run_id));
    RETURN NULL;
END $$;

CREATE TRIGGER queued AFTER INSERT OR UPDATE OF state, cancelled ON agentkit.runs FOR EACH ROW
    WHEN (NEW.state = 'queued' AND (NEW.owner = '' OR NEW.cancelled))
    EXECUTE FUNCTION agentkit.tell_workers();

CREATE TRIGGER followed AFTER UPDATE OF seq, state ON agentkit.runs FOR EACH ROW
    WHEN (NEW.followed_until > clock_timestamp())
    EXECUTE FUNCTION agentkit.tell_followers();
