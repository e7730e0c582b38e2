//! A few random programs with random edits, trouble and deaths; `simulate` tries as many as one likes.

use epid_simulation::cloud::On;
use epid_simulation::trial;

#[track_caller]
fn die_and_go_on(on: On, seeds: std::ops::RangeInclusive<u64>) {
    for seed in seeds {
        match trial::run(on, seed) {
            Ok(deaths) => assert!(deaths > 0),
            Err(error) => panic!("seed {seed}: {error}"),
        }
    }
}

#[test]
fn random_programs_die_in_the_sandbox_and_go_on() {
    die_and_go_on(On::Sandbox, 1..=6);
}

#[test]
fn random_programs_die_in_the_fake_cloud_and_go_on() {
    die_and_go_on(On::Fake, 1..=12);
}
