//! The rows of the tables about tables.

use std::sync::Arc;

use datafusion::common::ScalarValue;

use super::{SYSTEM_SCHEMAS, Wanted, catalogs, definition, names, null, text};
use crate::catalog;
use crate::failure::Result;
use crate::functions::session::VERSION;
use crate::query::manager::Manager;
use crate::query::run::Engine;
use crate::types::{Type, UTC};

type Rows = Vec<Vec<ScalarValue>>;

const SCHEMA: [&str; 5] = [
    "table_schema",
    "schema_name",
    "table_schem",
    "schema",
    "procedure_schem",
];
const TABLE: [&str; 1] = ["table_name"];
const CATALOG: [&str; 3] = ["catalog_name", "table_cat", "table_catalog"];

/// Makes the rows of a table, as far as they are wanted.
pub(super) async fn make(
    manager: &Arc<Manager>,
    name: &[String; 3],
    _user: &str,
    wanted: &Wanted,
) -> Result<Rows> {
    let engine = &manager.engine;
    let [catalog, schema, table] = name;
    match (schema.as_str(), table.as_str()) {
        ("information_schema", "schemata") => {
            let schemas = schemas(engine, catalog, wanted).await?;
            Ok(schemas
                .into_iter()
                .map(|schema| vec![text(catalog), text(schema)])
                .collect())
        }
        ("information_schema", "tables") => {
            let found = tables(engine, catalog, wanted).await?;
            Ok(found
                .into_iter()
                .map(|(schema, table)| {
                    vec![text(catalog), text(schema), text(table), text("BASE TABLE")]
                })
                .collect())
        }
        ("information_schema", "columns") => columns(engine, catalog, wanted).await,
        (
            "information_schema",
            "roles" | "enabled_roles" | "applicable_roles" | "views" | "table_privileges",
        ) => Ok(Vec::new()),
        ("jdbc", "catalogs") => Ok(catalogs(&engine.config.catalog_name)
            .into_iter()
            .map(|name| vec![text(name)])
            .collect()),
        ("jdbc", "table_types") => Ok(vec![vec![text("TABLE")], vec![text("VIEW")]]),
        ("jdbc", "schemas") => jdbc_schemas(engine, wanted).await,
        ("jdbc", "tables") => jdbc_tables(engine, wanted).await,
        ("jdbc", "columns") => jdbc_columns(engine, wanted).await,
        ("jdbc", "types") => Ok(jdbc_types()),
        ("metadata", "catalogs") => Ok(vec![
            vec![
                text(engine.config.catalog_name.as_str()),
                text(engine.config.catalog_name.as_str()),
                text("iceberg"),
            ],
            vec![text("system"), text("system"), text("system")],
        ]),
        ("metadata", "table_comments") => comments(engine, wanted).await,
        ("runtime", "nodes") => Ok(vec![vec![
            text("streamforge"),
            text(format!("http://{}", engine.config.listen)),
            text(VERSION),
            ScalarValue::Boolean(Some(true)),
            text("active"),
        ]]),
        ("runtime", "queries") => Ok(queries(manager)),
        _ => Ok(Vec::new()),
    }
}

/// Schemas of a catalog, `information_schema` among them.
pub(crate) async fn schemas(
    engine: &Engine,
    catalog: &str,
    wanted: &Wanted,
) -> Result<Vec<String>> {
    let mut schemas = if catalog == "system" {
        SYSTEM_SCHEMAS
            .iter()
            .map(|schema| (*schema).to_owned())
            .collect()
    } else {
        catalog::schemas(engine).await?
    };
    schemas.push("information_schema".to_owned());
    schemas.sort();
    schemas.retain(|schema| !wanted.excludes(&SCHEMA, schema));
    Ok(schemas)
}

/// Tables of a catalog with their schemas.
pub(crate) async fn tables(
    engine: &Engine,
    catalog: &str,
    wanted: &Wanted,
) -> Result<Vec<(String, String)>> {
    let mut found = Vec::new();
    if wanted.excludes(&CATALOG, catalog) {
        return Ok(found);
    }
    for schema in schemas(engine, catalog, wanted).await? {
        let own = names(&schema, catalog == "system");
        let tables = if own.is_empty() && catalog != "system" {
            catalog::tables(engine, &schema).await?
        } else {
            own.iter().map(|name| (*name).to_owned()).collect()
        };
        found.extend(
            tables
                .into_iter()
                .filter(|table| !wanted.excludes(&TABLE, table))
                .map(|table| (schema.clone(), table)),
        );
    }
    Ok(found)
}

/// One column of any table.
pub(crate) struct Described {
    pub(crate) name: String,
    pub(crate) ty: Type,
    pub(crate) comment: Option<String>,
    pub(crate) nullable: bool,
}

