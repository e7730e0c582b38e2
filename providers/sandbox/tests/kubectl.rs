//! The real `kubectl` against a served sandbox.
//!
//! ```text
//! cargo test -p epid-sandbox --test kubectl -- --ignored
//! ```

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that cannot ask has failed, and shows what was said"
)]
#![expect(
    clippy::disallowed_methods,
    reason = "kubectl reads its configuration from a file"
)]

mod support;

use epid_sandbox::{Clock, MemoryStore, Sandbox, Settings, Timestamp};
use std::io::Write;
use std::process::{Command, Stdio};
use support::Lab;

/// Virtual seconds per second.
const SCALE: f64 = 400.0;

struct Kubectl {
    kubeconfig: std::path::PathBuf,
}

impl Kubectl {
    /// Runs a command with a standard input; whether it succeeded, and what it said.
    async fn run(&self, line: &str, input: &str) -> (bool, String) {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let (kubeconfig, input) = (self.kubeconfig.clone(), input.to_owned());
        let line = line.to_owned();
        tokio::task::spawn_blocking(move || {
            let mut child = Command::new("kubectl")
                .arg("--kubeconfig")
                .arg(kubeconfig)
                .args(words)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
            let output = child.wait_with_output().unwrap();
            let text = format!(
                "{}{}",
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            );
            println!("$ kubectl {line}\n{text}");
            (output.status.success(), text)
        })
        .await
        .unwrap()
    }

    /// A pod that is being replaced may be gone when it is asked for by its name: it is listed anew then.
    async fn of_pods(&self, line: &str) -> (bool, String) {
        loop {
            let (good, text) = self.run(line, "").await;
            if good || !text.contains("(NotFound): pods") {
                return (good, text);
            }
        }
    }

    async fn good(&self, line: &str, input: &str) -> String {
        let (good, text) = self.run(line, input).await;
        assert!(good, "kubectl {line}: {text}");
        text
    }
}

fn manifest(image: &str) -> String {
    format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: web}}\nspec:\n  replicas: 2\n  selector: {{matchLabels: {{app: web}}}}\n  \
         template:\n    metadata: {{labels: {{app: web}}}}\n    spec:\n      containers:\n      - {{name: web, image: \"{image}\", ports: [{{containerPort: 80}}]}}\n\
         ---\napiVersion: v1\nkind: Service\nmetadata: {{name: web}}\nspec:\n  type: NodePort\n  selector: {{app: web}}\n  ports: [{{port: 80}}]\n"
    )
}

#[tokio::test]
#[ignore = "needs kubectl"]
async fn everyday_commands_work() {
    let now = u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap();
    let clock = Clock::scaled(Timestamp::from_millis(now), SCALE);
    let sandbox = Sandbox::open(Box::new(MemoryStore::default()), clock, Settings::default()).unwrap();
    let lab = Lab { sandbox };
    let network = lab.network().await;
    lab.cluster(&network).await;
    lab.profile(&network).await;
    let listen = async || tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (aws, clusters) = (listen().await, listen().await);
    let served = lab.sandbox.clone();
    tokio::spawn(async move { epid_sandbox::serve::serve(&served, aws, clusters).await.map(drop) });
    lab.pause(10).await;
    let folder = std::env::temp_dir().join(format!("epid-kubectl-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let kubeconfig = folder.join("config");
    std::fs::write(&kubeconfig, lab.sandbox.kubeconfig(None, "demo").unwrap()).unwrap();
    let kubectl = Kubectl { kubeconfig };

    assert!(
        kubectl
            .good("version", "")
            .await
            .contains("Server Version: v1.34")
    );
    assert!(kubectl.good("api-resources", "").await.contains("deployments"));
    assert!(kubectl.good("get namespaces", "").await.contains("kube-system"));
    let applied = kubectl.good("apply -f -", &manifest("nginx:1")).await;
    assert!(applied.contains("deployment.apps/web created"));
    assert!(
        kubectl
            .good("apply -f -", &manifest("nginx:1"))
            .await
            .contains("deployment.apps/web unchanged")
    );
    kubectl
        .good("rollout status deployment/web --timeout=60s", "")
        .await;
    let table = kubectl.good("get deployments,services,pods", "").await;
    assert!(table.contains("2/2") && table.contains("Running") && table.contains("NodePort"));
    assert!(
        kubectl
            .good("apply -f -", &manifest("nginx:2"))
            .await
            .contains("deployment.apps/web configured")
    );
    kubectl
        .good("rollout status deployment/web --timeout=60s", "")
        .await;
    kubectl.good("rollout undo deployment/web", "").await;
    kubectl.good("rollout history deployment/web", "").await;
    kubectl.good("scale deployment/web --replicas=3", "").await;
    kubectl
        .good("wait deployment/web --for=condition=Available --timeout=60s", "")
        .await;
    let (good, conflict) = kubectl
        .run("apply --server-side -f -", &manifest("nginx:3"))
        .await;
    assert!(!good && conflict.contains("conflict"), "{conflict}");
    kubectl
        .good("apply --server-side --force-conflicts -f -", &manifest("nginx:3"))
        .await;
    kubectl.good("rollout restart deployment/web", "").await;
    assert!(
        kubectl
            .good("describe deployment web", "")
            .await
            .contains("NewReplicaSet")
    );
    let (good, described) = kubectl.of_pods("describe pods").await;
    assert!(good, "{described}");
    let (good, logs) = kubectl.of_pods("logs deployment/web").await;
    assert!(!good && logs.contains("runs no containers"));
    let bad = manifest("nginx:1").replace("replicas:", "replicaz:");
    let (good, said) = kubectl.run("apply -f -", &bad).await;
    assert!(
        !good && said.contains("unknown field \"spec.replicaz\""),
        "{said}"
    );
    assert!(
        kubectl
            .run("diff -f -", &manifest("nginx:9"))
            .await
            .1
            .contains("nginx:9")
    );
    // Commands that generate objects send protobuf.
    kubectl
        .good("create configmap settings --from-literal=a=b", "")
        .await;
    let data = "get configmap settings -o jsonpath={.data}";
    assert_eq!(kubectl.good(data, "").await, r#"{"a":"b"}"#);
    kubectl.good("label configmap settings x=y", "").await;
    kubectl.good("annotate deployment web note=1", "").await;
    assert!(
        kubectl
            .good("explain deployment.spec.replicas", "")
            .await
            .contains("replicas")
    );
    kubectl
        .good(
            "create -f -",
            "apiVersion: v1\nkind: Namespace\nmetadata: {name: team}\n",
        )
        .await;
    kubectl.good("delete namespace team --timeout=30s", "").await;
    kubectl
        .good("delete deployment,service web --timeout=30s", "")
        .await;
    assert!(kubectl.good("auth can-i create pods", "").await.contains("yes"));
    assert!(kubectl.good("get events", "").await.contains("Scheduled"));
    std::fs::remove_dir_all(folder).unwrap();
}
