//! Checkpoints: what a job needs to go on, in object storage, and who may write it.
//!
//! Under `base/job/` live `gen-G/chk-N/*.arrow` (state tables) and `gen-G/chk-N/_manifest.json` (positions, tables,
//! sink committables), `generations/G` (one for each process that ever ran the job) and `epochs/N` (the published
//! checkpoints). Only `epochs` counts: a record is written with `If-None-Match: *`, so of two processes that both
//! think they run the job only one publishes, and a new generation first takes an epoch as a fence
//! (docs/adr/0005). [`store`] reads and writes, [`manifest`] is the format, [`state`] turns tables into files.

pub(crate) mod manifest;
pub(crate) mod state;
pub(crate) mod store;
