//! The sets of `COUNT(DISTINCT)` in checkpoints: the whole of them once, then what the first phase has passed on since.
//! A set does not mind being given again what it holds, so those rows are written as they came.

use arrow::array::RecordBatch;

use crate::error::Error;
use crate::operator::StateRows;

/// Most portions before sets are written anew. Tests have few.
const MOST_PORTIONS: usize = if cfg!(test) { 3 } else { 32 };

/// What checkpoints have of the sets of one window, and what they do not.
#[derive(Default)]
pub(super) struct Sets {
    /// Stubs once they have been given to a checkpoint.
    portions: Vec<StateRows>,
    fresh: Vec<RecordBatch>,
}

impl Sets {
    /// Takes note of rows that the first phase has passed on, and that have been added to the sets.
    pub(super) fn note(&mut self, partial: RecordBatch) {
        if !self.portions.is_empty() {
            self.fresh.push(partial);
        }
    }

    /// What the next checkpoint gets: `whole` makes all sets of it, `portion` what was passed on.
    pub(super) fn snapshot(
        &mut self,
        whole: impl FnOnce() -> Result<RecordBatch, Error>,
        portion: impl Fn(&RecordBatch) -> Result<RecordBatch, Error>,
    ) -> Result<Vec<StateRows>, Error> {
        let fresh = std::mem::take(&mut self.fresh);
        if self.portions.is_empty() || self.portions.len() + fresh.len() > MOST_PORTIONS {
            self.portions = vec![whole()?.into()];
        } else {
            for partial in &fresh {
                self.portions.push(portion(partial)?.into());
            }
        }
        let given = self.portions.clone();
        self.portions
            .iter_mut()
            .for_each(|rows| *rows = rows.stub());
        Ok(given)
    }
}
