use super::*;
use crate::modules::tests::MemoryTree;
use crate::modules::{EntryKind, resolve};
use crate::workspace::{
    Declaration, ModulePattern, ProviderPattern, RepoAddress, Settings, Trust, Workspace,
};

fn resolved(tree: &MemoryTree, trust: Trust) -> Resolved {
    let declaration = Declaration {
        file: "acme.toml".into(),
        repo: "acme/infra".parse().unwrap(),
        address: RepoAddress::Git("/srv/infra".to_owned()),
        branch: "main".parse().unwrap(),
        proposals: Vec::new(),
        recorded: crate::workspace::Recorded::Here,
        workspaces: vec![Workspace {
            name: "net".parse().unwrap(),
            path: "net".to_owned(),
            settings: Settings {
                trust,
                ..Settings::default()
            },
        }],
        discover: None,
    };
    resolve(tree, &declaration).unwrap().remove(0)
}

/// What is refused of a proposal, with file and line, by rule.
fn refused(base: &MemoryTree, head: &MemoryTree, trust: &Trust) -> Vec<(Rule, String)> {
    refusals(head, &resolved(head, trust.clone()), Base::Tree(base))
        .unwrap()
        .into_iter()
        .map(|refusal| {
            let line = refusal.line.map(|l| format!(":{l}")).unwrap_or_default();
            assert!(!refusal.what.is_empty() && !refusal.remedy.is_empty());
            (refusal.rule, format!("{}{line}", refusal.file))
        })
        .collect()
}

fn base() -> MemoryTree {
    MemoryTree::new().file("net/main.tf", "resource \"terraform_data\" \"a\" {}\n")
}

/// Holds that `head` is refused by one rule at that place, and by none where that is loosened.
#[track_caller]
fn is_refused(base: &MemoryTree, head: &MemoryTree, rule: Rule, place: &str) {
    let found = refused(base, head, &Trust::default());
    assert_eq!(found, [(rule, place.to_owned())]);
    let loosened = Trust {
        loosened: [rule].into(),
        ..Trust::default()
    };
    assert_eq!(refused(base, head, &loosened), []);
}

#[test]
fn honest_code_is_not_refused() {
    let lock = "provider \"registry.example.com/hashicorp/aws\" {\n  version = \"1.0.0\"\n}\n";
    let head = base()
        .file(
            "net/main.tf",
            "terraform {\n  required_version = \">= 1.5\"\n  required_providers {\n    aws = { source = \"hashicorp/aws\", version = \"~> 5\" }\n    old = \"~> 1\"\n  }\n}\n\
             module \"a\" { source = \"../modules/a\" }\nmodule \"b\" { source = \"acme/vpc/aws\" }\n\
             module \"c\" { source = \"git::https://github.com/acme/x.git//y?ref=v1\" }\n\
             module \"d\" { source = \"git@github.com:acme/x.git\" }\n\
             resource \"aws_vpc\" \"x\" {}\n",
        )
        .file("net/.terraform.lock.hcl", lock)
        .file("net/override.tf", "locals { a = 1 }\n")
        .file("net/.env", "TF_VAR_size=3\nAWS_REGION=x\n")
        .file("modules/a/main.tf", "resource \"random_id\" \"x\" {}\n")
        .link("net/common.tf", "../shared/common.tf")
        .file("shared/common.tf", "")
        .file("terraform.d/plugins/other", "of another workspace's folder");
    assert_eq!(refused(&base(), &head, &Trust::default()), []);
}

#[test]
fn a_committed_terraform_folder_is_refused_once_however_many_files_it_has() {
    let head = base()
        .file("net/.terraform/environment", "production")
        .file("net/.terraform/providers/x/y", "#!/bin/sh");
    is_refused(&base(), &head, Rule::TerraformFolder, "net/.terraform");
}

#[test]
fn committed_plugins_are_refused() {
    let head = base().file(
        "net/terraform.d/plugins/linux_amd64/terraform-provider-x",
        "",
    );
    is_refused(&base(), &head, Rule::PluginFolder, "net/terraform.d");
}

#[test]
fn a_committed_cli_configuration_is_refused() {
    for name in [
        ".terraformrc",
        "terraform.rc",
        "dev.tfrc",
        ".tofurc",
        "x.tfrc.json",
    ] {
        let path = format!("net/{name}");
        is_refused(&base(), &base().file(&path, ""), Rule::CliConfig, &path);
    }
}

