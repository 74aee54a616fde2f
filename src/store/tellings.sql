-- Why a thing cannot be told, since when, and what the outside shows of it by the forge's own word.
ALTER TABLE tellings ADD COLUMN ground TEXT;        -- why it failed, as a word: denied, locked, archived, …
ALTER TABLE tellings ADD COLUMN failed_at TEXT;     -- since when it fails
ALTER TABLE tellings ADD COLUMN shown TEXT;         -- digest of the text as the forge answered it
ALTER TABLE tellings ADD COLUMN shown_at TEXT;      -- when it came to show that, by the forge's clock
ALTER TABLE tellings ADD COLUMN compared_at TEXT;   -- the forge's time of the proposal that it was compared at last
ALTER TABLE tellings ADD COLUMN meddled TEXT;       -- JSON: what somebody else did to it since it was told

-- Since when nothing can be written to a repository.
ALTER TABLE repositories ADD COLUMN archived_at TEXT;

-- When people could first read what a run came to, by the forge's clock: an answer counts from then on.
CREATE TABLE shown (
    run   INTEGER PRIMARY KEY REFERENCES runs (id),
    since TEXT NOT NULL,            -- when the run came to that, by our clock
    at    TEXT NOT NULL
) STRICT;
INSERT INTO shown (run, since, at) SELECT id, changed_at, changed_at FROM runs WHERE state IN ('held', 'planned');

-- Which commits have a status that is still to be told is found without reading what came out of their runs.
CREATE INDEX runs_of_commit ON runs (repo, purpose, commit_sha, changed_at);
