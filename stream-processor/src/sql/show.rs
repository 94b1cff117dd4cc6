//! `SHOW` and `DESCRIBE`.

use super::catalog::Relation;
use super::session::{last, text_rows, unknown};
use super::{Session, StatementResult};
use crate::error::Error;
use crate::sql::ast::{Ident, Show};
use crate::table::{ColumnKind, TableDefinition};

impl Session {
    pub(super) async fn show(&mut self, show: Show) -> Result<StatementResult, Error> {
        let one = |name: String| vec![Some(name)];
        let list =
            |column: &str, names: Vec<String>| text_rows(&[column], names.into_iter().map(one));
        Ok(match show {
            Show::Catalogs => list("catalog name", self.catalogs.names()),
            Show::CurrentCatalog => {
                list("current catalog name", vec![self.catalogs.catalog.clone()])
            }
            Show::CurrentDatabase => list(
                "current database name",
                vec![self.catalogs.database.clone()],
            ),
            Show::Databases => list(
                "database name",
                self.catalogs.databases(&self.catalogs.catalog).await?,
            ),
            Show::Tables => list("table name", self.names(false).await?),
            Show::Views => list("view name", self.names(true).await?),
            Show::Functions => list("function name", crate::functions::names()),
            Show::Modules => list("module name", vec!["core".to_owned()]),
            Show::Jobs => {
                return Err(Error::Validation {
                    message: "SHOW JOBS is answered by the job address, see /jobs/overview"
                        .to_owned(),
                });
            }
            Show::Columns(path) => return self.describe(&path).await,
            Show::CreateTable(path) => {
                let table = self.table(&path).await?;
                list("result", vec![create_table(&table)])
            }
        })
    }

    pub(super) async fn describe(&mut self, path: &[Ident]) -> Result<StatementResult, Error> {
        let table = self.table(path).await?;
        let rows = table.columns.iter().map(|column| {
            let extras = match &column.kind {
                ColumnKind::Physical => None,
                ColumnKind::Metadata { key, is_virtual } => {
                    let suffix = if *is_virtual { " VIRTUAL" } else { "" };
                    Some(format!("METADATA FROM '{key}'{suffix}"))
                }
                ColumnKind::Computed(text) => Some(format!("AS {text}")),
            };
            let watermark = table
                .watermark
                .as_ref()
                .filter(|(name, _)| *name == column.name)
                .map(|(_, text)| text.clone());
            let key = table.primary_key.contains(&column.name);
            vec![
                Some(column.name.clone()),
                Some(column.data_type.with_nullable(true).to_string()),
                Some(column.data_type.nullable.to_string().to_uppercase()),
                key.then(|| format!("PRI({})", table.primary_key.join(", "))),
                extras,
                watermark,
            ]
        });
        Ok(text_rows(
            &["name", "type", "null", "key", "extras", "watermark"],
            rows,
        ))
    }

    async fn table(&self, path: &[Ident]) -> Result<std::sync::Arc<TableDefinition>, Error> {
        let full = self.catalogs.here(path)?;
        match self.catalogs.load(&full).await? {
            Some(Relation::Table(table)) => Ok(table),
            Some(Relation::View(view)) => Err(Error::Validation {
                message: format!("{full} is a view: {}", view.text),
            }),
            None => Err(unknown("table", &last(path))),
        }
    }

    async fn names(&self, views_only: bool) -> Result<Vec<String>, Error> {
        let (catalog, database) = (&self.catalogs.catalog, &self.catalogs.database);
        let mut names: Vec<String> = self
            .catalogs
            .relations
            .iter()
            .filter(|(path, _)| path.catalog == *catalog && path.database == *database)
            .filter(|(_, relation)| !views_only || matches!(relation, Relation::View(_)))
            .map(|(path, _)| path.table.clone())
            .collect();
        if let Some(external) = self.catalogs.external(catalog)
            && !views_only
        {
            names.extend(external.tables(database).await?);
        }
        names.sort();
        names.dedup();
        Ok(names)
    }
}

fn create_table(table: &TableDefinition) -> String {
    let mut lines: Vec<String> = table
        .columns
        .iter()
        .map(|column| {
            let (name, of) = (&column.name, &column.data_type);
            match &column.kind {
                ColumnKind::Physical => format!("  `{name}` {of}"),
                ColumnKind::Metadata { key, is_virtual } => {
                    let suffix = if *is_virtual { " VIRTUAL" } else { "" };
                    format!("  `{name}` {of} METADATA FROM '{key}'{suffix}")
                }
                ColumnKind::Computed(text) => format!("  `{name}` AS {text}"),
            }
        })
        .collect();
    if let Some((column, text)) = &table.watermark {
        lines.push(format!("  WATERMARK FOR `{column}` AS {text}"));
    }
    let quoted = |names: &[String]| {
        names
            .iter()
            .map(|name| format!("`{name}`"))
            .collect::<Vec<_>>()
            .join(", ")
    };
    if !table.primary_key.is_empty() {
        lines.push(format!(
            "  PRIMARY KEY ({}) NOT ENFORCED",
            quoted(&table.primary_key)
        ));
    }
    let mut text = format!("CREATE TABLE {} (\n{}\n)", table.path, lines.join(",\n"));
    if !table.partitioned_by.is_empty() {
        text += &format!(" PARTITIONED BY ({})", quoted(&table.partitioned_by));
    }
    let options: Vec<String> = table
        .options
        .iter()
        .filter(|(key, _)| !key.starts_with("catalog."))
        .map(|(key, value)| {
            let hidden = ["password", "secret", "token", "credential", "jaas"]
                .iter()
                .any(|word| key.contains(word));
            let value = if hidden { "******" } else { value };
            format!("  '{key}' = '{}'", value.replace('\'', "''"))
        })
        .collect();
    text + &format!(" WITH (\n{}\n)", options.join(",\n"))
}
