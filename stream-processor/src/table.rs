//! A table as its DDL declares it: columns, watermark, keys and connector options.

use std::collections::BTreeMap;
use std::fmt;

use arrow::datatypes::DataType;

/// `catalog.database.table`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TablePath {
    /// The catalog, `default_catalog` unless said otherwise.
    pub catalog: String,
    /// The database.
    pub database: String,
    /// The table.
    pub table: String,
}

impl fmt::Display for TablePath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "`{}`.`{}`.`{}`",
            self.catalog, self.database, self.table
        )
    }
}

impl TablePath {
    /// The path as job pages show it: without backquotes, and without the database that sessions begin in.
    pub(crate) fn shown(&self) -> String {
        let home = self.catalog == crate::sql::DEFAULT_CATALOG
            && self.database == crate::sql::DEFAULT_DATABASE;
        if home {
            return self.table.clone();
        }
        format!("{}.{}.{}", self.catalog, self.database, self.table)
    }
}

/// A declared table, independent of any query over it.
#[derive(Debug, Clone, PartialEq)]
pub struct TableDefinition {
    /// Its full name.
    pub path: TablePath,
    /// In declared order.
    pub columns: Vec<Column>,
    /// Row-time column and the SQL of its watermark expression.
    pub watermark: Option<(String, String)>,
    /// Column names of `PRIMARY KEY … NOT ENFORCED`.
    pub primary_key: Vec<String>,
    /// Column names of `PARTITIONED BY`.
    pub partitioned_by: Vec<String>,
    /// `WITH` options, with hints merged over them. For a table of an Iceberg catalog, `connector` is `iceberg` and the
    /// catalog's own options are here under the prefix `catalog.`.
    pub options: BTreeMap<String, String>,
}

impl TableDefinition {
    /// Whether reading it ends by itself.
    pub(crate) fn is_bounded(&self) -> bool {
        let option = |key: &str| self.options.get(key).map(String::as_str);
        match option("connector") {
            Some("filesystem") => true,
            Some("datagen") => self.options.iter().any(|(key, value)| {
                key == "number-of-rows" || (key.ends_with(".kind") && value == "sequence")
            }),
            Some("kafka") => option("scan.bounded.mode").is_some_and(|mode| mode != "unbounded"),
            _ => false,
        }
    }
}

/// One column of a table.
#[derive(Debug, Clone, PartialEq)]
pub struct Column {
    /// As written; identifiers are case-sensitive.
    pub name: String,
    /// The SQL type.
    pub data_type: SqlType,
    /// Where its values come from.
    pub kind: ColumnKind,
}

/// Where a column's values come from.
#[derive(Debug, Clone, PartialEq)]
pub enum ColumnKind {
    /// The record itself.
    Physical,
    /// The connector: `METADATA FROM key [VIRTUAL]`.
    Metadata {
        /// The connector's or format's name for it.
        key: String,
        /// Not written by a sink.
        is_virtual: bool,
    },
    /// `AS expression`, here as SQL text.
    Computed(String),
}

/// A SQL type of Flink. [`SqlType::arrow`] gives the Arrow type that carries it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SqlType {
    /// The type itself.
    pub root: TypeRoot,
    /// `false` for `NOT NULL`.
    pub nullable: bool,
}

/// Flink's `LogicalTypeRoot` with its parameters.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum TypeRoot {
    /// `BOOLEAN`
    Boolean,
    /// `TINYINT`
    TinyInt,
    /// `SMALLINT`
    SmallInt,
    /// `INT`
    Int,
    /// `BIGINT`
    BigInt,
    /// `FLOAT`
    Float,
    /// `DOUBLE`
    Double,
    /// `DECIMAL(p, s)`
    Decimal(u8, i8),
    /// `CHAR(n)`
    Char(u32),
    /// `VARCHAR(n)`; `STRING` is `VARCHAR(2147483647)`.
    Varchar(u32),
    /// `BINARY(n)`
    Binary(u32),
    /// `VARBINARY(n)`; `BYTES` is `VARBINARY(2147483647)`.
    Varbinary(u32),
    /// `DATE`
    Date,
    /// `TIME(p)`
    Time(u8),
    /// `TIMESTAMP(p)`
    Timestamp(u8),
    /// `TIMESTAMP_LTZ(p)`
    TimestampLtz(u8),
    /// `INTERVAL` of months.
    IntervalYearMonth,
    /// `INTERVAL` of milliseconds.
    IntervalDayTime,
    /// `ARRAY<t>`
    Array(Box<SqlType>),
    /// `MULTISET<t>`
    Multiset(Box<SqlType>),
    /// `MAP<k, v>`
    Map(Box<SqlType>, Box<SqlType>),
    /// `ROW<name type, …>`
    Row(Vec<(String, SqlType)>),
}

impl SqlType {
    /// The Arrow type that carries values of this type between operators.
    ///
    /// Timestamps of precision 0 to 3 travel as milliseconds, 4 to 6 as microseconds, 7 to 9 as nanoseconds; local-zone
    /// ones with the time zone `UTC`.
    pub fn arrow(&self) -> DataType {
        use arrow::datatypes::{Field, Fields, IntervalUnit, TimeUnit};
        let unit = |precision: u8| match precision {
            0..=3 => TimeUnit::Millisecond,
            4..=6 => TimeUnit::Microsecond,
            _ => TimeUnit::Nanosecond,
        };
        let field = |name: &str, of: &SqlType| Field::new(name, of.arrow(), of.nullable);
        let map = |key: Field, value: Field| {
            let entries = DataType::Struct(Fields::from(vec![key, value]));
            DataType::Map(Field::new("entries", entries, false).into(), false)
        };
        match &self.root {
            TypeRoot::Boolean => DataType::Boolean,
            TypeRoot::TinyInt => DataType::Int8,
            TypeRoot::SmallInt => DataType::Int16,
            TypeRoot::Int => DataType::Int32,
            TypeRoot::BigInt => DataType::Int64,
            TypeRoot::Float => DataType::Float32,
            TypeRoot::Double => DataType::Float64,
            TypeRoot::Decimal(precision, scale) => DataType::Decimal128(*precision, *scale),
            TypeRoot::Char(_) | TypeRoot::Varchar(_) => DataType::Utf8,
            TypeRoot::Binary(_) | TypeRoot::Varbinary(_) => DataType::Binary,
            TypeRoot::Date => DataType::Date32,
            TypeRoot::Time(_) => DataType::Time32(TimeUnit::Millisecond),
            TypeRoot::Timestamp(precision) => DataType::Timestamp(unit(*precision), None),
            TypeRoot::TimestampLtz(precision) => {
                DataType::Timestamp(unit(*precision), Some("UTC".into()))
            }
            TypeRoot::IntervalYearMonth => DataType::Interval(IntervalUnit::YearMonth),
            TypeRoot::IntervalDayTime => DataType::Duration(TimeUnit::Millisecond),
            TypeRoot::Array(element) => DataType::List(field("element", element).into()),
            TypeRoot::Multiset(element) => map(
                Field::new("key", element.arrow(), false),
                Field::new("value", DataType::Int32, false),
            ),
            TypeRoot::Map(key, value) => {
                map(Field::new("key", key.arrow(), false), field("value", value))
            }
            TypeRoot::Row(fields) => DataType::Struct(
                fields
                    .iter()
                    .map(|(name, of)| field(name, of))
                    .collect::<Fields>(),
            ),
        }
    }
}
