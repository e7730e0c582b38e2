//! A project with its states and keys: what every command starts from.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use epid_provider::{Map, Value};

use super::backend;
use super::derivations::Derivations;
use super::error::Error;
use super::passphrase::Asked;
use super::surroundings;
use super::ui::{Terminal, conceal};
use super::world::{World, flag};
use crate::graph::{Inputs, ResourceGraph, build};
use crate::program::{Components, Diagnostic, Loaded, Project, Severity, Sources, StackFile, draft_values};
use crate::state::blobs::{Blobs, FolderBlobs};
use crate::state::{
    KeyRing, Location, PassphraseProvider, Snapshot, StackKeys, StateError, Store, is_sandbox,
};

/// The keys of a project that a provider has sealed.
const SEALED_KEYS: &str = "Epid.keys.toml";

/// The outputs of stacks that run before, as they will be: what their plans cannot tell is unknown.
pub(crate) type Pending = BTreeMap<Arc<str>, Map>;

/// A project, found and read.
pub(crate) struct Workspace {
    /// The project.
    pub(crate) project: Project,
    /// Its files.
    pub(crate) sources: Sources,
    /// What is wrong with some of its stacks.
    loaded: Loaded,
    /// The components there are.
    pub(crate) components: Components,
    /// The states.
    pub(crate) store: Store,
    /// What of them is in this folder.
    here: Arc<dyn Blobs>,
    remote: bool,
    /// The keys.
    pub(crate) keys: KeyRing,
    /// Who hears of what is odd.
    terminal: Terminal,
}

/// The folder of the project that `folder` is in.
pub(crate) fn root(folder: &Path) -> Result<PathBuf, Error> {
    crate::program::find_project(folder).ok_or_else(|| {
        Error::invalid(format!(
            "there is no Epid.toml in {} or above it",
            folder.display()
        ))
        .hint("run epid within a project, or name its folder with --cwd DIR")
    })
}

fn store(root: &Path, blobs: Arc<dyn Blobs>, keys: &KeyRing, terminal: Terminal) -> Store {
    let folder = root.join(".epid");
    // Apart from the states, so that it does not go back in time with them; whoever writes a state writes it.
    let seen = FolderBlobs::new(folder.join("seen")).ignored_with(folder);
    let person = surroundings::person().map(|folder| FolderBlobs::new(folder.join("epid").join("seen")));
    let person = person.map(|folder| Arc::new(folder) as Arc<dyn Blobs>);
    let listener = move |problem: &StateError| terminal.note(&format!("warning: {problem}"));
    Store::new(blobs, keys.clone(), surroundings::randomness()).noting(Arc::new(seen), person, listener)
}

/// What is recorded of a stack.
pub(crate) struct Recorded {
    /// The records.
    pub(crate) snapshot: Snapshot,
    /// The keys, where there is a state.
    pub(crate) keys: Option<StackKeys>,
}

impl Recorded {
    /// Of a stack that has never run.
    pub(crate) fn nothing(location: &Location) -> Self {
        let header = crate::state::Header::new(&location.project, &location.stack, &location.world, "");
        Self {
            snapshot: Snapshot::new(header),
            keys: None,
        }
    }
}

/// A stack that declares nothing.
fn empty(name: Arc<str>) -> StackFile {
    StackFile {
        path: PathBuf::from("stacks").join(format!("{name}.toml")),
        name,
        program: crate::program::Program::default(),
        config: BTreeMap::new(),
        secrets: BTreeMap::new(),
        references: BTreeMap::new(),
        key: None,
        sandbox: false,
    }
}

impl Workspace {
    /// The project that `folder` is in, or the one around a program that was built.
    pub(crate) fn find(folder: &Path, loaded: Option<Loaded>, terminal: Terminal) -> Result<Self, Error> {
        let mut loaded = match loaded {
            Some(loaded) => loaded,
            None => crate::program::load(&root(folder)?),
        };
        let Some(project) = loaded.project.take() else {
            return Err(Error::Input(loaded.diagnostics.clone(), loaded.sources.clone()));
        };
        let backend = backend::of(&project.root, project.backend.as_ref())?;
        let asked = Arc::new(Asked::new(terminal));
        let keys = KeyRing::new(project.root.join(".epid").join("keys")).with_sealed(
            project.root.join(SEALED_KEYS),
            vec![Arc::new(PassphraseProvider::new(asked))],
        );
        let store = store(&project.root, backend.all, &keys, terminal);
        Ok(Self {
            sources: loaded.sources.clone(),
            project,
            loaded,
            components: crate::components::all(),
            store,
            here: backend.here,
            remote: backend.remote,
            keys,
            terminal,
        })
    }

