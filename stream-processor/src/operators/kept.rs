//! For tests of operators: what stands between a snapshot and the operator that is restored from it.

use arrow::array::RecordBatch;

use crate::checkpoint::state;
use crate::operator::{StateRows, StateTable};

/// Keeps what a checkpoint store keeps: the batches behind the stubs.
#[derive(Default)]
pub(crate) struct Kept(Vec<StateRows>);

impl Kept {
    pub(crate) fn take(&mut self, tables: Vec<StateTable>) -> Vec<StateTable> {
        let whole = |rows: &StateRows, kept: &[StateRows]| {
            if !rows.is_stub() {
                return rows.clone();
            }
            let known = kept.iter().find(|known| known.is(rows));
            known.expect("given before").clone()
        };
        let found = |mut table: StateTable| {
            table.rows = table.rows.iter().map(|rows| whole(rows, &self.0)).collect();
            table
        };
        let found: Vec<StateTable> = tables.into_iter().map(found).collect();
        self.0 = found.iter().flat_map(|table| table.rows.clone()).collect();
        found
    }

    /// What a restored operator gets: batches as they lie in files, cut anywhere.
    pub(crate) fn cut(&mut self, tables: Vec<StateTable>) -> Vec<StateTable> {
        let pieces = |batch: RecordBatch| {
            let begins = (0..batch.num_rows()).step_by(3);
            let piece = |begin| batch.slice(begin, 3.min(batch.num_rows() - begin)).into();
            begins.map(piece).collect::<Vec<StateRows>>()
        };
        let batches = |rows: StateRows| {
            let file = rows.into_file().expect("encodes");
            let file = file.expect("is no stub");
            state::decode(file.into()).expect("is as it was encoded")
        };
        let cut = |table: StateTable| StateTable {
            name: table.name,
            rows: table
                .rows
                .into_iter()
                .flat_map(batches)
                .flat_map(pieces)
                .collect(),
        };
        self.take(tables).into_iter().map(cut).collect()
    }
}
