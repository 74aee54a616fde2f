use std::collections::BTreeMap;
use std::path::PathBuf;

use proptest::prelude::*;
use sha2::{Digest, Sha256};

use super::*;
use crate::workspace::{Discover, Recorded, RepoAddress, Settings};

/// A tree in memory.
#[derive(Debug, Clone, Default)]
pub(crate) struct MemoryTree {
    entries: BTreeMap<String, Entry>,
    contents: BTreeMap<String, Vec<u8>>,
}

impl MemoryTree {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn file(self, path: &str, content: impl AsRef<[u8]>) -> Self {
        self.put(path, content.as_ref(), EntryKind::Regular)
    }

    pub(crate) fn link(self, path: &str, target: &str) -> Self {
        self.put(path, target.as_bytes(), EntryKind::Symlink)
    }

    pub(crate) fn put(mut self, path: &str, content: &[u8], kind: EntryKind) -> Self {
        let id = hex::encode(Sha256::digest(content))[..40].parse().unwrap();
        self.entries.insert(path.to_owned(), Entry { id, kind });
        self.contents.insert(path.to_owned(), content.to_vec());
        self
    }
}

impl Tree for MemoryTree {
    fn files(&self) -> &BTreeMap<String, Entry> {
        &self.entries
    }

    fn read(&self, path: &str) -> Result<Vec<u8>, TreeError> {
        let missing = || TreeError::Missing {
            path: path.to_owned(),
        };
        self.contents.get(path).cloned().ok_or_else(missing)
    }
}

fn declaration(paths: &[&str]) -> Declaration {
    let workspace = |path: &&str| Workspace {
        name: if path.is_empty() { "top" } else { path }.parse().unwrap(),
        path: (*path).to_owned(),
        settings: Settings::default(),
    };
    Declaration {
        file: PathBuf::from("workspaces/acme.toml"),
        repo: "acme/infra".parse().unwrap(),
        address: RepoAddress::Git("/srv/infra".to_owned()),
        branch: "main".parse().unwrap(),
        proposals: Vec::new(),
        recorded: Recorded::Here,
        workspaces: paths.iter().map(workspace).collect(),
        discover: None,
    }
}

fn discover(paths: &[&str], exclude: &[&str]) -> Option<Discover> {
    let owned = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect();
    Some(Discover {
        paths: owned(paths),
        exclude: owned(exclude),
        settings: Settings {
            environment: Some("staging".to_owned()),
            ..Settings::default()
        },
    })
}

fn one(tree: &MemoryTree, path: &str) -> Resolved {
    resolve(tree, &declaration(&[path])).unwrap().remove(0)
}

fn files(resolved: &Resolved) -> Vec<&str> {
    resolved.files.iter().map(String::as_str).collect()
}

#[test]
fn files_below_the_folder_concern_a_workspace() {
    let tree = MemoryTree::new()
        .file("network/main.tf", "")
        .file("network/.terraform.lock.hcl", "")
        .file("network/x.auto.tfvars", "")
        .file("network/templates/a.tpl", "")
        .file("network2/main.tf", "")
        .file("README.md", "");
    let network = one(&tree, "network");
    assert_eq!(
        files(&network),
        [
            "network/.terraform.lock.hcl",
            "network/main.tf",
            "network/templates/a.tpl",
            "network/x.auto.tfvars"
        ]
    );
    assert_eq!(
        (network.presence, network.origin),
        (Presence::Present, Origin::Declared)
    );
    assert_eq!(network.problems, []);
}

#[test]
fn the_folder_of_another_workspace_below_does_not_count() {
    let tree = MemoryTree::new()
        .file("main.tf", "")
        .file("docs/x.md", "")
        .file("app/main.tf", "")
        .file("app/sub/x", "");
    let all = resolve(&tree, &declaration(&["", "app"])).unwrap();
    assert_eq!(files(&all[0]), ["docs/x.md", "main.tf"]);
    assert_eq!(files(&all[1]), ["app/main.tf", "app/sub/x"]);
}

