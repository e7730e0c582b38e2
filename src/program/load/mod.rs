//! From files to a [`Project`]: the only module of this room that opens any.
//!
//! | file | what it says |
//! |---|---|
//! | `Epid.toml` | `name`, `defaultStack`, `[backend]`, and `[providers.NAME]` that every stack inherits |
//! | `stacks/NAME.toml` | a stack: its `program`, or its resources themselves; config, secrets, references |
//! | what `program` names | a program, relative to the stack file; stacks may share one. Of a program in Rust it is the `.rs` file that calls [`run`](crate::run) |
//!
//! Rules beyond the design:
//! - A provider of a stack file comes before one of the program of the same name, that before one of `Epid.toml`.
//! - In a stack without a program, a table under `[config]` declares where its `type` is a type of configuration and it
//!   has nothing but `type`, `default`, `secret` and `description`; every other entry is a value. With one declaration
//!   all configuration of the stack must be declared; without any, every value is taken as it is.
//! - `if` and `forEach` take CEL with or without `${…}`.
//! - Patterns of files are relative to the folder of `Epid.toml`.
//! - Newlines in texts are `\n`, whether a checkout made them `\r\n` or not.
//!
//! What is wrong with one stack leaves the others usable.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use epid_provider::check::nearest;

use super::declaration::{Declaration, Program};
use super::diagnostic::{Diagnostic, Severity, Sources};
use super::project::{Project, StackFile};
use crate::expression::{SourceId, Span};
use document::{Reader, Table};
use manifest::Manifest;

mod declarations;
mod decoded;
mod disk;
mod document;
mod files;
mod glob;
mod manifest;
mod options;
mod stack;
#[cfg(test)]
mod tests;
mod value;

pub(super) use declarations::name_problem;
pub use files::read_files;
pub(super) use options::is_address;

/// What loading a project found.
#[derive(Debug, Clone, Default)]
pub struct Loaded {
    /// The project with every stack that has no errors; `None` where `Epid.toml` is missing or wrong.
    pub project: Option<Project>,
    /// The files that were read.
    pub sources: Sources,
    /// Everything wrong in any file, each thing once. For one stack there is [`Loaded::problems_of`].
    pub diagnostics: Vec<Diagnostic>,
    general: Vec<Diagnostic>,
    stacks: BTreeMap<Arc<str>, Vec<Diagnostic>>,
    drafts: Vec<StackFile>,
    /// Stacks of which too much is wrong for a draft.
    torn: Vec<StackFile>,
}

impl Loaded {
    /// Every stack that has a file, in the order of their names, usable or not.
    pub fn stacks(&self) -> impl Iterator<Item = &Arc<str>> {
        self.stacks.keys()
    }

    /// What is wrong with a stack: with `Epid.toml`, its own file and its program. A stack without errors among these
    /// is in the project.
    #[must_use]
    pub fn problems_of(&self, stack: &str) -> Vec<Diagnostic> {
        let own = self.stacks.get(stack).into_iter().flatten();
        self.general.iter().chain(own).cloned().collect()
    }

    /// A stack with errors of which so much could be read that looking for more finds no mere echoes. What could not be
    /// read is named in [`Program::incomplete`].
    #[must_use]
    pub fn draft(&self, stack: &str) -> Option<&StackFile> {
        self.drafts.iter().find(|draft| *draft.name == *stack)
    }

    /// A stack whose file or program cannot be read to the end: what it gives may be there, what its program takes may be
    /// missing. For editing its file.
    #[must_use]
    pub fn torn(&self, stack: &str) -> Option<&StackFile> {
        self.torn.iter().find(|torn| *torn.name == *stack)
    }
}

/// The nearest folder with an `Epid.toml`: `start` or one above it.
#[must_use]
pub fn find_project(start: &Path) -> Option<PathBuf> {
    let start = std::path::absolute(start).ok()?;
    start
        .ancestors()
        .find(|folder| folder.join("Epid.toml").is_file())
        .map(Path::to_path_buf)
}

/// Loads the project in the folder `root`: `Epid.toml`, every stack, and the programs and files they name.
#[must_use]
pub fn load(root: &Path) -> Loaded {
    Loader::new(root, Sources::default(), None).load()
}

