//! What `mainstay.toml` says.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use super::github::{self, GithubSettings};
use super::limits::{self, Limits};
use super::network::{self, NetworkSettings};
use super::reader::{TableReader, nearest};
use super::settings_file::SettingsFile;
use crate::clock::parse_duration;
use crate::machine::Machine;
use crate::network::NetworkRule;
use crate::plan::DataTypes;
use crate::workspace::{Settings, Unreviewed};

/// The settings of `mainstay.toml`. Every path is absolute.
///
/// It holds no secret, only where secrets are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The folder that relative paths of the settings start from.
    pub folder: PathBuf,
    /// The folder of mirrors, plans, states and the store.
    pub data_dir: PathBuf,
    /// The folder of declarations, one file per repository.
    pub workspaces: PathBuf,
    /// The folder of policies.
    pub policies: PathBuf,
    /// The folder of templates of the operator's own; `None` where only the built-in ones are used.
    pub templates: Option<PathBuf>,
    /// Which types of resources hold data.
    pub data_types: DataTypes,
    /// How long to wait between two looks at a repository.
    pub poll_every: Duration,
    /// Where health and metrics are; `None` where nothing listens.
    pub listen: Option<SocketAddr>,
    /// Host names, in lower case, by which clients may ask for it, besides `localhost` and addresses.
    pub listen_hosts: Vec<String>,
    /// How many processes of the engine run at once; `None` where the machine's cores and memory say.
    pub parallel: Option<NonZeroUsize>,
    /// What plans and applies.
    pub engine: Engine,
    /// What happens to a change that no reviewer saw, where a workspace does not say.
    pub unreviewed: Unreviewed,
    /// How long a plan may take, init included, where a workspace does not say.
    pub plan_timeout: Duration,
    /// How long an apply may take, where a workspace does not say.
    pub apply_timeout: Duration,
    /// How GitHub is reached; `None` where nothing is on GitHub.
    pub github: Option<GithubSettings>,
    /// How runs are kept from the rest of the computer.
    pub sandbox: SandboxSettings,
    /// What one run may use.
    pub limits: Limits,
    /// How long what runs left is kept.
    pub keep: KeepSettings,
    /// The keys that states and logs are sealed with, where they are not in the data folder.
    pub key_file: Option<PathBuf>,
    /// How log lines are written.
    pub log: LogFormat,
}

/// How long what runs left is kept. What happened stays in the record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeepSettings {
    /// Plans and logs of runs that ended longer ago are removed.
    pub runs: Duration,
    /// In bytes: where the plans and logs of all runs are larger, the oldest go earlier.
    pub size: u64,
}

impl Default for KeepSettings {
    fn default() -> Self {
        Self {
            runs: Duration::from_secs(30 * 24 * 60 * 60),
            size: 2 << 30,
        }
    }
}

/// What plans and applies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Engine {
    /// The program `terraform`, looked for in `PATH`.
    Terraform,
    /// The program `tofu`, looked for in `PATH`.
    Tofu,
    /// This program, by its absolute path.
    Path(PathBuf),
}

/// How runs are kept from the rest of the computer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SandboxSettings {
    /// By what.
    pub level: SandboxLevel,
    /// Whether it holds for merges too.
    pub merge: SandboxOf,
    /// Whether it holds for drift checks too.
    pub drift: SandboxOf,
    /// More of the disk that runs may read.
    pub read: Vec<PathBuf>,
    /// More of the disk that applies may write.
    pub write: Vec<PathBuf>,
    /// What of the network runs may reach.
    pub network: NetworkSettings,
}

/// Whether runs of the base branch's code are kept in the sandbox as those of proposals are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SandboxOf {
    /// They are.
    Same,
    /// They run without.
    None,
}

/// What keeps runs from the rest of the computer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SandboxLevel {
    /// The strongest that works here.
    Auto,
    /// The program `bwrap`.
    Bubblewrap,
    /// The kernel's Landlock.
    Landlock,
    /// Nothing.
    None,
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// The words of `unreviewed`.
pub(super) const UNREVIEWED: [(&str, Unreviewed); 3] = [
    ("hold-destroys", Unreviewed::HoldDestroys),
    ("hold", Unreviewed::Hold),
    ("apply", Unreviewed::Apply),
];

/// More processes than this at once are a slip of the finger.
const MOST_PARALLEL: u32 = 1_024;