#[test]
fn a_root_that_another_one_uses_as_a_module_counts() {
    let tree = MemoryTree::new()
        .file("main.tf", r#"module "a" { source = "./app" }"#)
        .file("app/main.tf", "");
    let all = resolve(&tree, &declaration(&["", "app"])).unwrap();
    assert_eq!(files(&all[0]), ["app/main.tf", "main.tf"]);
}

#[test]
fn local_modules_count_with_theirs_even_in_a_circle() {
    let tree = MemoryTree::new()
        .file("live/main.tf", r#"module "a" { source = "../modules/a" }"#)
        .file("modules/a/main.tf", r#"module "b" { source = "../b" }"#)
        .file("modules/a/policy.json", "")
        .file(
            "modules/b/main.tf.json",
            r#"{"module": {"a": {"source": "../a"}}}"#,
        )
        .file("modules/c/main.tf", "");
    let live = one(&tree, "live");
    assert_eq!(
        files(&live),
        [
            "live/main.tf",
            "modules/a/main.tf",
            "modules/a/policy.json",
            "modules/b/main.tf.json"
        ]
    );
    assert_eq!(live.problems, []);
}

#[test]
fn a_module_outside_the_repository_or_missing_is_a_problem() {
    let tree = MemoryTree::new()
        .file(
            "live/main.tf",
            "module \"a\" { source = \"../../x\" }\nmodule \"b\" { source = \"./gone\" }\nmodule \"c\" { source = \"../sub/x\" }\n",
        )
        .put("sub", b"0", EntryKind::Submodule);
    let problems: Vec<_> = one(&tree, "live")
        .problems
        .into_iter()
        .map(|p| (p.line, p.message))
        .collect();
    assert_eq!(
        problems,
        [
            (
                Some(1),
                "the module `../../x`: the path leads out of the repository".to_owned()
            ),
            (
                Some(2),
                "the module `./gone`: there is no folder `live/gone`".to_owned()
            ),
            (
                Some(3),
                "the module `../sub/x`: `sub` is a git submodule, which is not checked out"
                    .to_owned()
            ),
        ]
    );
}

#[test]
fn paths_in_expressions_count_relative_to_module_and_root() {
    let tree = MemoryTree::new()
        .file("live/main.tf", "module \"m\" {\n source = \"../m\"\n x = file(\"../data/a\")\n}")
        .file(
            "m/main.tf",
            "locals {\n a = file(\"${path.module}/../data/b\")\n b = fileset(path.module, \"*\")\n c = templatefile(\"${path.root}/../data/c\", {})\n d = file(\"${path.module}/../env/${var.e}.yaml\")\n e = \"${path.module}/../lambda\"\n}",
        )
        .file("data/a", "")
        .file("data/b", "")
        .file("data/c", "")
        .file("data/unused", "")
        .file("env/prod.yaml", "")
        .file("lambda/x/y.py", "");
    let live = one(&tree, "live");
    assert_eq!(
        files(&live),
        [
            "data/a",
            "data/b",
            "data/c",
            "env/prod.yaml",
            "lambda/x/y.py",
            "live/main.tf",
            "m/main.tf"
        ]
    );
}

#[test]
fn variable_files_and_watched_files_count() {
    let tree = MemoryTree::new()
        .file("live/main.tf", "")
        .file("vars/prod.tfvars", "")
        .file("shared/a/b.txt", "")
        .file("shared.txt", "");
    let mut declaration = declaration(&["live"]);
    let settings = &mut declaration.workspaces[0].settings;
    settings.var_files = vec!["../vars/prod.tfvars".to_owned(), "gone.tfvars".to_owned()];
    settings.watch = vec!["shared/**".to_owned()];
    let live = resolve(&tree, &declaration).unwrap().remove(0);
    assert_eq!(
        files(&live),
        ["live/main.tf", "shared/a/b.txt", "vars/prod.tfvars"]
    );
    assert_eq!(
        live.problems[0].message,
        "the variable file `gone.tfvars`: it is not there"
    );
    declaration.workspaces[0].settings.watch = vec!["a[".to_owned()];
    assert!(matches!(
        resolve(&tree, &declaration),
        Err(ResolveError::Pattern { .. })
    ));
}

#[test]
fn links_count_with_what_they_lead_to() {
    let tree = MemoryTree::new()
        .link("live/common.tf", "../common/main.tf")
        .link("live/files", "../files")
        .link("live/outside", "../../x")
        .file("common/main.tf", r#"module "m" { source = "./m" }"#)
        .file("live/m/main.tf", "")
        .file("files/a/b", "");
    let live = one(&tree, "live");
    assert_eq!(
        files(&live),
        [
            "common/main.tf",
            "files/a/b",
            "live/common.tf",
            "live/files",
            "live/m/main.tf",
            "live/outside"
        ]
    );
    assert_eq!(live.problems.len(), 1, "{:?}", live.problems);
    assert_eq!(live.problems[0].file, "live/outside");
}

#[test]
fn configuration_that_does_not_parse_counts_and_is_told() {
    let tree = MemoryTree::new()
        .file("live/main.tf", "resource {{{")
        .file("live/x", "");
    let live = one(&tree, "live");
    assert_eq!(files(&live), ["live/main.tf", "live/x"]);
    assert_eq!(
        (live.problems[0].file.as_str(), live.problems[0].line),
        ("live/main.tf", Some(1))
    );
}

#[test]
fn an_override_decides_the_backend() {
    let tree = MemoryTree::new()
        .file(
            "a/z.tf",
            "terraform {\n backend \"s3\" {}\n required_version = \">= 1.1\"\n}",
        )
        .file("a/b_override.tf", "terraform {\n backend \"local\" {}\n}");
    let a = one(&tree, "a");
    assert_eq!(a.backend, Backend::Named("local".to_owned()));
    assert_eq!(a.required_version, [">= 1.1"]);
}

#[test]
fn a_folder_without_configuration_is_absent() {
    let tree = MemoryTree::new().file("live/README.md", "");
    assert_eq!(one(&tree, "live").presence, Presence::Absent);
    assert_eq!(one(&tree, "gone").presence, Presence::Absent);
    assert_eq!(
        one(&tree.file("live/main.tofu", ""), "live").presence,
        Presence::Present
    );
}

const RESOURCE: &str = "resource \"terraform_data\" \"x\" {}\n";

#[test]
fn root_modules_are_discovered_and_modules_are_not() {
    let tree = MemoryTree::new()
        .file("stacks/dns/main.tf", RESOURCE)
        .file(
            "stacks/app/main.tf",
            "module \"s\" { source = \"../shared\" }",
        )
        .file("stacks/shared/main.tf", RESOURCE)
        .file(
            "stacks/shared/examples/basic/main.tf",
            "module \"s\" { source = \"../../\" }",
        )
        .file("stacks/vars/main.tf", "variable \"x\" {}")
        .file("stacks/broken/main.tf", "{{{")
        .file(
            "stacks/json/main.tf.json",
            r#"{"output": {"x": {"value": 1}}}"#,
        )
        .file("modules/x/main.tf", RESOURCE)
        .file("modules/x/tests/main.tf", RESOURCE)
        .file("stacks/dns/.terraform/modules/x/main.tf", RESOURCE)
        .file("examples/demo/main.tf", RESOURCE);
    assert_eq!(
        discover_roots(&tree).unwrap(),
        [
            "examples/demo",
            "stacks/app",
            "stacks/broken",
            "stacks/dns",
            "stacks/json"
        ]
    );
}

#[test]
fn the_examples_of_a_repository_that_is_a_module_are_no_roots() {
    let tree = MemoryTree::new().file("main.tf", RESOURCE).file(
        "examples/basic/main.tf",
        "module \"this\" { source = \"../../\" }",
    );
    assert_eq!(discover_roots(&tree).unwrap(), Vec::<String>::new());
}

#[test]
fn a_root_with_a_backend_stays_one_though_its_tests_use_it() {
    let tree = MemoryTree::new()
        .file("live/main.tf", "terraform {\n backend \"s3\" {}\n}")
        .file("live/tests/main.tf", "module \"this\" { source = \"../\" }");
    assert!(discover_roots(&tree).unwrap().contains(&"live".to_owned()));
}

#[test]
fn discovery_keeps_to_its_patterns_and_leaves_declared_folders_alone() {
    let tree = MemoryTree::new()
        .file("main.tf", RESOURCE)
        .file("stacks/dns/main.tf", RESOURCE)
        .file("stacks/app/eu/main.tf", RESOURCE)
        .file("stacks/old/main.tf", RESOURCE)
        .file("other/main.tf", RESOURCE);
    let mut declaration = declaration(&["stacks/dns"]);
    declaration.discover = discover(&["stacks/*"], &["stacks/old"]);
    let found: Vec<_> = resolve(&tree, &declaration)
        .unwrap()
        .into_iter()
        .map(|r| {
            (
                r.workspace.name.to_string(),
                r.origin,
                r.workspace.settings.environment,
            )
        })
        .collect();
    assert_eq!(
        found,
        [
            ("stacks/dns".to_owned(), Origin::Declared, None),
            (
                "stacks/app/eu".to_owned(),
                Origin::Discovered,
                Some("staging".to_owned())
            ),
        ]
    );
    declaration.discover = discover(&["."], &["stacks"]);
    let names: Vec<_> = resolve(&tree, &declaration)
        .unwrap()
        .into_iter()
        .map(|r| r.workspace.name.to_string())
        .collect();
    assert_eq!(names, ["stacks/dns", "root", "other"]);
}

#[test]
fn two_discovered_roots_never_share_a_name() {
    let tree = MemoryTree::new()
        .file("a b/main.tf", RESOURCE)
        .file("a-b/main.tf", RESOURCE);
    let mut declaration = declaration(&[]);
    declaration.discover = discover(&["*"], &[]);
    let found = resolve(&tree, &declaration).unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].workspace.path, "a b");
    assert_eq!(found[0].problems[0].file, "a-b");
}

#[test]
fn a_mode_alone_changes_the_inputs() {
    let tree = MemoryTree::new()
        .file("a/main.tf", "")
        .file("a/run.sh", "x");
    let other = tree.clone().put("a/run.sh", b"x", EntryKind::Executable);
    assert_ne!(one(&tree, "a").inputs, one(&other, "a").inputs);
}

#[test]
fn another_order_of_variable_files_or_another_terraform_workspace_is_another_input() {
    let tree = MemoryTree::new()
        .file("a/main.tf", "")
        .file("a/one.tfvars", "")
        .file("a/two.tfvars", "");
    let with = |var_files: &[&str], terraform_workspace: Option<&str>| {
        let mut declaration = declaration(&["a"]);
        let settings = &mut declaration.workspaces[0].settings;
        settings.var_files = var_files.iter().map(|f| (*f).to_owned()).collect();
        settings.terraform_workspace = terraform_workspace.map(str::to_owned);
        resolve(&tree, &declaration).unwrap().remove(0).inputs
    };
    let both = with(&["one.tfvars", "two.tfvars"], None);
    assert_eq!(both, with(&["one.tfvars", "two.tfvars"], None));
    assert_ne!(both, with(&["two.tfvars", "one.tfvars"], None));
    assert_ne!(both, with(&["one.tfvars", "two.tfvars"], Some("blue")));
}

/// Pieces that configuration is made of, some of them broken.
fn piece() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        "module \"a\" { source = \"../m\" }\n",
        "module \"b\" { source = \"../../m\" }\n",
        "module \"c\" { source = \"./n\" }\n",
        "locals { a = file(\"../d/x\") }\n",
        "locals { b = file(\"${path.module}/../d/${var.x}\") }\n",
        "locals { c = fileset(\"${path.root}/..\", \"*\") }\n",
        "terraform { backend \"s3\" {} }\n",
        "resource \"x\" \"y\" {}\n",
        "}{\n",
        "\u{feff}",
        "\"${\n",
    ])
    .prop_map(str::to_owned)
}

