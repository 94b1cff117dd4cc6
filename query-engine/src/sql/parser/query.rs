//! Queries: WITH, set operations, SELECT and its clauses, relations.

use super::{MAX_BACKTRACKS, Parser, is_clause_word};
use crate::failure::{Failure, Result};
use crate::sql::ast::{
    Alias, Body, Bound, Cte, Expr, Frame, FrameUnit, GroupBy, Grouping, Item, JoinKind, Kind, On,
    Query, Relation, RelationKind, Select, SetKind, SortItem, Version, Window,
};
use crate::sql::lexer::Tok;

impl Parser<'_> {
    pub(super) fn query(&mut self) -> Result<Query> {
        self.nested(Self::query_here)
    }

    fn query_here(&mut self) -> Result<Query> {
        let pos = self.pos();
        let mut with = Vec::new();
        let mut recursive = false;
        if self.word("WITH") {
            recursive = self.word("RECURSIVE");
            with = self.list(|parser| {
                let name = parser.ident()?;
                let columns = parser.optional_columns()?;
                parser.expect_word("AS")?;
                Ok(Cte {
                    name,
                    columns,
                    query: parser.subquery()?,
                })
            })?;
        }
        let body = self.set_expr(0)?;
        let order_by = self.order_by()?;
        let mut query = Query {
            pos,
            with,
            recursive,
            body,
            order_by,
            offset: None,
            limit: None,
            with_ties: None,
        };
        self.tail(&mut query)?;
        Ok(query)
    }

    fn tail(&mut self, query: &mut Query) -> Result<()> {
        if self.word("OFFSET") {
            query.offset = Some(self.row_count()?);
            let _ = self.word("ROW") || self.word("ROWS");
        }
        if self.word("LIMIT") {
            if !self.word("ALL") {
                query.limit = Some(self.row_count()?);
            }
        } else if self.word("FETCH") {
            if !self.word("FIRST") {
                self.expect_word("NEXT")?;
            }
            let pos = self.pos();
            query.limit = Some(if self.is_word("ROW") || self.is_word("ROWS") {
                Self::node(pos, Kind::Integer("1".into()))
            } else {
                self.row_count()?
            });
            if !self.word("ROW") {
                self.expect_word("ROWS")?;
            }
            let pos = self.pos();
            if self.words(&["WITH", "TIES"]) {
                query.with_ties = Some(pos);
            } else {
                self.expect_word("ONLY")?;
            }
        }
        Ok(())
    }

    fn row_count(&mut self) -> Result<Expr> {
        let pos = self.pos();
        if self.symbol("?") {
            return Ok(self.parameter(pos));
        }
        Ok(Self::node(pos, Kind::Integer(self.integer()?)))
    }

    pub(super) fn order_by(&mut self) -> Result<Vec<SortItem>> {
        if !self.words(&["ORDER", "BY"]) {
            return Ok(Vec::new());
        }
        self.list(|parser| {
            let expr = parser.expr()?;
            let descending = !parser.word("ASC") && parser.word("DESC");
            let mut nulls_first = false;
            if parser.word("NULLS") {
                nulls_first = parser.word("FIRST");
                if !nulls_first {
                    parser.expect_word("LAST")?;
                }
            }
            Ok(SortItem {
                expr,
                descending,
                nulls_first,
            })
        })
    }

    fn set_expr(&mut self, binding: u8) -> Result<Body> {
        let mut left = self.set_primary()?;
        loop {
            let pos = self.pos();
            let (kind, power) = if self.is_word("UNION") {
                (SetKind::Union, 1)
            } else if self.is_word("EXCEPT") {
                (SetKind::Except, 1)
            } else if self.is_word("INTERSECT") {
                (SetKind::Intersect, 2)
            } else {
                return Ok(left);
            };
            if power <= binding {
                return Ok(left);
            }
            self.advance();
            self.step()?;
            let all = self.word("ALL");
            if !all {
                self.word("DISTINCT");
            }
            let right = self.set_expr(power)?;
            left = Body::Set {
                kind,
                all,
                left: Box::new(left),
                right: Box::new(right),
                pos,
            };
        }
    }

    fn set_primary(&mut self) -> Result<Body> {
        if self.is_word("SELECT") {
            return Ok(Body::Select(Box::new(self.select()?)));
        }
        if self.word("VALUES") {
            return Ok(Body::Values(self.list(Self::expr)?));
        }
        if self.word("TABLE") {
            return Ok(Body::Table(self.name()?));
        }
        if self.is_symbol("(") {
            return Ok(Body::Query(Box::new(self.subquery()?)));
        }
        Err(self.unexpected("'(', 'SELECT', 'TABLE', 'VALUES'"))
    }

    fn select(&mut self) -> Result<Select> {
        let pos = self.pos();
        self.expect_word("SELECT")?;
        let distinct = !self.word("ALL") && self.word("DISTINCT");
        let items = self.list(Self::select_item)?;
        let mut select = Select {
            pos,
            distinct,
            items,
            from: None,
            filter: None,
            group_by: None,
            having: None,
            windows: vec![],
        };
        if self.word("FROM") {
            select.from = Some(self.relations()?);
        }
        if self.word("WHERE") {
            select.filter = Some(self.expr()?);
        }
        if self.is_word("GROUP") {
            select.group_by = Some(self.group_by()?);
        }
        if self.word("HAVING") {
            select.having = Some(self.expr()?);
        }
        if self.word("WINDOW") {
            select.windows = self.list(|parser| {
                let name = parser.ident()?;
                parser.expect_word("AS")?;
                Ok((name, parser.window()?))
            })?;
        }
        if self.is_word("QUALIFY") {
            return Err(self.unexpected("<EOF>"));
        }
        Ok(select)
    }

    fn select_item(&mut self) -> Result<Item> {
        let pos = self.pos();
        if self.symbol("*") {
            return Ok(Item::Star(pos));
        }
        let expr = self.expr()?;
        if self.is_symbol(".") && matches!(self.ahead(1), Tok::Symbol("*")) {
            self.advance();
            self.advance();
            let columns = if self.word("AS") {
                self.in_parens(|p| p.list(Self::ident))?
            } else {
                Vec::new()
            };
            return Ok(Item::Qualified(expr, columns));
        }
        let alias = if self.word("AS") || (self.is_name() && !is_clause_word(self.tok())) {
            Some(self.ident()?)
        } else {
            None
        };
        Ok(Item::Expr(expr, alias))
    }

    fn group_by(&mut self) -> Result<GroupBy> {
        let pos = self.pos();
        self.expect_word("GROUP")?;
        self.expect_word("BY")?;
        if self.is_word("AUTO") && *self.ahead(1) == Tok::End {
            return Err(Failure::unsupported(self.pos(), "GROUP BY AUTO"));
        }
        let distinct = !self.word("ALL") && self.word("DISTINCT");
        let elements = self.list(|parser| {
            let sets = |parser: &mut Self| parser.in_parens(|p| p.list(Self::grouping_set));
            if parser.word("ROLLUP") {
                Ok(Grouping::Rollup(sets(parser)?))
            } else if parser.word("CUBE") {
                Ok(Grouping::Cube(sets(parser)?))
            } else if parser.words(&["GROUPING", "SETS"]) {
                Ok(Grouping::Sets(sets(parser)?))
            } else {
                Ok(Grouping::Simple(parser.grouping_set()?))
            }
        })?;
        Ok(GroupBy {
            pos,
            distinct,
            elements,
        })
    }

    /// `x`, `()`, `(a, b)`; but `(a) + 1` and `(select …)` are expressions.
    fn grouping_set(&mut self) -> Result<Vec<Expr>> {
        if self.is_symbol("(") && matches!(self.ahead(1), Tok::Symbol(")")) {
            self.advance();
            self.advance();
            return Ok(Vec::new());
        }
        let expr = self.expr()?;
        match *expr.kind {
            Kind::Row(items) if self.tokens[self.at.saturating_sub(1)].tok == Tok::Symbol(")") => {
                Ok(items)
            }
            _ => Ok(vec![expr]),
        }
    }

    pub(super) fn window(&mut self) -> Result<Window> {
        let pos = self.pos();
        self.expect("(")?;
        let base =
            if self.is_name() && !(self.is_words(&["PARTITION", "BY"]) || self.is_frame_start()) {
                Some(self.ident()?)
            } else {
                None
            };
        let partition_by = if self.words(&["PARTITION", "BY"]) {
            self.list(Self::expr)?
        } else {
            Vec::new()
        };
        let order_by = self.order_by()?;
        let frame = if self.is_frame_start() {
            Some(self.frame()?)
        } else {
            None
        };
        self.expect(")")?;
        Ok(Window {
            pos,
            base,
            partition_by,
            order_by,
            frame,
        })
    }

    fn is_frame_start(&self) -> bool {
        ["ROWS", "RANGE", "GROUPS"]
            .iter()
            .any(|word| self.is_word(word))
            && !matches!(self.ahead(1), Tok::Symbol(_))
    }

    fn frame(&mut self) -> Result<Frame> {
        let pos = self.pos();
        let unit = if self.word("ROWS") {
            FrameUnit::Rows
        } else if self.word("RANGE") {
            FrameUnit::Range
        } else {
            self.expect_word("GROUPS")?;
            FrameUnit::Groups
        };
        if self.word("BETWEEN") {
            let start = self.bound()?;
            self.expect_word("AND")?;
            return Ok(Frame {
                pos,
                unit,
                start,
                end: Some(self.bound()?),
            });
        }
        Ok(Frame {
            pos,
            unit,
            start: self.bound()?,
            end: None,
        })
    }

    fn bound(&mut self) -> Result<Bound> {
        if self.words(&["UNBOUNDED", "PRECEDING"]) {
            return Ok(Bound::UnboundedPreceding);
        }
        if self.words(&["UNBOUNDED", "FOLLOWING"]) {
            return Ok(Bound::UnboundedFollowing);
        }
        if self.words(&["CURRENT", "ROW"]) {
            return Ok(Bound::CurrentRow);
        }
        let expr = self.expr()?;
        if self.word("PRECEDING") {
            return Ok(Bound::Preceding(expr));
        }
        self.expect_word("FOLLOWING")?;
        Ok(Bound::Following(expr))
    }

    fn optional_columns(&mut self) -> Result<Vec<crate::sql::ast::Ident>> {
        if self.is_symbol("(") {
            self.in_parens(|parser| parser.list(Self::ident))
        } else {
            Ok(Vec::new())
        }
    }

    /// The comma list after FROM: commas are cross joins.
    fn relations(&mut self) -> Result<Relation> {
        let mut left = self.relation()?;
        while self.symbol(",") {
            self.step()?;
            let right = self.relation()?;
            left = join(left, right, JoinKind::Cross, On::None);
        }
        Ok(left)
    }

    fn relation(&mut self) -> Result<Relation> {
        self.nested(|parser| {
            let mut left = parser.relation_primary()?;
            while let Some((kind, natural)) = parser.join_head()? {
                parser.step()?;
                let right = parser.relation_primary()?;
                let on = if kind == JoinKind::Cross {
                    On::None
                } else if natural {
                    On::Natural
                } else if parser.word("USING") {
                    On::Using(parser.in_parens(|p| p.list(Self::ident))?)
                } else {
                    parser.expect_word("ON")?;
                    On::Expr(parser.expr()?)
                };
                left = join(left, right, kind, on);
            }
            Ok(left)
        })
    }

    fn join_head(&mut self) -> Result<Option<(JoinKind, bool)>> {
        if self.words(&["CROSS", "JOIN"]) {
            return Ok(Some((JoinKind::Cross, false)));
        }
        let natural = self.word("NATURAL");
        let kind = if self.word("LEFT") {
            JoinKind::Left
        } else if self.word("RIGHT") {
            JoinKind::Right
        } else if self.word("FULL") {
            JoinKind::Full
        } else if self.word("INNER") || self.is_word("JOIN") {
            JoinKind::Inner
        } else if natural {
            return Err(self.unexpected("'JOIN'"));
        } else {
            return Ok(None);
        };
        if matches!(kind, JoinKind::Left | JoinKind::Right | JoinKind::Full) {
            self.word("OUTER");
        }
        self.expect_word("JOIN")?;
        Ok(Some((kind, natural)))
    }

    fn relation_primary(&mut self) -> Result<Relation> {
        let pos = self.pos();
        let kind = self.relation_kind()?;
        for (word, what) in [
            ("TABLESAMPLE", "TABLESAMPLE"),
            ("MATCH_RECOGNIZE", "MATCH_RECOGNIZE"),
        ] {
            if self.is_word(word) {
                return Err(Failure::unsupported(self.pos(), what));
            }
        }
        let alias = if self.word("AS") || (self.is_name() && !is_clause_word(self.tok())) {
            let name = self.ident()?;
            Some(Alias {
                name,
                columns: self.optional_columns()?,
            })
        } else {
            None
        };
        for word in ["TABLESAMPLE", "MATCH_RECOGNIZE", "PIVOT"] {
            if self.is_word(word) {
                return Err(Failure::unsupported(self.pos(), word));
            }
        }
        Ok(Relation {
            pos,
            kind: Box::new(kind),
            alias,
        })
    }

    fn relation_kind(&mut self) -> Result<RelationKind> {
        if self.is_word("UNNEST") && matches!(self.ahead(1), Tok::Symbol("(")) {
            self.advance();
            let exprs = self.in_parens(|parser| parser.list(Self::expr))?;
            return Ok(RelationKind::Unnest {
                exprs,
                ordinality: self.words(&["WITH", "ORDINALITY"]),
            });
        }
        if self.is_word("LATERAL") && matches!(self.ahead(1), Tok::Symbol("(")) {
            self.advance();
            return Ok(RelationKind::Lateral(self.subquery()?));
        }
        if self.is_word("TABLE") && matches!(self.ahead(1), Tok::Symbol("(")) {
            return Err(Failure::unsupported(self.pos(), "a table function"));
        }
        if self.is_symbol("(") {
            return self.parenthesised();
        }
        let name = self.name()?;
        let version = if self.words(&["FOR", "VERSION", "AS", "OF"]) {
            Some(Version::Version(self.value_expr()?))
        } else if self.words(&["FOR", "TIMESTAMP", "AS", "OF"]) {
            Some(Version::Timestamp(self.value_expr()?))
        } else {
            None
        };
        Ok(RelationKind::Table { name, version })
    }

    /// `(query)` or `(relation)`: when the parentheses open a query, try that and fall back to a relation.
    fn parenthesised(&mut self) -> Result<RelationKind> {
        if self.is_query() {
            let (at, parameters) = (self.at, self.parameters);
            match self.subquery() {
                Ok(query) => return Ok(RelationKind::Subquery(query)),
                // `((select 1) t join u on …)`: the inner parenthesis is a relation.
                Err(error) if self.backtracks < MAX_BACKTRACKS && self.opens_twice(at) => {
                    self.backtracks += 1;
                    self.at = at;
                    self.parameters = parameters;
                    let deeper = self.in_parens(Self::relations);
                    return deeper.map(RelationKind::Nested).map_err(|_| error);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(RelationKind::Nested(self.in_parens(Self::relations)?))
    }

    fn opens_twice(&self, at: usize) -> bool {
        self.tokens
            .get(at + 1)
            .is_some_and(|token| token.tok == Tok::Symbol("("))
    }
}

fn join(left: Relation, right: Relation, kind: JoinKind, on: On) -> Relation {
    Relation {
        pos: left.pos,
        kind: Box::new(RelationKind::Join {
            kind,
            left,
            right,
            on,
        }),
        alias: None,
    }
}
