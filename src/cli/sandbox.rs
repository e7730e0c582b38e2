//! The sandbox: its providers' settings, serving it to other tools, beginning anew.

use std::time::{Duration, SystemTime};

use epid_sandbox::{Sandbox, Settings, Timestamp};
use tokio::net::TcpListener;

use super::error::Error;
use super::exit::Exit;
use super::sealed_world::SealedWorld;
use super::workspace::Workspace;
use super::world::{folder, keyless, take, unusable};
use super::{Context, surroundings};

/// When a new world begins: 2026-01-01T00:00:00Z. The same program in a new world always gives the same run.
pub(crate) const BEGINNING: Timestamp = Timestamp::from_millis(1_767_225_600_000);

/// AWS as the sandbox simulates it.
pub(crate) fn aws(sandbox: &Sandbox) -> epid_aws::Settings {
    let (services, clock) = (sandbox.clone(), sandbox.clock().clone());
    let handler = move |request| {
        let sandbox = services.clone();
        async move { sandbox.call(request).await }
    };
    let now = move || SystemTime::UNIX_EPOCH + Duration::from_millis(clock.now().as_millis());
    epid_aws::Settings::simulated(handler, now)
}

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

/// `epid sandbox serve`.
pub(crate) async fn serve(context: &Context, port: u16, speed: f64) -> Result<Exit, Error> {
    if !(0.01..=10_000.0).contains(&speed) {
        return Err(Error::invalid("--speed is a factor from 0.01 to 10000"));
    }
    let workspace = context.workspace()?;
    let now = Timestamp::from_millis(surroundings::wall().0);
    let sandbox = open(context, &workspace, epid_sandbox::Clock::scaled(now, speed))?;
    let listen = async |port: u16| {
        TcpListener::bind(("127.0.0.1", port)).await.map_err(|error| {
            Error::failed(format!("cannot listen on 127.0.0.1:{port}: {error}"))
                .hint("--port 0 takes a free port")
        })
    };
    let (aws, clusters) = (listen(port).await?, listen(0).await?);
    let address = |listener: &TcpListener| {
        listener
            .local_addr()
            .map(|a| a.to_string())
            .map_err(|error| Error::failed(error.to_string()))
    };
    let (aws_at, clusters_at) = (address(&aws)?, address(&clusters)?);
    let serving = epid_sandbox::serve::serve(&sandbox, aws, clusters);
    tokio::pin!(serving);
    // One turn, so that the clusters know where they are served before their kubeconfigs are written.
    tokio::select! {
        biased;
        ended = &mut serving => {
            return Err(Error::failed(ended.err().map_or_else(String::new, |e| e.to_string())));
        }
        () = std::future::ready(()) => {}
    }
    let written = kubeconfigs(context, &workspace, &sandbox)?;
    announce(context, &sandbox, &aws_at, &clusters_at, &written);
    let (stopper, control) = crate::apply::Stopper::new();
    surroundings::hear_signals(&stopper);
    tokio::select! {
        biased;
        () = control.reached(crate::apply::Stop::Drain) => {}
        ended = &mut serving => {
            return Err(Error::failed(ended.err().map_or_else(String::new, |e| e.to_string())));
        }
    }
    sandbox
        .close()
        .map_err(|error| Error::failed(error.to_string()))?;
    Ok(Exit::Done)
}

/// A kubeconfig for each cluster that runs, beside the world. Returns cluster and file.
#[expect(clippy::disallowed_methods, reason = "kubectl wants a file")]
fn kubeconfigs(
    context: &Context,
    workspace: &Workspace,
    sandbox: &Sandbox,
) -> Result<Vec<(String, std::path::PathBuf)>, Error> {
    let mut written = Vec::new();
    for (region, name) in sandbox.clusters() {
        let Some(text) = sandbox.kubeconfig(Some(&region), &name) else {
            continue;
        };
        let path = folder(&workspace.project.root).join(format!("kubeconfig-{name}"));
        std::fs::write(&path, text)
            .map_err(|error| Error::failed(format!("{} cannot be written: {error}", path.display())))?;
        let shown = path
            .strip_prefix(&context.folder)
            .map_or(path.clone(), std::path::Path::to_path_buf);
        written.push((name, shown));
    }
    Ok(written)
}

fn announce(
    context: &Context,
    sandbox: &Sandbox,
    aws: &str,
    clusters: &str,
    kubeconfigs: &[(String, std::path::PathBuf)],
) {
    let terminal = context.terminal;
    if terminal.json {
        let files: Vec<_> = kubeconfigs
            .iter()
            .map(|(cluster, file)| serde_json::json!({"cluster": cluster, "kubeconfig": file}))
            .collect();
        terminal.json(&serde_json::json!({
            "event": "serving",
            "world": sandbox.id(),
            "aws": format!("http://{aws}"),
            "clusters": format!("https://{clusters}"),
            "kubeconfigs": files,
        }));
        return;
    }
    let mut text = format!("sandbox {}, until Ctrl-C\n\n", sandbox.id());
    text.push_str(&format!(
        "  export AWS_ENDPOINT_URL=http://{aws} AWS_REGION=us-east-1 AWS_ACCESS_KEY_ID=sandbox AWS_SECRET_ACCESS_KEY=sandbox\n\
         \x20 aws eks list-clusters\n"
    ));
    for (_, file) in kubeconfigs {
        text.push_str(&format!(
            "  kubectl --kubeconfig {} get deploy,svc,ingress\n",
            file.display()
        ));
    }
    if kubeconfigs.is_empty() {
        text.push_str("\n  there is no cluster yet: `epid up --sandbox` makes what a stack declares\n");
    }
    terminal.print(&text);
}

/// `epid sandbox reset`.
pub(crate) async fn reset(context: &Context, yes: bool) -> Result<Exit, Error> {
    let workspace = context.workspace()?;
    let terminal = context.terminal;
    if !terminal.agrees(yes, "Forget the simulated cloud and its states?") {
        return Err(Error::invalid("nothing was reset").hint("add --yes to reset without being asked"));
    }
    let folder = folder(&workspace.project.root);
    match open(context, &workspace, epid_sandbox::Clock::starting_at(BEGINNING)) {
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
    for location in workspace.store.list().await? {
        if location.world.starts_with("sandbox:") && location.project == workspace.project.name {
            workspace.store.discard(&location, &holder).await?;
        }
    }
    terminal.done("the sandbox is empty, and the states of stacks in it are gone");
    Ok(Exit::Done)
}
