//! Finds the tables a statement names: in the lake, among its `$` tables, or among the engine's own.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, IntervalUnit, TimeUnit};
use datafusion::catalog::{MemTable, TableProvider};
use lake::iceberg::spec::{PrimitiveType, Type as IcebergType};
use lake::iceberg::{NamespaceIdent, TableIdent};

use crate::Config;
use crate::failure::{Code, Failure, Result};
use crate::meta;
use crate::query::Query;
use crate::query::manager::Manager;
use crate::query::run::Engine;
use crate::scan::metadata_tables::MetadataTable;
use crate::scan::{IcebergTable, SnapshotPin};
use crate::sql::analyze::{Analyzer, Environment, Table, TableColumn, TableKey};
use crate::sql::ast::Version;
use crate::types::{Type, UTC};

/// How the lake's files are reached.
pub(crate) fn store(config: &Config) -> lake::io::StoreConfig {
    lake::io::StoreConfig {
        endpoint: Some(config.s3_endpoint.to_string()),
        region: config.s3_region.clone(),
        access_key: config.s3_access_key.clone(),
        secret_key: config.s3_secret_key.clone(),
        path_style: true,
        ..lake::io::StoreConfig::default()
    }
}

/// A failure of the lake in Trino's words.
pub(crate) fn failure(error: &lake::Error) -> Failure {
    let code = match error {
        lake::Error::NotFound { .. } => Code::NotFound,
        lake::Error::Unsupported(_) => Code::NotSupported,
        lake::Error::Store { .. } => Code::IcebergFilesystemError,
        lake::Error::Parquet { .. } | lake::Error::Arrow { .. } => Code::IcebergBadData,
        lake::Error::Iceberg { .. } | lake::Error::Invalid(_) => Code::IcebergInvalidMetadata,
        lake::Error::AlreadyExists { .. }
        | lake::Error::Conflict { .. }
        | lake::Error::StateUnknown { .. }
        | lake::Error::Unavailable { .. }
        | lake::Error::Refused { .. } => Code::IcebergCatalogError,
    };
    Failure::new(code, telemetry::chain(error).to_string())
}

pub(crate) fn namespace(schema: &str) -> Result<NamespaceIdent> {
    NamespaceIdent::from_strs(schema.split('.')).map_err(|error| {
        Failure::new(
            Code::SchemaNotFound,
            format!("Schema '{schema}' does not exist: {error}"),
        )
    })
}

/// The schemas of the lake.
pub(crate) async fn schemas(engine: &Engine) -> Result<Vec<String>> {
    let namespaces = engine
        .lake()
        .await?
        .namespaces()
        .await
        .map_err(|error| failure(&error))?;
    Ok(namespaces
        .iter()
        .map(|namespace| namespace.as_ref().join("."))
        .collect())
}

/// The tables of a schema of the lake.
pub(crate) async fn tables(engine: &Engine, schema: &str) -> Result<Vec<String>> {
    match engine.lake().await?.tables(&namespace(schema)?).await {
        Ok(tables) => Ok(tables.iter().map(|table| table.name().to_owned()).collect()),
        Err(lake::Error::NotFound { .. }) => Ok(Vec::new()),
        Err(error) => Err(failure(&error)),
    }
}

/// The Iceberg table behind a name.
pub(crate) async fn lake_table(
    engine: &Engine,
    schema: &str,
    name: &str,
) -> Result<Option<lake::Table>> {
    let ident = TableIdent::new(namespace(schema)?, name.to_owned());
    engine
        .lake()
        .await?
        .table(&ident)
        .await
        .map_err(|error| failure(&error))
}

