//! Who may ask for what: signatures, their scope, and what they must cover.

use crate::harness::{Signed, start};

#[tokio::test]
async fn a_signed_put_can_be_read_back() {
    let store = start().await;
    let put = Signed::new("PUT", "/lakehouse/a/b.txt", b"hello")
        .send(store.address)
        .await;
    assert_eq!(put.status, 200, "{}", put.text());
    assert_eq!(put.headers["etag"], "\"5d41402abc4b2a76b9719d911017c592\"");
    let get = Signed::new("GET", "/lakehouse/a/b.txt", b"")
        .send(store.address)
        .await;
    assert_eq!((get.status, get.text().as_str()), (200, "hello"));
    store.stop().await;
}
