//! An Iceberg REST catalog as a session sees it.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{Field, Schema};
use async_trait::async_trait;
use iceberg::spec::{Transform, UnboundPartitionSpec};
use iceberg::{NamespaceIdent, TableIdent};
use lake::catalog::{NewTable, Purge, RestCatalog};
use lake::iceberg;

use crate::connectors::Connectors;
use crate::connectors::iceberg::types::sql_type;
use crate::connectors::stored_columns;
use crate::error::Error;
use crate::sql::{CatalogConnector, ExternalCatalog};
use crate::table::{Column, ColumnKind, TableDefinition, TablePath};

/// Our extension: what Flink's DDL cannot say of partitions, as `day(ts),bucket(16,id)`.
const PARTITION_SPEC: &str = "streamforge.partition-spec";

/// Opens Iceberg catalogs for sessions.
pub(crate) struct IcebergConnector(pub(crate) Arc<Connectors>);

struct IcebergCatalog {
    name: String,
    options: BTreeMap<String, String>,
    catalog: RestCatalog,
}

impl fmt::Debug for IcebergConnector {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("IcebergConnector")
    }
}

impl fmt::Debug for IcebergCatalog {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "IcebergCatalog({})", self.name)
    }
}

#[async_trait]
impl CatalogConnector for IcebergConnector {
    async fn connect(
        &self,
        name: &str,
        options: &BTreeMap<String, String>,
    ) -> Result<Arc<dyn ExternalCatalog>, Error> {
        Ok(Arc::new(IcebergCatalog {
            name: name.to_owned(),
            options: options.clone(),
            catalog: self.0.catalogs().get(options).await?,
        }))
    }
}

/// `database`, whose dots separate the levels of a namespace.
pub(crate) fn namespace(database: &str) -> Result<NamespaceIdent, Error> {
    NamespaceIdent::from_vec(database.split('.').map(str::to_owned).collect())
        .map_err(|error| Error::caused(format!("`{database}` is no database name"), error))
}

/// A table by its path.
pub(crate) fn table_ident(path: &TablePath) -> Result<TableIdent, Error> {
    Ok(TableIdent::new(
        namespace(&path.database)?,
        path.table.clone(),
    ))
}

fn failed(what: impl Into<String>) -> impl FnOnce(lake::Error) -> Error {
    let what = what.into();
    move |error| Error::caused(format!("could not {what}"), error)
}

#[async_trait]
impl ExternalCatalog for IcebergCatalog {
    async fn databases(&self) -> Result<Vec<String>, Error> {
        let mut open = vec![None];
        let mut found = Vec::new();
        while let Some(parent) = open.pop() {
            let namespaces = self.catalog.namespaces(parent.as_ref()).await;
            for child in namespaces.map_err(failed("list the databases"))? {
                found.push(child.as_ref().join("."));
                open.push(Some(child));
            }
        }
        found.sort();
        Ok(found)
    }

    async fn create_database(
        &self,
        database: &str,
        properties: &BTreeMap<String, String>,
    ) -> Result<(), Error> {
        let properties: HashMap<_, _> = properties.clone().into_iter().collect();
        self.catalog
            .create_namespace(&namespace(database)?, &properties)
            .await
            .map(|_| ())
            .map_err(failed(format!("create the database `{database}`")))
    }

    async fn drop_database(&self, database: &str) -> Result<(), Error> {
        self.catalog
            .drop_namespace(&namespace(database)?)
            .await
            .map_err(failed(format!("drop the database `{database}`")))
    }

    async fn tables(&self, database: &str) -> Result<Vec<String>, Error> {
        let tables = self.catalog.tables(&namespace(database)?).await;
        let tables = tables.map_err(failed(format!("list the tables of `{database}`")))?;
        Ok(tables.into_iter().map(|table| table.name).collect())
    }

