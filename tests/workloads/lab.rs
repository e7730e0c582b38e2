//! A project in a folder of its own, a cluster, and somebody else at that cluster.

use std::cell::RefCell;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use epid_sandbox::{Remote, Way};
use http_body_util::BodyExt;
use serde_json::{Value as Json, json};

/// The cluster of the sandbox and what it needs. `*` runs pods of every namespace.
const PLATFORM: &str = r#"
[providers.aws]
type = "aws"
properties.region = "us-east-1"

[resources.network]
type = "epid:aws:Network"
properties = { name = "lab", cidrBlock = "192.168.0.0/16" }

[resources.cluster]
type = "epid:aws:FargateCluster"
[resources.cluster.properties]
name = "lab"
subnetIds = "${network.subnetIds}"
podSubnetIds = "${network.privateSubnetIds}"
profiles = [{ name = "all", selectors = [{ namespace = "*" }] }]
[resources.cluster.options]
dependsOn = ["network"]

[outputs]
cluster = "${cluster.cluster}"
"#;

const PROJECT: &str = "name = \"workloads\"\ndefaultStack = \"main\"\n";

/// The head of the stack under test in each world.
const IN_SANDBOX: &str = r#"
[references]
platform = "platform"

[providers.lab]
type = "kubernetes"
properties.cluster = "${stacks.platform.cluster}"
"#;

/// A project and its cluster.
pub(crate) struct Lab {
    folder: tempfile::TempDir,
    /// A namespace that no other story uses.
    pub(crate) space: String,
    head: String,
    cluster: Cluster,
    /// The sandbox while somebody else works in it: from their first request until the program runs again.
    served: RefCell<Option<Served>>,
}

struct Served {
    process: Child,
    way: Way,
}

/// Virtual seconds per second while others work.
const SPEED: u64 = 600;

impl Served {
    fn start(folder: &Path) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_epid"))
            .args(["sandbox", "serve", "--json", "--port", "0", "--speed"])
            .arg(SPEED.to_string())
            .current_dir(folder)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let said = process.stdout.as_mut().unwrap();
        BufReader::new(said).read_line(&mut line).unwrap();
        let serving: Json = serde_json::from_str(&line).unwrap();
        let aws = serving["aws"].as_str().unwrap().trim_start_matches("http://");
        Self {
            process,
            way: Way::There(Remote::at(aws.parse().unwrap())),
        }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // Two virtual minutes, for what controllers do about it.
        std::thread::sleep(Duration::from_millis(120_000 / SPEED));
        let interrupt = format!("kill -INT {}", self.process.id());
        drop(Command::new("sh").args(["-c", &interrupt]).status());
        drop(self.process.wait());
    }
}

enum Cluster {
    Sandbox,
    Real { server: String, token: String },
}

/// How a run of the program ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    /// What it said, both streams.
    pub(crate) said: String,
}

impl Ran {
    /// Fails unless it ended as expected.
    #[track_caller]
    pub(crate) fn ends(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{}", self.said);
        self
    }

    /// Fails unless it said so.
    #[track_caller]
    pub(crate) fn says(self, text: &str) -> Self {
        assert!(self.said.contains(text), "`{text}` is not in: {}", self.said);
        self
    }
}

fn space() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!(
        "story-{}-{}",
        std::process::id(),
        NEXT.fetch_add(1, Ordering::Relaxed)
    )
}

fn write(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let (from, to) = (
            entry.as_ref().unwrap().path(),
            to.join(entry.unwrap().file_name()),
        );
        if from.is_dir() {
            copy(&from, &to);
        } else {
            std::fs::copy(from, to).unwrap();
        }
    }
}

/// The project with a cluster in its sandbox, made once and copied for each story.
fn platform() -> &'static Path {
    static MADE: OnceLock<tempfile::TempDir> = OnceLock::new();
    let made = MADE.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        write(&folder.path().join("Epid.toml"), PROJECT);
        write(&folder.path().join("stacks/platform.toml"), PLATFORM);
        run(
            folder.path(),
            &["up", "--stack", "platform", "--sandbox", "--yes"],
        )
        .ends(0);
        folder
    });
    made.path()
}

