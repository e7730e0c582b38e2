//! A stack on the fake cloud, and the runs it goes through.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use epid::apply::{Clock, Control, Did, Event, Executor, Outcome, RecoveredIntent, Stopper, TokioClock};
use epid::builtin::Builtin;
use epid::expression::{Located, Span, Template};
use epid::graph::{Inputs, Providers, ResourceGraph, build};
use epid::observe::{Depth, Looking, Seen, observe};
use epid::plan::{Action, Mode, Observations, Plan, PlanProblem, Refresh, Request, Selection, plan};
use epid::program::{Components, Declaration, Options, OutputDeclaration, PartAlias, Program};
use epid::state::{Header, Run, Session, Snapshot};
use epid_fake::{Fake, World};
use epid_provider::{Kind, Map, Path, Timestamp, Token, Urn, Value};

/// The moment at which every test starts.
const START: Timestamp = Timestamp(1_800_000_000_000);

/// A stack, its cloud and its state.
pub(crate) struct Stack {
    pub(crate) world: World,
    pub(crate) session: Arc<Session>,
    pub(crate) providers: Providers,
    pub(crate) clock: Arc<TokioClock>,
    pub(crate) refresh: Refresh,
    pub(crate) control: Control,
    pub(crate) stopper: Stopper,
    minted: Cell<u128>,
}

/// What a run came to.
pub(crate) struct Ran {
    pub(crate) plan: Plan,
    pub(crate) outcome: Outcome,
    pub(crate) events: Vec<Event>,
}

fn template(value: &Value) -> Located {
    Located::from(match value {
        Value::Str(text) => Template::parse_text(text).unwrap(),
        Value::Map(map) => Template::object(map.iter().map(|(k, v)| (k.clone(), template(v)))),
        Value::List(items) => Template::list(items.iter().map(template)),
        other => Template::Literal(other.clone()),
    })
}

/// One declaration as `{type, properties, options}`. A type without a colon is one of the fake cloud.
fn declaration(name: &Arc<str>, body: &Value, provider: bool) -> Declaration {
    let get = |key: &str| {
        body.get(key)
            .cloned()
            .unwrap_or_else(|| Value::Map(Map::default()))
    };
    let option = |key: &str| body.get("options").and_then(|o| o.get(key)).cloned();
    let texts = |key: &str| -> Vec<Arc<str>> {
        let list = option(key).unwrap_or_else(|| Value::list([]));
        list.as_list()
            .unwrap()
            .iter()
            .map(|v| Arc::from(v.as_str().unwrap()))
            .collect()
    };
    let text = |key: &str| option(key).map(|v| Arc::from(v.as_str().unwrap()));
    let flag = |key: &str| option(key).and_then(|v| v.as_bool());
    let paths = |key: &str| -> Vec<Path> { texts(key).iter().map(|t| t.parse().unwrap()).collect() };
    let kind = match body.get("type").and_then(Value::as_str) {
        Some(full) if full.contains(':') => full.to_owned(),
        Some(short) => format!("fake:thing:{short}"),
        None => "epid:provider:fake".to_owned(),
    };
    assert!(provider || body.get("type").is_some(), "{name} has no type");
    Declaration {
        name: name.clone(),
        kind: Kind::parse(&kind).unwrap(),
        properties: template(&get("properties")),
        options: Options {
            depends_on: texts("dependsOn"),
            provider: text("provider"),
            protect: flag("protect").unwrap_or_default(),
            retain_on_delete: flag("retainOnDelete").unwrap_or_default(),
            delete_before_replace: flag("deleteBeforeReplace"),
            ignore_changes: paths("ignoreChanges"),
            replace_on_changes: paths("replaceOnChanges"),
            aliases: texts("aliases"),
            part_aliases: part_aliases(option("partAliases")),
            served_by: texts("servedBy"),
            deleted_with: text("deletedWith"),
            import: text("import"),
            adopt: flag("adopt").unwrap_or_default(),
            ..Options::default()
        },
        for_each: body.get("forEach").map(template),
        when: None,
        span: Span::NONE,
        kind_span: Span::NONE,
    }
}

