//! Statements other than queries: SHOW, DESCRIBE, EXPLAIN, session and transaction control, CALL.

use super::Parser;
use crate::failure::{Failure, Result};
use crate::sql::ast::{ExplainKind, Ident, Like, Name, Statement};
use crate::sql::lexer::Tok;

const STATEMENTS: &str = "'ALTER', 'ANALYZE', 'CALL', 'COMMENT', 'COMMIT', 'CREATE', 'DEALLOCATE', 'DELETE', 'DENY', \
     'DESC', 'DESCRIBE', 'DROP', 'EXECUTE', 'EXPLAIN', 'GRANT', 'INSERT', 'MERGE', 'PREPARE', 'REFRESH', 'RESET', \
     'REVOKE', 'ROLLBACK', 'SET', 'SHOW', 'START', 'TRUNCATE', 'UPDATE', 'USE', 'WITH', <query>";

/// First words of statements of Trino's that this engine refuses, with how many following words name the construct.
const REFUSED: [(&str, usize); 14] = [
    ("INSERT", 0),
    ("DELETE", 0),
    ("UPDATE", 0),
    ("MERGE", 0),
    ("TRUNCATE", 1),
    ("CREATE", 1),
    ("DROP", 1),
    ("ALTER", 1),
    ("COMMENT", 0),
    ("GRANT", 0),
    ("REVOKE", 0),
    ("DENY", 0),
    ("ANALYZE", 0),
    ("REFRESH", 0),
];

