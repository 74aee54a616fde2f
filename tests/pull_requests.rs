//! Pull requests, from the push that opens them to the apply of their merge: the real daemon,
//! the real Terraform and git, and the model of GitHub.

#[expect(dead_code, reason = "each test crate uses a part of the model")]
mod github;
mod localfs;
#[expect(dead_code, reason = "each test crate uses a part of the harness")]
mod scenario;

#[path = "pull_requests/base.rs"]
mod base;
#[path = "pull_requests/checking.rs"]
mod checking;
#[path = "pull_requests/closing.rs"]
mod closing;
#[path = "pull_requests/failing.rs"]
mod failing;
#[path = "pull_requests/forks.rs"]
mod forks;
#[path = "pull_requests/hostile.rs"]
mod hostile;
#[path = "pull_requests/merging.rs"]
mod merging;
#[path = "pull_requests/pushing.rs"]
mod pushing;
#[path = "pull_requests/queue.rs"]
mod queue;
#[path = "pull_requests/secrets.rs"]
mod secrets;
#[path = "pull_requests/shut_in.rs"]
mod shut_in;
#[path = "pull_requests/stage.rs"]
mod stage;
#[path = "pull_requests/touching.rs"]
mod touching;
