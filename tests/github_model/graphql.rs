//! GraphQL: the look at many repositories, and the words for what is wrong with a query.

use std::time::Duration;

use serde_json::{Value, json};

use crate::bare::{Answer, TOKEN, ask, ask_as, house};
use crate::github::GitHub;
use crate::github::git::Method;
use crate::github::limit::Resource;
use crate::github::log::Budget;
use crate::github::repository::Repository;

fn run(hub: &GitHub, query: &str, variables: Value) -> Answer {
    ask(
        hub,
        "POST",
        "/graphql",
        Some(json!({ "query": query, "variables": variables })),
    )
}

fn pulls(repo: &Repository, count: usize) {
    for at in 0..count {
        let branch = format!("branch-{at}");
        repo.commit(&branch, &[(&branch, "1")], "Add");
        repo.open_pull(&branch, &branch, "main", "alice");
    }
}

const LOOK: &str = "
query Look($o0: String!, $n0: String!) {
  rateLimit { cost remaining resetAt }
  r0: repository(owner: $o0, name: $n0) {
    ref(qualifiedName: \"refs/heads/main\") { target { oid } }
    pullRequests(states: OPEN, first: 20, orderBy: {field: UPDATED_AT, direction: DESC}) {
      nodes { number title headRefOid baseRefName updatedAt isCrossRepository isDraft author { login } }
      pageInfo { hasNextPage endCursor }
      totalCount
    }
  }
  r1: repository(owner: \"acme\", name: \"gone\") { id }
}";

#[tokio::test]
async fn one_query_looks_at_many_repositories() {
    let (hub, repo) = house().await;
    pulls(&repo, 2);
    let answer = run(&hub, LOOK, json!({ "o0": "acme", "n0": "infra" }));
    assert_eq!(answer.status, 200);
    let data = &answer.body["data"];
    assert_eq!(
        data["r0"]["ref"]["target"]["oid"],
        repo.head("main").unwrap().as_str()
    );
    let found = &data["r0"]["pullRequests"];
    assert_eq!(
        (&found["totalCount"], &found["pageInfo"]["hasNextPage"]),
        (&json!(2), &json!(false))
    );
    assert_eq!(found["nodes"][0]["number"], 2);
    assert_eq!(
        found["nodes"][0]["headRefOid"],
        repo.head("branch-1").unwrap().as_str()
    );
    assert_eq!(found["nodes"][0]["author"]["login"], "alice");
    assert_eq!(found["nodes"][0]["isCrossRepository"], false);
    assert_eq!(
        (&data["rateLimit"]["cost"], &data["rateLimit"]["remaining"]),
        (&json!(1), &json!(4_999))
    );
    assert_eq!(data["r1"], Value::Null);
    let [error] = answer.body["errors"].as_array().unwrap().as_slice() else {
        panic!("one is gone")
    };
    assert_eq!(
        (&error["type"], &error["path"]),
        (&json!("NOT_FOUND"), &json!(["r1"]))
    );
    assert_eq!(
        error["message"],
        "Could not resolve to a Repository with the name 'acme/gone'."
    );
    assert_eq!(error["locations"], json!([{ "line": 12, "column": 3 }]));
    assert_eq!(answer.header("x-ratelimit-resource"), "graphql");
    assert_eq!(hub.requests().pop().unwrap().budget, Budget::Graphql(1));
}

#[tokio::test]
async fn the_enterprise_address_of_graphql_is_beside_the_rest() {
    let (hub, _) = house().await;
    let url = format!("{}/api/graphql", hub.web_url());
    let query = json!({ "query": "{ viewer { login } }" });
    let answer = ask_as(TOKEN, "POST", &url, &[], Some(query)).unwrap();
    assert_eq!(answer.body["data"]["viewer"]["login"], "mainstay-bot");
}

#[tokio::test]
async fn pages_go_on_after_a_cursor() {
    let (hub, repo) = house().await;
    pulls(&repo, 3);
    let query = "query($after: String, $first: Int = 2) { repository(owner: \"acme\", name: \"infra\") {
      pullRequests(states: [OPEN], first: $first, after: $after, orderBy: {field: CREATED_AT, direction: ASC}) {
        edges { cursor node { number } } pageInfo { hasNextPage hasPreviousPage startCursor endCursor } } } }";
    let first = run(&hub, query, json!({})).body["data"]["repository"]["pullRequests"].clone();
    assert_eq!(
        (
            &first["edges"][1]["node"]["number"],
            &first["pageInfo"]["hasNextPage"]
        ),
        (&json!(2), &json!(true))
    );
    assert_eq!(first["pageInfo"]["endCursor"], first["edges"][1]["cursor"]);
    // What the cursor stands on goes: the next page begins behind it all the same.
    repo.close(2, "alice");
    let rest = run(
        &hub,
        query,
        json!({ "after": first["pageInfo"]["endCursor"] }),
    )
    .body;
    let rest = &rest["data"]["repository"]["pullRequests"];
    assert_eq!(rest["edges"].as_array().unwrap().len(), 1);
    assert_eq!(rest["edges"][0]["node"]["number"], 3);
    assert_eq!(
        (
            &rest["pageInfo"]["hasNextPage"],
            &rest["pageInfo"]["hasPreviousPage"]
        ),
        (&json!(false), &json!(true))
    );
    let wrong = run(&hub, query, json!({ "after": "nonsense" })).body;
    assert_eq!(wrong["errors"][0]["type"], "INVALID_CURSOR_ARGUMENTS");
    let last = "{ repository(owner: \"acme\", name: \"infra\") { pullRequests(last: 1) { nodes { number } } } }";
    let last = run(&hub, last, json!({})).body;
    assert_eq!(
        last["data"]["repository"]["pullRequests"]["nodes"],
        json!([{ "number": 3 }])
    );
}

