//! A folder with a project in it, and epid run there.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// A project of values that need no cloud; some stacks run through others.
pub(crate) const VALUES: &[(&str, &str)] = &[
    ("Epid.toml", "name = \"values\"\ndefaultStack = \"one\"\n"),
    (
        "stacks/one.toml",
        "[resources.a]\ntype = \"epid:data:Value\"\nproperties.value = \"1\"\n\
         [resources.b]\ntype = \"epid:data:Value\"\nproperties.value = \"${a.value}-2\"\n\
         [resources.c]\ntype = \"epid:data:Value\"\nproperties.value = \"3\"\n\
         [outputs]\nb = \"${b.value}\"\n",
    ),
];

/// A network and a role in AWS.
pub(crate) const CLOUD: &[(&str, &str)] = &[
    ("Epid.toml", "name = \"cloudy\"\n"),
    (
        "stacks/net.toml",
        "[providers.aws]\ntype = \"aws\"\nproperties.region = \"us-east-1\"\n\
         [resources.network]\ntype = \"epid:aws:Network\"\n\
         properties = { name = \"net\", cidrBlock = \"10.0.0.0/16\" }\n\
         [outputs]\nvpc = \"${network.vpcId}\"\n",
    ),
];

/// One role in AWS.
pub(crate) const ROLE: &[(&str, &str)] = &[
    ("Epid.toml", "name = \"cloudy\"\n"),
    (
        "stacks/role.toml",
        r#"
[providers.aws]
type = "aws"
properties.region = "us-east-1"
[resources.role]
type = "aws:iam:Role"
[resources.role.properties]
roleName = "reader"
assumeRolePolicyDocument = { Version = "2012-10-17", Statement = [{ Effect = "Allow", Principal = { Service = "eks.amazonaws.com" }, Action = "sts:AssumeRole" }] }
[outputs]
arn = "${role.arn}"
"#,
    ),
];

/// A folder with a project.
pub(crate) struct Place {
    pub(crate) dir: TempDir,
    environment: BTreeMap<String, String>,
}

/// How epid ended and what it said.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    /// The exit code, or a panic with everything that was said.
    #[track_caller]
    pub(crate) fn ends(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{}\n{}", self.out, self.err);
        assert!(
            !self.err.contains("panicked") && !self.err.contains("RUST_BACKTRACE"),
            "{}",
            self.err
        );
        self
    }

    #[track_caller]
    pub(crate) fn says(self, text: &str) -> Self {
        assert!(
            self.out.contains(text) || self.err.contains(text),
            "{text:?} is missing:\n{}\n{}",
            self.out,
            self.err
        );
        self
    }

    /// Every line of standard output as JSON.
    #[track_caller]
    pub(crate) fn events(&self) -> Vec<Value> {
        self.out.lines().map(event).collect()
    }
}

#[track_caller]
fn event(line: &str) -> Value {
    let value: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e} in {line:?}"));
    assert!(
        value["event"].is_string() && value["format"] == 1,
        "no event of format 1: {line}"
    );
    value
}

impl Place {
    /// An empty folder with these files.
    pub(crate) fn with(files: &[(&str, &str)]) -> Self {
        let place = Self {
            dir: TempDir::new().unwrap(),
            environment: BTreeMap::new(),
        };
        fs::create_dir(place.path("home")).unwrap();
        for (name, text) in files {
            place.write(name, text);
        }
        place
    }

    /// The project of this repository: platform, dev and prod.
    pub(crate) fn seed() -> Self {
        let place = Self::with(&[]);
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        fs::copy(root.join("Epid.toml"), place.path("Epid.toml")).unwrap();
        copy(&root.join("stacks"), &place.path("stacks"));
        place
    }

    /// Another place with the same files.
    pub(crate) fn twin(&self) -> Self {
        let place = Self::with(&[]);
        copy(self.dir.path(), place.dir.path());
        Self {
            environment: self.environment.clone(),
            ..place
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        self.write_bytes(name, text.as_bytes());
    }

    pub(crate) fn write_bytes(&self, name: &str, bytes: &[u8]) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    /// With a variable in the environment of everything that is run here.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.environment.insert(name.to_owned(), value.to_owned());
    }

    /// Without that variable from here on.
    pub(crate) fn unset(&mut self, name: &str) {
        self.environment.remove(name);
    }

