//! How fast the engine is and how much memory it takes, against its size: build, plan, first apply, `up` without
//! changes and destroy of large stacks on the fake cloud, with a real state on the disk of the temporary directory.
//! Prints a table for each shape; every case runs in a process of its own.
//!
//!     cargo bench --bench engine
//!     EPID_BENCH_SIZES=1000,5000 cargo bench --bench engine -- layered
#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a benchmark measures time, is told sizes by the environment, and prints"
)]

use std::error::Error;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use epid::apply::{Executor, Stopper, TokioClock};
use epid::builtin::Builtin;
use epid::expression::{Located, Span, Template};
use epid::graph::{Inputs, Providers, ResourceGraph, build};
use epid::plan::{Mode, Observations, Plan, Refresh, Request, Selection, plan};
use epid::program::{Components, Declaration, Options, Program};
use epid::state::blobs::FolderBlobs;
use epid::state::{Entropy, Holder, KeyRing, Location, Opening, Run, Session, Snapshot, Store};
use epid_fake::{Fake, World};
use epid_provider::{Kind, Map, Timestamp, Token};

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

const SIZES: &str = "1000,10000,100000";
/// Resources of a layer.
const WIDTH: usize = 100;
/// What is measured, in its order.
const PHASES: [&str; 7] = [
    "build graph",
    "plan",
    "first apply",
    "close state",
    "up, no changes",
    "replace all",
    "destroy",
];

/// How the resources of a stack hang together.
#[derive(Clone, Copy)]
enum Shape {
    /// Each is fed by one of the layer before.
    Layered,
    /// Nothing depends on anything.
    Wide,
    /// A thousand containers, and things in them that go with them.
    Contained,
    /// Everything depends on one, and one on everything.
    Hub,
}

impl Shape {
    const ALL: [Self; 4] = [Self::Layered, Self::Wide, Self::Contained, Self::Hub];

    fn name(self) -> &'static str {
        match self {
            Self::Layered => "layered",
            Self::Wide => "wide",
            Self::Contained => "contained",
            Self::Hub => "hub",
        }
    }

    fn about(self) -> &'static str {
        match self {
            Self::Layered => "100 wide, each resource fed by one of the layer before",
            Self::Wide => "no resource depends on another",
            Self::Contained => "1,000 containers with things in them",
            Self::Hub => "all depend on one, and one depends on all",
        }
    }

    /// A program of `count` resources. `round` is in what cannot change in place.
    fn program(self, count: usize, round: &str) -> Outcome<Program> {
        let mut program = Program::default();
        let boxes = (count / 10).clamp(1, 1_000);
        for at in 0..count {
            let (kind, properties) = match self {
                Self::Layered if at >= WIDTH => (
                    "Item",
                    vec![
                        ("value", format!("${{r{}.id}}", at - WIDTH)),
                        ("shape", round.to_owned()),
                    ],
                ),
                Self::Hub if at + 1 == count => {
                    let all: Vec<Template> = (1..at)
                        .map(|n| Template::reference(&format!("r{n}"), &["id"]))
                        .collect();
                    let tags = [("tags", Template::list(all)), ("shape", Template::text(round))];
                    program
                        .resources
                        .push(declaration(at, "Item", Template::object(tags))?);
                    continue;
                }
                Self::Hub if at > 0 => (
                    "Item",
                    vec![("value", "${r0.id}".to_owned()), ("shape", round.to_owned())],
                ),
                Self::Contained if at < boxes => ("Box", vec![("name", format!("box{at}-{round}"))]),
                Self::Contained => (
                    "Child",
                    vec![
                        ("box", format!("${{r{}.name}}", at % boxes)),
                        ("name", format!("child{at}")),
                    ],
                ),
                Self::Layered | Self::Wide | Self::Hub => (
                    "Item",
                    vec![("value", format!("value {at}")), ("shape", round.to_owned())],
                ),
            };
            let properties: Result<Vec<(&str, Template)>, _> = properties
                .into_iter()
                .map(|(key, text)| Template::parse_text(&text).map(|template| (key, template)))
                .collect();
            let properties = properties.map_err(|errors| format!("{errors:?}"))?;
            program
                .resources
                .push(declaration(at, kind, Template::object(properties))?);
        }
        Ok(program)
    }
}

fn declaration(at: usize, kind: &str, properties: Template) -> Outcome<Declaration> {
    Ok(Declaration {
        name: Arc::from(format!("r{at}")),
        kind: Kind::parse(&format!("fake:thing:{kind}"))?,
        properties: Located::built(properties),
        options: Options::default(),
        for_each: None,
        when: None,
        span: Span::NONE,
        kind_span: Span::NONE,
    })
}

/// What a stack lives with.
struct Bench {
    providers: Providers,
    store: Store,
    location: Location,
    world: World,
}