#[test]
fn a_link_out_of_the_repository_is_refused() {
    for target in ["/etc", "../../..", "loop"] {
        let head = base().link("net/loop", target);
        is_refused(&base(), &head, Rule::Symlinks, "net/loop");
    }
}

#[test]
fn a_submodule_among_the_files_or_as_a_module_is_refused() {
    let inside = base().put("net/vendor", b"", EntryKind::Submodule);
    is_refused(&base(), &inside, Rule::Submodules, "net/vendor");
    let used = base()
        .put("vendor", b"", EntryKind::Submodule)
        .file("net/m.tf", "\nmodule \"v\" { source = \"../vendor/x\" }\n");
    is_refused(&base(), &used, Rule::Submodules, "net/m.tf:2");
    let elsewhere = base().put("vendor", b"", EntryKind::Submodule);
    assert_eq!(refused(&base(), &elsewhere, &Trust::default()), []);
}

#[test]
fn a_module_from_elsewhere_is_refused_with_its_line() {
    for source in [
        "git::http://host.example/x.git",
        "git::file:///srv/x",
        "http://host.example/x.zip",
        "https://host.example/x.zip",
        "s3::https://s3.amazonaws.com/bucket/x.zip",
        "/srv/modules/x",
        "../../outside",
        "git::https://host.example/x?ref=--upload-pack=id",
        "${var.where}/x",
    ] {
        let text = format!("\n\nmodule \"m\" {{\n  source = \"{source}\"\n}}\n");
        is_refused(
            &base(),
            &base().file("net/m.tf", &text),
            Rule::Modules,
            "net/m.tf:3",
        );
        // OpenTofu's files, and the JSON syntax, are held to the same.
        is_refused(
            &base(),
            &base().file("net/m.tofu", &text),
            Rule::Modules,
            "net/m.tofu:3",
        );
        let json = format!("{{\n\"module\":\n{{\"m\": {{\"source\": \"{source}\"}}}}}}");
        is_refused(
            &base(),
            &base().file("net/m.tf.json", &json),
            Rule::Modules,
            "net/m.tf.json:3",
        );
    }
}

#[test]
fn modules_of_modules_and_of_tests_are_held_to_the_same() {
    let bad = "module \"m\" { source = \"https://host.example/x.zip\" }\n";
    let head = base()
        .file("net/m.tf", "module \"a\" { source = \"../a\" }\n")
        .file("a/main.tf", "module \"b\" { source = \"./b\" }\n")
        .file("a/b/main.tf", bad);
    is_refused(&base(), &head, Rule::Modules, "a/b/main.tf:1");
    let run =
        |source: &str| format!("run \"x\" {{\n  module {{\n    source = \"{source}\"\n  }}\n}}\n");
    let head = base().file("net/tests/a.tftest.hcl", run("https://host.example/x.zip"));
    is_refused(&base(), &head, Rule::Modules, "net/tests/a.tftest.hcl:1");
    let head = base()
        .file("net/a.tftest.hcl", run("./setup"))
        .file("net/setup/main.tf", bad);
    is_refused(&base(), &head, Rule::Modules, "net/setup/main.tf:1");
}

#[test]
fn a_module_behind_a_link_that_uses_another_beside_it_is_refused_where_terraform_finds_another() {
    let uses = |source: &str| format!("module \"m\" {{ source = \"{source}\" }}\n");
    let tree = |inner: &str| {
        base()
            .file("net/m.tf", uses("./link"))
            .link("net/link", "../shared/deep")
            .file("shared/deep/main.tf", uses(inner))
            .file("shared/deep/sub/main.tf", "")
            .file("shared/mod/main.tf", "")
    };
    let head = tree("../mod");
    is_refused(&base(), &head, Rule::Symlinks, "shared/deep/main.tf:1");
    // One that lies deeper is held to the same.
    let head = tree("./sub").file("shared/deep/sub/main.tf", uses("../../mod"));
    is_refused(&base(), &head, Rule::Symlinks, "shared/deep/sub/main.tf:1");
    for head in [
        tree("./sub"),
        tree("../mod").link("net/mod", "../shared/mod"),
    ] {
        assert_eq!(refused(&base(), &head, &Trust::default()), []);
    }
    // A link in a circle has an end.
    let head = base()
        .file("net/m.tf", uses("./here"))
        .link("net/here", ".");
    is_refused(&base(), &head, Rule::Symlinks, "net/m.tf:1");
}

