//! What flows between operators: columns of rows, each row with the kind of change it is.
//!
//! Insert-only streams carry no kinds at all, so they pay nothing for changelogs. Batches come from
//! [`crate::connectors`], pass through [`crate::operator::Operator`]s, and end in a sink.

use std::sync::Arc;

use arrow::array::RecordBatch;

/// What a row does to the table that the stream describes; Flink's `RowKind`, in its byte order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum RowKind {
    /// `+I`: the row is new.
    Insert = 0,
    /// `-U`: the row as it was before an update.
    UpdateBefore = 1,
    /// `+U`: the row as it is after an update.
    UpdateAfter = 2,
    /// `-D`: the row is gone.
    Delete = 3,
}

impl RowKind {
    /// Flink's two characters for the kind, as `print` shows them.
    pub fn short(self) -> &'static str {
        match self {
            RowKind::Insert => "+I",
            RowKind::UpdateBefore => "-U",
            RowKind::UpdateAfter => "+U",
            RowKind::Delete => "-D",
        }
    }

    /// Whether the row adds to the table (`+I`, `+U`) and does not take from it (`-U`, `-D`).
    pub fn is_addition(self) -> bool {
        matches!(self, RowKind::Insert | RowKind::UpdateAfter)
    }
}

/// Rows and what each of them does.
#[derive(Debug, Clone)]
pub struct ChangeBatch {
    /// The columns, in the schema of the edge.
    pub rows: RecordBatch,
    /// One kind a row; `None` means that every row is an insert.
    pub kinds: Option<Arc<[RowKind]>>,
}

impl ChangeBatch {
    /// A batch of inserts.
    pub fn inserts(rows: RecordBatch) -> Self {
        ChangeBatch { rows, kinds: None }
    }

    /// A batch with one kind for each row.
    ///
    /// # Panics
    /// If there are not as many kinds as rows.
    pub fn changes(rows: RecordBatch, kinds: Arc<[RowKind]>) -> Self {
        assert_eq!(
            rows.num_rows(),
            kinds.len(),
            "a change batch needs one kind a row"
        );
        ChangeBatch {
            rows,
            kinds: Some(kinds),
        }
    }

    /// How many rows there are.
    pub fn num_rows(&self) -> usize {
        self.rows.num_rows()
    }

    /// The `length` rows from `offset` on.
    pub fn slice(&self, offset: usize, length: usize) -> Self {
        let kinds = self.kinds.as_ref();
        ChangeBatch {
            rows: self.rows.slice(offset, length),
            kinds: kinds.map(|kinds| kinds[offset..offset + length].into()),
        }
    }

    /// The kind of row `row`.
    pub fn kind(&self, row: usize) -> RowKind {
        self.kinds
            .as_ref()
            .map_or(RowKind::Insert, |kinds| kinds[row])
    }
}
