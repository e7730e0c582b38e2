//! Records of runs: `history`.

use std::fs;
use std::path::Path;

use epid::state::{Location, RunRecord, StateError};

use crate::texts::{damages, later};
use crate::world::{ran, runtime, writable};

const FOLDER: &str = "state/cloud/p/s/history";
const RUNS: [&str; 3] = ["0000000001", "0000000002", "0000000003"];

async fn history(folder: &Path) -> Result<Vec<RunRecord>, StateError> {
    writable(folder).history(&Location::new("cloud", "p", "s")).await
}

/// Something is told of this file, by reading the history and by looking at every file; the state is read nevertheless.
async fn is_told(folder: &Path, how: &str, file: &str) {
    let told = history(folder).await.unwrap_err();
    assert!(told.to_string().contains(file), "{how}: {told}");
    let location = Location::new("cloud", "p", "s");
    let verified = writable(folder).verify(&location).await.unwrap();
    let problems: Vec<String> = verified.problems.iter().map(ToString::to_string).collect();
    assert!(
        problems.iter().any(|problem| problem.contains(file)),
        "{how}: {problems:?}"
    );
    assert_eq!(verified.snapshot.unwrap().header.serial, 3, "{how}");
}

#[test]
fn a_changed_run_is_told_and_none_is_lost_in_silence() {
    runtime().block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let (store, location) = (writable(folder.path()), Location::new("cloud", "p", "s"));
        ran(&store, &location, 3).await;
        let whole = history(folder.path()).await.unwrap();
        assert_eq!(whole.iter().map(|run| run.serial).collect::<Vec<_>>(), [1, 2, 3]);
        // What it is sealed with belongs to its stack.
        let other = Location::new("cloud", "p", "other");
        ran(&store, &other, 2).await;
        let path = |run: &str| folder.path().join(FOLDER).join(run);
        let texts = RUNS.map(|run| fs::read(path(run)).unwrap());
        let mut changed = damages(&texts[1]);
        let others = fs::read(folder.path().join("state/cloud/p/other/history").join(RUNS[1])).unwrap();
        changed.push(("of another stack".to_owned(), others));
        changed.push(("of another run".to_owned(), texts[0].clone()));
        for (how, text) in changed {
            fs::write(path(RUNS[1]), &text).unwrap();
            is_told(folder.path(), &how, RUNS[1]).await;
            assert_eq!(
                fs::read(path(RUNS[1])).unwrap(),
                text,
                "{how}: nothing is repaired"
            );
        }
        fs::write(path(RUNS[1]), later(&texts[1])).unwrap();
        let error = history(folder.path()).await.unwrap_err();
        assert!(matches!(error, StateError::Newer { .. }), "{error}");
        // The other way round.
        fs::write(path(RUNS[0]), &texts[1]).unwrap();
        fs::write(path(RUNS[1]), &texts[0]).unwrap();
        is_told(folder.path(), "exchanged", RUNS[0]).await;
        for (run, text) in RUNS.iter().zip(&texts) {
            fs::write(path(run), text).unwrap();
        }
        assert_eq!(history(folder.path()).await.unwrap(), whole);
    });
}
