//! A few random programs with random edits, faults and deaths; `simulate` tries as many as one likes.

use epid_simulation::trial;

#[test]
fn random_programs_die_and_go_on() {
    for seed in 1..=6 {
        match trial::run(seed) {
            Ok(deaths) => assert!(deaths > 0),
            Err(error) => panic!("seed {seed}: {error}"),
        }
    }
}