/// The columns of a table; `None` when there is no such table.
pub(crate) async fn described(
    engine: &Engine,
    catalog: &str,
    schema: &str,
    table: &str,
) -> Result<Option<Vec<Described>>> {
    if let Some(columns) = definition(schema, table, catalog == "system") {
        let columns = columns.into_iter().map(|(name, ty)| Described {
            name: name.to_owned(),
            ty,
            comment: None,
            nullable: true,
        });
        return Ok(Some(columns.collect()));
    }
    if catalog == "system" {
        return Ok(None);
    }
    let Some(table) = catalog::lake_table(engine, schema, table).await? else {
        return Ok(None);
    };
    let schema = table.metadata().current_schema();
    let columns = schema.as_struct().fields().iter().map(|field| {
        Ok(Described {
            name: field.name.to_lowercase(),
            ty: catalog::of_iceberg(&field.field_type)?,
            comment: field.doc.clone(),
            nullable: !field.required,
        })
    });
    Ok(Some(columns.collect::<Result<_>>()?))
}

async fn columns(engine: &Engine, catalog: &str, wanted: &Wanted) -> Result<Rows> {
    let mut rows = Vec::new();
    for (schema, table) in tables(engine, catalog, wanted).await? {
        // A table dropped meanwhile simply has no columns any more.
        for (position, column) in described(engine, catalog, &schema, &table)
            .await?
            .unwrap_or_default()
            .into_iter()
            .enumerate()
        {
            rows.push(vec![
                text(catalog),
                text(schema.as_str()),
                text(table.as_str()),
                text(column.name),
                number(position + 1),
                null(),
                text(if column.nullable { "YES" } else { "NO" }),
                text(column.ty.to_string()),
                ScalarValue::Utf8(column.comment),
            ]);
        }
    }
    Ok(rows)
}

fn number(value: usize) -> ScalarValue {
    ScalarValue::Int64(i64::try_from(value).ok())
}

async fn jdbc_schemas(engine: &Engine, wanted: &Wanted) -> Result<Rows> {
    let mut rows = Vec::new();
    for catalog in catalogs(&engine.config.catalog_name)
        .iter()
        .filter(|catalog| !wanted.excludes(&CATALOG, catalog))
    {
        rows.extend(
            schemas(engine, catalog, wanted)
                .await?
                .into_iter()
                .map(|schema| vec![text(schema), text(catalog)]),
        );
    }
    Ok(rows)
}

async fn jdbc_tables(engine: &Engine, wanted: &Wanted) -> Result<Rows> {
    let mut rows = Vec::new();
    for catalog in catalogs(&engine.config.catalog_name) {
        for (schema, table) in tables(engine, &catalog, wanted).await? {
            let mut row = vec![
                text(catalog.as_str()),
                text(schema),
                text(table),
                text("TABLE"),
            ];
            row.extend((0..6).map(|_| null()));
            rows.push(row);
        }
    }
    Ok(rows)
}

async fn comments(engine: &Engine, wanted: &Wanted) -> Result<Rows> {
    let catalog = engine.config.catalog_name.clone();
    let mut rows = Vec::new();
    for (schema, table) in tables(engine, &catalog, wanted).await? {
        let comment = match catalog::lake_table(engine, &schema, &table).await {
            Ok(Some(table)) => table.metadata().properties().get("comment").cloned(),
            Ok(None) => None,
            Err(failure) => return Err(failure),
        };
        rows.push(vec![
            text(catalog.as_str()),
            text(schema),
            text(table),
            ScalarValue::Utf8(comment),
        ]);
    }
    Ok(rows)
}

/// `java.sql.Types` of a type, its size, and its scale.
fn jdbc_type(ty: &Type) -> (i64, Option<i64>, Option<i64>, Option<i64>) {
    match ty {
        Type::Boolean => (16, None, None, None),
        Type::Bigint => (-5, Some(19), None, Some(10)),
        Type::Integer => (4, Some(10), None, Some(10)),
        Type::Smallint => (5, Some(5), None, Some(10)),
        Type::Tinyint => (-6, Some(3), None, Some(10)),
        Type::Real => (7, Some(24), None, Some(2)),
        Type::Double => (8, Some(53), None, Some(2)),
        Type::Decimal(precision, scale) => (
            3,
            Some(i64::from(*precision)),
            Some(i64::from(*scale)),
            Some(10),
        ),
        Type::Varchar(length) => (
            12,
            Some(length.map_or(2_147_483_647, i64::from)),
            None,
            None,
        ),
        Type::Varbinary => (-3, Some(2_147_483_647), None, None),
        Type::Date => (91, Some(14), None, None),
        Type::Time(precision) => (
            92,
            Some(8 + i64::from(*precision > 0) + i64::from(*precision)),
            Some(i64::from(*precision)),
            None,
        ),
        Type::Timestamp(precision) => (
            93,
            Some(21 + i64::from(*precision > 0) + i64::from(*precision)),
            Some(i64::from(*precision)),
            None,
        ),
        Type::TimestampTz(precision, _) => (
            2014,
            Some(27 + i64::from(*precision > 0) + i64::from(*precision)),
            Some(i64::from(*precision)),
            None,
        ),
        Type::Array(_) => (2003, None, None, None),
        _ => (2000, None, None, None),
    }
}