#[test]
fn a_list_of_modules_lets_in_what_it_names_and_nothing_else() {
    let trust = Trust {
        modules: vec![ModulePattern::parse("git::https://git.example/acme/*").unwrap()],
        ..Trust::default()
    };
    let head = |source: &str| {
        base().file(
            "net/m.tf",
            format!("module \"m\" {{ source = \"{source}\" }}\n"),
        )
    };
    let good = head("git::https://git.example/acme/vpc.git?ref=v1");
    assert_eq!(refused(&base(), &good, &trust), []);
    for source in ["acme/vpc/aws", "git::https://git.example/evil/vpc.git"] {
        assert_eq!(refused(&base(), &head(source), &trust)[0].0, Rule::Modules);
    }
}

#[test]
fn a_list_of_providers_holds_for_every_way_to_ask_for_one() {
    let trust = Trust {
        providers: vec![ProviderPattern::parse("acme/*").unwrap()],
        ..Trust::default()
    };
    let at = |file: &str, text: &str| refused(&base(), &base().file(file, text), &trust);
    for (text, line) in [
        (
            "terraform {\n required_providers {\n  x = { source = \"evil/x\" }\n }\n}",
            3,
        ),
        (
            "terraform {\n required_providers {\n  x = { \"source\" = \"evil.example/acme/x\" }\n }\n}",
            3,
        ),
        (
            "terraform {\n required_providers {\n  x = { version = \"1\" }\n }\n}",
            3,
        ),
        (
            "terraform {\n required_providers {\n  x = { source = local.x }\n }\n}",
            3,
        ),
        (
            "terraform {\n required_providers {\n  aws = { (\"source\") = \"evil.example/x/y\" }\n }\n}",
            3,
        ),
        (
            "terraform {\n required_providers {\n  aws = { \"${\"source\"}\" = \"evil.example/x/y\" }\n }\n}",
            3,
        ),
        (
            "terraform {\n required_providers {\n  aws = { source = \"acme/aws\", \"source\" = \"evil.example/x/y\" }\n }\n}",
            3,
        ),
        ("\nresource \"aws_vpc\" \"x\" {}", 2),
        ("\ndata \"external\" \"x\" {}", 2),
        ("\nephemeral \"vault_x\" \"x\" {}", 2),
        ("check \"x\" {\n data \"http\" \"x\" {}\n}", 1),
        ("\nprovider \"null\" {}", 2),
        (
            "resource \"terraform_data\" \"x\" {\n provider = evil.alias\n}",
            1,
        ),
        ("resource {\n", 1),
    ] {
        let found = at("net/p.tf", text);
        assert_eq!(found.len(), 1, "{text}: {found:?}");
        assert!(matches!(found[0].0, Rule::Providers | Rule::Unreadable));
        assert!(found[0].1.starts_with("net/p.tf:"), "{found:?}");
        if found[0].0 == Rule::Providers {
            assert_eq!(found[0].1, format!("net/p.tf:{line}"));
        }
    }
    let lock = at(
        "net/.terraform.lock.hcl",
        "\nprovider \"evil.example/acme/x\" {\n}\n",
    );
    assert_eq!(
        lock,
        [(Rule::Providers, "net/.terraform.lock.hcl:2".to_owned())]
    );
    let json = "{\"resource\": {\"aws_vpc\": {\"x\": {}}}}";
    assert_eq!(
        at("net/p.tf.json", json),
        [(Rule::Providers, "net/p.tf.json:1".to_owned())]
    );
    let good = "terraform {\n required_providers {\n  aws = { source = \"acme/aws\" }\n }\n}\nresource \"aws_vpc\" \"x\" {}\nresource \"terraform_data\" \"x\" {}";
    assert_eq!(at("net/p.tf", good), []);
}

fn s3(bucket: &str) -> String {
    format!(
        "terraform {{\n  backend \"s3\" {{\n    bucket = \"{bucket}\"\n    key    = \"x\"\n  }}\n}}\n"
    )
}