    /// The states in `blobs`, with the keys of the project.
    pub(crate) fn store_in(&self, blobs: Arc<dyn Blobs>) -> Store {
        store(&self.project.root, blobs, &self.keys, self.terminal)
    }

    /// True where some states are reached over a network, so that time may not jump.
    pub(crate) fn is_remote(&self) -> bool {
        self.remote
    }

    /// With only the states of this folder, among them all of the sandbox: the sandbox needs no network.
    pub(crate) fn in_sandbox(mut self) -> Self {
        if self.remote {
            self.store = self.store_in(self.here.clone());
            self.remote = false;
        }
        self
    }

    /// The stack that a command means.
    pub(crate) fn stack(&self, named: Option<&str>) -> Result<&StackFile, Error> {
        // Those whose files are wrong count too: taking another one for them would surprise.
        let usable = self.project.stacks.iter().map(|s| &*s.name);
        let all: BTreeSet<&str> = usable.chain(self.loaded.stacks().map(|s| &**s)).collect();
        let names = || all.iter().copied().collect::<Vec<&str>>().join(", ");
        let only = all.first().copied().filter(|_| all.len() == 1);
        let Some(name) = named.or(self.project.default_stack.as_deref()).or(only) else {
            return Err(if all.is_empty() {
                Error::invalid("the project has no stacks").hint("write one: stacks/dev.toml")
            } else {
                Error::invalid("which stack?").hint(format!(
                    "name one with --stack (there are {}), take all with --all, or set defaultStack in Epid.toml",
                    names()
                ))
            });
        };
        self.project.stack(name).ok_or_else(|| {
            if self.loaded.stacks().any(|stack| **stack == *name) {
                return self.input(self.all_of(name));
            }
            if named.is_none() {
                // The name stands in Epid.toml, where it is reported.
                let errors = self
                    .loaded
                    .diagnostics
                    .iter()
                    .filter(|d| d.message.contains("default stack"));
                let errors = errors.map(|d| Diagnostic {
                    severity: Severity::Error,
                    ..d.clone()
                });
                return self.input(errors.collect());
            }
            let problem = Error::invalid(format!("there is no stack `{name}`"));
            match epid_provider::check::nearest(name, all.iter().copied()) {
                Some(near) => problem.hint(format!("did you mean `{near}`?")),
                None if all.is_empty() => {
                    problem.hint(format!("the project has none; write stacks/{name}.toml"))
                }
                None => problem.hint(format!("the project has {}", names())),
            }
        })
    }

    /// The stack whose file a command edits, which may be wrong elsewhere; and whether all of its program is known.
    pub(crate) fn editable(&self, named: Option<&str>) -> Result<(&StackFile, bool), Error> {
        let error = match self.stack(named) {
            Ok(stack) => return Ok((stack, true)),
            Err(error) => error,
        };
        let name = named.or(self.project.default_stack.as_deref()).or_else(|| {
            let mut all = self.loaded.stacks();
            all.next().filter(|_| all.next().is_none()).map(|name| &**name)
        });
        let Some(name) = name else {
            return Err(error);
        };
        let draft = self.loaded.draft(name).map(|stack| (stack, true));
        let torn = || self.loaded.torn(name).map(|stack| (stack, false));
        draft.or_else(torn).ok_or(error)
    }

    /// What is wrong with the files of a stack.
    pub(crate) fn wrong_with(&self, stack: &str) -> Error {
        self.input(self.loaded.problems_of(stack))
    }

    /// All stacks, each after those it refers to.
    pub(crate) fn in_order(&self) -> Result<Vec<&StackFile>, Error> {
        self.every()?;
        let mut order = Vec::new();
        let mut done = BTreeSet::new();
        for stack in &self.project.stacks {
            self.visit(stack, &mut done, &mut order);
        }
        Ok(order)
    }

