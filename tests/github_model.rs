//! Tests the model of GitHub itself: with a typed client, with the real git, with faults.

mod github;
