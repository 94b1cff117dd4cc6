//! Names and columns of the tables about tables.

use super::ColumnSpec;
use crate::types::{Type, UTC};

/// Schemas of the catalog `system`, beside `information_schema`.
pub(crate) const SYSTEM_SCHEMAS: [&str; 3] = ["jdbc", "metadata", "runtime"];

const INFORMATION: [&str; 8] = [
    "applicable_roles",
    "columns",
    "enabled_roles",
    "roles",
    "schemata",
    "table_privileges",
    "tables",
    "views",
];
const JDBC: [&str; 13] = [
    "attributes",
    "catalogs",
    "columns",
    "procedure_columns",
    "procedures",
    "pseudo_columns",
    "schemas",
    "super_tables",
    "super_types",
    "table_types",
    "tables",
    "types",
    "udts",
];
const METADATA: [&str; 4] = [
    "catalogs",
    "materialized_views",
    "schema_comments",
    "table_comments",
];
const RUNTIME: [&str; 2] = ["nodes", "queries"];

/// The catalogs there are.
pub(crate) fn catalogs(lake: &str) -> Vec<String> {
    let mut all = vec![lake.to_owned(), "system".to_owned()];
    all.sort();
    all
}

/// The tables of a schema of this module.
pub(crate) fn names(schema: &str, system: bool) -> &'static [&'static str] {
    match schema {
        "information_schema" => &INFORMATION,
        "jdbc" if system => &JDBC,
        "metadata" if system => &METADATA,
        "runtime" if system => &RUNTIME,
        _ => &[],
    }
}

fn texts(names: &[&'static str]) -> Vec<ColumnSpec> {
    names.iter().map(|name| (*name, Type::VARCHAR)).collect()
}

/// Columns where a name ending in `#` is a bigint.
fn mixed(names: &[&'static str]) -> Vec<ColumnSpec> {
    names
        .iter()
        .map(|name| match name.strip_suffix('#') {
            Some(number) => (number, Type::Bigint),
            None => (*name, Type::VARCHAR),
        })
        .collect()
}

/// The columns of a table, if there is such a table.
pub(crate) fn definition(schema: &str, table: &str, system: bool) -> Option<Vec<ColumnSpec>> {
    if !names(schema, system).contains(&table) {
        return None;
    }
    Some(match (schema, table) {
        ("information_schema", table) => information(table),
        ("jdbc", table) => jdbc(table),
        ("metadata", "catalogs") => texts(&["catalog_name", "connector_id", "connector_name"]),
        ("metadata", "table_comments") => {
            texts(&["catalog_name", "schema_name", "table_name", "comment"])
        }
        ("metadata", "schema_comments") => texts(&["catalog_name", "schema_name", "comment"]),
        ("metadata", _) => texts(&[
            "catalog_name",
            "schema_name",
            "name",
            "storage_catalog",
            "storage_schema",
            "storage_table",
            "freshness",
            "owner",
            "comment",
            "definition",
        ]),
        ("runtime", "nodes") => {
            let mut columns = texts(&["node_id", "http_uri", "node_version"]);
            columns.extend([("coordinator", Type::Boolean), ("state", Type::VARCHAR)]);
            columns
        }
        _ => queries(),
    })
}

fn queries() -> Vec<ColumnSpec> {
    let mut columns = texts(&["query_id", "state", "user", "source", "query"]);
    columns.push(("resource_group_id", Type::array(Type::VARCHAR)));
    columns.extend(mixed(&[
        "queued_time_ms#",
        "analysis_time_ms#",
        "planning_time_ms#",
    ]));
    for name in ["created", "started", "last_heartbeat", "end"] {
        columns.push((name, Type::TimestampTz(3, UTC.into())));
    }
    columns.extend(texts(&["error_type", "error_code"]));
    columns
}

fn information(table: &str) -> Vec<ColumnSpec> {
    match table {
        "schemata" => texts(&["catalog_name", "schema_name"]),
        "tables" => texts(&["table_catalog", "table_schema", "table_name", "table_type"]),
        "columns" => mixed(&[
            "table_catalog",
            "table_schema",
            "table_name",
            "column_name",
            "ordinal_position#",
            "column_default",
            "is_nullable",
            "data_type",
            "comment",
        ]),
        "views" => texts(&[
            "table_catalog",
            "table_schema",
            "table_name",
            "view_definition",
        ]),
        "table_privileges" => texts(&[
            "grantor",
            "grantor_type",
            "grantee",
            "grantee_type",
            "table_catalog",
            "table_schema",
            "table_name",
            "privilege_type",
            "is_grantable",
            "with_hierarchy",
        ]),
        "applicable_roles" => texts(&["grantee", "grantee_type", "role_name", "is_grantable"]),
        _ => texts(&["role_name"]),
    }
}

#[expect(
    clippy::too_many_lines,
    reason = "one arm a case of the dialect, each a plain construction"
)]
fn jdbc(table: &str) -> Vec<ColumnSpec> {
    match table {
        "catalogs" => texts(&["table_cat"]),
        "schemas" => texts(&["table_schem", "table_catalog"]),
        "table_types" => texts(&["table_type"]),
        "tables" => texts(&[
            "table_cat",
            "table_schem",
            "table_name",
            "table_type",
            "remarks",
            "type_cat",
            "type_schem",
            "type_name",
            "self_referencing_col_name",
            "ref_generation",
        ]),
        "columns" => mixed(&[
            "table_cat",
            "table_schem",
            "table_name",
            "column_name",
            "data_type#",
            "type_name",
            "column_size#",
            "buffer_length#",
            "decimal_digits#",
            "num_prec_radix#",
            "nullable#",
            "remarks",
            "column_def",
            "sql_data_type#",
            "sql_datetime_sub#",
            "char_octet_length#",
            "ordinal_position#",
            "is_nullable",
            "scope_catalog",
            "scope_schema",
            "scope_table",
            "source_data_type#",
            "is_autoincrement",
            "is_generatedcolumn",
        ]),
        "types" => mixed(&[
            "type_name",
            "data_type#",
            "precision#",
            "literal_prefix",
            "literal_suffix",
            "create_params",
            "nullable#",
            "case_sensitive",
            "searchable#",
            "unsigned_attribute",
            "fixed_prec_scale",
            "auto_increment",
            "local_type_name",
            "minimum_scale#",
            "maximum_scale#",
            "sql_data_type#",
            "sql_datetime_sub#",
            "num_prec_radix#",
        ]),
        "procedures" => texts(&[
            "procedure_cat",
            "procedure_schem",
            "procedure_name",
            "remarks",
            "procedure_type",
            "specific_name",
        ]),
        "procedure_columns" => texts(&[
            "procedure_cat",
            "procedure_schem",
            "procedure_name",
            "column_name",
        ]),
        "udts" => texts(&[
            "type_cat",
            "type_schem",
            "type_name",
            "class_name",
            "data_type",
            "remarks",
            "base_type",
        ]),
        "super_types" => texts(&[
            "type_cat",
            "type_schem",
            "type_name",
            "supertype_cat",
            "supertype_schem",
            "supertype_name",
        ]),
        "super_tables" => texts(&["table_cat", "table_schem", "table_name", "supertable_name"]),
        "attributes" => texts(&[
            "type_cat",
            "type_schem",
            "type_name",
            "attr_name",
            "data_type",
            "attr_type_name",
        ]),
        _ => texts(&[
            "table_cat",
            "table_schem",
            "table_name",
            "column_name",
            "data_type",
        ]),
    }
}
