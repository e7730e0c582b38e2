//! The same layered graph through two command lines, side by side: epid with `epid:data:Value`, and Terraform with
//! `terraform_data`, where there is a `terraform`. Neither needs a provider or a network; 100 wide, each resource fed by
//! one of the layer before. Prints wall time and peak memory of each command and how they compare.
//!
//!     cargo bench --bench layered               # 1,000 resources
//!     cargo bench --bench layered -- 1000 10000
//!
//! `EPID_BENCH_LIMIT` is how many seconds a command of Terraform may take (120): it needs very long for 10,000.
#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a benchmark measures time, is told its limit by the environment, and prints"
)]

use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

const WIDTH: usize = 100;
const EPID: &str = env!("CARGO_BIN_EXE_epid");
/// How often the memory of a command is looked at.
const GLANCE: Duration = Duration::from_millis(2);

/// A command of one tool: its name in the table and its arguments.
type Phase = (&'static str, &'static [&'static str]);

const EPID_PHASES: [Phase; 5] = [
    ("plan", &["preview"]),
    ("apply", &["up", "--yes"]),
    ("no changes", &["up", "--yes"]),
    ("destroy", &["destroy", "--yes"]),
    ("load only", &["stack", "ls"]),
];
const TERRAFORM_PHASES: [Phase; 4] = [
    ("plan", &["plan", "-input=false"]),
    ("apply", &["apply", "-input=false", "-auto-approve"]),
    ("no changes", &["apply", "-input=false", "-auto-approve"]),
    ("destroy", &["destroy", "-input=false", "-auto-approve"]),
];

/// What a command took.
#[derive(Clone, Copy)]
enum Took {
    Time(Duration, u64),
    /// It was stopped after that long.
    More(Duration, u64),
    /// A command before it did not get so far.
    Unknown,
}

/// `count` resources as epid reads them.
fn epid_program(count: usize) -> Result<String, std::fmt::Error> {
    let mut text = String::new();
    for at in 0..count {
        let value = if at < WIDTH {
            format!("seed {at}")
        } else {
            format!("${{r{}.value}}", at - WIDTH)
        };
        write!(
            text,
            "[resources.r{at}]\ntype = \"epid:data:Value\"\nproperties.value = \"{value}\"\nproperties.triggers = \"1\"\n\n"
        )?;
    }
    Ok(text)
}

/// The same as Terraform reads them.
fn terraform_program(count: usize) -> Result<String, std::fmt::Error> {
    let mut text = String::new();
    for at in 0..count {
        let value = if at < WIDTH {
            format!("\"seed {at}\"")
        } else {
            format!("terraform_data.r{}.output", at - WIDTH)
        };
        write!(
            text,
            "resource \"terraform_data\" \"r{at}\" {{\n  input            = {value}\n  triggers_replace = \"1\"\n}}\n\n"
        )?;
    }
    Ok(text)
}

/// The highest memory of a process so far, in KiB; nothing where it has ended, or nobody tells.
fn peak(process: &Child) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{}/status", process.id())).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Runs a command to its end, or to the limit.
fn watched(command: &mut Command, limit: Duration) -> Outcome<Took> {
    let errors = tempfile::NamedTempFile::new()?;
    let start = Instant::now();
    let mut process = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(errors.reopen()?)
        .spawn()?;
    let mut most = 0;
    let status = loop {
        most = peak(&process).unwrap_or(0).max(most);
        if let Some(status) = process.try_wait()? {
            break status;
        }
        if start.elapsed() > limit {
            process.kill()?;
            process.wait()?;
            return Ok(Took::More(limit, most));
        }
        std::thread::sleep(GLANCE);
    };
    let took = start.elapsed();
    if status.success() {
        Ok(Took::Time(took, most))
    } else {
        Err(format!("{command:?}: {status}: {}", fs::read_to_string(errors.path())?).into())
    }
}

/// Runs the commands of a tool in a folder, as far as each ends in time.
fn run(program: &str, folder: &Path, phases: &[Phase], limit: Duration) -> Outcome<Vec<Took>> {
    let mut all = Vec::new();
    let mut left_off = false;
    for (_, arguments) in phases {
        if left_off {
            all.push(Took::Unknown);
            continue;
        }
        let took = watched(Command::new(program).args(*arguments).current_dir(folder), limit)?;
        // A plan that was given up spoils nothing; an apply does.
        left_off = matches!(took, Took::More(..)) && arguments.first() != Some(&"plan");
        all.push(took);
    }
    Ok(all)
}

fn epid(folder: &Path, count: usize) -> Outcome<Vec<Took>> {
    fs::create_dir_all(folder.join("stacks"))?;
    fs::write(folder.join("Epid.toml"), "name = \"bench\"\n")?;
    fs::write(folder.join("stacks/dev.toml"), epid_program(count)?)?;
    run(EPID, folder, &EPID_PHASES, Duration::MAX)
}

/// `None` where there is no Terraform.
fn terraform(folder: &Path, count: usize, limit: Duration) -> Outcome<Option<Vec<Took>>> {
    let version = Command::new("terraform")
        .arg("version")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output();
    let Ok(version) = version else {
        return Ok(None);
    };
    let version = String::from_utf8_lossy(&version.stdout);
    println!("{}", version.lines().next().unwrap_or_default());
    fs::create_dir_all(folder)?;
    fs::write(folder.join("main.tf"), terraform_program(count)?)?;
    let init = ["init", "-input=false", "-backend=true"];
    watched(
        Command::new("terraform").args(init).current_dir(folder),
        Duration::MAX,
    )?;
    run("terraform", folder, &TERRAFORM_PHASES, limit).map(Some)
}

fn shown(took: Took) -> String {
    match took {
        Took::Time(time, peak) => format!("{:>9.3} s {:>5} MiB", time.as_secs_f64(), peak / 1024),
        Took::More(time, peak) => format!("> {:>7.0} s {:>5} MiB", time.as_secs_f64(), peak / 1024),
        Took::Unknown => format!("{:>21}", "not reached"),
    }
}

/// How many times faster, and how much of the memory; a lower bound where the other was stopped.
#[expect(clippy::cast_precision_loss, reason = "kilobytes are far below 2^52")]
fn ratio(own: Took, other: Took) -> String {
    let Took::Time(time, peak) = own else {
        return String::new();
    };
    let times = |other: Duration| other.as_secs_f64() / time.as_secs_f64();
    let part = |other: u64| peak as f64 / other.max(1) as f64;
    match other {
        Took::Time(time, peak) => format!("{:>7.0} ×   1/{:.1}", times(time), 1.0 / part(peak)),
        Took::More(time, peak) => format!("> {:>5.0} ×   1/{:.1}", times(time), 1.0 / part(peak)),
        Took::Unknown => String::new(),
    }
}

fn compare(count: usize, limit: Duration) -> Outcome {
    println!("\n{count} resources, {WIDTH} wide");
    let folder = tempfile::tempdir()?;
    let own = epid(&folder.path().join("epid"), count)?;
    let other = terraform(&folder.path().join("terraform"), count, limit)?;
    println!(
        "{:12}{:>21}   {:>21}   {:>9}   memory",
        "", "epid", "Terraform", "faster"
    );
    for (at, ((phase, _), took)) in EPID_PHASES.iter().zip(own).enumerate() {
        let theirs = other.as_ref().and_then(|other| other.get(at)).copied();
        let line = match theirs {
            Some(theirs) => format!(
                "{phase:12}{}   {}   {}",
                shown(took),
                shown(theirs),
                ratio(took, theirs)
            ),
            None => format!("{phase:12}{}", shown(took)),
        };
        println!("{}", line.trim_end());
    }
    match &other {
        None => println!("there is no `terraform` here to compare with"),
        Some(other) if other.iter().any(|took| !matches!(took, Took::Time(..))) => println!(
            "Terraform was stopped after {} s; EPID_BENCH_LIMIT gives it more",
            limit.as_secs()
        ),
        Some(_) => {}
    }
    Ok(())
}

/// The median time of a command that does next to nothing.
fn start_up() -> Outcome {
    let folder = tempfile::tempdir()?;
    fs::create_dir_all(folder.path().join("stacks"))?;
    fs::write(folder.path().join("Epid.toml"), "name = \"bench\"\n")?;
    fs::write(folder.path().join("stacks/dev.toml"), epid_program(1)?)?;
    println!("\nstart-up, median of 20");
    for arguments in [&["--version"][..], &["stack", "ls"], &["preview"]] {
        let mut times = Vec::new();
        for _ in 0..20 {
            let start = Instant::now();
            let output = Command::new(EPID)
                .args(arguments)
                .current_dir(folder.path())
                .output()?;
            times.push(start.elapsed());
            if !output.status.success() {
                return Err(format!("{arguments:?}: {}", output.status).into());
            }
        }
        times.sort();
        println!(
            "epid {:12} {:>7.1} ms",
            arguments.join(" "),
            times[times.len() / 2].as_secs_f64() * 1e3
        );
    }
    Ok(())
}

/// How long a small append takes until it is on disk: the median of many.
fn fsync() -> Outcome<Duration> {
    let mut file = tempfile::tempfile()?;
    let mut times = Vec::new();
    for _ in 0..200 {
        let start = Instant::now();
        file.write_all(&[7; 512])?;
        file.sync_data()?;
        times.push(start.elapsed());
    }
    times.sort();
    Ok(times[times.len() / 2])
}

fn main() -> Outcome {
    let arguments = std::env::args().skip(1).filter(|a| a != "--bench");
    let mut sizes: Vec<usize> = arguments.map(|a| a.parse()).collect::<Result<_, _>>()?;
    if sizes.is_empty() {
        sizes.push(1_000);
    }
    let limit = std::env::var("EPID_BENCH_LIMIT").map_or(Ok(120), |text| text.parse())?;
    println!(
        "an append of 512 bytes is on disk after {:.3} ms",
        fsync()?.as_secs_f64() * 1e3
    );
    start_up()?;
    for count in sizes {
        compare(count, Duration::from_secs(limit))?;
    }
    Ok(())
}