fn random(bytes: &mut [u8]) -> std::io::Result<()> {
    getrandom::fill(bytes).map_err(|error| std::io::Error::other(error.to_string()))
}

fn mint() -> Token {
    let mut bytes = [0; 16];
    random(&mut bytes).ok();
    Token::from_bytes(bytes)
}

impl Bench {
    fn new(folder: &Path) -> Self {
        let world = World::new();
        let mut providers = Providers::default();
        providers.add(Arc::new(Fake::new(world.clone())));
        providers.add(Arc::new(Builtin::new()));
        let entropy: Entropy = Arc::new(random);
        Self {
            providers,
            store: Store::new(
                Arc::new(FolderBlobs::new(folder.join("state"))),
                KeyRing::new(folder.join("keys")),
                entropy,
            ),
            location: Location::new("cloud", "p", "s"),
            world,
        }
    }

    fn graph(&self, program: &Program) -> Outcome<ResourceGraph> {
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
        build(program, &inputs).map_err(|problems| format!("{:?}", problems.first()).into())
    }

    fn plan(&self, graph: &ResourceGraph, snapshot: &Snapshot, mode: Mode) -> Outcome<Plan> {
        let request = Request {
            graph,
            snapshot,
            observed: &Observations::new(),
            providers: &self.providers,
            mode,
            selection: &Selection::default(),
            refresh: Refresh::Undo,
            digests: &|_: &[u8]| None,
        };
        plan(&request).map_err(|problems| format!("{:?}", problems.first()).into())
    }

    async fn open(&self) -> Outcome<Arc<Session>> {
        let holder = Holder {
            pid: 0,
            user: String::new(),
            host: String::new(),
            since: Timestamp(0),
            command: String::new(),
            job: None,
        };
        let opening = Opening::new(holder).create();
        Ok(Arc::new(
            Session::open(&self.store, &self.location, opening).await?,
        ))
    }

    async fn apply(&self, session: &Arc<Session>, plan: &Plan) -> Outcome {
        let (_stopper, control) = Stopper::new();
        let executor = Executor {
            session: session.clone(),
            providers: &self.providers,
            clock: Arc::new(TokioClock::starting_at(Timestamp(1_800_000_000_000))),
            control,
            mint: &mint,
            digests: &|_: &[u8]| None,
            run: Run {
                who: Arc::from("bench"),
                command: Arc::from("up"),
                at: Timestamp(0),
                version: Arc::from("0"),
                plan: None,
                commit: None,
            },
        };
        let outcome = executor.apply(plan, &mut |_| {}).await?;
        if !outcome.is_success() {
            return Err(format!("{:?}", outcome.failed.first()).into());
        }
        Ok(())
    }

    /// A whole run on a state that is opened and closed: of a program, or of none to destroy.
    async fn run(&self, program: Option<&Program>) -> Outcome<usize> {
        let session = self.open().await?;
        let (graph, mode) = match program {
            Some(program) => (self.graph(program)?, Mode::Up),
            None => (ResourceGraph::empty(), Mode::Destroy),
        };
        let plan = self.plan(&graph, &session.snapshot(), mode)?;
        self.apply(&session, &plan).await?;
        session.close().await?;
        Ok(plan.steps.iter().filter(|s| s.action.touches_cloud()).count())
    }
}

/// What a phase took: seconds on the wall, seconds of processors, and the peak of memory in KiB.
#[derive(Clone, Copy)]
struct Lap {
    wall: f64,
    cpu: f64,
    peak: u64,
}

/// Measures phases, one after the other.
struct Watch {
    since: (Instant, f64),
    laps: Vec<Lap>,
}

impl Watch {
    fn start() -> Self {
        let mut watch = Self {
            since: (Instant::now(), 0.0),
            laps: Vec::new(),
        };
        watch.restart();
        watch
    }

    fn restart(&mut self) {
        forget_peak();
        self.since = (Instant::now(), cpu());
    }

    fn lap(&mut self) {
        let (wall, before) = self.since;
        self.laps.push(Lap {
            wall: wall.elapsed().as_secs_f64(),
            cpu: (cpu() - before).max(0.0),
            peak: peak(),
        });
        self.restart();
    }
}

/// How long the threads of this process have been on a processor, in seconds. Linux only.
fn cpu() -> f64 {
    let threads = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let times = threads.filter_map(|thread| {
        let text = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<f64>().ok()
    });
    times.sum::<f64>() / 1e9
}

/// Makes the kernel measure this process's peak anew. Linux only; elsewhere no peak is shown.
fn forget_peak() {
    fs::write("/proc/self/clear_refs", "5").ok();
}

/// The peak of this process's memory in KiB.
fn peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .unwrap_or_default()
}

