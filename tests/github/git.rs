//! The real git, on the bare repositories of the model.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use chrono::Utc;

/// Who commits where nobody is named.
const COMMITTER: &str = "Someone <someone@example.com>";

/// Who commits what is merged by a button, as GitHub has it.
const BUTTON: &str = "GitHub <noreply@github.com>";

/// What git said when it refused.
#[derive(Debug, thiserror::Error)]
#[error("`git {arguments}` failed: {stderr}")]
pub(crate) struct GitError {
    arguments: String,
    stderr: String,
}

/// A git command that no configuration of the machine or the person reaches.
pub(crate) fn command(dir: &Path) -> Command {
    let mut command = Command::new("git");
    isolate(|name, value| {
        command.env(name, value);
    });
    command.arg("--git-dir").arg(dir);
    command
}

/// The variables that keep configuration from outside away.
pub(crate) fn isolate(mut set: impl FnMut(&'static str, &'static str)) {
    set("GIT_CONFIG_GLOBAL", "/dev/null");
    set("GIT_CONFIG_NOSYSTEM", "1");
    set("GIT_TERMINAL_PROMPT", "0");
    set("LC_ALL", "C");
}

/// Runs git and gives its output without the last line end.
pub(crate) fn run(dir: &Path, arguments: &[&str]) -> Result<String, GitError> {
    feed(dir, arguments, &[], b"")
}

fn feed(
    dir: &Path,
    arguments: &[&str],
    variables: &[(&str, &str)],
    input: &[u8],
) -> Result<String, GitError> {
    let refused = |stderr: String| GitError {
        arguments: arguments.join(" "),
        stderr,
    };
    let mut child = command(dir)
        .args(arguments)
        .envs(variables.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| refused(error.to_string()))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A command that fails early closes its input; its own words say more.
        let _ = stdin.write_all(input);
    }
    let output = child
        .wait_with_output()
        .map_err(|error| refused(error.to_string()))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout)
            .trim_end()
            .to_owned())
    } else {
        Err(refused(
            String::from_utf8_lossy(&output.stderr).into_owned(),
        ))
    }
}

/// Makes a bare repository as GitHub serves it: commits can be asked for by id.
pub(crate) fn init(dir: &Path) -> Result<(), GitError> {
    let path = dir.to_string_lossy();
    let mut init = Command::new("git");
    isolate(|name, value| {
        init.env(name, value);
    });
    let output = init
        .args(["init", "--quiet", "--bare", "-b", "main", &path])
        .output();
    if !output.is_ok_and(|output| output.status.success()) {
        return Err(GitError {
            arguments: format!("init {path}"),
            stderr: String::new(),
        });
    }
    for name in [
        "allowTipSHA1InWant",
        "allowReachableSHA1InWant",
        "allowFilter",
    ] {
        run(dir, &["config", &format!("uploadpack.{name}"), "true"])?;
    }
    run(dir, &["config", "gc.auto", "0"]).map(drop)
}

/// A change of one file: its content, or `None` to delete it.
pub(crate) type FileChange<'a> = (&'a str, Option<&'a str>);