    fn visit<'a>(
        &'a self,
        stack: &'a StackFile,
        done: &mut BTreeSet<Arc<str>>,
        order: &mut Vec<&'a StackFile>,
    ) {
        if done.contains(&stack.name) {
            return;
        }
        // The loader refuses stacks that refer to each other in a round.
        done.insert(stack.name.clone());
        for (producer, _) in stack.references.values() {
            if let Some(producer) = self.project.stack(producer) {
                self.visit(producer, done, order);
            }
        }
        order.push(stack);
    }

    /// Takes the marks away that a stack has left with those whose outputs it used, whether they have a file or not: all of them
    /// where nothing `uses` them any more, else those with stacks that it does not refer to.
    pub(crate) async fn withdraw(
        &self,
        stack: &StackFile,
        location: &Location,
        uses: bool,
    ) -> Result<(), Error> {
        let referred = stack.references.values();
        let referred =
            referred.map(|(producer, _)| Location::new(&location.world, &location.project, producer));
        let referred: BTreeSet<Location> = referred.collect();
        let mut left: BTreeSet<Location> = self.store.producers(location).await?.into_iter().collect();
        if uses {
            left.retain(|producer| !referred.contains(producer));
        } else {
            // Also where the state was lost, and with it what it says of its marks.
            left.extend(referred);
        }
        for producer in left {
            self.store.remove_consumer(&producer, location).await?;
        }
        Ok(())
    }

    /// Where the state of a stack is.
    pub(crate) fn location(&self, world: &World, stack: &str) -> Location {
        Location::new(&world.id, &self.project.name, stack)
    }

    /// Also takes stacks whose files are wrong, as if they declared nothing: for what works on states alone.
    pub(crate) fn with_broken(mut self) -> Self {
        let broken: Vec<Arc<str>> = self.broken().cloned().collect();
        for name in broken {
            // Where it runs and what it uses may be told all the same.
            let read = self.loaded.draft(&name).or_else(|| self.loaded.torn(&name));
            let stack = StackFile {
                references: read.map(|read| read.references.clone()).unwrap_or_default(),
                key: read.and_then(|read| read.key.clone()),
                sandbox: read.is_some_and(|read| read.sandbox),
                ..empty(name)
            };
            self.project.stacks.push(stack);
        }
        self
    }

    /// Also takes a stack that has a state but no file any more: the one that is named, or the default one.
    pub(crate) async fn with_forgotten(mut self, named: Option<&str>) -> Result<Self, Error> {
        let named = named.or(self.project.default_stack.as_deref());
        if let Some(name) = named
            && self.project.stack(name).is_none()
        {
            let name: Arc<str> = Arc::from(name);
            let worlds = self.store.worlds(&self.project.name, &name).await?;
            if !worlds.is_empty() {
                let sandbox = worlds.iter().all(|world| is_sandbox(world));
                let stack = empty(name);
                self.project.stacks.push(StackFile { sandbox, ..stack });
            }
        }
        Ok(self)
    }

    /// The states of stacks that have no file any more, and what each holds, as far as that can be read.
    pub(crate) async fn forgotten(&self) -> Result<Vec<(Location, Option<Snapshot>)>, Error> {
        let mut found = Vec::new();
        for location in self.store.list().await? {
            if location.project == self.project.name && !self.has_file(&location.stack) {
                let recorded = self.recorded(&location).await.ok();
                found.push((location, recorded.map(|recorded| recorded.snapshot)));
            }
        }
        Ok(found)
    }

    /// True where no stack has a file.
    pub(crate) fn is_without_stacks(&self) -> bool {
        self.loaded.stacks().next().is_none() && self.project.stacks.is_empty()
    }

    /// That no stack has a file, for whoever wants to destroy one: what is recorded all the same, and the commands for that.
    pub(crate) async fn without_stacks(&self) -> Result<Error, Error> {
        let mut left = self.forgotten().await?;
        left.retain(|(_, recorded)| recorded.as_ref().is_none_or(|snapshot| !snapshot.is_empty()));
        let commands: Vec<String> = left
            .iter()
            .map(|(location, _)| {
                let sandbox = flag(&location.world);
                format!("`epid destroy --stack {}{sandbox}`", location.stack)
            })
            .collect();
        let problem = Error::invalid("the project has no stacks with a file");
        Ok(match &*commands {
            [] => problem.hint("nothing is recorded either: there is nothing to destroy"),
            commands => problem.hint(format!("{} removes what is recorded", commands.join(" or "))),
        })
    }

    /// True for a stack that has a file, whatever is wrong with it.
    pub(crate) fn has_file(&self, stack: &str) -> bool {
        self.loaded.stacks().any(|name| **name == *stack)
    }

    /// The stacks whose files are wrong.
    pub(crate) fn broken(&self) -> impl Iterator<Item = &Arc<str>> {
        self.loaded
            .stacks()
            .filter(|name| self.project.stack(name).is_none())
    }

    /// Every stack, or what is wrong with those that cannot be taken.
    pub(crate) fn every(&self) -> Result<(), Error> {
        if self.broken().next().is_some() {
            let mut all = self.loaded.diagnostics.clone();
            for problem in self.loaded.stacks().flat_map(|name| self.all_of(name)) {
                if !all.contains(&problem) {
                    all.push(problem);
                }
            }
            Err(self.input(all))
        } else {
            Ok(())
        }
    }

    /// What is wrong with the input, with its place.
    pub(crate) fn input(&self, problems: Vec<Diagnostic>) -> Error {
        Error::Input(problems, self.sources.clone())
    }

    /// What is recorded of a stack; nothing where it has never run.
    pub(crate) async fn recorded(&self, location: &Location) -> Result<Recorded, Error> {
        Ok(match self.store.read(location).await? {
            Some((snapshot, keys)) => Recorded {
                snapshot,
                keys: Some(keys),
            },
            None => Recorded::nothing(location),
        })
    }

    /// Makes sure that what is recorded of a stack can be read, and its secrets be opened.
    pub(crate) async fn writable(&self, location: &Location) -> Result<(), Error> {
        self.opens_secrets(location, "changing").await
    }

    /// Makes sure that the secrets of a stack can be opened, for `doing` something to it.
    pub(crate) async fn opens_secrets(&self, location: &Location, doing: &str) -> Result<(), Error> {
        match self.recorded(location).await?.keys {
            Some(keys) if !keys.opens_secrets() => Err(Error::from(StateError::NeedsWholeKey {
                what: format!("{doing} {location}"),
                id: keys.id().to_owned(),
            })),
            _ => Ok(()),
        }
    }

    /// Everything wrong with a stack that could not be loaded: also what would come to light only after the rest is mended.
    fn all_of(&self, name: &str) -> Vec<Diagnostic> {
        let mut problems = self.loaded.problems_of(name);
        let Some(draft) = self.loaded.draft(name) else {
            return problems;
        };
        let mut draft = draft.clone();
        // What is given twice was reported.
        draft.secrets.retain(|name, _| !draft.config.contains_key(name));
        for problem in self.beyond(&draft) {
            if !problems.contains(&problem) {
                problems.push(problem);
            }
        }
        problems
    }

    /// What is wrong with the configuration and the resources of a stack, whatever other stacks tell it.
    pub(crate) fn beyond(&self, draft: &StackFile) -> Vec<Diagnostic> {
        // A key that is not here is for the run to miss.
        let unknown = Derivations::default();
        let (config, mut problems) = self.config(draft, true, &unknown);
        let references = draft.references.keys();
        let stacks = references.map(|name| (name.clone(), Value::unknown(&format!("stacks.{name}"))));
        let world = World::cloud();
        let inputs = Inputs {
            project: &self.project.name,
            stack: &draft.name,
            config,
            stacks: stacks.collect(),
            components: &self.components,
            providers: &world.providers,
            digests: &unknown,
            place: &|_| None,
        };
        if let Err(found) = build(&draft.program, &inputs) {
            problems.extend(found);
        }
        problems
    }

    /// The configuration of a stack, secrets opened. In the sandbox a secret without its key is a placeholder; where secrets are
    /// their digests, it is one.
    fn config(
        &self,
        stack: &StackFile,
        simulated: bool,
        derivations: &Derivations,
    ) -> (Map, Vec<Diagnostic>) {
        let mut secrets = BTreeMap::new();
        let mut problems = Vec::new();
        for (name, (sealed, spans)) in &stack.secrets {
            match self.keys.unseal_config(name, sealed) {
                Ok(value) => {
                    secrets.insert(name.clone(), derivations.sealed(sealed, Some(value)));
                }
                Err(error) if derivations.opens_nothing() && error.is_missing_key() => {
                    secrets.insert(name.clone(), derivations.sealed(sealed, None));
                }
                Err(error) if simulated && error.is_missing_key() => {
                    let placeholder = format!("placeholder-of-{name}");
                    secrets.insert(name.clone(), Value::from(placeholder));
                }
                Err(StateError::MissingKey { id, file, .. }) => {
                    let file = Path::new(&file);
                    let file = file.strip_prefix(&self.project.root).unwrap_or(file);
                    problems.push(
                        Diagnostic::error(spans.value, format!("the key {id} of the secret `{name}` is not here")).about_a_secret().with_hint(
                            format!("restore {} from a backup or a colleague, or set every secret of the stack anew: epid config set --secret --new-key {name} --stack {}", file.display(), stack.name),
                        ),
                    );
                }
                Err(error) => {
                    problems.push(Diagnostic::error(spans.value, error.to_string()).about_a_secret());
                }
            }
        }
        for secret in secrets.values() {
            conceal(&secret.clone().into_secret());
        }
        let (values, wrong) = draft_values(stack, &secrets);
        problems.extend(wrong);
        let in_clear = |name: &Arc<str>| !secrets.contains_key(name);
        let values = values.iter().map(|(name, value)| {
            let value = if in_clear(name) {
                derivations.marked(value.clone())
            } else {
                value.clone()
            };
            (name.clone(), value)
        });
        (values.collect(), problems)
    }

    /// Keeps the secrets of a stack out of what is printed: ids, which the state has in clear, may repeat them.
    pub(crate) fn conceal(&self, stack: &StackFile) {
        for (name, (sealed, _)) in &stack.secrets {
            if let Ok(secret) = self.keys.unseal_config(name, sealed) {
                conceal(&secret.into_secret());
            }
        }
    }

    /// The graph of a stack.
    pub(crate) fn graph(
        &self,
        stack: &StackFile,
        world: &World,
        references: Map,
        derivations: &Derivations,
    ) -> Result<ResourceGraph, Error> {
        let (config, mut problems) = self.config(stack, world.simulated, derivations);
        let place = |span| self.sources.place(span).map(Arc::from);
        let inputs = Inputs {
            project: &self.project.name,
            stack: &stack.name,
            config,
            stacks: references,
            components: &self.components,
            providers: &world.providers,
            digests: derivations,
            place: &place,
        };
        match build(&stack.program, &inputs) {
            Ok(graph) if problems.is_empty() => Ok(graph),
            Ok(_) => Err(self.input(problems)),
            Err(found) => {
                problems.extend(found);
                Err(self.input(problems))
            }
        }
    }

    /// The outputs of the stacks that a stack refers to: as they will be where their stack is about to run, else as they were
    /// published. Elsewhere it is an error that there are none.
    pub(crate) async fn references(
        &self,
        stack: &StackFile,
        world: &World,
        pending: &Pending,
        derivations: &Derivations,
    ) -> Result<Map, Error> {
        let mut found = Vec::new();
        let mut problems = Vec::new();
        for (name, (producer, spans)) in &stack.references {
            let location = self.location(world, producer);
            let outputs = self.store.outputs(&location).await?;
            let value = match (outputs, self.project.stack(producer)) {
                (_, Some(_)) if let Some(foreseen) = pending.get(producer) => {
                    derivations.outputs(foreseen.clone(), foreseen)
                }
                (Some(outputs), _) => derivations.outputs(outputs.values, &outputs.digests),
                (None, file) => {
                    let (message, hint) = if file.is_some() {
                        (
                            format!("stack `{producer}` has no outputs yet"),
                            format!("run `epid up --stack {producer}` first, or take both with --all"),
                        )
                    } else {
                        (
                            format!("there is no stack `{producer}`"),
                            "references name stacks of this project".to_owned(),
                        )
                    };
                    problems.push(Diagnostic::error(spans.value, message).with_hint(hint));
                    continue;
                }
            };
            conceal(&value);
            found.push((name.clone(), value));
        }
        if problems.is_empty() {
            Ok(found.into_iter().collect())
        } else {
            problems.extend(self.beyond(stack));
            Err(self.input(problems))
        }
    }

    /// The outputs of the stacks that a stack refers to, of which nothing is known.
    pub(crate) fn unknown_references(&self, stack: &StackFile) -> Pending {
        let producers = stack.references.values().map(|(producer, _)| producer);
        let unknown = |producer: &Arc<str>| {
            let stack = self.project.stack(producer)?;
            Some((producer.clone(), Self::unknown_outputs(stack)))
        };
        producers.filter_map(unknown).collect()
    }

    /// The outputs of a stack, of which nothing is known.
    pub(crate) fn unknown_outputs(stack: &StackFile) -> Map {
        let outputs = stack.program.outputs.iter();
        let unknown = outputs.map(|output| {
            let origin = format!("stacks.{}.{}", stack.name, output.name);
            (output.name.clone(), Value::unknown(&origin))
        });
        unknown.collect()
    }

    /// Runs in the sandbox: asked for, or the stack always does.
    pub(crate) fn simulated(stack: &StackFile, asked: bool) -> bool {
        asked || stack.sandbox
    }
}
