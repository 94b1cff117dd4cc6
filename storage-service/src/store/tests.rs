//! Facts about the store: what is there after crashes, races and full disks.

use std::collections::BTreeMap;
use std::fs;

use futures::StreamExt as _;
use parking_lot::Mutex;
use proptest::prelude::*;

use super::multipart::MIN_PART;
use super::*;

const NOW: UnixMillis = UnixMillis(1_700_000_000_000);

fn config(dir: &tempfile::TempDir) -> Config {
    Config {
        data_dir: dir.path().join("s"),
        buckets: vec!["b".into()],
        ..Config::default()
    }
}

async fn open(dir: &tempfile::TempDir) -> Store {
    open_with(config(dir)).await
}

async fn open_with(config: Config) -> Store {
    Store::open(&config, Metrics::default(), NOW).await.unwrap()
}

/// Ends a store without telling it anything, and waits until its directory is free.
async fn abandon(store: Store) {
    let closed = store.closed();
    drop(store);
    closed.cancelled().await;
}

async fn arrive(store: &Store, bytes: &[u8]) -> Arrived {
    let mut incoming = store.receive("b", None, None).unwrap();
    incoming.write(bytes).await.unwrap();
    incoming.finish(&Expected::default()).await.unwrap()
}

fn at(key: &str) -> Put {
    Put {
        bucket: "b".into(),
        key: key.into(),
        attributes: Attributes::default(),
        condition: WriteCondition::default(),
        now: NOW,
    }
}

async fn put(store: &Store, key: &str, bytes: &[u8]) -> Object {
    let arrived = arrive(store, bytes).await;
    store.put(at(key), arrived).await.unwrap()
}

async fn read(store: &Store, key: &str) -> Result<Vec<u8>, Error> {
    let found = store.find("b", key).await?;
    let size = found.object.size;
    read_range(store, found, 0..size).await
}

async fn read_range(
    store: &Store,
    found: Found,
    range: std::ops::Range<u64>,
) -> Result<Vec<u8>, Error> {
    let mut download = store.download(found, range);
    let mut bytes = Vec::new();
    while let Some(chunk) = download.next().await {
        bytes.extend(chunk?);
    }
    assert_eq!(download.remaining(), 0);
    Ok(bytes)
}

/// Bytes that differ everywhere, so that a misplaced one shows.
fn pattern(len: usize) -> Vec<u8> {
    (0..len)
        .map(|at| u8::try_from((at * 31 + at / 251) % 256).unwrap())
        .collect()
}

fn files(dir: &tempfile::TempDir) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for shard in fs::read_dir(dir.path().join("s/data")).unwrap() {
        for file in fs::read_dir(shard.unwrap().path()).unwrap() {
            files.push(file.unwrap().path());
        }
    }
    files
}

