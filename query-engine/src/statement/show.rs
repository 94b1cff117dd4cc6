//! The SHOW family.

use datafusion::common::ScalarValue;

use super::{Executor, Output, table};
use crate::failure::{Code, Failure, Pos, Result};
use crate::functions;
use crate::meta::{self, Wanted, text};
use crate::session::PROPERTIES;
use crate::sql::analyze::TableKey;
use crate::sql::ast::{Ident, Like, Name, Statement};
use crate::types::Type;

impl Executor<'_> {
    pub(super) async fn show(&self, statement: &Statement) -> Result<Output> {
        match statement {
            Statement::ShowCatalogs(like) => one(
                "Catalog",
                meta::catalogs(&self.engine.config.catalog_name),
                like.as_ref(),
            ),
            Statement::ShowSchemas { catalog, like } => {
                self.show_schemas(catalog.as_ref(), like.as_ref()).await
            }
            Statement::ShowTables { schema, like } => {
                self.show_tables(schema.as_ref(), like.as_ref()).await
            }
            Statement::ShowColumns { table, like } => self.show_columns(table, like.as_ref()).await,
            Statement::ShowCreateTable(name) => self.show_create_table(name).await,
            Statement::ShowCreateSchema(name) => {
                let schema = name.parts.last().map_or("", |part| part.value.as_str());
                let catalog = &self.engine.config.catalog_name;
                one(
                    "Create Schema",
                    vec![format!("CREATE SCHEMA {catalog}.{schema}")],
                    None,
                )
            }
            Statement::ShowCreateView(name) => Err(Failure::at(
                Code::NotSupported,
                name.pos(),
                format!("'{}' is not a view: views are not supported", name.text()),
            )),
            Statement::ShowFunctions(like) => show_functions(like.as_ref()),
            Statement::ShowSession(like) => self.show_session(like.as_ref()),
            Statement::ShowStats(name) => self.show_stats(name).await,
            Statement::ShowRoles(_) => one("Role", Vec::new(), None),
            _ => Err(Failure::new(
                Code::NotSupported,
                "this statement is not supported",
            )),
        }
    }

    fn catalog(&self, pos: Pos) -> Result<String> {
        self.environment.catalog.clone().ok_or_else(|| {
            Failure::at(
                Code::MissingCatalogName,
                pos,
                "Catalog must be specified when session catalog is not set",
            )
        })
    }

    async fn show_schemas(&self, catalog: Option<&Ident>, like: Option<&Like>) -> Result<Output> {
        let pos = catalog.map_or(Pos { line: 1, column: 1 }, |catalog| catalog.pos);
        let catalog = match catalog {
            Some(catalog) => catalog.value.clone(),
            None => self.catalog(pos)?,
        };
        self.check_catalog(&catalog, pos)?;
        one(
            "Schema",
            meta::schemas(self.engine, &catalog, &Wanted::default()).await?,
            like,
        )
    }

    async fn show_tables(&self, schema: Option<&Name>, like: Option<&Like>) -> Result<Output> {
        let start = Pos { line: 1, column: 1 };
        let pos = schema.map_or(start, Name::pos);
        let parts: Vec<&str> = schema
            .map(|name| name.parts.iter().map(|part| part.value.as_str()).collect())
            .unwrap_or_default();
        let (catalog, schema) = match parts.as_slice() {
            [] => {
                let schema = self.environment.schema.clone().ok_or_else(|| {
                    Failure::at(
                        Code::MissingSchemaName,
                        pos,
                        "Schema must be specified when session schema is not set",
                    )
                })?;
                (self.catalog(pos)?, schema)
            }
            [schema] => (self.catalog(pos)?, (*schema).to_owned()),
            [catalog, schema] => ((*catalog).to_owned(), (*schema).to_owned()),
            _ => {
                return Err(Failure::at(
                    Code::SyntaxError,
                    pos,
                    "Too many parts in schema name",
                ));
            }
        };
        self.check_catalog(&catalog, pos)?;
        if !meta::schemas(self.engine, &catalog, &Wanted::default())
            .await?
            .contains(&schema)
        {
            return Err(Failure::at(
                Code::SchemaNotFound,
                pos,
                format!("Schema '{schema}' does not exist"),
            ));
        }
        let wanted = Wanted {
            equals: vec![("table_schema".to_owned(), schema)],
        };
        let tables = meta::lake_tables(self.engine, &catalog, &wanted).await?;
        one(
            "Table",
            tables.into_iter().map(|(_, table)| table).collect(),
            like,
        )
    }

    pub(super) fn key(&self, name: &Name) -> Result<TableKey> {
        crate::sql::analyze::table_key(name, None, &self.environment)
    }

    async fn show_columns(&self, name: &Name, like: Option<&Like>) -> Result<Output> {
        let key = self.key(name)?;
        let columns = [
            ("Column", Type::VARCHAR),
            ("Type", Type::VARCHAR),
            ("Extra", Type::VARCHAR),
            ("Comment", Type::VARCHAR),
        ];
        let known = self.engine.config.catalog_name == key.catalog || key.catalog == "system";
        let described = if known && !key.table.contains('$') {
            meta::described(self.engine, &key.catalog, &key.schema, &key.table).await?
        } else {
            None
        };
        let rows: Vec<Vec<ScalarValue>> = match described {
            Some(described) => described
                .into_iter()
                .map(|column| {
                    vec![
                        text(column.name),
                        text(column.ty.to_string()),
                        text(""),
                        text(column.comment.unwrap_or_default()),
                    ]
                })
                .collect(),
            None => {
                let found =
                    crate::catalog::resolve(self.manager, self.query, &self.environment, &key)
                        .await
                        .map_err(|failure| failure.or_at(name.pos()))?;
                found
                    .columns
                    .into_iter()
                    .map(|column| {
                        vec![
                            text(column.name),
                            text(column.ty.to_string()),
                            text(""),
                            text(""),
                        ]
                    })
                    .collect()
            }
        };
        let keep = |row: &Vec<ScalarValue>| {
            like.is_none_or(
                |like| matches!(&row[0], ScalarValue::Utf8(Some(name)) if matches(like, name)),
            )
        };
        table(&columns, rows.into_iter().filter(keep).collect())
    }

    #[expect(
        clippy::too_many_lines,
        reason = "one arm a case of the dialect, each a plain construction"
    )]
    async fn show_create_table(&self, name: &Name) -> Result<Output> {
        let key = self.key(name)?;
        self.check_catalog(&key.catalog, name.pos())?;
        let missing = || {
            Failure::at(
                Code::TableNotFound,
                name.pos(),
                format!(
                    "Table '{}.{}.{}' does not exist",
                    key.catalog, key.schema, key.table
                ),
            )
        };
        let described = meta::described(self.engine, &key.catalog, &key.schema, &key.table)
            .await?
            .ok_or_else(missing)?;
        let columns: Vec<String> = described
            .iter()
            .map(|column| {
                let required = if column.nullable { "" } else { " NOT NULL" };
                let comment = column
                    .comment
                    .as_ref()
                    .map(|comment| format!(" COMMENT '{}'", comment.replace('\'', "''")))
                    .unwrap_or_default();
                format!(
                    "   {} {}{required}{comment}",
                    quoted(&column.name),
                    column.ty
                )
            })
            .collect();
        let mut sql = format!(
            "CREATE TABLE {}.{}.{} (\n{}\n)",
            key.catalog,
            key.schema,
            quoted(&key.table),
            columns.join(",\n")
        );
        if key.catalog != "system"
            && let Some(table) =
                crate::catalog::lake_table(self.engine, &key.schema, &key.table).await?
        {
            let metadata = table.metadata();
            let version = if metadata.format_version() == iceberg::spec::FormatVersion::V1 {
                1
            } else {
                2
            };
            let mut with = vec![
                "   format = 'PARQUET'".to_owned(),
                format!("   format_version = {version}"),
                format!("   location = '{}'", metadata.location()),
            ];
            let schema = metadata.current_schema();
            let partitioning: Vec<String> = metadata
                .default_partition_spec()
                .fields()
                .iter()
                .map(|field| {
                    let source = schema.name_by_field_id(field.source_id).unwrap_or("?");
                    let transform = field.transform.to_string();
                    match transform.split_once('[') {
                        _ if transform == "identity" => format!("'{source}'"),
                        Some((name, width)) => {
                            format!("'{name}({source}, {})'", width.trim_end_matches(']'))
                        }
                        None => format!("'{transform}({source})'"),
                    }
                })
                .collect();
            if !partitioning.is_empty() {
                with.push(format!(
                    "   partitioning = ARRAY[{}]",
                    partitioning.join(",")
                ));
            }
            sql.push_str(&format!("\nWITH (\n{}\n)", with.join(",\n")));
        }
        one("Create Table", vec![sql], None)
    }

    fn show_session(&self, like: Option<&Like>) -> Result<Output> {
        let columns =
            ["Name", "Value", "Default", "Type", "Description"].map(|name| (name, Type::VARCHAR));
        let rows = PROPERTIES
            .iter()
            .filter(|property| like.is_none_or(|like| matches(like, property.name)))
            .map(|property| {
                let value = self
                    .query
                    .session
                    .properties
                    .get(property.name)
                    .map_or(property.default, String::as_str);
                vec![
                    text(property.name),
                    text(value),
                    text(property.default),
                    text(property.kind),
                    text(property.description),
                ]
            });
        table(&columns, rows.collect())
    }
}