/// Resolves a table for analysis.
pub(crate) async fn resolve(
    manager: &Arc<Manager>,
    query: &Query,
    environment: &Environment,
    key: &TableKey,
) -> Result<Table> {
    let engine = &manager.engine;
    let name = [key.catalog.clone(), key.schema.clone(), key.table.clone()];
    if key.catalog != engine.config.catalog_name && key.catalog != "system" {
        return Err(Failure::new(
            Code::CatalogNotFound,
            format!("Catalog '{}' does not exist", key.catalog),
        ));
    }
    if key.catalog == "system" || key.schema == "information_schema" {
        if key.version.is_some() {
            return Err(Failure::new(
                Code::NotSupported,
                "This connector does not support versioned tables",
            ));
        }
        return meta::table(manager, query, &name);
    }
    let pin = pin(key.version.as_ref(), environment)?;
    let (base, suffix) = match key.table.split_once('$') {
        Some((base, suffix)) => (base, Some(suffix)),
        None => (key.table.as_str(), None),
    };
    let Some(table) = lake_table(engine, &key.schema, base).await? else {
        return Err(missing(engine, key).await?);
    };
    if let Some(suffix) = suffix {
        let Some(metadata) = MetadataTable::parse(suffix) else {
            return Err(Failure::new(
                Code::TableNotFound,
                format!("Table '{}' does not exist", name.join(".")),
            ));
        };
        let batch = metadata
            .rows(&table, &pin, &engine.caches)
            .await
            .map_err(|error| failure(&error))?;
        let columns = batch
            .schema()
            .fields()
            .iter()
            .map(|field| column(field, &table))
            .collect::<Result<_>>()?;
        let provider = MemTable::try_new(batch.schema(), vec![vec![batch]])?;
        return Ok(Table {
            name,
            provider: Arc::new(provider),
            columns,
        });
    }
    let provider = IcebergTable::new(&table, &pin, Arc::clone(&engine.caches))
        .map_err(|error| no_such_version(&error))?;
    let columns = columns(&provider, &table)?;
    Ok(Table {
        name,
        provider: Arc::new(provider),
        columns,
    })
}

/// The table is there; the snapshot, branch or time that was asked for is not.
fn no_such_version(error: &lake::Error) -> Failure {
    let failure = failure(error);
    match failure.code {
        Code::NotFound => Failure {
            code: Code::InvalidArguments,
            ..failure
        },
        _ => failure,
    }
}

async fn missing(engine: &Engine, key: &TableKey) -> Result<Failure> {
    let known = schemas(engine).await?.contains(&key.schema);
    Ok(if known {
        Failure::new(
            Code::TableNotFound,
            format!(
                "Table '{}.{}.{}' does not exist",
                key.catalog, key.schema, key.table
            ),
        )
    } else {
        Failure::new(
            Code::SchemaNotFound,
            format!("Schema '{}' does not exist", key.schema),
        )
    })
}

fn column(field: &Field, table: &lake::Table) -> Result<TableColumn> {
    let uuid = || {
        let schema = table.metadata().current_schema();
        schema.field_by_name(field.name()).is_some_and(|found| {
            matches!(
                *found.field_type,
                IcebergType::Primitive(PrimitiveType::Uuid)
            )
        })
    };
    let ty = match field.data_type() {
        DataType::FixedSizeBinary(16) if uuid() => Type::Uuid,
        other => of_arrow(other)?,
    };
    Ok(TableColumn {
        name: field.name().to_lowercase(),
        source: field.name().clone(),
        ty,
        hidden: false,
    })
}

/// The columns of a table of the lake; those behind its own are hidden.
fn columns(provider: &IcebergTable, table: &lake::Table) -> Result<Vec<TableColumn>> {
    let schema = provider.schema();
    let n_own = provider.n_own_columns();
    let fields = schema.fields().iter().enumerate();
    fields
        .map(|(index, field)| {
            let own = column(field, table)?;
            Ok(match own.ty {
                _ if index < n_own => own,
                Type::TimestampTz(_, zone) => TableColumn {
                    ty: Type::TimestampTz(3, zone),
                    hidden: true,
                    ..own
                },
                _ => TableColumn {
                    hidden: true,
                    ..own
                },
            })
        })
        .collect()
}

/// The Trino type of an Iceberg column's Arrow type.
pub(crate) fn of_arrow(ty: &DataType) -> Result<Type> {
    Ok(match ty {
        DataType::Boolean => Type::Boolean,
        DataType::Int8 => Type::Tinyint,
        DataType::Int16 => Type::Smallint,
        DataType::Int32 => Type::Integer,
        DataType::Int64 => Type::Bigint,
        DataType::Float32 => Type::Real,
        DataType::Float64 => Type::Double,
        DataType::Decimal128(precision, scale) => Type::Decimal(*precision, *scale),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Type::VARCHAR,
        DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView
        | DataType::FixedSizeBinary(_) => Type::Varbinary,
        DataType::Date32 => Type::Date,
        DataType::Time64(TimeUnit::Microsecond) => Type::Time(6),
        DataType::Timestamp(unit, zone) => {
            let precision = match unit {
                TimeUnit::Second => 0,
                TimeUnit::Millisecond => 3,
                TimeUnit::Microsecond => 6,
                TimeUnit::Nanosecond => 9,
            };
            if zone.is_some() {
                Type::TimestampTz(precision, UTC.into())
            } else {
                Type::Timestamp(precision)
            }
        }
        DataType::Interval(IntervalUnit::YearMonth) => Type::YearMonth,
        DataType::List(item) | DataType::LargeList(item) => {
            Type::array(of_arrow(item.data_type())?)
        }
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(fields) if fields.len() == 2 => Type::map(
                of_arrow(fields[0].data_type())?,
                of_arrow(fields[1].data_type())?,
            ),
            _ => {
                return Err(Failure::new(
                    Code::NotSupported,
                    format!("a column of {ty} is not supported"),
                ));
            }
        },
        DataType::Struct(fields) => Type::Row(
            fields
                .iter()
                .map(|field| {
                    Ok((
                        Some(field.name().to_lowercase()),
                        of_arrow(field.data_type())?,
                    ))
                })
                .collect::<Result<_>>()?,
        ),
        other => {
            return Err(Failure::new(
                Code::NotSupported,
                format!("a column of {other} is not supported"),
            ));
        }
    })
}