impl Config {
    /// The settings of an empty `mainstay.toml` in `folder`.
    ///
    /// A relative folder is taken from the current one.
    pub fn default_in(folder: &Path) -> Self {
        let folder = absolute(folder);
        let workspace = Settings::default();
        Self {
            data_dir: folder.join("var"),
            workspaces: folder.join("workspaces"),
            policies: folder.join("policies"),
            templates: None,
            data_types: DataTypes::default(),
            poll_every: Duration::from_secs(30),
            listen: Some(SocketAddr::from(([127, 0, 0, 1], 4180))),
            listen_hosts: Vec::new(),
            parallel: None,
            engine: Engine::Terraform,
            unreviewed: workspace.unreviewed,
            plan_timeout: workspace.plan_timeout,
            apply_timeout: workspace.apply_timeout,
            github: None,
            sandbox: SandboxSettings {
                level: SandboxLevel::Auto,
                merge: SandboxOf::Same,
                drift: SandboxOf::Same,
                read: Vec::new(),
                write: Vec::new(),
                network: NetworkSettings::default(),
            },
            limits: Limits::default(),
            keep: KeepSettings::default(),
            key_file: None,
            log: LogFormat::Text,
            folder,
        }
    }

    /// How many processes of the engine run at once on `machine`.
    pub fn at_once(&self, machine: &Machine) -> NonZeroUsize {
        self.parallel.unwrap_or_else(|| machine.carries())
    }

    /// The settings of a workspace of which nothing more is said.
    pub fn workspace_defaults(&self) -> Settings {
        Settings {
            unreviewed: self.unreviewed,
            plan_timeout: self.plan_timeout,
            apply_timeout: self.apply_timeout,
            ..Settings::default()
        }
    }
}

/// A path made absolute from the current folder, without `.` in it.
fn absolute(path: &Path) -> PathBuf {
    // It fails for an empty path, or where there is no current folder to speak of.
    let path = std::path::absolute(Path::new(".").join(path)).unwrap_or_else(|_| path.to_owned());
    path.components()
        .filter(|part| *part != Component::CurDir)
        .collect()
}

/// Reads `mainstay.toml`, which stands in `folder`. Where a setting is wrong, that
/// is noted in `file` and the default stands in its place.
pub(super) fn read(file: &SettingsFile, folder: &Path) -> Config {
    let mut config = Config::default_in(folder);
    let Some(mut top) = file.top() else {
        return config;
    };
    let folder = config.folder.clone();
    let path_of = |table: &mut TableReader<'_>, key: &'static str| {
        table
            .parsed(key, |given| resolve(&folder, given))
            .map(|path| path.value)
    };

    for (key, place) in [
        ("data_dir", &mut config.data_dir),
        ("workspaces", &mut config.workspaces),
        ("policies", &mut config.policies),
    ] {
        set(place, path_of(&mut top, key));
    }
    config.templates = path_of(&mut top, "templates");
    if let Some(types) = data_types(&mut top) {
        config.data_types = types;
    }
    for (key, place) in [
        ("poll_every", &mut config.poll_every),
        ("plan_timeout", &mut config.plan_timeout),
        ("apply_timeout", &mut config.apply_timeout),
    ] {
        set(place, top.parsed(key, parse_duration).map(|d| d.value));
    }
    set(
        &mut config.listen,
        top.parsed("listen", listen).map(|listen| listen.value),
    );
    config.listen_hosts = top
        .texts("listen_hosts")
        .unwrap_or_default()
        .into_iter()
        .map(|host| host.value.to_ascii_lowercase())
        .collect();
    config.parallel = top.count("parallel", MOST_PARALLEL);
    set(
        &mut config.engine,
        top.parsed("engine", |given| engine(&folder, given))
            .map(|engine| engine.value),
    );
    set(
        &mut config.unreviewed,
        top.choice("unreviewed", &UNREVIEWED).map(|u| u.value),
    );
    config.github = top
        .table("github")
        .map(|table| github::read(table, path_of));
    if let Some(table) = top.table("sandbox") {
        config.sandbox = sandbox(table, &folder);
    }
    if let Some(table) = top.table("limits") {
        config.limits = limits::read(table);
    }
    if let Some(mut table) = top.table("keep") {
        let runs = table.parsed("runs", parse_duration).map(|d| d.value);
        set(&mut config.keep.runs, runs);
        let size = table.parsed("size", limits::size).map(|s| s.value);
        set(&mut config.keep.size, size);
        table.finish(|_| None);
    }
    if let Some(mut table) = top.table("at_rest") {
        config.key_file = path_of(&mut table, "key_file");
        table.finish(|_| None);
    }
    if let Some(mut table) = top.table("log") {
        let formats = [("text", LogFormat::Text), ("json", LogFormat::Json)];
        set(
            &mut config.log,
            table.choice("format", &formats).map(|format| format.value),
        );
        table.finish(|_| None);
    }
    top.finish(|key| {
        matches!(key, "repo" | "branch" | "workspace" | "discover").then(|| {
            "it belongs in a declaration of its own, one file per repository, in the folder `workspaces`".to_owned()
        })
    });
    config
}