/// One case, in this process: prints a line of figures for its parent.
fn case(shape: Shape, count: usize) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()?;
    let folder = tempfile::tempdir()?;
    runtime.block_on(async {
        let bench = Bench::new(folder.path());
        let program = shape.program(count, "one")?;
        let session = bench.open().await?;
        let mut watch = Watch::start();
        let graph = bench.graph(&program)?;
        watch.lap();
        let first = bench.plan(&graph, &session.snapshot(), Mode::Up)?;
        watch.lap();
        bench.apply(&session, &first).await?;
        watch.lap();
        session.close().await?;
        watch.lap();
        drop((graph, first, session));
        let changed = bench.run(Some(&program)).await?;
        watch.lap();
        if changed != 0 {
            return Err(format!("a second run would do {changed} things").into());
        }
        let program = shape.program(count, "two")?;
        watch.restart();
        bench.run(Some(&program)).await?;
        watch.lap();
        drop(program);
        bench.run(None).await?;
        watch.lap();
        let left = bench.world.things().len();
        if left != 0 {
            return Err(format!("{left} things are left").into());
        }
        let figures: Vec<String> = watch
            .laps
            .iter()
            .map(|lap| format!("{} {} {}", lap.wall, lap.cpu, lap.peak))
            .collect();
        println!("{}", figures.join(" "));
        Ok(())
    })
}

/// Runs a case in a process of its own, so that nothing of one shows in another.
fn measured(shape: Shape, count: usize) -> Outcome<Vec<Lap>> {
    let output = Command::new(std::env::current_exe()?)
        .args(["--case", shape.name(), &count.to_string()])
        .output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into());
    }
    let text = String::from_utf8(output.stdout)?;
    let numbers: Vec<f64> = text
        .split_whitespace()
        .map(str::parse)
        .collect::<Result<_, _>>()?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it was printed as a whole number"
    )]
    let laps = numbers.chunks_exact(3).map(|lap| Lap {
        wall: lap[0],
        cpu: lap[1],
        peak: lap[2] as u64,
    });
    Ok(laps.collect())
}

/// How long a small append takes until it is on disk: the median of many.
fn fsync() -> Outcome<f64> {
    let mut file = tempfile::tempfile()?;
    let mut times = Vec::new();
    for _ in 0..200 {
        let start = Instant::now();
        file.write_all(&[7; 512])?;
        file.sync_data()?;
        times.push(start.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    Ok(times[times.len() / 2])
}

/// How much more than n log n the time of processors has grown: the wall's depends on who else is there.
#[expect(clippy::cast_precision_loss, reason = "sizes are far below 2^52")]
fn growth((small, before): (usize, f64), (large, after): (usize, f64)) -> f64 {
    let work = |n: usize| n as f64 * (n as f64).ln();
    (after / before) / (work(large) / work(small))
}

fn table(shape: Shape, sizes: &[usize]) -> Outcome {
    println!("\n{}: {}", shape.name(), shape.about());
    let mut columns: Vec<(usize, Vec<Lap>)> = Vec::new();
    for &size in sizes {
        columns.push((size, measured(shape, size)?));
    }
    print!("{:16}", "resources");
    for size in sizes {
        print!("{size:>38}");
    }
    println!();
    for (at, phase) in PHASES.iter().enumerate() {
        print!("{phase:16}");
        let mut before = None;
        for (size, laps) in &columns {
            let Lap { wall, cpu, peak } = laps[at];
            let factor = before.map_or(String::new(), |before| {
                format!("×{:.2}", growth(before, (*size, cpu)))
            });
            print!("{wall:>9.3} s {cpu:>8.3} s {:>5} MiB {factor:>7}", peak / 1024);
            before = Some((*size, cpu));
        }
        println!();
    }
    Ok(())
}

fn main() -> Outcome {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let shape = |name: &String| Shape::ALL.into_iter().find(|shape| shape.name() == name);
    if let [flag, name, count] = arguments.as_slice()
        && flag == "--case"
    {
        return case(shape(name).ok_or("no such shape")?, count.parse()?);
    }
    let sizes = std::env::var("EPID_BENCH_SIZES").unwrap_or_else(|_| SIZES.to_owned());
    let sizes: Vec<usize> = sizes.split(',').map(str::parse).collect::<Result<_, _>>()?;
    let asked: Vec<Shape> = arguments.iter().filter_map(shape).collect();
    println!("an append of 512 bytes is on disk after {:.3} ms", fsync()? * 1e3);
    println!(
        "time on the wall and of processors, peak memory (the fake cloud included), and how many times more than n log n the processors took"
    );
    for shape in Shape::ALL {
        if asked.is_empty() || asked.iter().any(|s| s.name() == shape.name()) {
            table(shape, &sizes)?;
        }
    }
    Ok(())
}