/// The Trino type of an Iceberg type.
pub(crate) fn of_iceberg(ty: &IcebergType) -> Result<Type> {
    Ok(match ty {
        IcebergType::Primitive(primitive) => match primitive {
            PrimitiveType::Boolean => Type::Boolean,
            PrimitiveType::Int => Type::Integer,
            PrimitiveType::Long => Type::Bigint,
            PrimitiveType::Float => Type::Real,
            PrimitiveType::Double => Type::Double,
            PrimitiveType::Decimal { precision, scale } => Type::Decimal(
                u8::try_from(*precision).unwrap_or(38),
                i8::try_from(*scale).unwrap_or(0),
            ),
            PrimitiveType::Date => Type::Date,
            PrimitiveType::Time => Type::Time(6),
            PrimitiveType::Timestamp => Type::Timestamp(6),
            PrimitiveType::Timestamptz => Type::TimestampTz(6, UTC.into()),
            PrimitiveType::TimestampNs => Type::Timestamp(9),
            PrimitiveType::TimestamptzNs => Type::TimestampTz(9, UTC.into()),
            PrimitiveType::String => Type::VARCHAR,
            PrimitiveType::Uuid => Type::Uuid,
            PrimitiveType::Fixed(_) | PrimitiveType::Binary => Type::Varbinary,
        },
        IcebergType::Struct(fields) => Type::Row(
            fields
                .fields()
                .iter()
                .map(|field| {
                    Ok((
                        Some(field.name.to_lowercase()),
                        of_iceberg(&field.field_type)?,
                    ))
                })
                .collect::<Result<_>>()?,
        ),
        IcebergType::List(list) => Type::array(of_iceberg(&list.element_field.field_type)?),
        IcebergType::Map(map) => Type::map(
            of_iceberg(&map.key_field.field_type)?,
            of_iceberg(&map.value_field.field_type)?,
        ),
    })
}

/// The snapshot that a time-travel clause means.
fn pin(version: Option<&Version>, environment: &Environment) -> Result<SnapshotPin> {
    use datafusion::common::ScalarValue;
    use datafusion::logical_expr::Expr;
    let none = std::collections::HashMap::new();
    let Some(version) = version else {
        return Ok(SnapshotPin::Current);
    };
    let (expr, timestamp) = match version {
        Version::Version(expr) => (expr, false),
        Version::Timestamp(expr) => (expr, true),
    };
    let value = Analyzer::new(environment, &none, &[]).constant(expr)?;
    let value = if timestamp {
        let ty = Type::TimestampTz(3, Arc::clone(&environment.zone));
        let on_failure = crate::functions::kernel::OnFailure::Raise;
        if !matches!(
            value.ty,
            Type::Date | Type::Timestamp(_) | Type::TimestampTz(..)
        ) {
            return Err(Failure::at(
                Code::TypeMismatch,
                expr.pos,
                format!("Type {} invalid for FOR TIMESTAMP AS OF", value.ty),
            ));
        }
        crate::functions::cast::explicit(value, &ty, on_failure, &environment.zone)?
    } else {
        value
    };
    match value.expr {
        Expr::Literal(ScalarValue::Int32(Some(id)), _) => Ok(SnapshotPin::Id(i64::from(id))),
        Expr::Literal(ScalarValue::Int64(Some(id)), _) => Ok(SnapshotPin::Id(id)),
        Expr::Literal(ScalarValue::Utf8(Some(name)), _) => Ok(SnapshotPin::Ref(name)),
        Expr::Literal(ScalarValue::TimestampMicrosecond(Some(micros), _), _) => {
            Ok(SnapshotPin::AsOf(micros.div_euclid(1000)))
        }
        _ => Err(Failure::unsupported(
            expr.pos,
            "a version that is not a constant",
        )),
    }
}