/// The types that hold data. A pattern that cannot be read is noted, and all of them are left out.
fn data_types(top: &mut TableReader<'_>) -> Option<DataTypes> {
    let given = top.texts("data_types")?;
    for pattern in &given {
        if let Err(error) = DataTypes::new(&[pattern.value]) {
            let file = top.file();
            file.error(pattern.at.clone(), format!("`data_types`: {error}"), None);
        }
    }
    let patterns: Vec<&str> = given.iter().map(|pattern| pattern.value).collect();
    DataTypes::new(&patterns).ok()
}

fn set<T>(place: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *place = value;
    }
}

fn sandbox(mut table: TableReader<'_>, folder: &Path) -> SandboxSettings {
    let levels = [
        ("auto", SandboxLevel::Auto),
        ("bubblewrap", SandboxLevel::Bubblewrap),
        ("landlock", SandboxLevel::Landlock),
        ("none", SandboxLevel::None),
    ];
    let level = table
        .choice("level", &levels)
        .map_or(SandboxLevel::Auto, |level| level.value);
    let of = [("same", SandboxOf::Same), ("none", SandboxOf::None)];
    let mut which = |key| {
        table
            .choice(key, &of)
            .map_or(SandboxOf::Same, |of| of.value)
    };
    let (merge, drift) = (which("merge"), which("drift"));
    let mut paths = |key| {
        let given = table.texts(key).unwrap_or_default();
        let file = table.file();
        let resolved = given.into_iter().filter_map(|path| {
            resolve(folder, path.value)
                .map_err(|error| file.error(path.at, format!("`{key}`: {error}"), None))
                .ok()
        });
        resolved.collect::<Vec<_>>()
    };
    let (read, write) = (paths("read"), paths("write"));
    let network = network::read(&mut table);
    for (key, of, rule) in [
        ("merge", merge, &network.merge),
        ("drift", drift, &network.drift),
    ] {
        if of == SandboxOf::None && *rule != NetworkRule::Allow {
            table.file().error(
                table.key_at("network"),
                format!("`network` holds back runs that `{key} = \"none\"` lets run without a sandbox"),
                Some(format!(
                    "write a rule for each purpose, with `{key} = \"allow\"` in it, or take the other line out"
                )),
            );
        }
    }
    if level == SandboxLevel::None
        && network
            .all()
            .iter()
            .any(|(_, rule)| **rule != NetworkRule::Allow)
    {
        table.file().error(
            table.key_at("network"),
            "`network` holds nothing back where `level = \"none\"`".to_owned(),
            Some("set `level` to \"auto\"".to_owned()),
        );
    }
    table.finish(|_| None);
    SandboxSettings {
        level,
        merge,
        drift,
        read,
        write,
        network,
    }
}

/// A text is no path of the disk.
#[derive(Debug, thiserror::Error)]
enum InvalidPath {
    #[error("the path is empty")]
    Empty,
    #[error("`~` is not expanded; write the whole path")]
    Home,
    #[error("the path holds a NUL character")]
    Nul,
}

fn resolve(folder: &Path, given: &str) -> Result<PathBuf, InvalidPath> {
    if given.is_empty() {
        return Err(InvalidPath::Empty);
    }
    if given == "~" || given.starts_with("~/") {
        return Err(InvalidPath::Home);
    }
    if given.contains('\0') {
        return Err(InvalidPath::Nul);
    }
    Ok(absolute(&folder.join(given)))
}

#[derive(Debug, thiserror::Error)]
#[error("`{0}` is no address with a port like `127.0.0.1:4180`; or write `off`")]
struct InvalidListen(String);

fn listen(given: &str) -> Result<Option<SocketAddr>, InvalidListen> {
    match given {
        "off" => Ok(None),
        address => address
            .parse()
            .map(Some)
            .map_err(|_| InvalidListen(address.to_owned())),
    }
}

#[derive(Debug, thiserror::Error)]
enum InvalidEngine {
    #[error(
        "`{given}` is no engine; write `terraform`, `tofu`, or the path of a program with a `/` in it{}",
        hint(given)
    )]
    Name { given: String },
    #[error(transparent)]
    Path(#[from] InvalidPath),
}

