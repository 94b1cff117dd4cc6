//! Damaged manifests, data files, delete files and answers of a catalog: an error, or what could still be read; never
//! a panic, and never memory that a number in them asks for.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use futures::TryStreamExt;
use lake::Table;
use lake::catalog::{CatalogConfig, RestCatalog};
use lake::committable::{Committable, Writer};
use lake::committer::{CommitOptions, Committer};
use lake::deletes::DeletedKeys;
use lake::read::{ManifestCache, SnapshotFiles};
use lake::upsert::{ChangeMode, RowKind, UpsertWriter};
use lake::writer::WriterOptions;
use parking_lot::Mutex;
use tokio::runtime::Runtime;
use url::Url;

use crate::lakehouse::{Lakehouse, ident, make_table, rows};

/// A table with data files and both kinds of delete files.
async fn filled(lakehouse: &Lakehouse) -> Table {
    let catalog = lakehouse.catalog().await;
    let table = make_table(&catalog, "t", false).await;
    let writer = Writer {
        job_id: "job".to_owned(),
        operator_id: "sink".to_owned(),
    };
    let options = CommitOptions::default();
    let mut committer = Committer::open(catalog.clone(), &ident("t"), writer, options)
        .await
        .unwrap();
    let (keys, options) = (["id".to_owned()], WriterOptions::default());
    let mut writer =
        UpsertWriter::new(&table, &keys, ChangeMode::Upsert, options, 1 << 20).unwrap();
    for checkpoint in 1..=3_u64 {
        let id = i64::try_from(checkpoint).unwrap();
        writer
            .write(&rows(&[(id, "a", id), (9, "b", 0)]), &[RowKind::Insert; 2])
            .await
            .unwrap();
        writer
            .write(&rows(&[(id, "a", 7)]), &[RowKind::UpdateAfter])
            .await
            .unwrap();
        let mut committable = Committable::new(checkpoint);
        committable.files = writer.finish().await.unwrap();
        committer.commit(vec![committable]).await.unwrap();
    }
    catalog.load_table(&ident("t")).await.unwrap()
}

fn on_disk(location: &str) -> PathBuf {
    PathBuf::from(location.strip_prefix("file://").unwrap())
}

async fn files(table: &Table) -> lake::Result<SnapshotFiles> {
    let snapshot = table.metadata().current_snapshot().unwrap();
    SnapshotFiles::load(table, snapshot, &ManifestCache::new(0), |_| true).await
}

/// Reads all there is, as the scan and compaction do.
async fn read_all(table: &Table) -> lake::Result<usize> {
    let live = files(table).await?;
    let equality: Vec<_> = live
        .deletes()
        .iter()
        .filter(|delete| delete.file().equality_ids().is_some())
        .collect();
    let keys = DeletedKeys::load(table, &equality, 1 << 20).await?;
    let mut n_rows = 0;
    for file in live.data() {
        let deletes = live.deletes_of(file);
        lake::deletes::positions(table, file.path(), &deletes.positions).await?;
        let mut batches = lake::deletes::open(table, file).await?;
        while let Some(batch) = batches
            .try_next()
            .await
            .map_err(|error| lake::Error::Invalid(error.to_string()))?
        {
            let kept = keys.kept(batch.num_rows(), file.sequence, |id| {
                let index = lake::deletes::index_of(batch.schema_ref(), id)?;
                Some(Arc::clone(batch.column(index)))
            })?;
            n_rows += kept.true_count();
        }
    }
    Ok(n_rows)
}

/// Changes each of `paths` in turn at random and reads the table.
fn damage(runtime: &Runtime, table: &Table, paths: &BTreeSet<PathBuf>) {
    let whole: Vec<_> = paths
        .iter()
        .map(|path| std::fs::read(path).unwrap())
        .collect();
    let corpus: Vec<Vec<u8>> = whole
        .iter()
        .zip(0_u8..)
        .map(|(bytes, number)| [&[number], &bytes[..]].concat())
        .collect();
    let (mut n_read, mut n_refused) = (0, 0);
    testkit::fuzz(&corpus, |input| {
        let [number, bytes @ ..] = input else { return };
        let number = usize::from(*number) % whole.len();
        let path = paths.iter().nth(number).unwrap();
        std::fs::write(path, bytes).unwrap();
        match runtime.block_on(read_all(table)) {
            Ok(_) => n_read += 1,
            Err(_) => n_refused += 1,
        }
        std::fs::write(path, &whole[number]).unwrap();
    });
    assert!(n_refused > 0, "{n_read} were read, none was refused");
    // All is as before.
    assert!(runtime.block_on(read_all(table)).unwrap() > 0);
}

