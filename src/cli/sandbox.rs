//! The sandbox: serving it to other tools, beginning anew.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use epid_sandbox::world::REGION;
use epid_sandbox::{Sandbox, Settings, Timestamp};
use tokio::net::TcpListener;

use super::args::Consent;
use super::error::Error;
use super::exit::Exit;
use super::sealed_world::SealedWorld;
use super::served::{self, Served};
use super::waiting::patiently;
use super::workspace::Workspace;
use super::world::{folder, keyless, take, unusable};
use super::{Context, surroundings};
use crate::state::is_sandbox;

/// When a new world begins: 2026-01-01T00:00:00Z. The same program in a new world always gives the same run.
pub(crate) const BEGINNING: Timestamp = Timestamp::from_millis(1_767_225_600_000);

/// The sandbox, taken for this process.
fn open(context: &Context, workspace: &Workspace, clock: epid_sandbox::Clock) -> Result<Sandbox, Error> {
    let folder = folder(&workspace.project.root);
    let mut store = SealedWorld::new(&folder, &workspace.keys);
    take(
        &mut store,
        &folder,
        &surroundings::holder(&context.command).to_string(),
    )?;
    store.find_key().map_err(keyless)?;
    Sandbox::open(Box::new(store), clock, Settings::default()).map_err(|error| unusable(&folder, &error))
}

/// The world of a project, taken for this process, where there is one and its key is here.
pub(crate) fn held(context: &Context, workspace: &Workspace) -> Result<Option<SealedWorld>, Error> {
    let folder = folder(&workspace.project.root);
    let mut store = SealedWorld::new(&folder, &workspace.keys);
    if store.sealer().is_none() {
        return Ok(None);
    }
    let holder = surroundings::holder(&context.command);
    take(&mut store, &folder, &holder.to_string())?;
    store.find_key().map_err(keyless)?;
    Ok(Some(store))
}

/// Seals a world with the key `id`.
pub(crate) fn reseal(workspace: &Workspace, mut world: SealedWorld, id: &str) -> Result<(), Error> {
    let folder = folder(&workspace.project.root);
    world.seal_with(id)?;
    let clock = epid_sandbox::Clock::starting_at(BEGINNING);
    // Folding the log into a new snapshot leaves the old key behind.
    Sandbox::open(Box::new(world), clock, Settings::default())
        .and_then(|sandbox| sandbox.close())
        .map_err(|error| unusable(&folder, &error))
}

/// `epid sandbox serve`.
pub(crate) async fn serve(context: &Context, port: u16, speed: f64, wait: bool) -> Result<Exit, Error> {
    if !(0.01..=10_000.0).contains(&speed) {
        return Err(Error::invalid("--speed is a factor from 0.01 to 10000"));
    }
    let workspace = context.workspace()?;
    let root = &workspace.project.root;
    let take = async || {
        let now = Timestamp::from_millis(surroundings::wall().0);
        open(context, &workspace, epid_sandbox::Clock::scaled(now, speed))
    };
    let sandbox = patiently(context.terminal, wait, take).await?;
    let (aws, clusters) = (listen(port).await?, listen(0).await?);
    let (aws_at, clusters_at) = (address(&aws)?, address(&clusters)?);
    let serving = epid_sandbox::serve::serve(&sandbox, aws, clusters);
    let beside = async {
        let (stopper, control) = crate::apply::Stopper::new();
        surroundings::hear_signals(&stopper);
        let served = Served {
            pid: std::process::id(),
            world: sandbox.id(),
            aws: aws_at,
        };
        served.tell(root)?;
        let mut configs = Kubeconfigs::beside(root);
        configs.write(context, &sandbox)?;
        announce(context, &sandbox, aws_at, clusters_at, &configs);
        loop {
            tokio::select! {
                biased;
                () = control.reached(crate::apply::Stop::Drain) => return Ok(()),
                () = pause() => {}
            }
            for (cluster, file) in configs.write(context, &sandbox)? {
                announce_cluster(context, &cluster, &file);
            }
        }
    };
    let ended: Result<(), Error> = tokio::select! {
        biased;
        ended = serving => Err(Error::failed(ended.err().map_or_else(String::new, |e| e.to_string()))),
        ended = beside => ended,
    };
    served::forget(&folder(root));
    ended?;
    sandbox
        .close()
        .map_err(|error| Error::failed(error.to_string()))?;
    Ok(Exit::Done)
}

async fn listen(port: u16) -> Result<TcpListener, Error> {
    TcpListener::bind(("127.0.0.1", port)).await.map_err(|error| {
        Error::failed(format!("cannot listen on 127.0.0.1:{port}: {error}"))
            .hint("--port 0 takes a free port")
    })
}

fn address(listener: &TcpListener) -> Result<SocketAddr, Error> {
    listener
        .local_addr()
        .map_err(|error| Error::failed(error.to_string()))
}

/// Between two looks at which clusters run.
#[expect(
    clippy::disallowed_methods,
    reason = "kubectl waits for files by the wall clock, whatever the sandbox's shows"
)]
async fn pause() {
    tokio::time::sleep(Duration::from_millis(200)).await;
}

/// A kubeconfig for each cluster that runs, beside the world, for as long as this lives.
#[derive(Debug)]
struct Kubeconfigs {
    folder: PathBuf,
    /// The files as people are told of them, by cluster.
    written: BTreeMap<String, PathBuf>,
}

impl Drop for Kubeconfigs {
    fn drop(&mut self) {
        for name in self.written.keys() {
            // Nothing answers there any more, whether it can be removed or not.
            drop(std::fs::remove_file(self.path(name)));
        }
    }
}

