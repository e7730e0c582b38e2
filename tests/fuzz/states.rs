//! States, their journals and their outputs.

use proptest::prelude::*;

use crate::texts::{cases, replaced};
use crate::world::{WORLD, both, laid};

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(64), max_shrink_iters: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn changed_state_files_are_noticed(
        file in any::<prop::sample::Index>(),
        place in any::<prop::sample::Index>(),
        bytes in prop::collection::vec(any::<u8>(), 0..40),
        insert in any::<bool>(),
        killed in any::<bool>(),
    ) {
        // As one that was killed before it could close leaves them: what the journal holds is read too.
        let files = if killed { WORLD.killed() } else { WORLD.state.clone() };
        let at = file.index(files.len());
        let changed = replaced(&files[at].1, place, &bytes, insert);
        let folder = tempfile::tempdir().unwrap();
        laid(folder.path(), &files);
        laid(folder.path(), &[(files[at].0.clone(), changed)]);
        let (state, outputs) = both(folder.path());
        // Either what was written is known to be whole, or it is said which file is not. Only the last frame may be cut off, as
        // by a kill amid its write.
        match state {
            Ok(Some(state)) if killed => prop_assert!(WORLD.whole(true).contains(&state), "{:?}", state),
            Ok(state) => prop_assert_eq!(state.as_ref(), WORLD.whole(false).first()),
            Err(error) => prop_assert!(error.to_string().contains(folder.path().to_str().unwrap()), "{}", error),
        }
        if let Ok(outputs) = outputs {
            prop_assert_eq!(outputs, WORLD.outputs());
        }
    }
}