#[test]
fn damaged_manifests_are_errors() {
    let panics = testkit::Panics::count();
    let runtime = Runtime::new().unwrap();
    let lakehouse = runtime.block_on(Lakehouse::start_on_files());
    let table = runtime.block_on(filled(&lakehouse));
    let snapshot = table.metadata().current_snapshot().unwrap();
    let list = runtime
        .block_on(ManifestCache::new(0).list(&table, snapshot))
        .unwrap();
    let manifests = list.iter().map(|manifest| on_disk(&manifest.manifest_path));
    let mut paths: BTreeSet<_> = manifests.collect();
    paths.insert(on_disk(snapshot.manifest_list()));
    damage(&runtime, &table, &paths);
    assert_eq!(panics.so_far(), 0);
    runtime.block_on(lakehouse.stop());
}

#[test]
fn damaged_data_and_delete_files_are_errors() {
    let panics = testkit::Panics::count();
    let runtime = Runtime::new().unwrap();
    let lakehouse = runtime.block_on(Lakehouse::start_on_files());
    let table = runtime.block_on(filled(&lakehouse));
    let live = runtime.block_on(files(&table)).unwrap();
    let paths: BTreeSet<_> = live
        .data()
        .iter()
        .chain(live.deletes())
        .map(|file| on_disk(file.path()))
        .collect();
    assert!(paths.len() > 6, "{paths:?}");
    damage(&runtime, &table, &paths);
    assert_eq!(panics.so_far(), 0);
    runtime.block_on(lakehouse.stop());
}

/// What the peer answers next to everything but `/v1/config`.
type Answer = Arc<Mutex<String>>;

async fn answer(State(answer): State<Answer>, request: Request) -> Response {
    if request.uri().path() == "/v1/config" {
        return "{}".into_response();
    }
    answer.lock().clone().into_response()
}

/// What stands in for words of an answer.
const WORDS: [&str; 19] = [
    "null",
    "true",
    "0",
    "-1",
    "1",
    "2147483648",
    "9223372036854775807",
    "1e99",
    "\"\"",
    "[]",
    "{}",
    "long",
    "s3://b/x",
    "file:///",
    "decimal(99,9)",
    "bucket[0]",
    "\\u0000",
    "format-version",
    "3",
];

#[test]
fn a_catalog_that_answers_nonsense_is_an_error() {
    let panics = testkit::Panics::count();
    let runtime = Runtime::new().unwrap();
    let lakehouse = runtime.block_on(Lakehouse::start_on_files());
    let table = runtime.block_on(filled(&lakehouse));
    let (next, mut peer) = (Answer::default(), tokio::task::JoinSet::new());
    let catalog = runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(answer).with_state(Arc::clone(&next));
        peer.spawn(async move { axum::serve(listener, router).await.unwrap() });
        let config = CatalogConfig::new(Url::parse(&url).unwrap());
        RestCatalog::connect(config).await.unwrap()
    });
    let loaded = format!("{}/v1/namespaces/test/tables/t", lakehouse.catalog_url);
    let loaded = runtime.block_on(async { reqwest::get(loaded).await.unwrap().text().await });
    let corpus = [
        loaded.unwrap(),
        r#"{"namespaces":[["a"],["b","c"]],"next-page-token":"x"}"#.to_owned(),
        r#"{"identifiers":[{"namespace":["a"],"name":"t"}],"next-page-token":null}"#.to_owned(),
    ];
    *next.lock() = corpus[0].clone();
    assert_eq!(
        runtime
            .block_on(catalog.load_table(&ident("t")))
            .unwrap()
            .metadata(),
        table.metadata()
    );
    let (mut n_taken, mut n_refused) = (0, 0);
    testkit::fuzz_text(&corpus, &WORDS, |input| {
        input.clone_into(&mut next.lock());
        runtime.block_on(async {
            match catalog.load_table(&ident("t")).await {
                Ok(odd) => {
                    n_taken += 1;
                    // What was taken may still lead nowhere.
                    if odd.metadata().current_snapshot().is_some() {
                        let _ = read_all(&odd).await;
                    }
                }
                Err(_) => n_refused += 1,
            }
            let _ = catalog.tables(table.ident().namespace()).await;
        });
    });
    assert!(n_taken > 0 && n_refused > 0, "{n_taken} {n_refused}");
    assert_eq!(panics.so_far(), 0);
    runtime.block_on(async {
        peer.shutdown().await;
        lakehouse.stop().await;
    });
}
