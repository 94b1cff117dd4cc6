//! Finds the tables and views that a query names, and says which must still be loaded.

use std::cell::RefCell;
use std::collections::BTreeMap;

use crate::error::Error;
use crate::sql::ast::Ident;
use crate::sql::{Catalogs, Relation};
use crate::table::TablePath;

/// The tables of the session and those already loaded from external catalogs.
///
/// Planning is synchronous; when it meets a name that is not here, it fails and [`Lookup::missing`] says which table
/// the session has to load before planning again.
pub(crate) struct Lookup<'a> {
    catalogs: &'a Catalogs,
    loaded: &'a BTreeMap<TablePath, Relation>,
    missing: RefCell<Option<TablePath>>,
}

impl<'a> Lookup<'a> {
    pub(crate) fn new(catalogs: &'a Catalogs, loaded: &'a BTreeMap<TablePath, Relation>) -> Self {
        Lookup {
            catalogs,
            loaded,
            missing: RefCell::new(None),
        }
    }

    pub(crate) fn missing(&self) -> Option<TablePath> {
        self.missing.borrow().clone()
    }

    /// The catalog and database of the session.
    pub(crate) fn here(&self) -> (&str, &str) {
        (&self.catalogs.catalog, &self.catalogs.database)
    }

    /// What `path` names, seen from `catalog` and `database`.
    pub(crate) fn find(
        &self,
        path: &[Ident],
        (catalog, database): (&str, &str),
    ) -> Result<(TablePath, Relation), Error> {
        let full = self.catalogs.qualify(path, catalog, database)?;
        let found = self
            .catalogs
            .relations
            .get(&full)
            .or_else(|| self.loaded.get(&full));
        match found {
            Some(relation) => Ok((full, relation.clone())),
            None => {
                let error = Error::validation(format!("no table {full}"), path[0].position);
                *self.missing.borrow_mut() = Some(full);
                Err(error)
            }
        }
    }
}