#[tokio::test]
async fn what_is_wrong_with_a_query_is_said_in_githubs_words() {
    let (hub, _) = house().await;
    let repository =
        |inner: &str| format!("{{ repository(owner: \"acme\", name: \"infra\") {{ {inner} }} }}");
    for (query, code, message) in [
        (
            repository("nope"),
            "undefinedField",
            "Field 'nope' doesn't exist on type 'Repository'",
        ),
        (
            repository("pullRequests(frist: 1) { totalCount }"),
            "argumentNotAccepted",
            "doesn't accept argument 'frist'",
        ),
        (
            repository("pullRequests(first: 1, states: OPNE) { totalCount }"),
            "argumentLiteralsIncompatible",
            "invalid value",
        ),
        (
            repository("pullRequests(first: 1, orderBy: {field: UPDATED_AT}) { totalCount }"),
            "argumentLiteralsIncompatible",
            "IssueOrder",
        ),
        (
            repository("pullRequests(first: \"1\") { totalCount }"),
            "argumentLiteralsIncompatible",
            "Int",
        ),
        (
            repository("defaultBranchRef"),
            "selectionMismatch",
            "must have selections",
        ),
        (repository("name { x }"), "selectionMismatch", "on scalars"),
        (
            repository("... on Ref { name }"),
            "cannotSpreadFragment",
            "can't be spread",
        ),
        (repository("...F"), "useAndDefineFragment", "not defined"),
        (
            "{ repository(owner: \"acme\") { id } }".to_owned(),
            "missingRequiredArguments",
            "missing required arguments: name",
        ),
        (
            "{ repository(owner: $o, name: \"a\") { id } }".to_owned(),
            "variableNotDefined",
            "$o is used by anonymous query but not declared",
        ),
        (
            "query($o: String!) { viewer { login } }".to_owned(),
            "variableNotUsed",
            "$o is declared by anonymous query but not used",
        ),
        (
            "query Q($o: Int!) { repository(owner: $o, name: \"a\") { id } }".to_owned(),
            "variableMismatch",
            "Type mismatch",
        ),
    ] {
        let answer = run(&hub, &query, json!({ "o": "acme" }));
        assert_eq!(
            (answer.status, &answer.body["data"]),
            (200, &Value::Null),
            "{query}"
        );
        let error = &answer.body["errors"][0];
        assert_eq!(error["extensions"]["code"], code, "{query}: {error}");
        assert!(
            error["message"].as_str().unwrap().contains(message),
            "{query}: {error}"
        );
    }
    let nope = run(&hub, &repository("nope"), json!({})).body["errors"][0].clone();
    assert_eq!(nope["path"], json!(["query", "repository", "nope"]));
    assert_eq!(nope["extensions"]["typeName"], "Repository");
}