fn tree() -> impl Strategy<Value = MemoryTree> {
    let path = prop::sample::select(vec![
        "main.tf",
        "a/main.tf",
        "a/n/main.tf",
        "a/x.tfvars",
        "b/main.tf",
        "m/main.tf",
        "m/y.txt",
        "m/n/main.tf",
        "d/x",
        "d/y",
        "w/z",
        "b/l.tf.json",
        "top.txt",
    ]);
    let content = prop::collection::vec(piece(), 0..5).prop_map(|pieces| pieces.concat());
    let link = prop::sample::select(vec!["../m", "../d/x", "..", "../../x", "/etc", "l", "../w"]);
    let links = prop::collection::btree_map(
        prop::sample::select(vec!["a/l", "m/l", "d/l", "b/l"]),
        link,
        0..3,
    );
    (prop::collection::btree_map(path, content, 1..12), links).prop_map(|(files, links)| {
        let tree = files
            .into_iter()
            .fold(MemoryTree::new(), |tree, (path, content)| {
                tree.file(path, content)
            });
        links
            .into_iter()
            .fold(tree, |tree, (path, to)| tree.link(path, to))
    })
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..400), text in ".*") {
        let tree = MemoryTree::new()
            .file("a/main.tf", &bytes)
            .file("a/b.tf.json", &bytes)
            .file("a/c.tf", &text)
            .put("a/l", &bytes, EntryKind::Symlink);
        let mut declaration = declaration(&["a"]);
        declaration.discover = discover(&["."], &[]);
        resolve(&tree, &declaration).unwrap();
    }

    #[test]
    fn no_configuration_makes_it_panic(pieces in prop::collection::vec(piece(), 0..40)) {
        one(&MemoryTree::new().file("a/main.tf", pieces.concat()), "a");
    }

    #[test]
    fn a_changed_file_changes_the_inputs_of_those_that_it_concerns_and_of_no_other(
        tree in tree(),
        which in any::<prop::sample::Index>(),
    ) {
        let mut declaration = declaration(&["a", "b"]);
        declaration.workspaces[0].settings.watch = vec!["w/**".to_owned()];
        declaration.workspaces[0].settings.var_files = vec!["x.tfvars".to_owned()];
        let before = resolve(&tree, &declaration).unwrap();
        let path = which.get(&tree.entries.keys().cloned().collect::<Vec<_>>()).clone();
        prop_assume!(tree.entries[&path].kind == EntryKind::Regular);
        let content = [tree.contents[&path].as_slice(), b"# more\n"].concat();
        let after = resolve(&tree.clone().file(&path, content), &declaration).unwrap();
        for (before, after) in before.iter().zip(&after) {
            prop_assert_eq!(
                before.files.contains(&path),
                before.inputs != after.inputs,
                "{} of {}", path, before.workspace.name
            );
        }
    }
}