fn run(folder: &Path, args: &[&str]) -> Ran {
    let ended = Command::new(env!("CARGO_BIN_EXE_epid"))
        .args(args)
        .current_dir(folder)
        .env("XDG_STATE_HOME", folder.join("state"))
        .env_remove("EPID_STACK")
        .env_remove("EPID_SANDBOX")
        .output()
        .unwrap();
    let said = [ended.stdout, ended.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    Ran {
        code: ended.status.code().unwrap(),
        said: format!("$ epid {}\n{}", args.join(" "), said.concat()),
    }
}

/// The value after `key` in a kubeconfig that holds one of each.
fn entry<'a>(text: &'a str, key: &str) -> &'a str {
    let (_, rest) = text.split_once(&format!("{key}:")).unwrap();
    let rest = rest.trim_start().trim_start_matches('"');
    rest.split(['"', ',', '}', '\n']).next().unwrap().trim()
}

impl Lab {
    /// A cluster of a simulated cloud.
    pub(crate) fn sandbox() -> Self {
        let folder = tempfile::tempdir().unwrap();
        copy(platform(), folder.path());
        Self {
            folder,
            space: space(),
            head: IN_SANDBOX.to_owned(),
            cluster: Cluster::Sandbox,
            served: RefCell::default(),
        }
    }

    /// The control plane that the environment names.
    pub(crate) fn control_plane() -> Self {
        let kubeconfig: PathBuf = std::env::var_os("EPID_KUBECONFIG")
            .expect("EPID_KUBECONFIG names the kubeconfig of a control plane")
            .into();
        let text = std::fs::read_to_string(&kubeconfig).unwrap();
        let folder = tempfile::tempdir().unwrap();
        write(&folder.path().join("Epid.toml"), PROJECT);
        let head = format!(
            "[providers.lab]\ntype = \"kubernetes\"\nproperties = {{ kubeconfig = {:?}, context = {:?} }}\n",
            kubeconfig.to_str().unwrap(),
            entry(&text, "current-context")
        );
        let cluster = Cluster::Real {
            server: entry(&text, "server").to_owned(),
            token: entry(&text, "token").to_owned(),
        };
        Self {
            folder,
            space: space(),
            head,
            cluster,
            served: RefCell::default(),
        }
    }

    /// Writes the stack; `SPACE` in its text is the story's namespace.
    pub(crate) fn declare(&self, resources: &str) {
        self.file("stacks/main.toml", &format!("{}\n{resources}", self.head));
    }

    /// Writes a file of the project; `SPACE` in its text is the story's namespace.
    pub(crate) fn file(&self, path: &str, text: &str) {
        write(
            &self.folder.path().join(path),
            &text.replace("SPACE", &self.space),
        );
    }

    /// Runs the program on the stack; words that hold the name of a command first.
    pub(crate) fn epid(&self, line: &str) -> Ran {
        drop(self.served.take());
        let mut words: Vec<&str> = line.split(' ').collect();
        if matches!(self.cluster, Cluster::Sandbox) {
            words.push("--sandbox");
        }
        words.extend(["--stack", "main"]);
        run(self.folder.path(), &words)
    }

    /// `up` that succeeds, and after which there is nothing to do, whether the cluster is asked or not.
    #[track_caller]
    pub(crate) fn up(&self) -> Ran {
        let done = self.epid("up --yes").ends(0);
        self.settled();
        done
    }

    /// Fails where there is something to do.
    #[track_caller]
    pub(crate) fn settled(&self) {
        self.epid("preview --expect-no-changes").ends(0);
        self.epid("preview --expect-no-changes --refresh").ends(0);
    }

    /// The plan: action and address of every step, as `update web/deployment`.
    #[track_caller]
    pub(crate) fn plan(&self) -> Vec<String> {
        let ran = self.epid("preview --json").ends(0);
        let line = ran.said.lines().find(|line| line.starts_with('{')).unwrap();
        let plan: Json = serde_json::from_str(line).unwrap();
        let steps = plan["steps"].as_array().unwrap().iter();
        steps
            .map(|step| {
                let address = step["urn"].as_str().unwrap().rsplit(':').next().unwrap();
                format!("{} {address}", step["action"].as_str().unwrap())
            })
            .collect()
    }