fn hint(given: &str) -> String {
    nearest(given, &["terraform", "tofu"])
        .map(|hint| format!("; {hint}"))
        .unwrap_or_default()
}

fn engine(folder: &Path, given: &str) -> Result<Engine, InvalidEngine> {
    match given {
        "terraform" => Ok(Engine::Terraform),
        "tofu" => Ok(Engine::Tofu),
        path if path.contains('/') => Ok(Engine::Path(resolve(folder, path)?)),
        _ => Err(InvalidEngine::Name {
            given: given.to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::super::github::CredentialSource;
    use super::*;

    fn read_text(text: &str) -> (Config, Vec<String>) {
        let file = SettingsFile::parse(Path::new("mainstay.toml"), text.as_bytes().to_vec());
        let config = read(&file, Path::new("/etc/mainstay"));
        let problems = file.into_problems();
        (config, problems.iter().map(ToString::to_string).collect())
    }

    fn valid(text: &str) -> Config {
        let (config, problems) = read_text(text);
        assert_eq!(problems, Vec::<String>::new());
        config
    }

    #[test]
    fn what_no_sandbox_holds_back_is_not_promised() {
        for (text, expected) in [
            ("merge = \"none\"\nnetwork = \"deny\"", "`merge = \"none\"`"),
            (
                "drift = \"none\"\nnetwork = { drift = [\"a.example\"] }",
                "`drift = \"none\"`",
            ),
            ("level = \"none\"\nnetwork = \"deny\"", "`level = \"none\"`"),
        ] {
            let (_, problems) = read_text(&format!("[sandbox]\n{text}\n"));
            assert_eq!(problems.len(), 1, "{text}: {problems:?}");
            assert!(problems[0].contains(expected), "{problems:?}");
            assert!(problems[0].contains("mainstay.toml:3:1"), "{problems:?}");
        }
        valid("[sandbox]\nmerge = \"none\"\nnetwork = { propose = \"deny\" }\n");
    }

    #[test]
    fn an_empty_file_is_the_defaults() {
        let config = valid("");
        assert_eq!(config, Config::default_in(Path::new("/etc/mainstay")));
        assert_eq!(config.data_dir, Path::new("/etc/mainstay/var"));
        assert_eq!(config.parallel, None);
        assert_eq!(config.listen, "127.0.0.1:4180".parse().ok());
        assert_eq!(config.workspace_defaults(), Settings::default());
    }

    #[test]
    fn the_current_folder_may_be_written_as_nothing() {
        let here = std::env::current_dir().unwrap();
        for written in ["", ".", "./"] {
            let config = Config::default_in(Path::new(written));
            assert_eq!(
                (&config.folder, &config.data_dir),
                (&here, &here.join("var"))
            );
        }
    }

    #[test]
    fn every_setting_is_read() {
        let config = valid(
            r#"
            data_dir      = "/var/lib/mainstay"
            workspaces    = "./declared"
            policies      = "../policies"
            templates     = "templates"
            data_types    = ["acme_*", "!aws_sqs_queue"]
            poll_every    = "1m30s"
            listen        = "off"
            listen_hosts  = ["Mainstay.example.com"]
            parallel      = 8
            engine        = "bin/terraform"
            unreviewed    = "hold"
            plan_timeout  = "10m"
            apply_timeout = "1h"

            [github]
            api_url = "https://git.example.com/api/v3/"
            app     = { id = 7, private_key_file = "app.pem" }

            [sandbox]
            level = "landlock"
            read  = ["/opt/modules"]
            write = ["cache"]
            merge = "none"
            drift = "same"

            [limits]
            memory     = "2GiB"
            open_files = 100

            [keep]
            runs = "7d"
            size = "500MiB"

            [at_rest]
            key_file = "/etc/mainstay/seal.key"

            [log]
            format = "json"
            "#,
        );
        let folder = Path::new("/etc/mainstay");
        assert_eq!(
            config,
            Config {
                folder: folder.to_owned(),
                data_dir: "/var/lib/mainstay".into(),
                workspaces: folder.join("declared"),
                policies: folder.join("../policies"),
                templates: Some(folder.join("templates")),
                data_types: DataTypes::new(&["acme_*", "!aws_sqs_queue"]).unwrap(),
                poll_every: Duration::from_secs(90),
                listen: None,
                listen_hosts: vec!["mainstay.example.com".to_owned()],
                parallel: NonZeroUsize::new(8),
                engine: Engine::Path(folder.join("bin/terraform")),
                unreviewed: Unreviewed::Hold,
                plan_timeout: Duration::from_secs(600),
                apply_timeout: Duration::from_secs(3_600),
                github: Some(GithubSettings {
                    api_url: "https://git.example.com/api/v3".to_owned(),
                    credential: CredentialSource::App {
                        id: 7,
                        private_key_file: folder.join("app.pem"),
                    },
                }),
                sandbox: SandboxSettings {
                    level: SandboxLevel::Landlock,
                    merge: SandboxOf::None,
                    drift: SandboxOf::Same,
                    read: vec!["/opt/modules".into()],
                    write: vec![folder.join("cache")],
                    network: NetworkSettings::default(),
                },
                limits: Limits {
                    memory: 2 << 30,
                    open_files: 100,
                    ..Limits::default()
                },
                keep: KeepSettings {
                    runs: Duration::from_secs(7 * 86_400),
                    size: 500 << 20,
                },
                key_file: Some("/etc/mainstay/seal.key".into()),
                log: LogFormat::Json,
            }
        );
        let defaults = config.workspace_defaults();
        assert_eq!(defaults.unreviewed, Unreviewed::Hold);
        assert_eq!(defaults.plan_timeout, Duration::from_secs(600));
    }

    #[test]
    fn an_empty_github_table_takes_the_default_variable() {
        assert_eq!(valid("[github]").github, Some(GithubSettings::default()));
    }

    #[test]
    fn a_wrong_setting_is_noted_and_the_next_one_read() {
        let (_, problems) = read_text(
            r#"
data_dir = "~/var"
policies = ""
poll_evry = "30s"
listen = 4180
parallel = 0
engine = "terrafrom"
unreviewed = "holds"
repo = "acme/infra"

[github]
api_url = "http://git.example.com"
token_env = "ghp_0123456789"
app = { id = "7", key = 1 }
token = "ghp_0123456789"

[sandbox]
level = "docker"
read = "/opt"
write = [1]
"#,
        );
        assert!(!problems.join("").contains("0123456789"));
        insta::assert_snapshot!(problems.join("\n"), @"
        mainstay.toml:2:12: `data_dir`: `~` is not expanded; write the whole path
        mainstay.toml:3:12: `policies`: the path is empty
        mainstay.toml:4:1: unknown key `poll_evry`; did you mean `poll_every`?
        mainstay.toml:5:10: `listen`: expected a text, found a number
        mainstay.toml:6:12: `parallel`: 0 is not between 1 and 1024
        mainstay.toml:7:10: `engine`: `terrafrom` is no engine; write `terraform`, `tofu`, or the path of a program with a `/` in it; did you mean `terraform`?
        mainstay.toml:8:14: `unreviewed`: `holds` is none of `hold-destroys`, `hold` and `apply`; did you mean `hold`?
        mainstay.toml:9:1: unknown key `repo`; it belongs in a declaration of its own, one file per repository, in the folder `workspaces`
        mainstay.toml:12:11: `api_url`: the token would travel unprotected; use `https://` (`http://` only goes to this computer itself)
        mainstay.toml:13:13: `token_env`: this looks like a token itself; put it into an environment variable, write the variable's name here, and have GitHub revoke what stood in a file
        mainstay.toml:14:1: `token_env`, `token_file` and `app` exclude each other; keep one of them
        mainstay.toml:14:7: `private_key_file` is missing in `app`; name the `.pem` file that GitHub gave
        mainstay.toml:14:14: `id`: expected a whole number, found a text
        mainstay.toml:14:19: unknown key `key`; the keys in `app` are `id` and `private_key_file`
        mainstay.toml:15:1: unknown key `token`; secrets do not stand in the settings; name a variable with `token_env`, or a file with `token_file`
        mainstay.toml:18:9: `level`: `docker` is none of `auto`, `bubblewrap`, `landlock` and `none`
        mainstay.toml:19:8: `read`: expected a list of texts, found a text
        mainstay.toml:20:10: `write`: expected a list of texts, found a number in it
        ");
    }

    #[test]
    fn a_token_file_that_others_may_read_is_a_warning() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let token = folder.path().join("token");
        std::fs::write(&token, "ghs_x").unwrap();
        let problems_with = |mode| {
            std::fs::set_permissions(&token, std::fs::Permissions::from_mode(mode)).unwrap();
            read_text(&format!("[github]\ntoken_file = {token:?}")).1
        };
        assert_eq!(problems_with(0o600), Vec::<String>::new());
        for mode in [0o640, 0o604] {
            let problems = problems_with(mode);
            assert_eq!(problems.len(), 1);
            assert!(problems[0].contains("warning: `token_file`: others than its owner may read"));
        }
    }
}