    async fn table(&self, database: &str, table: &str) -> Result<Option<TableDefinition>, Error> {
        let path = TablePath {
            catalog: self.name.clone(),
            database: database.to_owned(),
            table: table.to_owned(),
        };
        match self.catalog.load_table(&table_ident(&path)?).await {
            Ok(loaded) => Ok(Some(self.definition(path, &loaded))),
            Err(lake::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(failed(format!("load the table {path}"))(error)),
        }
    }

    async fn create_table(&self, table: &TableDefinition) -> Result<(), Error> {
        let new = new_table(table)?;
        self.catalog
            .create_table(&namespace(&table.path.database)?, new)
            .await
            .map(|_| ())
            .map_err(failed(format!("create the table {}", table.path)))
    }

    async fn drop_table(&self, database: &str, table: &str) -> Result<(), Error> {
        let ident = TableIdent::new(namespace(database)?, table.to_owned());
        self.catalog
            .drop_table(&ident, Purge::Nothing)
            .await
            .map_err(failed(format!("drop the table `{database}`.`{table}`")))
    }
}

impl IcebergCatalog {
    fn definition(&self, path: TablePath, loaded: &lake::Table) -> TableDefinition {
        let metadata = loaded.metadata();
        let schema = metadata.current_schema();
        let columns = schema.as_struct().fields().iter().map(|field| Column {
            name: field.name.clone(),
            data_type: sql_type(field),
            kind: ColumnKind::Physical,
        });
        let name_of = |id: i32| schema.name_by_field_id(id).map(str::to_owned);
        let spec = metadata.default_partition_spec();
        let identity = spec.fields().iter();
        let identity = identity.filter(|field| field.transform == Transform::Identity);
        let properties = metadata.properties().iter();
        let mut options: BTreeMap<String, String> = properties
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        for (key, value) in &self.options {
            options.insert(format!("catalog.{key}"), value.clone());
        }
        options.insert("connector".to_owned(), "iceberg".to_owned());
        TableDefinition {
            path,
            columns: columns.collect(),
            watermark: None,
            primary_key: schema.identifier_field_ids().filter_map(name_of).collect(),
            partitioned_by: identity
                .filter_map(|field| name_of(field.source_id))
                .collect(),
            options,
        }
    }
}

fn new_table(table: &TableDefinition) -> Result<NewTable, Error> {
    let unfit = table
        .columns
        .iter()
        .find(|column| column.kind != ColumnKind::Physical);
    if let Some(column) = unfit {
        return Err(Error::invalid(format!(
            "Iceberg table {} cannot have the computed or metadata column `{}`",
            table.path, column.name
        )));
    }
    let fields = stored_columns(table).into_iter().map(|column| {
        let in_key = table.primary_key.contains(&column.name);
        let nullable = column.data_type.nullable && !in_key;
        Field::new(&column.name, column.data_type.arrow(), nullable)
    });
    let keys: Vec<&str> = table.primary_key.iter().map(String::as_str).collect();
    let schema = lake::schema::from_arrow(&Schema::new(fields.collect::<Vec<_>>()), &keys)
        .map_err(failed(format!("create the table {}", table.path)))?;
    let mut new = NewTable::new(table.path.table.clone(), schema);
    new.partition_spec = partition_spec(table, &new.schema)?;
    let own =
        |key: &str| key == "connector" || key == PARTITION_SPEC || key.starts_with("catalog.");
    let properties = table.options.iter().filter(|(key, _)| !own(key));
    new.properties
        .extend(properties.map(|(key, value)| (key.clone(), value.clone())));
    Ok(new)
}

fn partition_spec(
    table: &TableDefinition,
    schema: &iceberg::spec::Schema,
) -> Result<Option<UnboundPartitionSpec>, Error> {
    let mut fields: Vec<(String, Transform)> = table
        .partitioned_by
        .iter()
        .map(|column| (column.clone(), Transform::Identity))
        .collect();
    if let Some(text) = table.options.get(PARTITION_SPEC) {
        let wrong = || {
            Error::invalid(format!(
                "option '{PARTITION_SPEC}' of table {} cannot be '{text}'",
                table.path
            ))
        };
        for part in terms(text) {
            fields.push(parse_transform(part).ok_or_else(wrong)?);
        }
    }
    if fields.is_empty() {
        return Ok(None);
    }
    let mut spec = UnboundPartitionSpec::builder();
    for (column, transform) in fields {
        let Some(id) = schema.field_id_by_name(&column) else {
            return Err(Error::invalid(format!(
                "table {} has no column `{column}` to be partitioned by",
                table.path
            )));
        };
        let suffix = match transform {
            Transform::Identity => String::new(),
            Transform::Bucket(_) => "_bucket".to_owned(),
            Transform::Truncate(_) => "_trunc".to_owned(),
            other => format!("_{other}"),
        };
        spec = spec
            .add_partition_field(id, format!("{column}{suffix}"), transform)
            .map_err(|error| Error::caused("could not partition the table", error))?;
    }
    Ok(Some(spec.build()))
}

/// Splits at commas outside parentheses.
fn terms(text: &str) -> Vec<&str> {
    let mut depth = 0;
    let split = text.split(move |letter| {
        match letter {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        letter == ',' && depth == 0
    });
    split.map(str::trim).collect()
}

fn parse_transform(text: &str) -> Option<(String, Transform)> {
    let Some((name, arguments)) = text.split_once('(') else {
        return Some((text.to_owned(), Transform::Identity));
    };
    let arguments: Vec<&str> = arguments
        .strip_suffix(')')?
        .split(',')
        .map(str::trim)
        .collect();
    let column = (*arguments.last()?).to_owned();
    let number = || arguments.first()?.parse().ok();
    let transform = match (name.trim(), arguments.len()) {
        ("identity", 1) => Transform::Identity,
        ("year" | "years", 1) => Transform::Year,
        ("month" | "months", 1) => Transform::Month,
        ("day" | "days", 1) => Transform::Day,
        ("hour" | "hours", 1) => Transform::Hour,
        ("bucket", 2) => Transform::Bucket(number()?),
        ("truncate", 2) => Transform::Truncate(number()?),
        _ => return None,
    };
    Some((column, transform))
}
