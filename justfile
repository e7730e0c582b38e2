# What is done often. `just` lists it.

_default:
    @just --list --unsorted

# The seed's three stacks in the simulated cloud
try:
    cargo run --release -- up --all --sandbox --yes

# All tests that need nothing but Rust
test:
    cargo test --workspace

# Formatting, lints, docs
check:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets --locked -- -D warnings
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked

# Everything that main must pass, real servers included
ci:
    .ci/run

# The engine at 1,000, 10,000 and 100,000 resources, and beside Terraform where there is one
bench:
    cargo bench --bench engine
    cargo bench --bench layered
    cargo bench --bench state

# Licences, advisories and banned crates
deny:
    cargo deny check
