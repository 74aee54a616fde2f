//! Pull requests, from the push that opens them to the apply of their merge: the real daemon,
//! the real Terraform and git, and the model of GitHub.

mod base;
mod checking;
mod closing;
mod failing;
mod forks;
mod hostile;
mod merging;
mod pushing;
mod queue;
mod secrets;
mod shut_in;
mod stage;
mod touching;