/// Commits on top of `parent` and puts `branch` there, whatever it was.
pub(crate) fn commit(
    dir: &Path,
    branch: &str,
    parent: Option<&str>,
    files: &[FileChange<'_>],
    message: &str,
) -> Result<String, GitError> {
    let time = Utc::now().timestamp();
    let mut script = format!(
        "commit refs/heads/{branch}\nmark :1\nauthor {COMMITTER} {time} +0000\ncommitter {COMMITTER} {time} +0000\n"
    );
    push_data(&mut script, message);
    if let Some(parent) = parent {
        script.push_str(&format!("from {parent}\n"));
    }
    for (path, content) in files {
        match content {
            Some(content) => {
                script.push_str(&format!("M 100644 inline {path}\n"));
                push_data(&mut script, content);
            }
            None => script.push_str(&format!("D {path}\n")),
        }
    }
    script.push_str("get-mark :1\n");
    if parent.is_none() {
        // Without this, fast-import would go on from the branch as it is.
        delete_branch(dir, branch)?;
    }
    feed(
        dir,
        &["fast-import", "--quiet", "--force"],
        &[],
        script.as_bytes(),
    )
}

fn push_data(script: &mut String, text: &str) {
    script.push_str(&format!("data {}\n{text}\n", text.len()));
}

/// Puts a branch, or any other ref, at a commit.
pub(crate) fn update_ref(dir: &Path, name: &str, sha: &str) -> Result<(), GitError> {
    run(dir, &["update-ref", name, sha]).map(drop)
}

/// Deletes a branch, where it is there.
pub(crate) fn delete_branch(dir: &Path, branch: &str) -> Result<(), GitError> {
    run(dir, &["update-ref", "-d", &format!("refs/heads/{branch}")]).map(drop)
}

/// Copies a commit and all behind it from another repository.
pub(crate) fn fetch(dir: &Path, from: &Path, sha: &str) -> Result<(), GitError> {
    run(dir, &["fetch", "--quiet", &from.to_string_lossy(), sha]).map(drop)
}

/// Every branch and its head.
pub(crate) fn heads(dir: &Path) -> Result<BTreeMap<String, String>, git2::Error> {
    let repo = git2::Repository::open_bare(dir)?;
    let mut heads = BTreeMap::new();
    for reference in repo.references_glob("refs/heads/*")? {
        let reference = reference?;
        if let (Ok(name), Some(target)) = (reference.shorthand(), reference.target()) {
            heads.insert(name.to_owned(), target.to_string());
        }
    }
    Ok(heads)
}

/// Whether `ancestor` is `commit` or behind it.
pub(crate) fn is_behind(dir: &Path, ancestor: &str, commit: &str) -> bool {
    ancestor == commit || run(dir, &["merge-base", "--is-ancestor", ancestor, commit]).is_ok()
}

/// The oldest commit on the first-parent line from `old` to `new` that has `wanted`.
pub(crate) fn brought_in_by(dir: &Path, old: Option<&str>, new: &str, wanted: &str) -> String {
    let range = old.map_or_else(|| new.to_owned(), |old| format!("{old}..{new}"));
    let line = run(dir, &["rev-list", "--first-parent", "--reverse", &range]).unwrap_or_default();
    let found = line.lines().find(|commit| is_behind(dir, wanted, commit));
    found.unwrap_or(new).to_owned()
}

/// How two lines of history become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    Merge,
    Squash,
    Rebase,
}

/// What is merged, and under which words.
pub(crate) struct MergeRequest<'a> {
    pub(crate) base: &'a str,
    pub(crate) head: &'a str,
    pub(crate) title: &'a str,
    pub(crate) number: u64,
    /// `owner/branch` of the head.
    pub(crate) from: &'a str,
}

/// Merges, and gives the commit that the base branch is to have. No ref moves.
///
/// # Errors
///
/// Git's words where the two conflict.
pub(crate) fn merge(
    dir: &Path,
    request: &MergeRequest<'_>,
    method: Method,
) -> Result<String, GitError> {
    let MergeRequest {
        base,
        head,
        title,
        number,
        from,
    } = *request;
    match method {
        Method::Merge => {
            let tree = merged_tree(dir, base, head)?;
            let message = format!("Merge pull request #{number} from {from}\n\n{title}");
            commit_tree(dir, &tree, &[base, head], &message, None)
        }
        Method::Squash => {
            let tree = merged_tree(dir, base, head)?;
            commit_tree(dir, &tree, &[base], &format!("{title} (#{number})"), None)
        }
        Method::Rebase => {
            let range = format!("{base}..{head}");
            let commits = run(
                dir,
                &[
                    "rev-list",
                    "--reverse",
                    "--topo-order",
                    "--no-merges",
                    &range,
                ],
            )?;
            let mut tip = base.to_owned();
            for commit in commits.lines() {
                let onto = format!("--merge-base={commit}^");
                let tree = run(dir, &["merge-tree", "--write-tree", &onto, &tip, commit])?;
                let message = run(dir, &["show", "--no-patch", "--format=%B", commit])?;
                let author = run(
                    dir,
                    &["show", "--no-patch", "--format=%an%n%ae%n%aI", commit],
                )?;
                tip = commit_tree(dir, &tree, &[&tip], &message, Some(&author))?;
            }
            Ok(tip)
        }
    }
}