#[tokio::test]
async fn a_query_that_cannot_be_read_is_no_query() {
    let (hub, _) = house().await;
    for (query, words) in [
        ("{ viewer { login }", "Unexpected end of document"),
        ("{ viewer { ) } }", "Parse error on \")\""),
        ("quer { viewer { login } }", "Parse error on \"quer\""),
        ("{ viewer(a: \"b) { login } }", "Expected string"),
        ("mutation { x }", "has no mutations"),
        ("", "Unexpected end of document"),
    ] {
        let answer = run(&hub, query, json!({}));
        let said = answer.body["errors"][0]["message"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        assert!(
            answer.status == 200 && said.contains(words),
            "{query}: {}",
            answer.body
        );
    }
    let missing = run(&hub, LOOK, json!({ "o0": "acme" })).body;
    assert_eq!(
        missing["errors"][0]["extensions"]["problems"][0]["explanation"],
        "Expected value to not be null"
    );
    let states = "query($s: [PullRequestState!], $o: IssueOrder) { repository(owner: \"a\", name: \"b\") { pullRequests(first: 1, states: $s, orderBy: $o) { totalCount } } }";
    for variables in [
        json!({ "s": "opened" }),
        json!({ "o": { "field": "UPDATED_AT", "way": "ASC" } }),
    ] {
        let wrong = run(&hub, states, variables).body;
        assert!(
            wrong["errors"][0]["message"]
                .as_str()
                .unwrap()
                .contains("was provided invalid value")
        );
    }
    assert_eq!(ask(&hub, "POST", "/graphql", None).status, 400);
    assert!(ask(&hub, "POST", "/graphql", Some(json!({}))).body["errors"].is_array());
    let named = json!({ "query": "query A { viewer { login } }", "operationName": "B" });
    assert!(ask(&hub, "POST", "/graphql", Some(named)).body["errors"].is_array());
}

#[tokio::test]
async fn lists_have_bounds() {
    let (hub, _) = house().await;
    let list = |inner: &str| {
        let query =
            format!("{{ repository(owner: \"acme\", name: \"infra\") {{ pullRequests{inner} }} }}");
        run(&hub, &query, json!({})).body
    };
    assert_eq!(
        list(" { nodes { number } }")["errors"][0]["type"],
        "MISSING_PAGINATION_BOUNDARIES"
    );
    assert_eq!(
        list(" { totalCount }")["data"]["repository"]["pullRequests"]["totalCount"],
        0
    );
    let much = list("(first: 101) { nodes { number } }");
    assert_eq!(much["errors"][0]["type"], "EXCESSIVE_PAGINATION");
    assert_eq!(
        much["errors"][0]["path"],
        json!(["repository", "pullRequests"])
    );
}

#[tokio::test]
async fn a_query_costs_a_point_for_a_hundred_requests() {
    let (hub, _) = house().await;
    let query =
        "{ rateLimit { cost nodeCount limit used } repository(owner: \"acme\", name: \"infra\") {
      pullRequests(first: 100) { nodes { comments(first: 10) { nodes { body } } } } } }";
    let limit = run(&hub, query, json!({})).body["data"]["rateLimit"].clone();
    assert_eq!(
        (&limit["cost"], &limit["nodeCount"]),
        (&json!(1), &json!(1_100))
    );
    assert_eq!(
        (&limit["limit"], &limit["used"]),
        (&json!(5_000), &json!(1))
    );
    hub.set_rate_limit(Resource::Graphql, 1, Duration::from_secs(3_600));
    assert!(run(&hub, query, json!({})).body["errors"].is_null());
    let refused = run(&hub, query, json!({}));
    assert_eq!(
        (refused.status, &refused.body["errors"][0]["type"]),
        (200, &json!("RATE_LIMIT"))
    );
    assert_eq!(refused.header("x-ratelimit-remaining"), "0");
}