    /// A command of epid, split at spaces.
    pub(crate) fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_epid"));
        command.args(line.split_whitespace());
        self.surround(&mut command);
        command
    }

    /// A line of bash in which `epid` is the program.
    pub(crate) fn bash(&self, line: &str) -> Ran {
        let mut command = Command::new("bash");
        let program = format!("epid() {{ {} \"$@\"; }}; {line}", env!("CARGO_BIN_EXE_epid"));
        command.args(["-c", &program]);
        self.surround(&mut command);
        ran(&mut command)
    }

    /// The folder and the environment of everything that is run here.
    pub(crate) fn surround(&self, command: &mut Command) {
        command
            .current_dir(self.dir.path())
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("HOME", self.path("home"))
            .env("USER", "somebody")
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .envs(&self.environment)
            .stdin(Stdio::null());
    }

    /// Runs epid to its end.
    pub(crate) fn run(&self, line: &str) -> Ran {
        ran(&mut self.command(line))
    }

    /// Starts epid; its lines come as they are written.
    pub(crate) fn start(&self, line: &str) -> Going {
        Going::new(self.command(line))
    }

    /// Every file below a folder with its bytes, locks aside.
    pub(crate) fn files(&self, below: &str) -> BTreeMap<String, Vec<u8>> {
        let mut found = BTreeMap::new();
        collect(&self.path(below), self.dir.path(), &mut found);
        found.retain(|name, _| !name.ends_with("/lock") && !name.ends_with("/holder"));
        found
    }

    /// The one file below `.epid/state` with that name.
    #[track_caller]
    pub(crate) fn state_file(&self, stack: &str, name: &str) -> PathBuf {
        let end = format!("/{stack}/{name}");
        let files = self.files(".epid/state");
        let found = files
            .keys()
            .find(|file| file.ends_with(&end) || (name.ends_with('/') && file.contains(&end)));
        self.path(found.unwrap_or_else(|| panic!("no {end} in {:?}", files.keys())))
    }
}

fn ran(command: &mut Command) -> Ran {
    let output = command.output().unwrap();
    Ran {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn collect(path: &Path, root: &Path, found: &mut BTreeMap<String, Vec<u8>>) {
    let Ok(entries) = fs::read_dir(path) else { return };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, root, found);
        } else {
            let name = path.strip_prefix(root).unwrap().display().to_string();
            found.insert(name, fs::read(path).unwrap());
        }
    }
}

/// A running epid. Killed where it is dropped.
pub(crate) struct Going {
    child: Child,
    out: Box<dyn std::io::BufRead>,
    err: BufReader<ChildStderr>,
    seen: String,
}

