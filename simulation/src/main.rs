//! `simulate`: random programs, edits, faults and deaths, for as long as one likes.

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use clap::{Parser, ValueEnum};
use epid_simulation::cloud::On;
use epid_simulation::trial;

/// Lets runs of epid die, and checks that a plain run makes everything as if they had not.
#[derive(Parser)]
#[command(name = "epid-simulation", version)]
enum Command {
    /// Random programs with random edits, faults and deaths.
    ///
    /// Each run is another program, made from its own seed. The first run that goes wrong is told with the command that
    /// repeats it, and the exit code is 1.
    Simulate {
        /// The cloud that the runs meet.
        #[arg(long, value_enum, default_value_t = CloudArg::Sandbox)]
        on: CloudArg,
        /// The seed of the first run; those after it have the numbers that follow.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// How many runs.
        #[arg(long, default_value_t = 100)]
        runs: u64,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum CloudArg {
    /// AWS and Kubernetes, simulated, through the real providers.
    Sandbox,
    /// A strict cloud of its own, with programs of up to 133 resources.
    Fake,
}

impl CloudArg {
    fn name(self) -> &'static str {
        match self {
            Self::Sandbox => "sandbox",
            Self::Fake => "fake",
        }
    }

    fn cloud(self) -> On {
        match self {
            Self::Sandbox => On::Sandbox,
            Self::Fake => On::Fake,
        }
    }
}

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "this is the command")]
fn main() -> ExitCode {
    let Command::Simulate { on, seed, runs } = Command::parse();
    let (next, deaths) = (AtomicU64::new(0), AtomicU64::new(0));
    let wrong = Mutex::new(None);
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let run = next.fetch_add(1, Ordering::Relaxed);
                    let seed = seed.wrapping_add(run);
                    if run >= runs || wrong.lock().is_ok_and(|wrong| wrong.is_some()) {
                        return;
                    }
                    match trial::run(on.cloud(), seed) {
                        Ok(died) => drop(deaths.fetch_add(died, Ordering::Relaxed)),
                        Err(error) => {
                            if let Ok(mut wrong) = wrong.lock() {
                                wrong.get_or_insert((seed, error.to_string()));
                            }
                        }
                    }
                }
            });
        }
    });
    let deaths = deaths.into_inner();
    match wrong.into_inner().unwrap_or_default() {
        None => {
            println!(
                "{runs} runs from seed {seed}: {deaths} deaths, and each time a plain run made everything as it should be"
            );
            ExitCode::SUCCESS
        }
        Some((seed, error)) => {
            eprintln!(
                "run {seed} went wrong:\n{error}\n\nagain: cargo run -p epid-simulation -- simulate --on {} --seed {seed} --runs 1",
                on.name()
            );
            ExitCode::FAILURE
        }
    }
}
