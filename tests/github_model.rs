//! Tests the model of GitHub itself, so that a scenario that fails shows a fault
//! of Mainstay: with octocrab's typed calls, with the real git, with bare HTTP.

mod github;

#[path = "github_model/apps.rs"]
mod apps;
#[path = "github_model/bare.rs"]
mod bare;
#[path = "github_model/conditional.rs"]
mod conditional;
#[path = "github_model/faults.rs"]
mod faults;
#[path = "github_model/git_http.rs"]
mod git_http;
#[path = "github_model/graphql.rs"]
mod graphql;
#[path = "github_model/issues.rs"]
mod issues;
#[path = "github_model/pulls.rs"]
mod pulls;
#[path = "github_model/rights.rs"]
mod rights;
#[path = "github_model/typed.rs"]
mod typed;