#[test]
fn a_backend_that_is_not_on_the_base_is_refused() {
    let new = base().file("net/backend.tf", s3("mine"));
    is_refused(&base(), &new, Rule::Backend, "net/backend.tf:2");
    let old = base().file("net/backend.tf", s3("ours"));
    is_refused(&old, &new, Rule::Backend, "net/backend.tf:2");
    is_refused(&old, &base(), Rule::Backend, "net/backend.tf");
    let cloud = base().file(
        "net/backend.tf",
        "terraform {\n  cloud {\n    hostname = \"evil.example\"\n  }\n}\n",
    );
    is_refused(&old, &cloud, Rule::Backend, "net/backend.tf:2");
    let json = base().file(
        "net/b.tf.json",
        "{\"terraform\":\n {\"backend\": {\"s3\": {\"bucket\": \"mine\"}}}}",
    );
    is_refused(&base(), &json, Rule::Backend, "net/b.tf.json:2");
}

#[test]
fn a_backend_that_was_only_moved_or_laid_out_anew_is_not_refused() {
    let old = base().file("net/backend.tf", s3("ours"));
    let moved = base().file(
        "net/main.tf",
        "terraform {\n  # where the state is\n  backend \"s3\" {\n    key = \"x\"\n    bucket =    \"ours\" // ours\n  }\n}\n",
    );
    assert_eq!(refused(&old, &moved, &Trust::default()), []);
}

#[test]
fn a_backend_whose_values_are_computed_is_refused_though_it_is_on_the_base() {
    for key in [
        "var.k",
        "\"x/${local.k}\"",
        "lower(\"X\")",
        "{ a = [path.root] }",
    ] {
        let text = format!("terraform {{\n  backend \"s3\" {{\n    key = {key}\n  }}\n}}\n");
        let head = base().file("net/backend.tofu", text);
        is_refused(&head, &head, Rule::Backend, "net/backend.tofu:2");
    }
    let json = "{\"terraform\":\n {\"backend\": {\"s3\": {\"key\": \"${var.k}\"}}}}";
    let head = base().file("net/b.tf.json", json);
    is_refused(&head, &head, Rule::Backend, "net/b.tf.json:2");
    let text =
        "terraform {\n  cloud {\n    workspaces {\n      tags = { a = \"x\" }\n    }\n  }\n}\n";
    let head = base().file("net/backend.tf", text);
    assert_eq!(refused(&head, &head, &Trust::default()), []);
}

#[test]
fn a_backend_of_a_module_is_nobodys() {
    let head = base()
        .file("net/m.tf", "module \"a\" { source = \"../a\" }\n")
        .file("a/main.tf", s3("mine"));
    assert_eq!(refused(&base(), &head, &Trust::default()), []);
}

#[test]
fn json_that_says_a_thing_twice_hides_neither() {
    let text =
        "{\"terraform\": {\"backend\": {\"s3\": {\"bucket\": \"mine\"}}}, \"terraform\": {}}";
    let head = base().file("net/b.tf.json", text);
    is_refused(&base(), &head, Rule::Backend, "net/b.tf.json:1");
}

#[test]
fn an_override_file_that_touches_the_backend_is_refused_though_it_says_the_same() {
    let old = base().file("net/backend.tf", s3("ours"));
    for name in ["override.tf", "zz_override.tf", "zz_override.tofu"] {
        let path = format!("net/{name}");
        let head = old.clone().file(&path, s3("ours"));
        is_refused(&old, &head, Rule::Overrides, &format!("{path}:1"));
        let head = old.clone().file(&path, s3("mine"));
        let found = refused(&old, &head, &Trust::default());
        let rules: Vec<_> = found.iter().map(|(rule, _)| *rule).collect();
        assert_eq!(rules, [Rule::Overrides, Rule::Backend]);
        // Once it is on the base it is as trusted as the base.
        assert_eq!(refused(&head, &head, &Trust::default()), []);
    }
    let json = "{\"terraform\": {\"backend\": {\"s3\": {\"bucket\": \"mine\"}}}}";
    let head = old.clone().file("net/a_override.tf.json", json);
    assert_eq!(refused(&old, &head, &Trust::default()).len(), 2);
}

