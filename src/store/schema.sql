-- The repositories that are declared, and what was seen of them last.
CREATE TABLE repositories (
    repo        TEXT PRIMARY KEY,
    branch      TEXT NOT NULL,
    base        TEXT,              -- head of the base branch, as seen last
    looked_at   TEXT,
    comments_at TEXT,              -- comments older than this were read
    rewound     TEXT,              -- what is said of the last force-push of the base branch
    rewound_seq INTEGER,           -- where in `base_log` it happened
    error       TEXT,              -- why the last look failed; NULL when it did not
    error_at    TEXT,
    view_key    TEXT,              -- commit and declaration that `view` was made from
    view        TEXT               -- JSON: the workspaces at the base branch's head
) STRICT;

-- The first-parent history of the base branch since the first look, oldest first.
CREATE TABLE base_log (
    repo    TEXT NOT NULL,
    seq     INTEGER NOT NULL,
    sha     TEXT NOT NULL,
    seen_at TEXT NOT NULL,
    PRIMARY KEY (repo, seq)
) STRICT;
CREATE INDEX base_log_sha ON base_log (repo, sha);

CREATE TABLE proposals (
    repo         TEXT NOT NULL,
    key          TEXT NOT NULL,
    proposal     TEXT NOT NULL,    -- JSON: as the forge shows it
    state        TEXT NOT NULL,    -- open, closed, merged
    merged_as    TEXT,             -- the commit of the base branch that has it
    permitted    TEXT,             -- the head of a fork that a person asked to plan
    previous     TEXT,             -- the head when comments were last read
    considered   TEXT,             -- head, base and declaration that `consideration` was made from
    consideration TEXT,            -- JSON: merge, conflict, touched workspaces
    changed_at   TEXT NOT NULL,
    PRIMARY KEY (repo, key)
) STRICT;

CREATE TABLE workspaces (
    repo           TEXT NOT NULL,
    name           TEXT NOT NULL,
    applied        TEXT,           -- the commit that it is at
    applied_tree   TEXT,
    applied_inputs TEXT,
    applied_at     TEXT,
    unsettled      INTEGER NOT NULL DEFAULT 0,  -- 1 from the start of an apply to its good end
    rewound        TEXT,           -- why a person must agree: the base branch was force-pushed
    rewound_seq    INTEGER,        -- where in `base_log` that happened
    drift_at       TEXT,           -- when drift was looked for last
    PRIMARY KEY (repo, name)
) STRICT;

CREATE TABLE runs (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    repo       TEXT NOT NULL,
    workspace  TEXT NOT NULL,
    purpose    TEXT NOT NULL,
    proposal   TEXT,
    commit_sha TEXT NOT NULL,
    inputs     TEXT NOT NULL,
    what       TEXT NOT NULL,      -- JSON: all of the run's order
    state      TEXT NOT NULL,
    result     TEXT NOT NULL,      -- JSON: what came out so far
    stopping   INTEGER NOT NULL DEFAULT 0, -- 1 while its worker was asked to end it and has not
    drift      INTEGER NOT NULL DEFAULT 0, -- 1 where it found drift
    owner      TEXT,               -- the process that works on it
    created_at TEXT NOT NULL,
    changed_at TEXT NOT NULL
) STRICT;
CREATE INDEX runs_of_workspace ON runs (repo, workspace, id);
CREATE INDEX runs_of_proposal ON runs (repo, proposal, id);
-- The latest run of each kind is found without reading what came out of the others.
CREATE INDEX runs_of_purpose ON runs (repo, purpose, workspace, proposal, id);
CREATE INDEX runs_open ON runs (state) WHERE state IN ('queued', 'held', 'preparing', 'planning', 'applying');
-- One workspace never twice.
CREATE UNIQUE INDEX one_run_at_a_time ON runs (repo, workspace)
    WHERE state IN ('preparing', 'planning', 'applying');

CREATE TABLE events (
    id    INTEGER PRIMARY KEY AUTOINCREMENT,
    run   INTEGER NOT NULL REFERENCES runs (id),
    at    TEXT NOT NULL,
    event TEXT NOT NULL            -- JSON
) STRICT;
CREATE INDEX events_of_run ON events (run, id);

-- Each process that a run started, recorded before it runs and after it ended.
CREATE TABLE steps (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    run        INTEGER NOT NULL REFERENCES runs (id),
    step       TEXT NOT NULL,
    start      TEXT NOT NULL,      -- JSON: folder, process, its start time
    started_at TEXT NOT NULL,
    ended_at   TEXT,
    outcome    TEXT                -- how it ended
) STRICT;
CREATE INDEX steps_of_run ON steps (run, id);

CREATE TABLE commands (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    repo       TEXT NOT NULL,
    comment    INTEGER UNIQUE,     -- the forge's id; NULL where it was typed on the daemon's machine
    issue      INTEGER,
    author     TEXT NOT NULL,
    line       TEXT NOT NULL,
    written_at TEXT NOT NULL,
    head       TEXT,               -- the proposal's head that it counts for
    state      TEXT NOT NULL,      -- new, accepted, done, refused
    reason     TEXT,               -- why it was refused
    runs       TEXT NOT NULL DEFAULT '[]'
) STRICT;

-- What the outside shall show, and what it shows as far as we know.
CREATE TABLE tellings (
    repo      TEXT NOT NULL,
    target    TEXT NOT NULL,       -- comment #12, status <sha> mainstay/plan, issue drift network, …
    wanted    TEXT NOT NULL,       -- JSON
    told      TEXT,                -- digest of what was told last
    remote_id INTEGER,             -- the forge's id of it
    error     TEXT,
    attempts  INTEGER NOT NULL DEFAULT 0,
    retry_at  TEXT,
    calm_until TEXT,               -- what is still under way is not told anew before
    changed_at TEXT NOT NULL,
    PRIMARY KEY (repo, target)
) STRICT;