fn show_functions(like: Option<&Like>) -> Result<Output> {
    let mut columns = ["Function", "Return Type", "Argument Types", "Function Type"]
        .map(|name| (name, Type::VARCHAR))
        .to_vec();
    columns.extend([
        ("Deterministic", Type::Boolean),
        ("Description", Type::VARCHAR),
    ]);
    let rows = functions::listing()
        .into_iter()
        .filter(|row| like.is_none_or(|like| matches(like, &row.name)))
        .map(|row| {
            vec![
                text(row.name),
                text(row.returns),
                text(row.arguments),
                text(row.kind),
                ScalarValue::Boolean(Some(row.deterministic)),
                text(row.description),
            ]
        });
    table(&columns, rows.collect())
}

fn one(title: &'static str, rows: Vec<String>, like: Option<&Like>) -> Result<Output> {
    let rows = rows
        .into_iter()
        .filter(|row| like.is_none_or(|like| matches(like, row)));
    table(
        &[(title, Type::VARCHAR)],
        rows.map(|row| vec![text(row)]).collect(),
    )
}

fn quoted(name: &str) -> String {
    let plain = name
        .chars()
        .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if plain {
        name.to_owned()
    } else {
        format!("\"{}\"", name.replace('"', "\"\""))
    }
}

/// LIKE on a name.
fn matches(like: &Like, name: &str) -> bool {
    let escape = like
        .escape
        .as_ref()
        .and_then(|escape| escape.chars().next());
    let mut pattern = String::from("(?s)^");
    let mut chars = like.pattern.chars();
    while let Some(c) = chars.next() {
        match c {
            c if Some(c) == escape => pattern.push_str(&regex::escape(
                &chars.next().map(String::from).unwrap_or_default(),
            )),
            '%' => pattern.push_str(".*"),
            '_' => pattern.push('.'),
            c => pattern.push_str(&regex::escape(&c.to_string())),
        }
    }
    pattern.push('$');
    regex::Regex::new(&pattern).is_ok_and(|pattern| pattern.is_match(name))
}
