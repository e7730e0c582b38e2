//! Sealed keys and key files.

use std::fs;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use epid::state::{Entropy, KeyRing, Passphrase, PassphraseProvider, PassphraseSource, StateError};
use proptest::prelude::*;

use crate::texts::{cases, change, changed};

proptest! {
    // Each case may pay for Argon2id.
    #![proptest_config(ProptestConfig { cases: cases(24), ..ProptestConfig::default() })]

    #[test]
    fn any_file_of_sealed_keys_is_read_or_refused(changes in prop::collection::vec(change(), 1..4)) {
        let text = changed(std::str::from_utf8(&KEYS.1[0]).unwrap(), &changes);
        let [_, of_file] = opened(text.as_bytes());
        prop_assert!(matches!(of_file, Ok(true)));
    }
}

/// The passphrase of [`KEYS`].
struct Known;

impl PassphraseSource for Known {
    fn known(&self, _: &str, _: &str, refused: usize) -> Result<Option<Passphrase>, StateError> {
        Ok(Passphrase::new("phrase".to_owned()).filter(|_| refused == 0))
    }

    fn chosen(&self, _: bool) -> Result<Option<Passphrase>, StateError> {
        self.known("", "", 0)
    }
}

fn ring(folder: &Path) -> KeyRing {
    let provider = Arc::new(PassphraseProvider::new(Arc::new(Known)));
    KeyRing::new(folder.join("keys")).with_sealed(folder.join("Epid.keys.toml"), vec![provider])
}

/// A sealed key and a key file: their ids, and what the two files hold.
static KEYS: LazyLock<([String; 2], [Vec<u8>; 2])> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    let keys = ring(folder.path());
    let lock = keys.lock_rotation().unwrap();
    let drawn = |by: u8| -> Entropy {
        Arc::new(move |bytes: &mut [u8]| {
            bytes.fill(by);
            Ok(())
        })
    };
    let to = Some(PassphraseProvider::NAME);
    let sealed = keys.start_rotation(&lock, to, false, &drawn(1)).unwrap();
    let file = keys.mint(&drawn(2)).unwrap();
    let files = [folder.path().join("Epid.keys.toml"), keys.file(&file)].map(|path| fs::read(path).unwrap());
    ([sealed, file], files)
});

/// Whether both keys open where the file of sealed keys holds this.
fn opened(text: &[u8]) -> [Result<bool, StateError>; 2] {
    let ([sealed, file], files) = &*KEYS;
    let folder = tempfile::tempdir().unwrap();
    let keys = ring(folder.path());
    fs::create_dir(folder.path().join("keys")).unwrap();
    fs::write(folder.path().join("Epid.keys.toml"), text).unwrap();
    fs::write(keys.file(file), &files[1]).unwrap();
    drop((
        keys.ids(),
        keys.current(),
        keys.provider_of(sealed),
        keys.is_part(file),
    ));
    [keys.find(sealed), keys.find(file)]
}

#[test]
fn files_of_keys_that_are_damaged_are_refused() {
    let ([sealed, file], files) = &*KEYS;
    let text = String::from_utf8(files[0].clone()).unwrap();
    assert!(matches!(opened(&files[0]), [Ok(true), Ok(true)]));
    let record = &text[text.find("[keys.").unwrap()..];
    let cost = "m=65536,t=3,p=4";
    for bad in [
        format!("{text}{record}"),
        text.replace("format = 1", "format = 2"),
        text.replace("format = 1", "format = -1"),
        text.replace("format = 1", ""),
        text.replace(cost, "m=4294967295,t=3,p=4"),
        text.replace(cost, "m=1048577,t=3,p=4"),
        text.replace(cost, "m=65536,t=4000000000,p=4"),
        text.replace(cost, "m=65536,t=17,p=4"),
        text.replace(cost, "m=65536,t=3,p=65"),
        text.replace(cost, "m=0,t=0,p=0"),
        text.replace("passphrase", "kms"),
        text.replace(sealed, &"0".repeat(100_000)),
        "[".repeat(200_000),
        format!("format = 1\nkeys = {}", "{a=".repeat(100_000)),
    ] {
        assert_ne!(bad, text);
        let [of_record, of_file] = opened(bad.as_bytes());
        assert!(!matches!(of_record, Ok(true)), "{bad:.200}");
        // A key file needs no record.
        assert!(matches!(of_file, Ok(true)), "{bad:.200}");
    }
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("keys")).unwrap();
    let keys = ring(folder.path());
    let opens = |text: &[u8]| {
        fs::write(keys.file(file), text).unwrap();
        matches!(keys.find(file), Ok(true))
    };
    assert!(opens(&files[1]));
    // All but the line break at the end.
    for at in 0..files[1].len() - 1 {
        let mut bad = files[1].clone();
        bad[at] ^= 1;
        assert!(!opens(&bad), "byte {at} flipped");
        assert!(!opens(&files[1][..at]), "cut at byte {at}");
    }
}