async fn jdbc_columns(engine: &Engine, wanted: &Wanted) -> Result<Rows> {
    let mut rows = Vec::new();
    for catalog in catalogs(&engine.config.catalog_name) {
        for (schema, table) in tables(engine, &catalog, wanted).await? {
            for (position, column) in described(engine, &catalog, &schema, &table)
                .await?
                .unwrap_or_default()
                .into_iter()
                .enumerate()
            {
                let (code, size, scale, radix) = jdbc_type(&column.ty);
                let octets = if matches!(column.ty, Type::Varchar(_)) {
                    size
                } else {
                    None
                };
                rows.push(vec![
                    text(catalog.as_str()),
                    text(schema.as_str()),
                    text(table.as_str()),
                    text(column.name),
                    ScalarValue::Int64(Some(code)),
                    text(column.ty.to_string()),
                    ScalarValue::Int64(size),
                    ScalarValue::Int64(None),
                    ScalarValue::Int64(scale),
                    ScalarValue::Int64(radix),
                    ScalarValue::Int64(Some(2)),
                    ScalarValue::Utf8(column.comment),
                    null(),
                    ScalarValue::Int64(None),
                    ScalarValue::Int64(None),
                    ScalarValue::Int64(octets),
                    number(position + 1),
                    text(""),
                    null(),
                    null(),
                    null(),
                    ScalarValue::Int64(None),
                    null(),
                    null(),
                ]);
            }
        }
    }
    Ok(rows)
}

fn jdbc_types() -> Rows {
    let types = [
        Type::Boolean,
        Type::Tinyint,
        Type::Smallint,
        Type::Integer,
        Type::Bigint,
        Type::Real,
        Type::Double,
        Type::VARCHAR,
        Type::Varbinary,
        Type::Date,
        Type::Timestamp(6),
        Type::TimestampTz(6, UTC.into()),
    ];
    let row = |ty: &Type| {
        let (code, size, _, radix) = jdbc_type(ty);
        let mut row = vec![
            text(ty.base_name()),
            ScalarValue::Int64(Some(code)),
            ScalarValue::Int64(size),
        ];
        row.extend((0..3).map(|_| null()));
        row.extend([
            ScalarValue::Int64(Some(1)),
            text("false"),
            ScalarValue::Int64(Some(3)),
        ]);
        row.extend((0..4).map(|_| null()));
        row.extend((0..4).map(|_| ScalarValue::Int64(None)));
        row.push(ScalarValue::Int64(radix));
        row
    };
    types.iter().map(row).collect()
}

fn queries(manager: &Manager) -> Rows {
    let time = |time: Option<chrono::DateTime<chrono::Utc>>| {
        ScalarValue::TimestampMicrosecond(
            time.map(|time| time.timestamp_millis() * 1000),
            Some(UTC.into()),
        )
    };
    let millis = |duration: std::time::Duration| {
        ScalarValue::Int64(i64::try_from(duration.as_millis()).ok())
    };
    let group = ScalarValue::List(ScalarValue::new_list_nullable(
        &[text("global")],
        &arrow::datatypes::DataType::Utf8,
    ));
    let row = |query: Arc<crate::query::Query>| {
        let progress = query.progress();
        let queued = progress.started.map_or_else(
            || query.created.elapsed(),
            |started| started - query.created,
        );
        let started = progress
            .started
            .map(|_| query.created_at + chrono::TimeDelta::from_std(queued).unwrap_or_default());
        vec![
            text(query.id.as_str()),
            text(progress.state.name()),
            text(query.session.user.as_str()),
            ScalarValue::Utf8(query.session.source.clone()),
            text(query.sql.as_str()),
            group.clone(),
            millis(queued),
            millis(progress.planning),
            millis(progress.planning),
            time(Some(query.created_at)),
            time(started),
            time(Some(
                crate::query::now() - chrono::TimeDelta::from_std(query.idle()).unwrap_or_default(),
            )),
            time(progress.ended_at),
            ScalarValue::Utf8(
                progress
                    .failure
                    .as_ref()
                    .map(|failure| failure.code.kind().name().to_owned()),
            ),
            ScalarValue::Utf8(
                progress
                    .failure
                    .as_ref()
                    .map(|failure| failure.code.name().to_owned()),
            ),
        ]
    };
    manager.list().into_iter().map(row).collect()
}