#[tokio::test]
async fn graphql_can_be_switched_off_and_wants_a_caller() {
    let (hub, _) = house().await;
    for status in [404, 403] {
        hub.refuse_graphql(Some(status));
        assert_eq!(run(&hub, "{ viewer { login } }", json!({})).status, status);
    }
    hub.refuse_graphql(None);
    assert_eq!(run(&hub, "{ viewer { login } }", json!({})).status, 200);
    let url = format!("{}/graphql", hub.api_url());
    let query = Some(json!({ "query": "{ viewer { login } }" }));
    assert_eq!(
        ask_as("", "POST", &url, &[], query.clone()).unwrap().status,
        401
    );
    assert_eq!(
        ask_as("wrong", "POST", &url, &[], query).unwrap().status,
        401
    );
}

#[tokio::test]
async fn every_field_of_the_schema_has_a_value() {
    let (hub, repo) = house().await;
    pulls(&repo, 1);
    repo.comment(1, "bob", "hello");
    repo.merge(1, Method::Squash, "alice").unwrap();
    let query = "query All($with: Boolean!) {
      rateLimit(dryRun: false) { cost limit nodeCount remaining resetAt used }
      viewer { __typename id databaseId login url }
      repository(owner: \"acme\", name: \"infra\", followRenames: true) {
        id databaseId name nameWithOwner owner { id login url } url isPrivate isArchived isFork isLocked isDisabled
        isEmpty hasIssuesEnabled createdAt updatedAt pushedAt viewerPermission
        defaultBranchRef { id name prefix target { __typename id oid abbreviatedOid ... on Commit { message messageHeadline committedDate } } }
        ref(qualifiedName: \"main\") @include(if: $with) { name }
        missing: ref(qualifiedName: \"nothing\") { name }
        refs(refPrefix: \"refs/heads/branch-\", first: 5) { edges { cursor node { name } } nodes { name } totalCount pageInfo { endCursor } }
        pullRequest(number: 1) { ...P }
        pullRequests(first: 5, baseRefName: \"main\", headRefName: \"branch-0\") {
          edges { cursor node { number } } nodes { ...P } totalCount
          pageInfo { endCursor hasNextPage hasPreviousPage startCursor }
        }
      }
    }
    fragment P on PullRequest {
      id databaseId fullDatabaseId number title body url author { login url } state closed merged locked isDraft
      isCrossRepository baseRefName baseRefOid headRefName headRefOid headRepository { nameWithOwner }
      headRepositoryOwner { login } mergeable mergeCommit { oid } mergedAt closedAt createdAt updatedAt
      comments(first: 5, orderBy: {field: UPDATED_AT, direction: DESC}) {
        edges { cursor node { id } } totalCount pageInfo { endCursor hasNextPage hasPreviousPage startCursor }
        nodes { id databaseId fullDatabaseId author { login } body createdAt updatedAt url viewerDidAuthor }
      }
    }";
    let schema = include_str!("../github/graphql/schema.graphql");
    let fields = schema
        .lines()
        .filter_map(|line| line.strip_prefix("  "))
        .map(|line| line.split(['(', ':']).next().unwrap_or_default());
    let inputs = ["field", "direction"];
    for field in fields.filter(|field| !inputs.contains(field)) {
        assert!(
            query
                .split(|c: char| !c.is_ascii_alphanumeric())
                .any(|word| word == field),
            "{field}"
        );
    }
    let answer = run(&hub, query, json!({ "with": true }));
    assert_eq!(answer.body["errors"], Value::Null);
    let repository = &answer.body["data"]["repository"];
    let pull = &repository["pullRequest"];
    assert_eq!(
        (&pull["state"], &repository["missing"]),
        (&json!("MERGED"), &Value::Null)
    );
    assert_eq!(
        pull["mergeCommit"]["oid"],
        repo.head("main").unwrap().as_str()
    );
    assert_eq!(
        (&repository["viewerPermission"], &pull["databaseId"]),
        (&json!("WRITE"), &Value::Null)
    );
    assert_eq!(pull["comments"]["nodes"][0]["body"], "hello");
    assert_eq!(
        repository["defaultBranchRef"]["target"]["__typename"],
        "Commit"
    );
    assert_eq!(&repository["pullRequests"]["nodes"][0], pull);
    let without = run(&hub, query, json!({ "with": false })).body;
    assert!(without["data"]["repository"].get("ref").is_none());
}