    /// Somebody else's request to the API server.
    pub(crate) fn send(&self, method: &str, path: &str, content_type: &str, body: &Json) -> (u16, Json) {
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let path = path.replace("SPACE", &self.space);
        let body = body.replace("SPACE", &self.space);
        match &self.cluster {
            Cluster::Sandbox => self.ask_sandbox(method, &path, content_type, body),
            Cluster::Real { server, token } => {
                let ended = Command::new("curl")
                    .args(["--silent", "--show-error", "--insecure", "--max-time", "30"])
                    .args(["-X", method, "-w", "\n%{http_code}"])
                    .args(["-H", &format!("Authorization: Bearer {token}")])
                    .args(["-H", &format!("Content-Type: {content_type}")])
                    .args(["--data-binary", &body])
                    .arg(format!("{server}{path}"))
                    .output()
                    .unwrap();
                let said = String::from_utf8(ended.stdout).unwrap();
                let (answer, code) = said.rsplit_once('\n').unwrap();
                (
                    code.parse().unwrap(),
                    serde_json::from_str(answer).unwrap_or_default(),
                )
            }
        }
    }

    fn ask_sandbox(&self, method: &str, path: &str, content_type: &str, body: String) -> (u16, Json) {
        let mut served = self.served.borrow_mut();
        let served = served.get_or_insert_with(|| Served::start(self.folder.path()));
        let kubeconfig = self.folder.path().join(".epid/sandbox/kubeconfig-lab");
        let kubeconfig = std::fs::read_to_string(kubeconfig).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let request = http::Request::builder()
                .method(method)
                .uri(format!("{}{path}", entry(&kubeconfig, "server")))
                .header("authorization", format!("Bearer {}", entry(&kubeconfig, "token")))
                .header("content-type", content_type)
                .body(body.into())
                .unwrap();
            let answer = served.way.call(request).await.unwrap();
            let code = answer.status().as_u16();
            let bytes = answer.into_body().collect().await.unwrap().to_bytes();
            (code, serde_json::from_slice(&bytes).unwrap_or_default())
        })
    }

    /// The object at a path as it is now; null where there is none.
    pub(crate) fn live(&self, path: &str) -> Json {
        match self.send("GET", path, "application/json", &Json::Null) {
            (200, object) => object,
            (404, _) => Json::Null,
            (code, answer) => panic!("{path}: {code} {answer}"),
        }
    }

    /// Somebody else's server-side apply, with force.
    pub(crate) fn apply_as(&self, manager: &str, path: &str, object: &Json) {
        let path = format!("{path}?fieldManager={manager}&force=true");
        let (code, answer) = self.send("PATCH", &path, "application/apply-patch+yaml", object);
        assert!(code < 300, "{code}: {answer}");
    }

    /// Somebody else's merge patch.
    pub(crate) fn patch(&self, path: &str, patch: &Json) {
        let path = format!("{path}?fieldManager=kubectl-edit");
        let (code, answer) = self.send("PATCH", &path, "application/merge-patch+json", patch);
        assert!(code < 300, "{code}: {answer}");
    }

    /// Somebody else's new object.
    pub(crate) fn make(&self, collection: &str, object: &Json) {
        let path = format!("{collection}?fieldManager=kubectl-create");
        let (code, answer) = self.send("POST", &path, "application/json", object);
        assert_eq!(code, 201, "{answer}");
    }

    /// A namespace that somebody else made, so that it is there before and after the stack.
    pub(crate) fn others_namespace(&self) {
        self.make(
            "/api/v1/namespaces",
            &json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "SPACE"}}),
        );
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if matches!(self.cluster, Cluster::Real { .. }) {
            let path = format!("/api/v1/namespaces/{}", self.space);
            self.send("DELETE", &path, "application/json", &json!({}));
        }
    }
}