impl Kubeconfigs {
    fn beside(root: &Path) -> Self {
        Self {
            folder: folder(root),
            written: BTreeMap::new(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(format!("kubeconfig-{name}"))
    }

    /// Writes those of new clusters and answers them; takes away those of clusters that are gone.
    #[expect(clippy::disallowed_methods, reason = "kubectl wants a file")]
    fn write(&mut self, context: &Context, sandbox: &Sandbox) -> Result<Vec<(String, PathBuf)>, Error> {
        let mut running = BTreeMap::new();
        for (region, name) in sandbox.clusters() {
            // One file for each name; the regions of a project seldom have clusters of one name.
            running.entry(name).or_insert(region);
        }
        let mut written = Vec::new();
        for (name, region) in &running {
            let text = match self.written.contains_key(name) {
                true => None,
                false => sandbox.kubeconfig(Some(region), name),
            };
            let Some(text) = text else { continue };
            let path = self.path(name);
            std::fs::write(&path, text)
                .map_err(|error| Error::failed(format!("{} cannot be written: {error}", path.display())))?;
            let shown = path
                .strip_prefix(&context.folder)
                .map_or(path.clone(), Path::to_path_buf);
            self.written.insert(name.clone(), shown.clone());
            written.push((name.clone(), shown));
        }
        let gone: Vec<String> = self
            .written
            .keys()
            .filter(|name| !running.contains_key(*name))
            .cloned()
            .collect();
        for name in gone {
            self.written.remove(&name);
            drop(std::fs::remove_file(self.path(&name)));
        }
        Ok(written)
    }
}

/// What lets the tools of others in. The older of them know only `AWS_DEFAULT_REGION`.
const ENVIRONMENT: &[(&str, &str)] = &[
    ("AWS_REGION", REGION),
    ("AWS_DEFAULT_REGION", REGION),
    ("AWS_ACCESS_KEY_ID", "sandbox"),
    ("AWS_SECRET_ACCESS_KEY", "sandbox"),
];

fn announce(
    context: &Context,
    sandbox: &Sandbox,
    aws: SocketAddr,
    clusters: SocketAddr,
    configs: &Kubeconfigs,
) {
    let terminal = context.terminal;
    let endpoint = format!("http://{aws}");
    if terminal.json {
        let files: Vec<_> = configs
            .written
            .iter()
            .map(|(cluster, file)| serde_json::json!({"cluster": cluster, "kubeconfig": file}))
            .collect();
        let mut environment: serde_json::Map<_, _> = ENVIRONMENT
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).into()))
            .collect();
        environment.insert("AWS_ENDPOINT_URL".to_owned(), endpoint.as_str().into());
        terminal.json(&serde_json::json!({
            "event": "serving",
            "world": sandbox.id(),
            "aws": endpoint,
            "clusters": format!("https://{clusters}"),
            "environment": environment,
            "kubeconfigs": files,
        }));
        return;
    }
    let mut text = format!(
        "{}, until Ctrl-C\n\n  export AWS_ENDPOINT_URL={endpoint}",
        sandbox.id()
    );
    for (name, value) in ENVIRONMENT {
        text.push_str(&format!(" {name}={value}"));
    }
    text.push_str("\n  aws eks list-clusters\n");
    for file in configs.written.values() {
        text.push_str(&with_kubectl(file));
    }
    if configs.written.is_empty() {
        text.push_str("\n  there is no cluster yet: `epid up --sandbox` makes what a stack declares\n");
    }
    terminal.print(&text);
}

fn announce_cluster(context: &Context, cluster: &str, file: &Path) {
    let terminal = context.terminal;
    if terminal.json {
        terminal.json(&serde_json::json!({"event": "cluster", "cluster": cluster, "kubeconfig": file}));
    } else {
        terminal.print(&with_kubectl(file));
    }
}

fn with_kubectl(file: &Path) -> String {
    format!(
        "  kubectl --kubeconfig {} get deploy,svc,ingress\n",
        file.display()
    )
}

/// `epid sandbox reset`.
pub(crate) async fn reset(context: &Context, consent: Consent) -> Result<Exit, Error> {
    let workspace = context.workspace()?.in_sandbox();
    let terminal = context.terminal;
    if !terminal.consents(consent.yes, "Forget the simulated cloud and its states?")? {
        return Ok(Exit::Done);
    }
    let folder = folder(&workspace.project.root);
    let take = async || open(context, &workspace, epid_sandbox::Clock::starting_at(BEGINNING));
    match patiently(terminal, consent.wait, take).await {
        Ok(sandbox) => {
            sandbox
                .reset(u64::from(surroundings::random()))
                .map_err(|error| unusable(&folder, &error))?;
        }
        // Nobody's world is taken away under them; one that cannot be read is.
        Err(error) if error.exit() == Exit::Locked => return Err(error),
        Err(_) if folder.exists() => {
            std::fs::remove_dir_all(&folder).map_err(|error| unusable(&folder, &error))?;
        }
        Err(error) => return Err(error),
    }
    let holder = surroundings::holder(&context.command);
    let (store, project) = (&workspace.store, &workspace.project.name);
    for location in store.list().await? {
        if is_sandbox(&location.world) && location.project == *project {
            let discard = async || Ok(store.discard(&location, &holder).await?);
            patiently(terminal, consent.wait, discard).await?;
        }
    }
    store.forget_worlds(project, is_sandbox).await;
    terminal.done("the sandbox is empty, and the states of stacks in it are gone");
    Ok(Exit::Done)
}