/// [`load`] for a program that was built in the Rust file `file` with these sources. The stacks run it that name this file,
/// and those that name no program and declare no resources themselves; the others run what they name. That no stack runs
/// it is an error.
#[must_use]
pub fn load_with(root: &Path, file: &Path, built: (Program, Sources, Vec<Diagnostic>)) -> Loaded {
    let (mut program, mut sources, mut problems) = built;
    problems.extend(read_files(&mut program, root, &mut sources));
    let legible = true;
    Loader::new(
        root,
        sources,
        Some(Built {
            file: disk::tidy(file),
            parsed: Parsed {
                program,
                problems,
                legible,
            },
            taken: false,
        }),
    )
    .load()
}

/// Parses the text of a program file. The files that it names are not read.
///
/// The program is `None` where something is wrong with it.
#[must_use]
pub fn parse_program(text: &str, path: &str) -> (Option<Program>, Sources, Vec<Diagnostic>) {
    let mut sources = Sources::default();
    let text: Arc<str> = Arc::from(text.strip_prefix('\u{feff}').unwrap_or(text));
    let source = sources.add(path, Some(text.clone()));
    let (program, problems, _) = document(source, &text, declarations::program);
    (sound(&problems).then_some(program), sources, problems)
}

/// True without errors.
fn sound(problems: &[Diagnostic]) -> bool {
    problems.iter().all(|d| d.severity != Severity::Error)
}

/// Reads one document, whose parsed form is gone afterwards: it takes many times the memory of its text. Answers too
/// whether what was found stands for what was meant.
fn document<T>(
    source: SourceId,
    text: &str,
    read: impl FnOnce(&mut Reader<'_>, Table<'_, '_>) -> T,
) -> (T, Vec<Diagnostic>, bool) {
    let (mut reader, root) = Reader::parse(source, text);
    let top = reader.span(0..0);
    let table = reader.view(&root, top);
    let found = read(&mut reader, table);
    let legible = reader.is_legible();
    (found, reader.finish(), legible)
}

/// A program and what is wrong with it.
#[derive(Clone)]
struct Parsed {
    program: Program,
    problems: Vec<Diagnostic>,
    /// What was read stands for what was meant.
    legible: bool,
}

/// A program that was built in Rust.
struct Built {
    /// The file that built it, as the compiler names it.
    file: PathBuf,
    parsed: Parsed,
    /// A stack runs it.
    taken: bool,
}

struct Loader<'a> {
    root: &'a Path,
    sources: Sources,
    programs: BTreeMap<PathBuf, Parsed>,
    built: Option<Built>,
}

impl<'a> Loader<'a> {
    fn new(root: &'a Path, sources: Sources, built: Option<Built>) -> Self {
        Self {
            root,
            sources,
            programs: BTreeMap::new(),
            built,
        }
    }

