-- What people decided against policies, each for one plan of one workspace.
CREATE TABLE overrides (
    repo        TEXT NOT NULL,
    workspace   TEXT NOT NULL,
    policy      TEXT NOT NULL,
    fingerprint TEXT NOT NULL,     -- of the plan that it is for, and of no other
    author      TEXT NOT NULL,
    reason      TEXT NOT NULL,     -- in the author's words
    run         INTEGER NOT NULL REFERENCES runs (id),
    at          TEXT NOT NULL,
    PRIMARY KEY (repo, workspace, policy, fingerprint)
) STRICT;