async fn wait_for_files(dir: &tempfile::TempDir, count: usize) {
    let limit = std::time::Duration::from_secs(10);
    let what = format!("{count} files");
    testkit::wait_until(&what, limit, || async {
        (files(dir).len() == count).then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_was_put_is_there_after_a_restart() {
    let dir = testkit::temp_dir();
    let sizes = [0, 1, 65_536, 65_537, 1_048_576, 1_048_577, 3_000_000];
    let store = open(&dir).await;
    for size in sizes {
        put(&store, &format!("k{size}"), &pattern(size)).await;
    }
    abandon(store).await;
    let store = open(&dir).await;
    for size in sizes {
        assert!(
            read(&store, &format!("k{size}")).await.unwrap() == pattern(size),
            "{size}"
        );
    }
    assert_eq!(files(&dir).len(), 4, "objects up to 64 KiB have no file");
}

#[tokio::test]
async fn any_range_of_any_object_can_be_read() {
    let dir = testkit::temp_dir();
    let store = open(&dir).await;
    let bytes = pattern(1_200_000);
    put(&store, "k", &bytes).await;
    for (start, end) in [
        (0, 1),
        (65_535, 65_537),
        (524_287, 524_289),
        (0, 1_200_000),
        (1_199_999, 1_200_000),
        (600_000, 600_000),
    ] {
        let found = store.find("b", "k").await.unwrap();
        let read = read_range(&store, found, start..end).await.unwrap();
        let range = usize::try_from(start).unwrap()..usize::try_from(end).unwrap();
        assert!(read == bytes[range], "{start}..{end}");
    }
}

#[tokio::test]
async fn of_racing_creators_one_wins() {
    let dir = testkit::temp_dir();
    let store = open(&dir).await;
    let mut racers = tokio::task::JoinSet::new();
    for racer in 0..16 {
        let store = store.clone();
        racers.spawn(async move {
            let arrived = arrive(&store, format!("racer {racer}").as_bytes()).await;
            let condition = WriteCondition {
                none_match: Some(Tag::Any),
                matches: None,
            };
            store
                .put(
                    Put {
                        condition,
                        ..at("k")
                    },
                    arrived,
                )
                .await
                .is_ok()
        });
    }
    let won = racers
        .join_all()
        .await
        .into_iter()
        .filter(|won| *won)
        .count();
    assert_eq!(won, 1);
}

#[tokio::test]
async fn of_racing_swaps_each_sees_the_one_before() {
    let dir = testkit::temp_dir();
    let store = open(&dir).await;
    put(&store, "k", b"0").await;
    let mut racers = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let store = store.clone();
        racers.spawn(async move {
            let mut added = 0;
            while added < 5 {
                let before = store.head("b", "k").await.unwrap();
                let value: u32 = String::from_utf8(read(&store, "k").await.unwrap())
                    .unwrap()
                    .parse()
                    .unwrap();
                let arrived = arrive(&store, (value + 1).to_string().as_bytes()).await;
                let condition = WriteCondition {
                    matches: Some(Tag::Is(before.etag)),
                    none_match: None,
                };
                if store
                    .put(
                        Put {
                            condition,
                            ..at("k")
                        },
                        arrived,
                    )
                    .await
                    .is_ok()
                {
                    added += 1;
                }
            }
        });
    }
    racers.join_all().await;
    assert_eq!(read(&store, "k").await.unwrap(), b"40");
}

#[tokio::test]
async fn a_refused_put_leaves_nothing() {
    let dir = testkit::temp_dir();
    let store = open(&dir).await;
    put(&store, "k", b"kept").await;
    let mut incoming = store.receive("b", None, None).unwrap();
    incoming.write(&pattern(2_000_000)).await.unwrap();
    let expected = Expected {
        len: Some(9),
        ..Expected::default()
    };
    let error = incoming.finish(&expected).await.err().unwrap();
    assert!(
        matches!(
            error,
            Error::IncompleteBody {
                got: 2_000_000,
                wanted: 9
            }
        ),
        "{error}"
    );
    let arrived = arrive(&store, &pattern(2_000_000)).await;
    let condition = WriteCondition {
        none_match: Some(Tag::Any),
        matches: None,
    };
    let error = store
        .put(
            Put {
                condition,
                ..at("k")
            },
            arrived,
        )
        .await
        .unwrap_err();
    assert!(matches!(error, Error::PreconditionFailed), "{error}");
    assert_eq!(read(&store, "k").await.unwrap(), b"kept");
    wait_for_files(&dir, 0).await;
}

#[tokio::test]
async fn files_of_writes_that_never_finished_are_swept() {
    let dir = testkit::temp_dir();
    let store = open(&dir).await;
    put(&store, "k", &pattern(100_000)).await;
    abandon(store).await;
    let kept = files(&dir);
    fs::write(
        dir.path().join("s/data/07/01ARZ3NDEKTSV4RRFFQ69G5FAV"),
        "torn",
    )
    .unwrap();
    fs::write(dir.path().join("s/data/07/strange"), "torn").unwrap();
    let store = open(&dir).await;
    assert_eq!(files(&dir), kept);
    assert!(read(&store, "k").await.unwrap() == pattern(100_000));
}

#[tokio::test]
async fn without_its_index_a_store_neither_starts_nor_sweeps() {
    let dir = testkit::temp_dir();
    let store = open(&dir).await;
    put(&store, "k", &pattern(100_000)).await;
    abandon(store).await;
    let kept = files(&dir);
    let (index, aside) = (dir.path().join("s/index.redb"), dir.path().join("aside"));
    fs::rename(&index, &aside).unwrap();
    for emptied in [false, false, true] {
        if emptied {
            fs::write(&index, "").unwrap();
        }
        let refused = Store::open(&config(&dir), Metrics::default(), NOW).await;
        assert!(
            matches!(refused.err(), Some(crate::Error::NoIndex { .. })),
            "emptied: {emptied}"
        );
    }
    assert_eq!(files(&dir), kept);
    fs::rename(&aside, &index).unwrap();
    let store = open(&dir).await;
    assert!(read(&store, "k").await.unwrap() == pattern(100_000));
}

#[tokio::test]
async fn a_bucket_whose_creator_went_away_takes_objects() {
    let dir = testkit::temp_dir();
    let store = open(&dir).await;
    // Asked for, and dropped before the answer, as hyper does when a client disconnects.
    let _ = futures::poll!(std::pin::pin!(store.create_bucket("new", NOW)));
    let limit = std::time::Duration::from_secs(10);
    testkit::wait_until("the bucket to take objects", limit, || async {
        store.receive("new", None, None).ok().map(|_| ())
    })
    .await;
    assert_eq!(store.bucket("new").await.unwrap().created, NOW);
    let _ = futures::poll!(std::pin::pin!(store.delete_bucket("new")));
    testkit::wait_until("the bucket to take none", limit, || async {
        store.receive("new", None, None).err().map(|_| ())
    })
    .await;
    store.create_bucket("new", NOW).await.unwrap();
}

#[tokio::test]
async fn damage_on_disk_is_reported_and_never_sent() {
    let dir = testkit::temp_dir();
    let store = open(&dir).await;
    put(&store, "flipped", &pattern(300_000)).await;
    let file = files(&dir).remove(0);
    let mut bytes = fs::read(&file).unwrap();
    bytes[150_000] ^= 1;
    fs::write(&file, &bytes).unwrap();
    let error = read(&store, "flipped").await.unwrap_err();
    assert!(matches!(error, Error::Corrupt { .. }), "{error}");
    let found = store.find("b", "flipped").await.unwrap();
    assert!(
        read_range(&store, found, 0..100).await.unwrap() == pattern(100),
        "other blocks hold"
    );
    fs::write(&file, &bytes[..200_000]).unwrap();
    let error = read(&store, "flipped").await.unwrap_err();
    assert!(matches!(error, Error::Corrupt { .. }), "{error}");
}

#[tokio::test]
async fn a_reader_keeps_the_object_it_began_to_read() {
    let dir = testkit::temp_dir();
    let store = open(&dir).await;
    put(&store, "k", &pattern(2_000_000)).await;
    let found = store.find("b", "k").await.unwrap();
    store
        .delete("b", "k", WriteCondition::default())
        .await
        .unwrap();
    assert!(matches!(
        read(&store, "k").await,
        Err(Error::NoSuchKey { .. })
    ));
    assert!(read_range(&store, found, 0..2_000_000).await.unwrap() == pattern(2_000_000));
    wait_for_files(&dir, 0).await;
}

#[tokio::test]
async fn copies_share_bytes_until_the_last_is_gone() {
    let dir = testkit::temp_dir();
    let store = open(&dir).await;
    put(&store, "one", &pattern(100_000)).await;
    let copy = Copy {
        from_bucket: "b".into(),
        from_key: "one".into(),
        from_condition: ReadCondition::default(),
        attributes: None,
        tags: None,
        to_bucket: "b".into(),
        to_key: "two".into(),
        condition: WriteCondition::default(),
        now: NOW,
    };
    store.copy(copy.clone()).await.unwrap();
    assert_eq!(files(&dir).len(), 1);
    let itself = Copy {
        to_key: "one".into(),
        ..copy
    };
    assert!(matches!(
        store.copy(itself).await,
        Err(Error::CopyOntoItself)
    ));
    store
        .delete("b", "one", WriteCondition::default())
        .await
        .unwrap();
    assert!(read(&store, "two").await.unwrap() == pattern(100_000));
    store
        .delete("b", "two", WriteCondition::default())
        .await
        .unwrap();
    wait_for_files(&dir, 0).await;
}

#[tokio::test]
async fn a_full_disk_refuses_writes_and_keeps_what_is_there() {
    let dir = testkit::temp_dir();
    let store = open(&dir).await;
    put(&store, "k", b"kept").await;
    abandon(store).await;
    let full = Config {
        min_free_space: bytesize::ByteSize::pib(1),
        ..config(&dir)
    };
    let store = open_with(full).await;
    assert!(matches!(
        store.receive("b", None, None).err(),
        Some(Error::DiskFull)
    ));
    assert_eq!(read(&store, "k").await.unwrap(), b"kept");
    store
        .delete("b", "k", WriteCondition::default())
        .await
        .unwrap();
    assert!(matches!(
        read(&store, "k").await,
        Err(Error::NoSuchKey { .. })
    ));
}

async fn part(store: &Store, id: UploadId, number: u16, bytes: &[u8]) -> GivenPart {
    let arrived = arrive(store, bytes).await;
    let part = store
        .put_part(("b", "k", id), number, arrived, NOW)
        .await
        .unwrap();
    GivenPart {
        number,
        etag: part.etag,
        checksum: None,
    }
}

fn completion(upload: UploadId, parts: &[GivenPart]) -> Complete {
    Complete {
        bucket: "b".into(),
        key: "k".into(),
        upload,
        parts: parts.to_vec(),
        condition: WriteCondition::default(),
        size: None,
        checksum: None,
        now: NOW,
    }
}

#[tokio::test]
async fn an_upload_becomes_its_parts_in_order() {
    let dir = testkit::temp_dir();
    let store = open(&dir).await;
    let upload = Upload::new(NOW, Attributes::default(), None);
    let id = store.create_upload("b", "k", upload).await.unwrap();
    let min = usize::try_from(MIN_PART).unwrap();
    let bytes = pattern(2 * min + 10);
    let last = part(&store, id, 9, &bytes[2 * min..]).await;
    part(&store, id, 2, b"replaced").await;
    let first = part(&store, id, 2, &bytes[..min]).await;
    let second = part(&store, id, 5, &bytes[min..2 * min]).await;
    part(&store, id, 7, &pattern(100_000)).await;
    let all = [first.clone(), second.clone(), last.clone()];

    let complete = |parts: &[GivenPart]| store.complete(completion(id, parts));
    let wrong = GivenPart {
        etag: "0".repeat(32),
        ..second.clone()
    };
    assert!(matches!(
        complete(&[first.clone(), wrong]).await,
        Err(Error::InvalidPart { part: 5 })
    ));
    let unordered = [second.clone(), first.clone()];
    assert!(matches!(
        complete(&unordered).await,
        Err(Error::InvalidPartOrder)
    ));
    let long = Complete {
        size: Some(1),
        ..completion(id, &all)
    };
    assert!(matches!(
        store.complete(long).await,
        Err(Error::WrongObjectSize { .. })
    ));
    assert!(matches!(
        read(&store, "k").await,
        Err(Error::NoSuchKey { .. })
    ));

    let object = complete(&all).await.unwrap();
    assert!(object.etag.ends_with("-3"), "{}", object.etag);
    let whole = arrive(&store, &bytes).await.digests.checksum;
    assert_eq!(
        object.checksum,
        Some(whole),
        "the parts' CRCs make the CRC of the whole"
    );
    assert!(read(&store, "k").await.unwrap() == bytes);
    let found = store.find("b", "k").await.unwrap();
    let (start, end) = (MIN_PART - 3, 2 * MIN_PART + 2);
    let across = read_range(&store, found, start..end).await.unwrap();
    assert!(
        across == bytes[min - 3..2 * min + 2],
        "a range over three parts"
    );
    assert_eq!(
        complete(&all).await.unwrap(),
        object,
        "a repeated completion is answered alike"
    );
    wait_for_files(&dir, 2).await;

    abandon(store).await;
    let store = open(&dir).await;
    assert!(read(&store, "k").await.unwrap() == bytes);
    store
        .delete("b", "k", WriteCondition::default())
        .await
        .unwrap();
    wait_for_files(&dir, 0).await;
}

#[tokio::test]
async fn small_parts_but_the_last_are_refused() {
    let dir = testkit::temp_dir();
    let store = open(&dir).await;
    let upload = Upload::new(NOW, Attributes::default(), None);
    let id = store.create_upload("b", "k", upload).await.unwrap();
    let parts = [
        part(&store, id, 1, b"small").await,
        part(&store, id, 2, b"last").await,
    ];
    let error = store.complete(completion(id, &parts)).await.unwrap_err();
    assert!(
        matches!(
            error,
            Error::PartTooSmall {
                part: 1,
                len: 5,
                ..
            }
        ),
        "{error}"
    );
}

#[tokio::test]
async fn stale_uploads_expire_with_their_parts() {
    let dir = testkit::temp_dir();
    let store = open(&dir).await;
    let upload = Upload::new(NOW, Attributes::default(), None);
    let id = store.create_upload("b", "k", upload).await.unwrap();
    part(&store, id, 1, &pattern(100_000)).await;
    assert_eq!(store.expire_uploads(NOW).await.unwrap(), 0);
    assert!(matches!(
        store.delete_bucket("b").await,
        Err(Error::BucketNotEmpty { .. })
    ));
    assert_eq!(
        store.expire_uploads(UnixMillis(NOW.0 + 1)).await.unwrap(),
        1
    );
    wait_for_files(&dir, 0).await;
    store.delete_bucket("b").await.unwrap();
    assert!(matches!(
        store.receive("b", None, None).err(),
        Some(Error::NoSuchBucket { .. })
    ));
}

/// A store dropped at any time, its last index writes torn, holds what it acknowledged.
#[tokio::test]
async fn acknowledged_objects_survive_a_cut_at_any_commit() {
    let dir = testkit::temp_dir();
    let store = open(&dir).await;
    let index = dir.path().join("s/index.redb");
    let mut images = Vec::new();
    for n in 0..20 {
        put(&store, &format!("k{n}"), &pattern(n * 3000)).await;
        // What the disk holds the moment the put was acknowledged.
        images.push(fs::read(&index).unwrap());
    }
    abandon(store).await;
    for (n, image) in images.into_iter().enumerate() {
        let crashed = testkit::temp_dir();
        copy_tree(&dir.path().join("s"), &crashed.path().join("s"));
        fs::write(crashed.path().join("s/index.redb"), image).unwrap();
        let store = open(&crashed).await;
        for survivor in 0..=n {
            let read = read(&store, &format!("k{survivor}")).await.unwrap();
            assert!(
                read == pattern(survivor * 3000),
                "{survivor} after a cut at {n}"
            );
        }
    }
}

fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy_tree(&entry.path(), &target),
            false => {
                fs::copy(entry.path(), target).unwrap();
            }
        }
    }
}