/// `{"key": "old"}`: of instances of a `forEach`, what each was called.
fn part_aliases(option: Option<Value>) -> Vec<PartAlias> {
    let all = option.unwrap_or_else(|| Value::Map(Map::default()));
    let alias = |(key, before): (&Arc<str>, &Value)| PartAlias {
        way: vec![key.clone()],
        before: Arc::from(before.as_str().unwrap()),
    };
    all.as_map().unwrap().iter().map(alias).collect()
}

/// A program in JSON: `name: {type, properties, options}`; `$providers` and `$outputs` hold the rest.
pub(crate) fn program(text: &str) -> Program {
    let all: Value = serde_json::from_str(text).unwrap();
    let mut program = Program::default();
    for (name, body) in all.as_map().unwrap().iter() {
        let entries = || body.as_map().unwrap().iter();
        match &**name {
            "$providers" => program.providers = entries().map(|(n, b)| declaration(n, b, true)).collect(),
            "$outputs" => {
                program.outputs = entries()
                    .map(|(name, value)| OutputDeclaration {
                        name: name.clone(),
                        value: template(value),
                        secret: false,
                        description: Arc::from(""),
                        span: Span::NONE,
                    })
                    .collect();
            }
            _ => program.resources.push(declaration(name, body, false)),
        }
    }
    program
}

/// Runs a test on one thread whose clock jumps from wait to wait.
pub(crate) fn on_clock<R>(test: impl Future<Output = R>) -> R {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build();
    runtime.unwrap().block_on(test)
}

pub(crate) fn urn(kind: &str, path: &str) -> Urn {
    Urn::new(
        "p",
        "s",
        &Kind::parse(&format!("fake:thing:{kind}")).unwrap(),
        path,
    )
}

impl Stack {
    pub(crate) fn new() -> Self {
        Self::of(World::new(), "lineage")
    }

    /// A stack of that lineage in a cloud that may hold something already.
    pub(crate) fn of(world: World, lineage: &str) -> Self {
        let mut providers = Providers::default();
        providers.add(Arc::new(Fake::new(world.clone())));
        providers.add(Arc::new(Builtin::new()));
        let (stopper, control) = Stopper::new();
        Self {
            world,
            session: Arc::new(Session::in_memory(Header::new("p", "s", "local", lineage))),
            providers,
            clock: Arc::new(TokioClock::starting_at(START)),
            refresh: Refresh::Undo,
            control,
            stopper,
            // No two stacks mint the same tokens.
            minted: Cell::new(1 + 1000 * lineage.bytes().map(u128::from).sum::<u128>()),
        }
    }

    /// As if the process had been started anew: nobody stops it.
    pub(crate) fn restart(&mut self) {
        (self.stopper, self.control) = Stopper::new();
        self.world.heal();
    }

    pub(crate) fn graph(&self, text: &str) -> ResourceGraph {
        self.graph_of(&program(text))
    }

    pub(crate) fn graph_of(&self, program: &Program) -> ResourceGraph {
        let inputs = Inputs {
            project: "p",
            stack: "s",
            config: Map::default(),
            stacks: Map::default(),
            components: &Components::default(),
            providers: &self.providers,
            digests: &|_: &[u8]| None,
            place: &|_| None,
        };
        build(program, &inputs).unwrap()
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        self.session.snapshot()
    }

    pub(crate) fn plan_with(
        &self,
        graph: &ResourceGraph,
        mode: Mode,
        observed: &Observations,
        selection: &Selection,
    ) -> Result<Plan, Vec<PlanProblem>> {
        plan(&Request {
            graph,
            snapshot: &self.snapshot(),
            observed,
            providers: &self.providers,
            mode,
            selection,
            refresh: self.refresh,
            digests: &|_: &[u8]| None,
        })
    }

    pub(crate) fn plan(&self, graph: &ResourceGraph, mode: Mode) -> Plan {
        self.plan_with(graph, mode, &Observations::new(), &Selection::default())
            .unwrap()
    }

    /// The plan that removes what is selected, after such a look.
    pub(crate) fn plan_destroy(&self, observed: &Observations, selection: &Selection) -> Plan {
        self.plan_with(&ResourceGraph::empty(), Mode::Destroy, observed, selection)
            .unwrap()
    }

    fn mint(&self) -> Token {
        let next = self.minted.get() + 1;
        self.minted.set(next);
        Token::from_bytes(((next << 96) | next).to_be_bytes())
    }