fn merged_tree(dir: &Path, base: &str, head: &str) -> Result<String, GitError> {
    run(dir, &["merge-tree", "--write-tree", base, head])
}

/// `author` is name, mail address and date, one a line.
fn commit_tree(
    dir: &Path,
    tree: &str,
    parents: &[&str],
    message: &str,
    author: Option<&str>,
) -> Result<String, GitError> {
    let mut arguments = vec!["commit-tree", tree];
    for parent in parents {
        arguments.extend(["-p", parent]);
    }
    let (name, mail) = BUTTON
        .trim_end_matches('>')
        .split_once(" <")
        .unwrap_or_default();
    let mut variables = vec![("GIT_COMMITTER_NAME", name), ("GIT_COMMITTER_EMAIL", mail)];
    match author.map(|author| author.lines().collect::<Vec<_>>()) {
        Some(lines) => {
            for (variable, line) in ["GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "GIT_AUTHOR_DATE"]
                .into_iter()
                .zip(lines)
            {
                variables.push((variable, line));
            }
        }
        None => variables.extend([("GIT_AUTHOR_NAME", name), ("GIT_AUTHOR_EMAIL", mail)]),
    }
    feed(dir, &arguments, &variables, message.as_bytes())
}

/// A commit as the API shows it.
pub(crate) struct CommitFacts {
    pub(crate) sha: String,
    pub(crate) tree: String,
    pub(crate) parents: Vec<String>,
    pub(crate) message: String,
    pub(crate) author: (String, String),
    pub(crate) committer: (String, String),
    pub(crate) time: i64,
}

/// Reads the commit that a full id or any name stands for.
pub(crate) fn read_commit(dir: &Path, name: &str) -> Option<CommitFacts> {
    let repo = git2::Repository::open_bare(dir).ok()?;
    let commit = repo.revparse_single(name).ok()?.peel_to_commit().ok()?;
    let person = |who: git2::Signature<'_>| {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (text(who.name_bytes()), text(who.email_bytes()))
    };
    Some(CommitFacts {
        sha: commit.id().to_string(),
        tree: commit.tree_id().to_string(),
        parents: commit.parent_ids().map(|id| id.to_string()).collect(),
        message: String::from_utf8_lossy(commit.message_bytes())
            .trim_end()
            .to_owned(),
        author: person(commit.author()),
        committer: person(commit.committer()),
        time: commit.time().seconds(),
    })
}

/// How much a pull request changes.
#[derive(Debug, Default)]
pub(crate) struct ChangeSize {
    pub(crate) commits: usize,
    pub(crate) additions: usize,
    pub(crate) deletions: usize,
    pub(crate) files: usize,
}

/// What `head` changes since it left `base`.
pub(crate) fn change_size(dir: &Path, base: &str, head: &str) -> Result<ChangeSize, git2::Error> {
    let repo = git2::Repository::open_bare(dir)?;
    let (base, head) = (git2::Oid::from_str(base)?, git2::Oid::from_str(head)?);
    let (commits, _) = repo.graph_ahead_behind(head, base)?;
    let fork_point = repo.find_commit(repo.merge_base(base, head)?)?.tree()?;
    let tree = repo.find_commit(head)?.tree()?;
    let stats = repo
        .diff_tree_to_tree(Some(&fork_point), Some(&tree), None)?
        .stats()?;
    Ok(ChangeSize {
        commits,
        additions: stats.insertions(),
        deletions: stats.deletions(),
        files: stats.files_changed(),
    })
}