/// A model of listing: everything in memory, sorted.
fn model_list(keys: &[String], query: &ListQuery) -> Vec<String> {
    let mut names: BTreeMap<String, ()> = BTreeMap::new();
    for key in keys.iter().filter(|key| key.starts_with(&query.prefix)) {
        let rest = &key[query.prefix.len()..];
        let name = match query
            .delimiter
            .as_ref()
            .and_then(|delimiter| rest.find(delimiter.as_str()))
        {
            Some(at) => key[..query.prefix.len() + at + 1].to_owned(),
            None => key.clone(),
        };
        names.insert(name, ());
    }
    names.into_keys().collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    /// However a listing is paged, its pages together are the listing.
    #[test]
    fn pages_together_are_the_whole_listing(
        keys in proptest::collection::btree_set("[ab/é]{1,6}", 0..30),
        prefix in "[ab/]{0,2}",
        delimiter in proptest::option::of(Just(String::from("/"))),
        max in 1usize..5,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let dir = testkit::temp_dir();
            let store = open(&dir).await;
            let keys: Vec<String> = keys.into_iter().collect();
            let mut puts = tokio::task::JoinSet::new();
            for key in keys.clone() {
                let store = store.clone();
                puts.spawn(async move { put(&store, &key, b"").await });
            }
            puts.join_all().await;
            let mut query = ListQuery { bucket: "b".into(), prefix, delimiter, after: None, max };
            let expected = model_list(&keys, &query);
            let mut listed = Vec::new();
            loop {
                let page = store.list(query.clone()).await.unwrap();
                assert!(page.entries.len() <= max);
                listed.extend(page.entries.iter().map(|entry| entry.name().to_owned()));
                if !page.more {
                    break;
                }
                query.after = listed.last().cloned();
            }
            assert_eq!(listed, expected, "{query:?}");
        });
    }
}

