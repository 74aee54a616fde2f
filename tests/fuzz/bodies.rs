//! What the fuzz targets do with their bytes. None may panic, whatever comes, and each holds
//! what must hold besides.

use std::collections::BTreeMap;
use std::time::Duration;

use mainstay::decide;
use mainstay::modules::{self, Entry, EntryKind, Tree, TreeError};
use mainstay::plan::{self, DataTypes, FingerprintKey};
use mainstay::policy::{Effect, Finding, Verdict};
use mainstay::report::{
    self, Check, CheckOutcome, OnMerge, Progress, ProposalReport, Standing, Templates,
    WorkspaceReport,
};
use mainstay::trust;
use mainstay::workspace::{Declaration, Discover, Recorded, RepoAddress, Rule, Settings};
use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};
use serde_json::json;

/// A comment is a command of the grammar, a refusal that carries no markup, or just text.
pub(crate) fn command(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let known = ["network", "stacks/dns"].map(|name| name.parse().expect("a name"));
    match decide::read(&text, &known) {
        None => {}
        Some(Ok(request)) => {
            assert!(text.trim().starts_with("mainstay"), "{text:?}");
            assert!(request.workspaces.iter().all(|name| known.contains(name)));
        }
        Some(Err(refusal)) => assert!(
            !refusal.0.contains(['<', '@', '\n']),
            "{refusal:?} of {text:?}"
        ),
    }
}

/// Settings and a declaration are read, or what is wrong is said of one of the two files.
pub(crate) fn configuration(data: &[u8]) {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let (settings, declaration) = data.split_at(data.len() / 2);
    let main = folder.path().join("mainstay.toml");
    std::fs::write(&main, settings).expect("a file can be written");
    std::fs::create_dir(folder.path().join("workspaces")).expect("a folder can be made");
    std::fs::write(folder.path().join("workspaces/a.toml"), declaration)
        .expect("a file can be written");
    let loaded = mainstay::config::load(&main);
    assert!(loaded.config.is_some() || !loaded.problems.is_empty());
    for problem in &loaded.problems {
        assert!(problem.to_string().contains(".toml"), "{problem}");
    }
}

/// One file of configuration, and a module beside it.
struct OneFile {
    files: BTreeMap<String, Entry>,
    content: Vec<u8>,
}

impl Tree for OneFile {
    fn files(&self) -> &BTreeMap<String, Entry> {
        &self.files
    }

    fn read(&self, path: &str) -> Result<Vec<u8>, TreeError> {
        match self.files.contains_key(path) {
            true => Ok(self.content.clone()),
            false => Err(TreeError::Missing {
                path: path.to_owned(),
            }),
        }
    }
}

/// Whatever a repository's HCL says, what concerns a workspace is within the repository.
pub(crate) fn modules(data: &[u8]) {
    let entry = || Entry {
        id: "a".repeat(40).parse().expect("an id"),
        kind: EntryKind::Regular,
    };
    let paths = [
        "net/main.tf",
        "modules/m/main.tf",
        "net/terraform.tfvars",
        "net/z_override.tf.json",
        "net/.terraform.lock.hcl",
        "net/.env",
    ];
    let tree = OneFile {
        files: paths.map(|path| (path.to_owned(), entry())).into(),
        content: data.to_vec(),
    };
    let declaration = Declaration {
        file: "acme.toml".into(),
        repo: "acme/infra".parse().expect("a name"),
        address: RepoAddress::Git("/srv/infra".to_owned()),
        branch: "main".parse().expect("a branch"),
        proposals: Vec::new(),
        recorded: Recorded::Here,
        workspaces: Vec::new(),
        discover: Some(Discover {
            paths: vec!["**".to_owned()],
            exclude: Vec::new(),
            settings: Settings::default(),
        }),
    };
    let found = modules::resolve(&tree, &declaration).expect("a tree in memory can be read");
    for resolved in found {
        assert!(
            resolved
                .files
                .iter()
                .all(|path| tree.files.contains_key(path))
        );
        // What is refused is in one of the files; against itself no backend is another one.
        let refusals = trust::refusals(&tree, &resolved, trust::Base::Tree(&tree));
        for refusal in refusals.expect("a tree in memory can be read") {
            assert!(tree.files.contains_key(&refusal.file), "{refusal}");
            assert!(
                !matches!(refusal.rule, Rule::Backend | Rule::Overrides),
                "{refusal}"
            );
        }
    }
}

fn key() -> FingerprintKey {
    FingerprintKey::new([7; 32])
}

/// A plan is read whole, or not at all.
pub(crate) fn plan(data: &[u8]) {
    if let Ok((plan, redactor)) = plan::read(data, &key()) {
        assert_eq!(redactor.redact(&plan.fingerprint), plan.fingerprint);
    }
}