    fn load(mut self) -> Loaded {
        let (manifest, mut general) = self.manifest();
        let files = self.stack_files(&mut general);
        let names: Vec<Arc<str>> = files.iter().map(|(name, _)| name.clone()).collect();
        if let Some((default, span)) = &manifest.default_stack
            && !names.contains(default)
        {
            let problem = Diagnostic::warning(*span, format!("the default stack `{default}` has no file"));
            general.push(match nearest(default, names.iter().map(|n| &**n)) {
                Some(near) => problem.with_hint(format!("did you mean `{near}`?")),
                None => problem.with_hint(format!("write stacks/{default}.toml")),
            });
        }
        let mut stacks = Vec::new();
        let mut drafts = Vec::new();
        let mut torn = Vec::new();
        let mut of_stacks = BTreeMap::new();
        let built = self.built.iter().flat_map(|b| b.parsed.problems.clone());
        let mut diagnostics: Vec<Diagnostic> = general.iter().cloned().chain(built).collect();
        let mut read = Vec::new();
        for (name, path) in files {
            let (stack, legible, problems) = self.stack(&name, &path, &names, &manifest);
            let (whole, part): (Vec<_>, Vec<_>) = stack.into_iter().partition(|_| legible);
            torn.extend(part);
            read.push((name, whole.into_iter().next(), problems));
        }
        if let Some(built) = self
            .built
            .as_ref()
            .filter(|built| !built.taken && !read.is_empty())
        {
            let file = built.file.display();
            general.push(
                Diagnostic::error(Span::NONE, format!("no stack of this project runs {file}")).with_hint(
                    format!("write program = \"../{file}\" into the stacks that run it"),
                ),
            );
            diagnostics.extend(general.last().cloned());
        }
        let rounds = rounds(&read);
        for (name, stack, mut problems) in read {
            problems.extend(
                rounds
                    .iter()
                    .filter(|(n, _)| *n == name)
                    .map(|(_, problem)| problem.clone()),
            );
            if sound(&problems) {
                stacks.extend(stack);
            } else {
                drafts.extend(stack);
            }
            for problem in &problems {
                if !diagnostics.contains(problem) {
                    diagnostics.push(problem.clone());
                }
            }
            of_stacks.insert(name, problems);
        }
        let project = sound(&general).then(|| Project {
            name: manifest.name,
            root: self.root.to_path_buf(),
            default_stack: manifest.default_stack.map(|(name, _)| name),
            backend: manifest.backend,
            stacks,
        });
        Loaded {
            project,
            sources: self.sources,
            diagnostics,
            general,
            stacks: of_stacks,
            drafts,
            torn,
        }
    }

    fn manifest(&mut self) -> (Manifest, Vec<Diagnostic>) {
        match self.open(Path::new("Epid.toml"), Span::NONE) {
            Ok((source, text)) => {
                let (manifest, problems, _) = document(source, &text, manifest::read);
                (manifest, problems)
            }
            Err(problem) => {
                let missing = !disk::exists(&self.root.join("Epid.toml"));
                let problem = if missing {
                    let message = format!("there is no Epid.toml in {}", self.root.display());
                    Diagnostic::error(Span::NONE, message)
                        .with_hint("a project is a folder with an Epid.toml that holds name = \"…\"")
                } else {
                    problem
                };
                (Manifest::default(), vec![problem])
            }
        }
    }

    /// The stacks by name, in order.
    fn stack_files(&self, problems: &mut Vec<Diagnostic>) -> Vec<(Arc<str>, PathBuf)> {
        let folder = Path::new("stacks");
        if !disk::exists(&self.root.join(folder)) {
            return Vec::new();
        }
        let names = match disk::list(&self.root.join(folder)) {
            Ok(names) => names,
            Err(error) => {
                problems.push(Diagnostic::error(
                    Span::NONE,
                    format!("the folder stacks {}", error.why),
                ));
                return Vec::new();
            }
        };
        let mut found = Vec::new();
        for (file, _) in names {
            let Some(name) = file.strip_suffix(".toml").filter(|_| !file.starts_with('.')) else {
                continue;
            };
            if manifest::is_file_name(name) {
                found.push((Arc::from(name), folder.join(&file)));
            } else {
                problems.push(
                    Diagnostic::warning(
                        Span::NONE,
                        format!("stacks/{file} is left out: `{name}` is not a stack's name"),
                    )
                    .with_hint("a letter or digit, then letters, digits, `-` and `_`"),
                );
            }
        }
        found
    }

    /// Reads a file of the project; what is wrong is reported at `from`, which names it, or in the file itself.
    fn open(&mut self, path: &Path, from: Span) -> Result<(SourceId, Arc<str>), Diagnostic> {
        match disk::read(&self.root.join(path)) {
            Ok(text) => {
                let text: Arc<str> = text.into();
                Ok((self.sources.add(path, Some(text.clone())), text))
            }
            Err(error) => {
                let span = match error.at {
                    // Without its text, a span of a source is line and column.
                    Some((start, end)) => Span {
                        source: self.sources.add(path, None),
                        start,
                        end,
                    },
                    None => from,
                };
                let path = path.display().to_string().replace('\\', "/");
                let problem = Diagnostic::error(span, format!("{path} {}", error.why));
                let hint = match error.hint {
                    Some(hint) => Some(hint.to_owned()),
                    None if error.missing => {
                        files::similar(self.root, &path).map(|near| format!("did you mean `{near}`?"))
                    }
                    None => None,
                };
                Err(Diagnostic { hint, ..problem })
            }
        }
    }