#[test]
fn what_is_on_the_base_branch_is_held_to_the_rules_that_need_no_base() {
    let tree = base()
        .file("net/backend.tf", s3("ours"))
        .file("net/z_override.tf", s3("theirs"))
        .file("net/terraform.d/x", "");
    let found = refusals(&tree, &resolved(&tree, Trust::default()), Base::Itself).unwrap();
    let rules: Vec<_> = found.iter().map(|refusal| refusal.rule).collect();
    assert_eq!(rules, [Rule::PluginFolder]);
}

#[test]
fn variables_that_steer_terraform_are_refused() {
    for name in [".env", ".envrc", ".env.local", "mise.toml"] {
        let path = format!("net/{name}");
        let head = base().file(&path, "A=1\nexport TF_CLI_ARGS_plan=\"-lock=false\"\n");
        is_refused(&base(), &head, Rule::Variables, &format!("{path}:2"));
    }
}

#[test]
fn a_file_that_cannot_be_read_is_refused_where_it_may_ask_for_something() {
    let head = base().file("net/x.tf", "}{\nterraform { backend \"s3\" {} }\n");
    is_refused(&base(), &head, Rule::Unreadable, "net/x.tf:1");
    let head = base().file("net/x.tf.json", "{\"\\u0062ackend\": }");
    is_refused(&base(), &head, Rule::Unreadable, "net/x.tf.json:1");
    // Terraform itself says best what is wrong with a file that could ask for nothing.
    for text in ["locals {\n  a = \n}\n", "resource {{{\n"] {
        let head = base().file("net/x.tf", text);
        assert_eq!(refused(&base(), &head, &Trust::default()), [], "{text}");
    }
}

#[test]
fn a_file_with_a_heredoc_that_terraform_ends_elsewhere_is_refused() {
    let backend = "terraform {\n  backend \"s3\" {}\n}\n";
    for (end, line) in [("EOT # x", 3), ("EOT/**/", 3), ("\u{c}EOT", 3)] {
        let text = format!(
            "locals {{\n  a = <<EOT\n{end}\n}}\n{backend}locals {{\n  b = <<EOT\nEOT\n}}\n"
        );
        let head = base().file("net/x.tf", text);
        is_refused(
            &base(),
            &head,
            Rule::Unreadable,
            &format!("net/x.tf:{line}"),
        );
    }
    // The parser takes the first for a line of the text, which goes on to the second.
    let text =
        format!("locals {{\n  a = <<EOT\nEOT\n}}\n{backend}locals {{\n  b = <<EOT\nEOT\n}}\n");
    let head = base().file("net/x.tf", text);
    is_refused(&base(), &head, Rule::Unreadable, "net/x.tf:3");
    let lock = "a = <<EOT\nEOT # x\nprovider \"evil.example/x/y\" {}\nb = <<EOT\nEOT\n";
    let head = base().file("net/.terraform.lock.hcl", lock);
    is_refused(
        &base(),
        &head,
        Rule::Unreadable,
        "net/.terraform.lock.hcl:2",
    );
}

#[test]
fn a_refusal_says_where_what_and_what_to_do() {
    let head = base()
        .file(
            "net/m.tf",
            "module \"m\" { source = \"http://x.example/y.zip\" }\n",
        )
        .file("net/z_override.tf", s3("mine"));
    let found = refusals(
        &head,
        &resolved(&head, Trust::default()),
        Base::Tree(&base()),
    )
    .unwrap();
    let said: Vec<String> = found
        .iter()
        .map(|refusal| format!("{refusal}\n  {}", refusal.advice()))
        .collect();
    insta::assert_snapshot!(said.join("\n"), @r#"
    net/m.tf:1: the module source `http://x.example/y.zip` is not allowed; sources may be paths in the repository, `registry`, `git::https://*`, `git::ssh://*` (rule `modules`)
      use a module from there, or add its source to `modules` in the declaration, or loosen the rule with `loosen = ["modules"]` in the workspace's declaration
    net/z_override.tf:1: an override file has a `terraform` block: it wins over what every other file says of the backend, the providers and the version (rule `overrides`)
      say it in an ordinary file, or loosen the rule with `loosen = ["overrides"]` in the workspace's declaration
    net/z_override.tf:2: the backend `s3` is not on the base branch: a proposal does not say where the state is (rule `backend`)
      merge the backend first, by itself, or loosen the rule with `loosen = ["backend"]` in the workspace's declaration
    "#);
}
