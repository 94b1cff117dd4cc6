# The commands of every day; `just` lists them.
_default:
    @just --list

# Formatting and lints, as CI runs them
check:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- -D warnings

# All tests, or those of one crate: `just test lake`
test crate="":
    cargo test {{ if crate == "" { "--workspace" } else { "-p " + crate } }}

# Rewrite golden files and inline expectations
golden crate:
    UPDATE_EXPECT=1 cargo test -p {{ crate }}

# The tests of the whole platform through its binary
platform:
    cargo test -p streamforge --test it

# The whole lakehouse with its demo
run *options:
    cargo run --release -- up {{ options }}