/// What is wrong with the disk now.
type Fault = Arc<Mutex<Option<io::ErrorKind>>>;

/// The index's file on a disk that can be made full or broken.
#[derive(Debug)]
struct Failing {
    file: redb::backends::FileBackend,
    fault: Fault,
}

impl Failing {
    fn opener(dir: &tempfile::TempDir, fault: &Fault) -> index::Opener {
        let (path, fault) = (dir.path().join("s/index.redb"), Arc::clone(fault));
        Box::new(move || {
            let mut options = File::options();
            options.read(true).write(true).create(true).truncate(false);
            let file = redb::backends::FileBackend::new(options.open(&path).unwrap())?;
            let fault = Arc::clone(&fault);
            redb::Database::builder().create_with_backend(Failing { file, fault })
        })
    }

    fn works(&self) -> io::Result<()> {
        self.fault.lock().map_or(Ok(()), |kind| Err(kind.into()))
    }
}

impl redb::StorageBackend for Failing {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.works()?;
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.works()?;
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.works()?;
        self.file.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.file.close()
    }
}

#[tokio::test]
async fn a_disk_that_fills_inside_a_commit_loses_nothing_and_may_be_freed() {
    let dir = testkit::temp_dir();
    let fault = Fault::default();
    let opener = Failing::opener(&dir, &fault);
    let store = Store::open_with(&config(&dir), opener, Metrics::default(), NOW)
        .await
        .unwrap();
    put(&store, "before", &pattern(100_000)).await;
    let (small, large) = (
        arrive(&store, b"small").await,
        arrive(&store, &pattern(200_000)).await,
    );
    *fault.lock() = Some(io::ErrorKind::StorageFull);
    let small = store.put(at("small"), small).await.unwrap_err();
    assert!(matches!(small, Error::DiskFull), "{small}");
    let large = store.put(at("large"), large).await.unwrap_err();
    assert!(matches!(large, Error::DiskFull), "{large}");
    *fault.lock() = None;
    let limit = std::time::Duration::from_secs(10);
    testkit::wait_until("the index to be back", limit, || async {
        store.buckets().await.ok()
    })
    .await;
    assert!(read(&store, "before").await.unwrap() == pattern(100_000));
    assert!(matches!(
        read(&store, "small").await,
        Err(Error::NoSuchKey { .. })
    ));
    put(&store, "after", b"after").await;
    abandon(store).await;
    let store = open(&dir).await;
    assert_eq!(read(&store, "after").await.unwrap(), b"after");
    assert_eq!(files(&dir).len(), 1, "the file of the refused put is swept");
}