    fn stack(
        &mut self,
        name: &Arc<str>,
        path: &Path,
        names: &[Arc<str>],
        manifest: &Manifest,
    ) -> (Option<StackFile>, bool, Vec<Diagnostic>) {
        let (source, text) = match self.open(path, Span::NONE) {
            Ok(opened) => opened,
            Err(problem) => return (None, false, vec![problem]),
        };
        let (found, mut problems, mut legible) = document(source, &text, stack::read);
        drop(text);
        for (other, spans) in found.references.values() {
            if !manifest::is_file_name(other) {
                // That is reported already.
            } else if !names.contains(other) {
                let problem = Diagnostic::error(spans.value, format!("there is no stack `{other}`"));
                problems.push(match nearest(other, names.iter().map(|n| &**n)) {
                    Some(near) => problem.with_hint(format!("did you mean `{near}`?")),
                    None => problem.with_hint(format!("a stack is a file: stacks/{other}.toml")),
                });
            } else if other == name {
                problems.push(
                    Diagnostic::error(spans.value, format!("the stack `{name}` refers to itself"))
                        .with_hint("within a stack, resources are referred to by their names"),
                );
            }
        }
        let mut program = match &found.program {
            Some((written, span)) => match self.program(path, written, *span) {
                Ok(parsed) => {
                    problems.extend(parsed.problems);
                    legible &= parsed.legible;
                    let mut program = parsed.program;
                    program.incomplete.extend(found.own.incomplete);
                    program.providers = inherited(found.own.providers, program.providers);
                    program
                }
                Err(problem) => {
                    problems.push(problem);
                    legible = false;
                    found.own
                }
            },
            None => match self.built.as_mut().filter(|_| found.own.resources.is_empty()) {
                Some(built) => {
                    built.taken = true;
                    let built = built.parsed.clone();
                    problems.extend(built.problems);
                    let mut program = built.program;
                    program.incomplete.extend(found.own.incomplete);
                    program.providers = inherited(found.own.providers, program.providers);
                    program.outputs.extend(found.own.outputs);
                    program
                }
                None => {
                    let mut program = found.own;
                    problems.extend(read_files(&mut program, self.root, &mut self.sources));
                    program
                }
            },
        };
        program.providers = inherited(program.providers, manifest.providers.clone());
        program.incomplete.extend(manifest.incomplete.iter().cloned());
        let stack = StackFile {
            name: name.clone(),
            path: path.to_path_buf(),
            program,
            config: found.config,
            secrets: found.secrets,
            references: found.references,
            key: found.key,
            sandbox: found.sandbox,
        };
        (Some(stack), legible, problems)
    }

    /// The program that a stack names, parsed once however many stacks share it.
    fn program(&mut self, stack: &Path, written: &str, span: Span) -> Result<Parsed, Diagnostic> {
        let path = Path::new(written);
        if path.is_absolute() || path.has_root() {
            return Err(
                Diagnostic::error(span, "the path of a program is relative to its stack file")
                    .with_hint("such as program = \"programs/services.toml\""),
            );
        }
        let rust = path.extension().is_some_and(|e| e == "rs");
        if !rust && path.extension().is_none_or(|e| e != "toml") {
            return Err(Diagnostic::error(span, format!("`{written}` is not a program"))
                .with_hint("a program is a .toml file, or the .rs file of a program in Rust"));
        }
        let path = disk::tidy(&stack.parent().unwrap_or(Path::new("")).join(path));
        if rust {
            return match &mut self.built {
                Some(built) if is_same(&built.file, &path) => {
                    built.taken = true;
                    Ok(built.parsed.clone())
                }
                Some(built) => Err(Diagnostic::error(
                    span,
                    format!(
                        "this stack runs {}, and this binary is {}",
                        path.display(),
                        built.file.display()
                    ),
                )
                .with_hint("run the stack with the binary of its own program")),
                None => Err(Diagnostic::error(
                    span,
                    format!(
                        "{} is a program in Rust, which only its own binary runs",
                        path.display()
                    ),
                )
                .with_hint("that binary has this whole command line: cargo run -- preview")),
            };
        }
        if let Some(parsed) = self.programs.get(&path) {
            return Ok(parsed.clone());
        }
        let parsed = match self.open(&path, span) {
            Ok((source, text)) => {
                let (mut program, mut problems, legible) = document(source, &text, declarations::program);
                problems.extend(read_files(&mut program, self.root, &mut self.sources));
                Parsed {
                    program,
                    problems,
                    legible,
                }
            }
            // Each stack that names it has its own place, so this is not kept.
            Err(problem) => {
                let near = path_from(stack, self.root, written);
                return Err(match near {
                    Some(near) => problem.with_hint(format!("the path begins at the stack file: \"{near}\"")),
                    None => problem,
                });
            }
        };
        self.programs.insert(path, parsed.clone());
        Ok(parsed)
    }
}