impl Going {
    pub(crate) fn new(mut command: Command) -> Self {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        Self {
            out: Box::new(BufReader::new(child.stdout.take().unwrap())),
            err: BufReader::new(child.stderr.take().unwrap()),
            child,
            seen: String::new(),
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The next line; `None` at the end.
    pub(crate) fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        self.out.read_line(&mut line).unwrap();
        self.seen.push_str(&line);
        (!line.is_empty()).then_some(line)
    }

    /// Waits for a line that contains all of these.
    #[track_caller]
    pub(crate) fn until(&mut self, texts: &[&str]) -> String {
        while let Some(line) = self.line() {
            if texts.iter().all(|text| line.contains(text)) {
                return line;
            }
        }
        let mut err = String::new();
        self.err.read_to_string(&mut err).unwrap();
        panic!("it ended before a line with {texts:?}:\n{}\n{err}", self.seen);
    }

    /// Waits for a line of what is no result that contains all of these.
    #[track_caller]
    pub(crate) fn until_told(&mut self, texts: &[&str]) -> String {
        let mut all = String::new();
        loop {
            let from = all.len();
            assert!(
                self.err.read_line(&mut all).unwrap() > 0,
                "it ended before a line with {texts:?}:\n{all}"
            );
            if texts.iter().all(|text| all[from..].contains(text)) {
                return all;
            }
        }
    }

    /// Sends a signal by its name.
    pub(crate) fn signal(&self, name: &str) {
        let done = Command::new("kill")
            .args([format!("-{name}"), self.pid().to_string()])
            .status();
        assert!(done.unwrap().success());
    }

    /// Reads nothing more of standard output, sends a signal, and waits for the end.
    pub(crate) fn unheard(self, signal: &str) -> Ran {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(writer);
        let mut going = self;
        // What was its reader is dropped: every write fails from here on.
        drop(std::mem::replace(
            &mut going.out,
            Box::new(BufReader::new(reader)),
        ));
        going.signal(signal);
        going.end()
    }

    /// False once it has ended.
    pub(crate) fn goes_on(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Kills it at once.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits for its end.
    pub(crate) fn end(mut self) -> Ran {
        let mut out = std::mem::take(&mut self.seen);
        self.out.read_to_string(&mut out).unwrap();
        let mut err = String::new();
        self.err.read_to_string(&mut err).unwrap();
        let status = self.child.wait().unwrap();
        Ran {
            code: status.code(),
            out,
            err,
        }
    }
}

impl Drop for Going {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// What exists in the sandbox of a place, asked of its own API.
pub(crate) struct Look {
    _serving: Going,
    address: String,
}

impl Look {
    pub(crate) fn at(place: &Place) -> Self {
        let mut serving = place.start("sandbox serve --port 0 --json");
        let line = serving.until(&["serving"]);
        let event: Value = serde_json::from_str(&line).unwrap();
        let address = event["aws"].as_str().unwrap().trim_start_matches("http://");
        Self {
            address: address.to_owned(),
            _serving: serving,
        }
    }

    /// Somebody changes something in IAM.
    #[track_caller]
    pub(crate) fn iam(&self, query: &str) {
        let query = format!("{query}&Version=2010-05-08");
        self.count("iam", &query, "<");
    }

    /// How often `tag` comes in the answer to a query of EC2 or IAM.
    #[track_caller]
    fn count(&self, service: &str, query: &str, tag: &str) -> usize {
        let body = self.ask(
            service,
            "POST / HTTP/1.1",
            "application/x-www-form-urlencoded",
            query,
        );
        assert!(
            !body.contains("<Errors>") && !body.contains("<ErrorResponse"),
            "{body}"
        );
        body.matches(tag).count()
    }

    fn ask(&self, service: &str, head: &str, kind: &str, body: &str) -> String {
        let mut stream = std::net::TcpStream::connect(&self.address).unwrap();
        let request = format!(
            "{head}\r\nhost: {}\r\ncontent-type: {kind}\r\ncontent-length: {}\r\nconnection: close\r\n\
             x-amz-date: 20260101T000000Z\r\nauthorization: AWS4-HMAC-SHA256 \
             Credential=AKIASIMULATED0000000/20260101/us-east-1/{service}/aws4_request, SignedHeaders=host, \
             Signature=00\r\n\r\n{body}",
            self.address,
            body.len()
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    /// The numbers of things that the seed's stacks make. The world's own (the default network) count too.
    pub(crate) fn counts(&self) -> BTreeMap<&'static str, usize> {
        let ec2 = |action: &str, tag| self.count("ec2", &format!("Action={action}&Version=2016-11-15"), tag);
        let iam = |action: &str, tag| self.count("iam", &format!("Action={action}&Version=2010-05-08"), tag);
        let clusters = self.ask("eks", "GET /clusters HTTP/1.1", "application/json", "");
        let list = clusters.split("\"clusters\":[").nth(1).unwrap_or_default();
        let clusters = list.split(']').next().unwrap_or_default();
        BTreeMap::from([
            ("vpcs", ec2("DescribeVpcs", "<vpcId>")),
            ("subnets", ec2("DescribeSubnets", "<subnetId>")),
            ("gateways", ec2("DescribeInternetGateways", "<internetGatewayId>")),
            ("addresses", ec2("DescribeAddresses", "<allocationId>")),
            (
                "nats",
                ec2(
                    "DescribeNatGateways&Filter.1.Name=state&Filter.1.Value.1=available",
                    "<vpcId>",
                ),
            ),
            ("groups", ec2("DescribeSecurityGroups", "<groupName>")),
            ("roles", iam("ListRoles", "<RoleId>")),
            ("policies", iam("ListPolicies&Scope=Local", "<PolicyId>")),
            ("oidc", iam("ListOpenIDConnectProviders", "<Arn>")),
            ("clusters", clusters.matches('"').count() / 2),
        ])
    }
}

impl Place {
    /// The project of this repository with all its stacks up in the sandbox; made once for all tests that begin there.
    pub(crate) fn seed_up() -> Self {
        static MADE: std::sync::OnceLock<PathBuf> = std::sync::OnceLock::new();
        let made = MADE.get_or_init(|| {
            let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join("seed-up");
            let place = Self::seed();
            place.run("up --all --sandbox --yes").ends(0);
            drop(fs::remove_dir_all(&kept));
            copy(place.dir.path(), &kept);
            kept
        });
        let place = Self::with(&[]);
        copy(made, place.dir.path());
        place
    }
}