/// Nothing of a plan's or a policy's text becomes structure of the comment.
pub(crate) fn render(data: &[u8]) {
    let given: Vec<String> = data
        .split(|byte| *byte == 0xff)
        .map(|part| String::from_utf8_lossy(part).chars().take(200).collect())
        .collect();
    let hostile = |nth: usize| match given.get(nth % given.len().max(1)) {
        Some(text) if !text.trim().is_empty() => text.clone(),
        _ => BENIGN.to_owned(),
    };
    let benign = |_| BENIGN.to_owned();
    let (hostile, benign) = (comment(&hostile), comment(&benign));
    assert_eq!(structure(&hostile), structure(&benign), "{hostile}");
    assert!(hostile.chars().count() <= report::BODY_LIMIT);
}

/// A word that is shown as code wherever it stands, as hostile text is.
const BENIGN: &str = "@x";

/// The comment on a plan and a verdict that are made of these texts.
fn comment(text: &dyn Fn(usize) -> String) -> String {
    let values = |nth| json!({ "v": text(nth), format!("k{}", text(nth + 1)): "x" });
    let change = |address: String, actions: serde_json::Value, before, after| {
        json!({
            "address": address, "mode": "managed", "type": "terraform_data", "name": "a",
            "provider_name": "terraform.io/builtin/terraform",
            "change": {
                "actions": actions, "before": before, "after": after, "after_unknown": {},
                "before_sensitive": false, "after_sensitive": false, "replace_paths": [["v"]],
            },
        })
    };
    let json = json!({
        "format_version": "1.2", "terraform_version": "1.11.4", "complete": true,
        "resource_changes": [
            change(format!("a{}", text(0)), json!(["delete", "create"]), values(1), values(3)),
            change(format!("b{}", text(5)), json!(["delete"]), values(1), serde_json::Value::Null),
        ],
        "output_changes": { format!("o{}", text(2)): {
            "actions": ["create"], "before": null, "after": text(4), "after_unknown": false,
            "before_sensitive": false, "after_sensitive": false,
        } },
    });
    let text_of_plan = json.to_string();
    let (plan, _) = plan::read(text_of_plan.as_bytes(), &key()).expect("it is a plan");
    let finding = Finding {
        policy: "keep-data".to_owned(),
        title: "Data is kept".to_owned(),
        effect: Effect::Deny,
        message: text(6),
        address: Some(text(7)),
        remedy: Some("ask".to_owned()),
        owners: vec!["ana".to_owned()],
        overridden: None,
    };
    let check = Check {
        name: "tflint".to_owned(),
        outcome: CheckOutcome::Failed,
        diagnostics: Vec::new(),
        tail: text(8),
        took: Duration::from_secs(1),
    };
    let sha = |digit: &str| digit.repeat(40).parse().expect("a commit");
    let workspace = WorkspaceReport {
        name: "network".parse().expect("a name"),
        environment: Some("production".to_owned()),
        path: "network".to_owned(),
        run: None,
        progress: Progress::Planned(Box::new(plan)),
        warnings: Vec::new(),
        checks: vec![check],
        verdict: Some(Verdict {
            evaluated: vec!["keep-data".to_owned()],
            findings: vec![finding],
        }),
        took: Duration::from_secs(1),
        since: None,
        on_merge: OnMerge::Apply,
        state_note: None,
        after_merge: None,
        reviewed: None,
        before: Vec::new(),
    };
    let report = ProposalReport {
        marker: "<!-- mainstay:proposal #7 -->".to_owned(),
        repo: "acme/infra".parse().expect("a name"),
        web_url: None,
        proposal: None,
        head: sha("a"),
        base_branch: "main".parse().expect("a branch"),
        base: sha("b"),
        tool: "Terraform 1.11.4".to_owned(),
        workspaces: vec![workspace],
        conflict: None,
        removed: Vec::new(),
        notes: Vec::new(),
        refusals: Vec::new(),
        data_types: DataTypes::default(),
        help: Vec::new(),
        standing: Standing::Open,
    };
    report::comment(&report, &Templates::default()).expect("the built-in templates are whole")
}

/// What a reader of Markdown makes of a comment, with the text in blocks and spans left out.
fn structure(body: &str) -> Vec<String> {
    let options = Options::ENABLE_TABLES
        | Options::ENABLE_STRIKETHROUGH
        | Options::ENABLE_TASKLISTS
        | Options::ENABLE_FOOTNOTES
        | Options::ENABLE_GFM
        | Options::ENABLE_MATH;
    let mut in_block = false;
    let mut seen = Vec::new();
    for event in Parser::new_ext(body, options) {
        match event {
            Event::Start(Tag::CodeBlock(_)) => {
                in_block = true;
                seen.push("block".to_owned());
            }
            Event::End(TagEnd::CodeBlock) => in_block = false,
            Event::Text(_) if in_block => {}
            Event::Code(_) => seen.push("code".to_owned()),
            other => seen.push(format!("{other:?}")),
        }
    }
    seen
}
