//! epid: infrastructure as code for AWS and Kubernetes, in one graph, one plan and one binary.
//!
//! This page is the map. Data flows one way: text → program → graph → (observe) → plan → apply → state.
//!
//! | room | what it knows |
//! |---|---|
//! | [`expression`] | CEL over values: what stands in `${…}`; pure |
//! | [`program`] | text becomes a typed program in which everything knows its place; only its loader opens files |
//! | [`components`] | declarations that stand for several; pure |
//! | [`graph`] | a program becomes a validated, ordered graph; pure |
//! | [`observe`] | asks providers what exists; writes nothing |
//! | [`plan`] | decides what a run will do; pure |
//! | [`apply`] | executes a plan: decides in which order, never what |
//! | [`state`] | what was true: records, journal, integrity, keys, locks |
//! | [`builtin`] | the provider `epid`: kinds that need no cloud |
//! | [`cli`] | people: arguments, words, colour, exit codes, the environment, signals; which providers exist |
//!
//! The crates beside this one: `epid-provider` (what engine and providers agree on), `epid-aws`, `epid-kubernetes`,
//! `epid-sandbox` (both clouds simulated at the HTTP level), `epid-fake` (a strict in-memory cloud for tests) and
//! `epid-simulation` (runs that die anywhere).
//!
//! Files that epid writes, all but one below the project's folder:
//!
//! | file | by | what |
//! |---|---|---|
//! | `.epid/state/**` | [`state`] | a snapshot and a journal for each stack and world, encrypted; its lock; outputs for other stacks |
//! | `.epid/seen/**` | [`state`] | how far each state was when it was last written from here |
//! | `$XDG_STATE_HOME/epid/seen/*` | [`state`] | the same for the person, by lineage: it stays when the folder is put back as it was |
//! | `.epid/.gitignore` | [`state`] | Git leaves all of it alone; another one stays |
//! | `.epid/keys/*` | [`state`] | the keys that everything encrypted is sealed with; never committed |
//! | `Epid.keys.toml` | [`state`] | keys that a passphrase opens; committed |
//! | `.epid/sandbox/world.*`, `lock` | `epid-sandbox` | the simulated world, encrypted by [`cli`]; who holds it |
//! | `.epid/sandbox/served.json`, `kubeconfig-*` | [`cli`] | while it is served: by whom and where, and the way to its clusters |
//! | `stacks/*.toml` | [`cli`] | edited in place by `epid config set` and `rm` |
//! | `Epid.toml` | [`cli`] | edited in place by `epid state migrate`; the states may go to a folder outside |
//! | `--save FILE` | [`cli`] | a saved plan, encrypted |

pub mod apply;
pub mod builtin;
pub mod cli;
pub mod components;
pub mod expression;
pub mod graph;
pub mod observe;
pub mod plan;
pub mod program;
pub mod state;

pub use cli::run;
pub use program::builder::ProgramBuilder;