#[tokio::test]
async fn after_a_failed_sync_the_index_is_not_used_until_the_next_start() {
    let dir = testkit::temp_dir();
    let fault = Fault::default();
    let opener = Failing::opener(&dir, &fault);
    let store = Store::open_with(&config(&dir), opener, Metrics::default(), NOW)
        .await
        .unwrap();
    put(&store, "before", b"before").await;
    let (lost, later) = (
        arrive(&store, b"lost").await,
        arrive(&store, b"later").await,
    );
    *fault.lock() = Some(io::ErrorKind::Other);
    let error = store.put(at("lost"), lost).await.unwrap_err();
    assert!(matches!(error, Error::Index(_)), "{error}");
    *fault.lock() = None;
    let limit = std::time::Duration::from_secs(10);
    tokio::time::timeout(limit, store.failed().cancelled())
        .await
        .unwrap();
    // The disk works again, but what it holds nobody knows.
    let error = store.put(at("later"), later).await.unwrap_err();
    assert!(matches!(error, Error::Index(_)), "{error}");
    let error = read(&store, "before").await.unwrap_err();
    assert!(matches!(error, Error::Stopped), "{error}");
    abandon(store).await;
    let store = open(&dir).await;
    assert_eq!(read(&store, "before").await.unwrap(), b"before");
}
