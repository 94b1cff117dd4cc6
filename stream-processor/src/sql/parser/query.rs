//! Queries: WITH, SELECT, set operations, joins, window table functions.

use super::{Parser, is_reserved};
use crate::error::Error;
use crate::sql::ast::{
    Expr, ExprKind, Hint, Ident, JoinKind, Literal, Query, Select, SelectItem, SetExpr,
    SetOperator, TableKind, TableRef, WindowCall,
};
use crate::sql::lexer::{Token, tokenize};

impl Parser<'_> {
    /// A query.
    pub(super) fn query(&mut self) -> Result<Query, Error> {
        self.nested(Self::query_level)
    }

    fn query_level(&mut self) -> Result<Query, Error> {
        let position = self.position();
        let mut ctes = Vec::new();
        if self.take_word("WITH") {
            if self.is_word("RECURSIVE") {
                return Err(Error::unsupported("WITH RECURSIVE", self.position(), ""));
            }
            loop {
                let name = self.ident("a name")?;
                let columns = if self.is_symbol("(") {
                    self.ident_list()?
                } else {
                    Vec::new()
                };
                self.expect_word("AS")?;
                self.expect_symbol("(")?;
                let query = self.query()?;
                self.expect_symbol(")")?;
                ctes.push((name, columns, query));
                if !self.take_symbol(",") {
                    break;
                }
            }
        }
        let body = self.set_expr()?;
        let order = self.order_by()?;
        let mut limit = if self.take_word("LIMIT") {
            Some(self.expr()?)
        } else {
            None
        };
        let offset = if self.take_word("OFFSET") {
            let rows = self.expr()?;
            let _ = self.take_word("ROWS") || self.take_word("ROW");
            Some(rows)
        } else {
            None
        };
        if limit.is_none() && self.take_word("FETCH") {
            limit = Some(self.fetch()?);
        }
        Ok(Query {
            ctes,
            body,
            order,
            limit,
            offset,
            position,
        })
    }

    /// `FETCH FIRST 3 ROWS ONLY`, after its first word: how many.
    fn fetch(&mut self) -> Result<Expr, Error> {
        if !self.take_word("NEXT") {
            self.expect_word("FIRST")?;
        }
        let position = self.position();
        let count = if self.is_word("ROW") || self.is_word("ROWS") {
            Expr {
                kind: ExprKind::Literal(Literal::Number("1".to_owned())),
                position,
            }
        } else {
            self.expr()?
        };
        if !self.take_word("ROWS") {
            self.expect_word("ROW")?;
        }
        self.expect_word("ONLY")?;
        Ok(count)
    }

    fn set_expr(&mut self) -> Result<SetExpr, Error> {
        let mut left = self.intersection()?;
        loop {
            let position = self.position();
            let operator = if self.take_word("UNION") {
                SetOperator::Union
            } else if self.take_word("EXCEPT") || self.take_word("MINUS") {
                SetOperator::Except
            } else {
                return Ok(left);
            };
            let all = self.all();
            let right = self.intersection()?;
            left = SetExpr::Set {
                operator,
                all,
                left: Box::new(left),
                right: Box::new(right),
                position,
            };
        }
    }

    fn intersection(&mut self) -> Result<SetExpr, Error> {
        let mut left = self.set_primary()?;
        loop {
            let position = self.position();
            if !self.take_word("INTERSECT") {
                return Ok(left);
            }
            let all = self.all();
            let right = self.set_primary()?;
            left = SetExpr::Set {
                operator: SetOperator::Intersect,
                all,
                left: Box::new(left),
                right: Box::new(right),
                position,
            };
        }
    }

    fn all(&mut self) -> bool {
        if self.take_word("ALL") {
            return true;
        }
        self.take_word("DISTINCT");
        false
    }

    fn set_primary(&mut self) -> Result<SetExpr, Error> {
        let position = self.position();
        if self.take_symbol("(") {
            let query = self.query()?;
            self.expect_symbol(")")?;
            return Ok(SetExpr::Nested(Box::new(query)));
        }
        if self.take_word("VALUES") {
            let mut rows = Vec::new();
            loop {
                let whole = self.take_word("ROW");
                if whole || self.is_symbol("(") {
                    self.expect_symbol("(")?;
                    rows.push(self.expr_list()?);
                    self.expect_symbol(")")?;
                } else {
                    rows.push(vec![self.expr()?]);
                }
                if !self.take_symbol(",") {
                    return Ok(SetExpr::Values(rows, position));
                }
            }
        }
        self.select()
    }

    fn select(&mut self) -> Result<SetExpr, Error> {
        let position = self.position();
        self.expect_word("SELECT")?;
        let hints = self.hints()?;
        let distinct = self.take_word("DISTINCT");
        if !distinct {
            self.take_word("ALL");
        }
        let mut items = vec![self.select_item()?];
        while self.take_symbol(",") {
            items.push(self.select_item()?);
        }
        let from = if self.take_word("FROM") {
            Some(self.from()?)
        } else {
            None
        };
        let filter = if self.take_word("WHERE") {
            Some(self.expr()?)
        } else {
            None
        };
        let (group, grouping_sets) = if self.take_words(&["GROUP", "BY"]) {
            self.group_by()?
        } else {
            (Vec::new(), None)
        };
        let having = if self.take_word("HAVING") {
            Some(self.expr()?)
        } else {
            None
        };
        let windows = self.windows()?;
        if self.is_word("QUALIFY") {
            return Err(Error::unsupported("QUALIFY", self.position(), ""));
        }
        Ok(SetExpr::Select(Box::new(Select {
            distinct,
            items,
            from,
            filter,
            group,
            grouping_sets,
            having,
            windows,
            hints,
            position,
        })))
    }

    fn select_item(&mut self) -> Result<SelectItem, Error> {
        let position = self.position();
        if self.take_symbol("*") {
            return Ok(SelectItem::Star(position));
        }
        if matches!(self.peek(), Token::Word(_) | Token::Quoted(_))
            && matches!(self.peek_ahead(1), Token::Symbol("."))
            && matches!(self.peek_ahead(2), Token::Symbol("*"))
        {
            let qualifier = self.ident("a table")?;
            self.advance();
            self.advance();
            return Ok(SelectItem::QualifiedStar(qualifier));
        }
        let expr = self.expr()?;
        let alias = self.alias()?;
        Ok(SelectItem::Expr(expr, alias))
    }

    fn alias(&mut self) -> Result<Option<Ident>, Error> {
        if self.take_word("AS") {
            return self.ident("an alias").map(Some);
        }
        match self.peek() {
            Token::Quoted(_) => self.ident("an alias").map(Some),
            Token::Word(word) if !is_reserved(word) => self.ident("an alias").map(Some),
            _ => Ok(None),
        }
    }

    fn from(&mut self) -> Result<TableRef, Error> {
        let mut left = self.joined()?;
        while self.take_symbol(",") {
            let right = self.joined()?;
            left = join(left, right, JoinKind::Cross, None, Vec::new());
        }
        Ok(left)
    }

    fn joined(&mut self) -> Result<TableRef, Error> {
        let mut left = self.table()?;
        loop {
            if self.is_word("NATURAL") {
                return Err(Error::unsupported("NATURAL JOIN", self.position(), ""));
            }
            let kind = if self.take_words(&["CROSS", "JOIN"]) {
                JoinKind::Cross
            } else if self.take_word("JOIN") || self.take_words(&["INNER", "JOIN"]) {
                JoinKind::Inner
            } else if let Some(kind) = self.outer_join() {
                kind
            } else {
                return Ok(left);
            };
            let right = self.table()?;
            let on = if kind != JoinKind::Cross && self.take_word("ON") {
                Some(self.expr()?)
            } else {
                None
            };
            let using = if kind != JoinKind::Cross && on.is_none() && self.take_word("USING") {
                self.ident_list()?
            } else {
                Vec::new()
            };
            if kind != JoinKind::Cross && on.is_none() && using.is_empty() {
                return Err(self.unexpected("ON or USING"));
            }
            left = join(left, right, kind, on, using);
        }
    }

    fn outer_join(&mut self) -> Option<JoinKind> {
        for (word, kind) in [
            ("LEFT", JoinKind::Left),
            ("RIGHT", JoinKind::Right),
            ("FULL", JoinKind::Full),
        ] {
            if self.take_words(&[word, "OUTER", "JOIN"]) || self.take_words(&[word, "JOIN"]) {
                return Some(kind);
            }
        }
        None
    }

    fn table(&mut self) -> Result<TableRef, Error> {
        self.nested(Self::table_level)
    }

    fn table_level(&mut self) -> Result<TableRef, Error> {
        let position = self.position();
        if self.is_word("LATERAL") && !matches!(self.peek_ahead(1), Token::Symbol("(")) {
            return Err(Error::unsupported("LATERAL TABLE", position, ""));
        }
        let kind = if self.take_symbol("(") {
            if self.is_word("SELECT")
                || self.is_word("WITH")
                || self.is_word("VALUES")
                || self.is_symbol("(")
            {
                let query = self.query()?;
                self.expect_symbol(")")?;
                TableKind::Query(Box::new(query))
            } else {
                let inner = self.from()?;
                self.expect_symbol(")")?;
                return Ok(inner);
            }
        } else if self.is_word("LATERAL") {
            return Err(Error::unsupported("a lateral subquery", position, ""));
        } else if self.is_word("UNNEST") {
            self.advance();
            self.expect_symbol("(")?;
            let expr = self.expr()?;
            self.expect_symbol(")")?;
            let ordinality = self.take_words(&["WITH", "ORDINALITY"]);
            TableKind::Unnest { expr, ordinality }
        } else if self.is_word("TABLE") {
            self.advance();
            self.expect_symbol("(")?;
            let call = self.window_call()?;
            self.expect_symbol(")")?;
            TableKind::Window(Box::new(call))
        } else if matches!(self.peek(), Token::Word(_))
            && matches!(self.peek_ahead(1), Token::Symbol("("))
        {
            TableKind::Window(Box::new(self.window_call()?))
        } else {
            self.named_table()?
        };
        let alias = self.alias()?;
        if self.is_word("MATCH_RECOGNIZE") {
            return Err(Error::unsupported("MATCH_RECOGNIZE", self.position(), ""));
        }
        let columns = if alias.is_some() && self.is_symbol("(") {
            self.ident_list()?
        } else {
            Vec::new()
        };
        Ok(TableRef {
            kind,
            alias,
            columns,
            position,
        })
    }

    fn named_table(&mut self) -> Result<TableKind, Error> {
        let path = self.path("a table")?;
        let hints = self.hints()?;
        let as_of = if self.take_words(&["FOR", "SYSTEM_TIME", "AS", "OF"]) {
            Some(self.sum_expr()?)
        } else {
            None
        };
        Ok(TableKind::Named { path, hints, as_of })
    }

    fn sum_expr(&mut self) -> Result<Expr, Error> {
        self.nested(Self::sum_level)
    }

    /// `TUMBLE(TABLE t [PARTITION BY k], DESCRIPTOR(c), INTERVAL …)`, by position or by name.
    fn window_call(&mut self) -> Result<WindowCall, Error> {
        let position = self.position();
        let name = match self.peek() {
            Token::Word(word) => word.to_ascii_uppercase(),
            _ => return Err(self.unexpected("a window function")),
        };
        if !matches!(name.as_str(), "TUMBLE" | "HOP" | "CUMULATE" | "SESSION") {
            return Err(Error::unsupported(
                format!("the table function `{name}`"),
                position,
                "; TUMBLE, HOP, CUMULATE and SESSION are",
            ));
        }
        self.advance();
        self.expect_symbol("(")?;
        let (mut input, mut time_column) = (None, None);
        let mut partition = Vec::new();
        let mut intervals = Vec::new();
        loop {
            let label = self.label();
            if self.is_word("TABLE") || self.is_symbol("(") {
                input = Some(self.window_input()?);
                if self.take_words(&["PARTITION", "BY"]) {
                    partition = self.partition_columns()?;
                }
            } else if self.take_word("DESCRIPTOR") {
                let mut columns = self.ident_list()?;
                if columns.len() != 1 {
                    return Err(Error::syntax("a window needs one time column", position));
                }
                time_column = columns.pop();
            } else {
                intervals.push((label, self.expr()?));
            }
            if !self.take_symbol(",") {
                break;
            }
        }
        self.expect_symbol(")")?;
        let (Some(input), Some(time_column)) = (input, time_column) else {
            return Err(Error::syntax(
                format!("{name} needs a TABLE and a DESCRIPTOR"),
                position,
            ));
        };
        Ok(WindowCall {
            name,
            input,
            partition,
            time_column,
            intervals,
            position,
        })
    }

    fn label(&mut self) -> Option<String> {
        if let Token::Word(word) | Token::Quoted(word) = self.peek()
            && matches!(self.peek_ahead(1), Token::Symbol("=>"))
        {
            let label = word.to_ascii_uppercase();
            self.advance();
            self.advance();
            return Some(label);
        }
        None
    }

    fn window_input(&mut self) -> Result<TableRef, Error> {
        let position = self.position();
        let kind = if self.take_symbol("(") {
            let query = self.query()?;
            self.expect_symbol(")")?;
            TableKind::Query(Box::new(query))
        } else {
            self.expect_word("TABLE")?;
            if self.take_symbol("(") {
                let query = self.query()?;
                self.expect_symbol(")")?;
                TableKind::Query(Box::new(query))
            } else {
                self.named_table()?
            }
        };
        Ok(TableRef {
            kind,
            alias: None,
            columns: Vec::new(),
            position,
        })
    }

    fn partition_columns(&mut self) -> Result<Vec<Ident>, Error> {
        if self.is_symbol("(") {
            return self.ident_list();
        }
        let mut columns = vec![self.ident("a column")?];
        // `, DESCRIPTOR(` or `, LABEL =>` ends the list.
        while self.is_symbol(",")
            && !matches!(self.peek_ahead(2), Token::Symbol("(" | "=>"))
            && matches!(self.peek_ahead(1), Token::Word(_) | Token::Quoted(_))
        {
            self.advance();
            columns.push(self.ident("a column")?);
        }
        Ok(columns)
    }

    /// The hints that stand here, parsed.
    pub(super) fn hints(&mut self) -> Result<Vec<Hint>, Error> {
        let mut hints = Vec::new();
        while let Token::Hint(text) = self.peek().clone() {
            let position = self.position();
            self.advance();
            let mut inner = Parser {
                text: &text,
                tokens: tokenize(&text, position)?,
                at: 0,
                depth: self.depth,
            };
            while *inner.peek() != Token::End {
                hints.push(inner.hint()?);
                inner.take_symbol(",");
            }
        }
        Ok(hints)
    }

    fn hint(&mut self) -> Result<Hint, Error> {
        let name = self.ident("a hint")?;
        let mut options = std::collections::BTreeMap::new();
        if self.take_symbol("(") {
            while !self.is_symbol(")") {
                let (Token::Text(key) | Token::Word(key) | Token::Quoted(key)) = self.advance()
                else {
                    return Err(self.unexpected("a key"));
                };
                let value = if self.take_symbol("=") {
                    self.text("a value")?
                } else {
                    String::new()
                };
                options.insert(key, value);
                if !self.take_symbol(",") {
                    break;
                }
            }
            self.expect_symbol(")")?;
        }
        Ok(Hint {
            name: name.value.to_ascii_uppercase(),
            options,
            position: name.position,
        })
    }
}

fn join(
    left: TableRef,
    right: TableRef,
    kind: JoinKind,
    on: Option<Expr>,
    using: Vec<Ident>,
) -> TableRef {
    let position = left.position;
    TableRef {
        kind: TableKind::Join {
            left: Box::new(left),
            right: Box::new(right),
            kind,
            on,
            using,
        },
        alias: None,
        columns: Vec::new(),
        position,
    }
}