    /// Calls `act` with an executor.
    pub(crate) async fn with_executor<R>(&self, act: impl AsyncFnOnce(&Executor<'_>) -> R) -> R {
        let clock: Arc<dyn Clock> = self.clock.clone();
        let executor = Executor {
            session: self.session.clone(),
            providers: &self.providers,
            clock,
            control: self.control.clone(),
            mint: &|| self.mint(),
            digests: &|_: &[u8]| None,
            run: Run {
                who: Arc::from("test@host"),
                command: Arc::from("epid up"),
                at: START,
                version: Arc::from("0"),
                plan: None,
                commit: None,
            },
        };
        act(&executor).await
    }

    /// Applies a plan.
    pub(crate) async fn apply(&self, plan: Plan) -> Ran {
        let mut events = Vec::new();
        let outcome = self
            .with_executor(async |executor| executor.apply(&plan, &mut |event| events.push(event)).await)
            .await
            .unwrap();
        self.snapshot().verify().unwrap();
        Ran {
            plan,
            outcome,
            events,
        }
    }

    /// Plans a program and applies the plan.
    pub(crate) async fn run(&self, text: &str) -> Ran {
        let plan = self.plan(&self.graph(text), Mode::Up);
        self.apply(plan).await
    }

    /// Runs a program, which has to succeed, and nothing is left to do afterwards.
    pub(crate) async fn up(&self, text: &str) -> Ran {
        let ran = self.run(text).await;
        assert!(ran.outcome.is_success(), "{:#?}", ran.outcome);
        self.world.assert_clean();
        let again = self.plan(&self.graph(text), Mode::Up);
        assert!(again.is_empty(), "a second run would do: {:#?}", actions(&again));
        ran
    }

    /// Removes everything, which has to succeed.
    pub(crate) async fn destroy(&self) -> Ran {
        let plan = self.plan(&ResourceGraph::empty(), Mode::Destroy);
        let ran = self.apply(plan).await;
        assert!(ran.outcome.is_success(), "{:#?}", ran.outcome);
        assert!(self.snapshot().is_empty(), "{:#?}", self.snapshot().entries);
        self.world.assert_clean();
        ran
    }

    pub(crate) async fn recover(&self) -> Vec<RecoveredIntent> {
        let found = self
            .with_executor(async |executor| executor.recover(&mut |_| {}).await)
            .await;
        self.snapshot().verify().unwrap();
        found.unwrap()
    }

    pub(crate) async fn look(&self, graph: &ResourceGraph, depth: Depth) -> Seen {
        let snapshot = self.snapshot();
        self.with_executor(async |executor| {
            observe(&Looking {
                graph,
                snapshot: &snapshot,
                providers: &self.providers,
                depth,
                only: &|_| true,
                digests: &|_: &[u8]| None,
                call: &|urn| executor.look(urn),
            })
            .await
        })
        .await
    }

    pub(crate) async fn sleep(&self, seconds: u64) {
        self.clock.sleep(Duration::from_secs(seconds)).await;
    }
}

/// What a plan does, without what does nothing.
pub(crate) fn actions(plan: &Plan) -> Vec<String> {
    let steps = plan
        .steps
        .iter()
        .filter(|s| s.action != Action::Nothing && s.action != Action::Connect);
    steps.map(|s| format!("{:?} {}", s.action, s.address)).collect()
}

impl Ran {
    /// What was done to the resources, in the order it was done.
    pub(crate) fn did(&self) -> Vec<String> {
        let done = self.events.iter().filter_map(|event| match event {
            Event::StepDone { urn, did, .. } if !matches!(did, Did::Nothing | Did::Connected) => {
                Some(format!("{did:?} {}", urn.path()))
            }
            _ => None,
        });
        done.collect()
    }

    /// Which steps failed, and with which code.
    pub(crate) fn failed(&self) -> BTreeMap<&str, &str> {
        self.outcome
            .failed
            .iter()
            .map(|f| (f.urn.path(), &*f.trouble.code))
            .collect()
    }

    /// Which steps were left out, and because of whom.
    pub(crate) fn skipped(&self) -> BTreeMap<&str, &str> {
        let skipped = self.outcome.skipped.iter();
        skipped
            .map(|(id, because)| (self.plan.step(*id).unwrap().target.urn.path(), because.path()))
            .collect()
    }
}
