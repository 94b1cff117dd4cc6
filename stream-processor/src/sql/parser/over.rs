//! Windows of OVER: `(PARTITION BY … ORDER BY … ROWS …)`, by name, and the WINDOW clause that names them.

use super::Parser;
use crate::error::Error;
use crate::sql::ast::{Frame, FrameBound, Ident, Over};

impl Parser<'_> {
    /// What follows OVER.
    pub(super) fn over(&mut self) -> Result<Over, Error> {
        if self.is_symbol("(") {
            return self.window_specification();
        }
        Ok(Over {
            name: Some(self.ident("a window")?),
            ..Over::default()
        })
    }

    /// `WINDOW name AS (…), …`, if it stands here.
    pub(super) fn windows(&mut self) -> Result<Vec<(Ident, Over)>, Error> {
        let mut windows = Vec::new();
        if self.take_word("WINDOW") {
            loop {
                let name = self.ident("a name")?;
                self.expect_word("AS")?;
                windows.push((name, self.window_specification()?));
                if !self.take_symbol(",") {
                    break;
                }
            }
        }
        Ok(windows)
    }

    fn window_specification(&mut self) -> Result<Over, Error> {
        self.expect_symbol("(")?;
        let partition = if self.take_words(&["PARTITION", "BY"]) {
            self.expr_list()?
        } else {
            Vec::new()
        };
        let order = self.order_by()?;
        let frame = self.frame()?;
        self.expect_symbol(")")?;
        Ok(Over {
            name: None,
            partition,
            order,
            frame,
        })
    }

    fn frame(&mut self) -> Result<Option<Frame>, Error> {
        let position = self.position();
        let rows = self.take_word("ROWS");
        if !rows && !self.take_word("RANGE") {
            return Ok(None);
        }
        let (start, end) = if self.take_word("BETWEEN") {
            let start = self.frame_bound()?;
            self.expect_word("AND")?;
            (start, self.frame_bound()?)
        } else {
            (self.frame_bound()?, FrameBound::CurrentRow)
        };
        Ok(Some(Frame {
            rows,
            start,
            end,
            position,
        }))
    }

    fn frame_bound(&mut self) -> Result<FrameBound, Error> {
        if self.take_words(&["CURRENT", "ROW"]) {
            return Ok(FrameBound::CurrentRow);
        }
        let by = if self.take_word("UNBOUNDED") {
            None
        } else {
            Some(self.comparison()?)
        };
        if self.take_word("PRECEDING") {
            return Ok(FrameBound::Preceding(by));
        }
        self.expect_word("FOLLOWING")?;
        Ok(FrameBound::Following(by))
    }
}
