//! Everything that is no query: DDL, USE, SET, INSERT, STATEMENT SET, SHOW, DESCRIBE, EXPLAIN.

use super::Parser;
use crate::error::Error;
use crate::sql::ast::{Command, CreateTable, Ident, Insert, Options, Show};
use crate::sql::lexer::Token;
use crate::table::{Column, ColumnKind};

impl Parser<'_> {
    /// A statement.
    pub(super) fn command(&mut self) -> Result<Command, Error> {
        let Token::Word(word) = self.peek() else {
            if self.is_symbol("(") {
                return self.query().map(Command::Select);
            }
            return Err(self.unexpected("a statement"));
        };
        let word = word.to_ascii_uppercase();
        match word.as_str() {
            "SELECT" | "WITH" | "VALUES" => self.query().map(Command::Select),
            "INSERT" => Ok(Command::Insert(Box::new(self.insert()?))),
            "EXECUTE" | "BEGIN" => self.execute(),
            "CREATE" => self.create(),
            "DROP" => self.drop_object(),
            "USE" => self.use_object(),
            "SET" => self.set(),
            "RESET" => {
                self.advance();
                let key = match self.peek() {
                    Token::Text(_) => Some(self.text("a key")?),
                    _ => None,
                };
                Ok(Command::Reset(key))
            }
            "SHOW" => self.show(),
            "DESCRIBE" | "DESC" => {
                self.advance();
                Ok(Command::Describe(self.path("a table")?))
            }
            "EXPLAIN" => self.explain(),
            _ => Err(Error::unsupported(
                format!("the statement `{word}`"),
                self.position(),
                "",
            )),
        }
    }

    fn insert(&mut self) -> Result<Insert, Error> {
        let position = self.position();
        self.expect_word("INSERT")?;
        let overwrite = self.take_word("OVERWRITE");
        if !overwrite {
            self.expect_word("INTO")?;
        } else {
            self.take_word("INTO");
        }
        let path = self.path("a table")?;
        let hints = self.hints()?;
        let mut partition = Vec::new();
        if self.take_word("PARTITION") {
            self.expect_symbol("(")?;
            loop {
                let column = self.ident("a column")?;
                self.expect_symbol("=")?;
                partition.push((column, self.expr()?));
                if !self.take_symbol(",") {
                    break;
                }
            }
            self.expect_symbol(")")?;
        }
        let list = self.is_symbol("(")
            && matches!(self.peek_ahead(2), Token::Symbol("," | ")" | "."))
            && matches!(self.peek_ahead(1), Token::Word(_) | Token::Quoted(_));
        let columns = if list { self.ident_list()? } else { Vec::new() };
        Ok(Insert {
            path,
            hints,
            columns,
            partition,
            overwrite,
            query: self.query()?,
            position,
        })
    }

    fn execute(&mut self) -> Result<Command, Error> {
        if self.take_words(&["EXECUTE", "STATEMENT", "SET"]) {
            self.expect_word("BEGIN")?;
        } else if !self.take_words(&["BEGIN", "STATEMENT", "SET"]) {
            if self.take_word("EXECUTE") {
                // `EXECUTE INSERT …` and `EXECUTE SELECT …` mean the same without the word.
                return self.command();
            }
            return Err(self.unexpected("STATEMENT SET"));
        } else {
            self.expect_symbol(";")?;
        }
        let mut inserts = Vec::new();
        while !self.is_word("END") {
            inserts.push(self.insert()?);
            self.expect_symbol(";")?;
        }
        self.advance();
        Ok(Command::StatementSet(inserts))
    }

    fn explain(&mut self) -> Result<Command, Error> {
        self.advance();
        if self.take_words(&["PLAN", "FOR"]) {
        } else {
            while [
                "ESTIMATED_COST",
                "CHANGELOG_MODE",
                "JSON_EXECUTION_PLAN",
                "PLAN_ADVICE",
            ]
            .iter()
            .any(|word| self.is_word(word))
                || self.is_symbol(",")
            {
                self.advance();
            }
        }
        match self.command()? {
            Command::Select(query) => Ok(Command::Explain(Vec::new(), Some(query))),
            Command::Insert(insert) => Ok(Command::Explain(vec![*insert], None)),
            Command::StatementSet(inserts) => Ok(Command::Explain(inserts, None)),
            _ => Err(self.unexpected("a query or INSERT")),
        }
    }

    fn create(&mut self) -> Result<Command, Error> {
        let position = self.position();
        self.advance();
        let or_replace = self.take_words(&["OR", "REPLACE"]);
        let temporary = self.take_word("TEMPORARY");
        self.take_word("SYSTEM");
        if self.take_word("CATALOG") {
            let if_not_exists = self.if_not_exists()?;
            return Ok(Command::CreateCatalog {
                name: self.ident("a catalog")?,
                if_not_exists,
                options: self.comment_and_options()?,
            });
        }
        if self.take_word("DATABASE") || self.take_word("SCHEMA") {
            let if_not_exists = self.if_not_exists()?;
            return Ok(Command::CreateDatabase {
                path: self.path("a database")?,
                if_not_exists,
                options: self.comment_and_options()?,
            });
        }
        if self.take_word("VIEW") {
            return self.create_view(or_replace);
        }
        if self.take_word("TABLE") {
            if or_replace {
                return Err(Error::unsupported(
                    "CREATE OR REPLACE TABLE",
                    position,
                    "; use DROP TABLE",
                ));
            }
            let table = self.create_table(temporary)?;
            return Ok(Command::CreateTable(Box::new(table)));
        }
        let what = self.peek().describe();
        Err(Error::unsupported(format!("CREATE {what}"), position, ""))
    }

    fn create_view(&mut self, or_replace: bool) -> Result<Command, Error> {
        let if_not_exists = self.if_not_exists()?;
        let path = self.path("a view")?;
        let columns = if self.is_symbol("(") {
            self.ident_list()?
        } else {
            Vec::new()
        };
        if self.take_word("COMMENT") {
            self.text("a comment")?;
        }
        self.expect_word("AS")?;
        let (from, position) = (self.at, self.position());
        let query = self.query()?;
        Ok(Command::CreateView {
            path,
            columns,
            if_not_exists,
            or_replace,
            text: self.text_since(from),
            query,
            position,
        })
    }

    fn if_not_exists(&mut self) -> Result<bool, Error> {
        if self.take_word("IF") {
            self.expect_words(&["NOT", "EXISTS"])?;
            return Ok(true);
        }
        Ok(false)
    }

    fn if_exists(&mut self) -> Result<bool, Error> {
        if self.take_word("IF") {
            self.expect_word("EXISTS")?;
            return Ok(true);
        }
        Ok(false)
    }

    fn comment_and_options(&mut self) -> Result<Options, Error> {
        if self.take_word("COMMENT") {
            self.text("a comment")?;
        }
        if self.take_word("WITH") {
            return self.options();
        }
        Ok(Options::new())
    }

    fn options(&mut self) -> Result<Options, Error> {
        let mut options = Options::new();
        self.expect_symbol("(")?;
        while !self.is_symbol(")") {
            let key = self.text("a key in quotes")?;
            self.expect_symbol("=")?;
            let value = self.text("a value in quotes")?;
            options.insert(key, value);
            if !self.take_symbol(",") {
                break;
            }
        }
        self.expect_symbol(")")?;
        Ok(options)
    }

    fn create_table(&mut self, temporary: bool) -> Result<CreateTable, Error> {
        let position = self.position();
        let if_not_exists = self.if_not_exists()?;
        let mut table = CreateTable {
            path: self.path("a table")?,
            temporary,
            if_not_exists,
            columns: Vec::new(),
            watermark: None,
            primary_key: Vec::new(),
            partitioned_by: Vec::new(),
            options: Options::new(),
            like: None,
            position,
        };
        if self.take_symbol("(") {
            while !self.is_symbol(")") {
                self.table_element(&mut table)?;
                if !self.take_symbol(",") {
                    break;
                }
            }
            self.expect_symbol(")")?;
        }
        if self.take_word("COMMENT") {
            self.text("a comment")?;
        }
        if self.is_word("DISTRIBUTED") {
            return Err(Error::unsupported("DISTRIBUTED BY", self.position(), ""));
        }
        if self.take_words(&["PARTITIONED", "BY"]) {
            table.partitioned_by = names(self.ident_list()?);
        }
        if self.take_word("WITH") {
            table.options = self.options()?;
        }
        if self.take_word("LIKE") {
            table.like = Some(self.like()?);
        }
        if self.is_word("AS") {
            return Err(Error::unsupported(
                "CREATE TABLE … AS",
                self.position(),
                "; create the table, then INSERT INTO it",
            ));
        }
        Ok(table)
    }

    fn like(&mut self) -> Result<(Vec<Ident>, Vec<String>), Error> {
        let source = self.path("a table")?;
        let mut rules = Vec::new();
        if self.take_symbol("(") {
            while !self.is_symbol(")") {
                let verb = self.ident("INCLUDING, EXCLUDING or OVERWRITING")?.value;
                let Token::Word(what) = self.advance() else {
                    return Err(self.unexpected("a feature"));
                };
                rules.push(format!("{verb} {what}").to_ascii_uppercase());
            }
            self.expect_symbol(")")?;
        }
        Ok((source, rules))
    }

    fn table_element(&mut self, table: &mut CreateTable) -> Result<(), Error> {
        if self.take_words(&["WATERMARK", "FOR"]) {
            let path = self.path("a column")?;
            let column: Vec<String> = names(path);
            self.expect_word("AS")?;
            let from = self.at;
            self.expr()?;
            table.watermark = Some((column.join("."), self.text_since(from)));
            return Ok(());
        }
        if self.is_word("CONSTRAINT") {
            self.advance();
            self.ident("a name")?;
        }
        if self.are_words(&["PRIMARY", "KEY"]) {
            let position = self.position();
            self.expect_words(&["PRIMARY", "KEY"])?;
            table.primary_key = names(self.ident_list()?);
            if !self.take_words(&["NOT", "ENFORCED"]) {
                return Err(Error::validation(
                    "PRIMARY KEY needs NOT ENFORCED: nothing checks it",
                    position,
                ));
            }
            return Ok(());
        }
        let column = self.column(table)?;
        table.columns.push(column);
        Ok(())
    }

    fn column(&mut self, table: &mut CreateTable) -> Result<Column, Error> {
        let name = self.ident("a column")?.value;
        if self.take_word("AS") {
            let from = self.at;
            self.expr()?;
            let text = self.text_since(from);
            self.column_comment()?;
            return Ok(Column {
                name,
                // The planner finds the type when the table is registered.
                data_type: crate::table::SqlType::string(),
                kind: ColumnKind::Computed(text),
            });
        }
        let data_type = self.sql_type()?;
        let kind = if self.take_word("METADATA") {
            let key = if self.take_word("FROM") {
                self.text("a metadata key")?
            } else {
                name.clone()
            };
            ColumnKind::Metadata {
                key,
                is_virtual: self.take_word("VIRTUAL"),
            }
        } else {
            if self.take_words(&["PRIMARY", "KEY"]) {
                self.expect_words(&["NOT", "ENFORCED"])?;
                table.primary_key = vec![name.clone()];
            }
            ColumnKind::Physical
        };
        self.column_comment()?;
        Ok(Column {
            name,
            data_type,
            kind,
        })
    }

    fn column_comment(&mut self) -> Result<(), Error> {
        if self.take_word("COMMENT") {
            self.text("a comment")?;
        }
        Ok(())
    }

    fn drop_object(&mut self) -> Result<Command, Error> {
        let position = self.position();
        self.advance();
        self.take_word("TEMPORARY");
        let command = if self.take_word("CATALOG") {
            let if_exists = self.if_exists()?;
            Command::DropCatalog {
                name: self.ident("a catalog")?,
                if_exists,
            }
        } else if self.take_word("DATABASE") || self.take_word("SCHEMA") {
            let if_exists = self.if_exists()?;
            let path = self.path("a database")?;
            if self.take_word("CASCADE") {
                return Err(Error::unsupported("DROP DATABASE … CASCADE", position, ""));
            }
            self.take_word("RESTRICT");
            Command::DropDatabase { path, if_exists }
        } else {
            let view = self.take_word("VIEW");
            if !view && !self.take_word("TABLE") {
                let what = self.peek().describe();
                return Err(Error::unsupported(format!("DROP {what}"), position, ""));
            }
            let if_exists = self.if_exists()?;
            Command::DropTable {
                path: self.path("a table")?,
                if_exists,
                view,
            }
        };
        Ok(command)
    }

    fn use_object(&mut self) -> Result<Command, Error> {
        self.advance();
        if self.take_word("CATALOG") {
            return Ok(Command::UseCatalog(self.ident("a catalog")?));
        }
        if self.is_word("MODULES") {
            return Err(Error::unsupported("USE MODULES", self.position(), ""));
        }
        Ok(Command::UseDatabase(self.path("a database")?))
    }

    fn set(&mut self) -> Result<Command, Error> {
        self.advance();
        if !matches!(self.peek(), Token::Text(_)) {
            return match self.peek() {
                Token::End | Token::Symbol(";") => Ok(Command::Set(None)),
                _ => Err(self.unexpected("a key in quotes")),
            };
        }
        let key = self.text("a key in quotes")?;
        self.expect_symbol("=")?;
        let value = self.text("a value in quotes")?;
        Ok(Command::Set(Some((key, value))))
    }

    fn show(&mut self) -> Result<Command, Error> {
        let position = self.position();
        self.advance();
        let show = if self.take_word("CATALOGS") {
            Show::Catalogs
        } else if self.take_words(&["CURRENT", "CATALOG"]) {
            Show::CurrentCatalog
        } else if self.take_words(&["CURRENT", "DATABASE"]) {
            Show::CurrentDatabase
        } else if self.take_word("DATABASES") {
            Show::Databases
        } else if self.take_word("TABLES") {
            Show::Tables
        } else if self.take_word("VIEWS") {
            Show::Views
        } else if self.take_words(&["USER", "FUNCTIONS"]) || self.take_word("FUNCTIONS") {
            Show::Functions
        } else if self.take_word("JOBS") {
            Show::Jobs
        } else if self.take_word("MODULES") {
            Show::Modules
        } else if self.take_words(&["CREATE", "TABLE"]) {
            Show::CreateTable(self.path("a table")?)
        } else if self.take_word("COLUMNS") {
            if !self.take_word("FROM") {
                self.expect_word("IN")?;
            }
            Show::Columns(self.path("a table")?)
        } else {
            let what = self.peek().describe();
            return Err(Error::unsupported(format!("SHOW {what}"), position, ""));
        };
        Ok(Command::Show(show))
    }
}

fn names(idents: Vec<Ident>) -> Vec<String> {
    idents.into_iter().map(|ident| ident.value).collect()
}