/// True where two paths name one file, of which each may begin in another folder: that of the project, of the workspace.
fn is_same(one: &Path, other: &Path) -> bool {
    one.ends_with(other) || other.ends_with(one)
}

/// Stacks that refer to each other in a round, each with its mistake.
fn rounds(read: &[(Arc<str>, Option<StackFile>, Vec<Diagnostic>)]) -> Vec<(Arc<str>, Diagnostic)> {
    let stacks: BTreeMap<&str, &StackFile> = read
        .iter()
        .filter_map(|(n, s, _)| Some((&**n, s.as_ref()?)))
        .collect();
    let mut found = Vec::new();
    for start in stacks.values() {
        // The shortest way back, stack by stack; each with the stack it was reached from.
        let mut from: BTreeMap<&str, &str> = BTreeMap::new();
        let mut waiting = std::collections::VecDeque::from([&*start.name]);
        while let Some(at) = waiting.pop_front() {
            let references = stacks.get(at).into_iter().flat_map(|s| s.references.values());
            for (next, _) in references.filter(|(next, _)| **next != *at) {
                if !from.contains_key(&**next) {
                    from.insert(next, at);
                    waiting.push_back(next);
                }
            }
        }
        let mut path = vec![&*start.name];
        let mut at = from.get(&*start.name).copied();
        while let Some(name) = at.filter(|name| *name != &*start.name) {
            path.push(name);
            at = from.get(name).copied();
        }
        if at.is_none() {
            continue;
        }
        path.push(&*start.name);
        path.reverse();
        let next = path.get(1).copied().unwrap_or_default();
        let span = start
            .references
            .values()
            .find(|(name, _)| **name == *next)
            .map_or(Span::NONE, |(_, spans)| spans.value);
        let shown: Vec<String> = path.iter().map(|name| format!("`{name}`")).collect();
        let message = format!("stacks refer to each other: {}", shown.join(" → "));
        let problem = Diagnostic::error(span, message);
        found.push((
            start.name.clone(),
            problem.with_hint("move what both need into a stack of its own, which both refer to"),
        ));
    }
    found
}

/// The path of a program as its stack file would say it, where it was written as seen from the project's folder.
fn path_from(stack: &Path, root: &Path, written: &str) -> Option<String> {
    let path = disk::tidy(Path::new(written));
    let folder = stack.parent()?;
    if !disk::exists(&root.join(&path)) || disk::exists(&root.join(folder).join(&path)) {
        return None;
    }
    Some(match path.strip_prefix(folder) {
        Ok(inner) => inner.display().to_string(),
        Err(_) => format!("../{}", path.display()),
    })
}

/// `nearer`, and before them those of `farther` that they do not replace.
fn inherited(nearer: Vec<Declaration>, farther: Vec<Declaration>) -> Vec<Declaration> {
    let kept = |d: &Declaration| nearer.iter().all(|n| n.name != d.name);
    farther
        .into_iter()
        .filter(kept)
        .collect::<Vec<_>>()
        .into_iter()
        .chain(nearer)
        .collect()
}