impl Parser<'_> {
    pub(super) fn statement(&mut self) -> Result<Statement> {
        self.nested(Self::statement_here)
    }

    fn statement_here(&mut self) -> Result<Statement> {
        if self.is_symbol("(")
            || ["SELECT", "WITH", "VALUES", "TABLE"]
                .iter()
                .any(|word| self.is_word(word))
        {
            return Ok(Statement::Query(self.query()?));
        }
        let pos = self.pos();
        let word = match self.tok() {
            Tok::Word(word) => word.to_ascii_uppercase(),
            _ => return Err(self.unexpected(STATEMENTS)),
        };
        if let Some((word, more)) = REFUSED.iter().find(|(refused, _)| *refused == word) {
            return Ok(self.refused(word, *more));
        }
        if ![
            "SHOW",
            "DESCRIBE",
            "DESC",
            "EXPLAIN",
            "USE",
            "SET",
            "RESET",
            "PREPARE",
            "EXECUTE",
            "DEALLOCATE",
            "START",
            "COMMIT",
            "ROLLBACK",
            "CALL",
        ]
        .contains(&word.as_str())
        {
            return Err(self.unexpected(STATEMENTS));
        }
        self.advance();
        match word.as_str() {
            "SHOW" => self.show(),
            "DESCRIBE" | "DESC" => self.describe(),
            "EXPLAIN" => self.explain(),
            "USE" => self.use_schema(),
            "SET" => self.set(),
            "RESET" => {
                self.expect_word("SESSION")?;
                Ok(Statement::ResetSession(self.name()?))
            }
            "PREPARE" => self.prepare(),
            "EXECUTE" => self.execute(),
            "DEALLOCATE" => {
                self.expect_word("PREPARE")?;
                Ok(Statement::Deallocate(self.ident()?))
            }
            "START" => self.start_transaction(pos),
            "COMMIT" => {
                self.word("WORK");
                Ok(Statement::Commit)
            }
            "ROLLBACK" => {
                self.word("WORK");
                Ok(Statement::Rollback)
            }
            _ => self.call_procedure(),
        }
    }

    fn refused(&mut self, word: &str, more: usize) -> Statement {
        let pos = self.pos();
        let mut construct = word.to_owned();
        self.advance();
        for _ in 0..more {
            if self.words(&["OR", "REPLACE"]) {
                construct.push_str(" OR REPLACE");
            }
            if let Tok::Word(next) = self.tok() {
                construct.push(' ');
                construct.push_str(&next.to_ascii_uppercase());
                self.advance();
            }
        }
        while *self.tok() != Tok::End && !(self.is_symbol(";") && *self.ahead(1) == Tok::End) {
            self.advance();
        }
        Statement::Refused { construct, pos }
    }

    fn like(&mut self) -> Result<Option<Like>> {
        if !self.word("LIKE") {
            return Ok(None);
        }
        let pattern = self.text()?;
        let escape = if self.word("ESCAPE") {
            Some(self.text()?)
        } else {
            None
        };
        Ok(Some(Like { pattern, escape }))
    }

    #[expect(
        clippy::wrong_self_convention,
        reason = "FROM is the word of the grammar"
    )]
    fn from_or_in(&mut self) -> bool {
        self.word("FROM") || self.word("IN")
    }

    fn show(&mut self) -> Result<Statement> {
        if self.word("CATALOGS") {
            return Ok(Statement::ShowCatalogs(self.like()?));
        }
        if self.word("SCHEMAS") {
            let catalog = if self.from_or_in() {
                Some(self.ident()?)
            } else {
                None
            };
            return Ok(Statement::ShowSchemas {
                catalog,
                like: self.like()?,
            });
        }
        if self.word("TABLES") {
            let schema = if self.from_or_in() {
                Some(self.name()?)
            } else {
                None
            };
            return Ok(Statement::ShowTables {
                schema,
                like: self.like()?,
            });
        }
        if self.word("COLUMNS") {
            if !self.from_or_in() {
                return Err(self.unexpected("'FROM', 'IN'"));
            }
            return Ok(Statement::ShowColumns {
                table: self.name()?,
                like: self.like()?,
            });
        }
        if self.word("CREATE") {
            return self.show_create();
        }
        if self.word("FUNCTIONS") {
            if self.from_or_in() {
                self.name()?;
            }
            return Ok(Statement::ShowFunctions(self.like()?));
        }
        if self.word("SESSION") {
            return Ok(Statement::ShowSession(self.like()?));
        }
        if self.word("STATS") {
            self.expect_word("FOR")?;
            if self.is_symbol("(") {
                return Err(Failure::unsupported(self.pos(), "SHOW STATS FOR a query"));
            }
            return Ok(Statement::ShowStats(self.name()?));
        }
        self.show_roles()
    }

    fn show_create(&mut self) -> Result<Statement> {
        if self.word("TABLE") {
            Ok(Statement::ShowCreateTable(self.name()?))
        } else if self.word("SCHEMA") {
            Ok(Statement::ShowCreateSchema(self.name()?))
        } else if self.word("VIEW") || self.words(&["MATERIALIZED", "VIEW"]) {
            Ok(Statement::ShowCreateView(self.name()?))
        } else {
            Err(self.unexpected("'MATERIALIZED', 'SCHEMA', 'TABLE', 'VIEW'"))
        }
    }

    fn show_roles(&mut self) -> Result<Statement> {
        for words in [
            &["CURRENT", "ROLES"][..],
            &["ROLES"],
            &["ROLE", "GRANTS"],
            &["GRANTS"],
        ] {
            if self.words(words) {
                if self.from_or_in() {
                    self.name()?;
                } else if self.word("ON") {
                    self.word("TABLE");
                    self.name()?;
                }
                return Ok(Statement::ShowRoles(words.join(" ")));
            }
        }
        Err(self.unexpected(
            "'CATALOGS', 'COLUMNS', 'CREATE', 'CURRENT', 'FUNCTIONS', 'GRANTS', 'ROLE', 'ROLES', 'SCHEMAS', \
             'SESSION', 'STATS', 'TABLES'",
        ))
    }

    fn describe(&mut self) -> Result<Statement> {
        let named = matches!(self.ahead(1), Tok::Word(_) | Tok::Quoted(_));
        if named && self.word("INPUT") {
            return Ok(Statement::DescribeInput(self.ident()?));
        }
        if named && self.word("OUTPUT") {
            return Ok(Statement::DescribeOutput(self.ident()?));
        }
        Ok(Statement::ShowColumns {
            table: self.name()?,
            like: None,
        })
    }

    fn explain(&mut self) -> Result<Statement> {
        let analyze = self.word("ANALYZE");
        if analyze {
            self.word("VERBOSE");
        }
        let mut kind = ExplainKind::Distributed;
        let mut json = false;
        let options = matches!(self.ahead(1), Tok::Word(word)
            if word.eq_ignore_ascii_case("TYPE") || word.eq_ignore_ascii_case("FORMAT"));
        if self.is_symbol("(") && options {
            self.advance();
            loop {
                if self.word("TYPE") {
                    kind = self.explain_kind()?;
                } else {
                    self.expect_word("FORMAT")?;
                    json = self.word("JSON");
                    if !json && !self.word("TEXT") {
                        return Err(Failure::unsupported(self.pos(), "this EXPLAIN format"));
                    }
                }
                if !self.symbol(",") {
                    break;
                }
            }
            self.expect(")")?;
        }
        let statement = Box::new(self.statement()?);
        Ok(Statement::Explain {
            kind,
            json,
            analyze,
            statement,
        })
    }

    fn explain_kind(&mut self) -> Result<ExplainKind> {
        for (word, kind) in [
            ("LOGICAL", ExplainKind::Logical),
            ("DISTRIBUTED", ExplainKind::Distributed),
            ("VALIDATE", ExplainKind::Validate),
            ("IO", ExplainKind::Io),
        ] {
            if self.word(word) {
                return Ok(kind);
            }
        }
        Err(self.unexpected("'DISTRIBUTED', 'IO', 'LOGICAL', 'VALIDATE'"))
    }

    fn use_schema(&mut self) -> Result<Statement> {
        let first = self.ident()?;
        if self.symbol(".") {
            return Ok(Statement::Use {
                catalog: Some(first),
                schema: self.ident()?,
            });
        }
        Ok(Statement::Use {
            catalog: None,
            schema: first,
        })
    }

    fn set(&mut self) -> Result<Statement> {
        if self.words(&["SESSION", "AUTHORIZATION"]) {
            return Err(Failure::unsupported(
                self.pos(),
                "SET SESSION AUTHORIZATION",
            ));
        }
        if self.word("SESSION") {
            let name = self.name()?;
            self.expect("=")?;
            return Ok(Statement::SetSession(name, self.expr()?));
        }
        if self.words(&["TIME", "ZONE"]) {
            if self.word("LOCAL") {
                return Ok(Statement::SetTimeZone(None));
            }
            return Ok(Statement::SetTimeZone(Some(self.expr()?)));
        }
        if self.word("ROLE") {
            let role = self.ident()?;
            if self.from_or_in() {
                self.ident()?;
            }
            return Ok(Statement::SetRole(role.value));
        }
        Err(self.unexpected("'ROLE', 'SESSION', 'TIME'"))
    }

    fn prepare(&mut self) -> Result<Statement> {
        let name = self.ident()?;
        self.expect_word("FROM")?;
        let start = self.token().start;
        let before = self.parameters;
        self.statement()?;
        self.parameters = before;
        let end = self.tokens[self.at.saturating_sub(1)].end;
        Ok(Statement::Prepare {
            name,
            sql: self.text[start..end].to_owned(),
        })
    }

    fn execute(&mut self) -> Result<Statement> {
        let immediate = matches!(self.ahead(1), Tok::Text(_)) && self.word("IMMEDIATE");
        if immediate {
            let pos = self.pos();
            let sql = self.text()?;
            let args = if self.word("USING") {
                self.list(Self::expr)?
            } else {
                Vec::new()
            };
            return Ok(Statement::ExecuteImmediate { sql, pos, args });
        }
        let name = self.ident()?;
        let args = if self.word("USING") {
            self.list(Self::expr)?
        } else {
            Vec::new()
        };
        Ok(Statement::Execute { name, args })
    }

    fn start_transaction(&mut self, pos: crate::failure::Pos) -> Result<Statement> {
        self.expect_word("TRANSACTION")?;
        let mut isolation = None;
        loop {
            if self.words(&["ISOLATION", "LEVEL"]) {
                let levels: [&[&str]; 4] = [
                    &["SERIALIZABLE"],
                    &["REPEATABLE", "READ"],
                    &["READ", "COMMITTED"],
                    &["READ", "UNCOMMITTED"],
                ];
                isolation = levels
                    .iter()
                    .find(|level| self.words(level))
                    .map(|level| level.join(" "));
                if isolation.is_none() {
                    return Err(self.unexpected("'READ', 'REPEATABLE', 'SERIALIZABLE'"));
                }
            } else if self.words(&["READ", "ONLY"]) || self.words(&["READ", "WRITE"]) {
                // Either way only reads are served.
            } else if !self.symbol(",") {
                return Ok(Statement::StartTransaction { isolation, pos });
            }
        }
    }

    fn call_procedure(&mut self) -> Result<Statement> {
        let name: Name = self.name()?;
        let args = self.in_parens(|parser| {
            if parser.is_symbol(")") {
                return Ok(Vec::new());
            }
            parser.list(|parser| {
                let label: Option<Ident> = if matches!(parser.ahead(1), Tok::Symbol("=>")) {
                    Some(parser.ident()?)
                } else {
                    None
                };
                parser.symbol("=>");
                Ok((label, parser.expr()?))
            })
        })?;
        Ok(Statement::Call { name, args })
    }
}
