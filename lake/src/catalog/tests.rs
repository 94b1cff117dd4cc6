//! Facts about addresses in the REST protocol and about how failures are told apart.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

#[test]
fn names_with_dots_slashes_and_levels_survive_the_path() {
    let namespace = NamespaceIdent::from_vec(vec!["a.b".into(), "c/d".into()]).unwrap();
    let table = TableIdent::new(namespace, "t%".into());
    assert_eq!(table_path(&table), "/namespaces/a.b%1Fc%2Fd/tables/t%25");
}

/// A peer that answers every request on one connection with `reply`, then hangs up.
async fn peer(replies: Vec<&'static str>) -> Url {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    #[expect(
        clippy::disallowed_methods,
        reason = "the peer ends with the test's runtime"
    )]
    tokio::spawn(async move {
        for reply in replies {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut buffer = vec![0; 65536];
            let _ = socket.read(&mut buffer).await.unwrap();
            socket.write_all(reply.as_bytes()).await.unwrap();
        }
    });
    Url::parse(&format!("http://{address}")).unwrap()
}

const CONFIG: &str = "HTTP/1.1 200 OK\r\ncontent-length: 31\r\nconnection: close\r\n\r\n{\"defaults\":{},\"overrides\":{}} ";

async fn outcome_of(reply: &'static str) -> Error {
    let uri = peer(vec![CONFIG, reply]).await;
    let catalog = RestCatalog::connect(CatalogConfig::new(uri)).await.unwrap();
    catalog.commit_all(&[]).await.unwrap_err()
}

#[tokio::test]
async fn a_conflict_is_definite() {
    let error = outcome_of(
        "HTTP/1.1 409 Conflict\r\ncontent-length: 75\r\nconnection: close\r\n\r\n\
         {\"error\":{\"message\":\"moved\",\"type\":\"CommitFailedException\",\"code\":409}}    ",
    )
    .await;
    assert!(
        matches!(&error, Error::Conflict { why, .. } if why == "moved"),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_lost_answer_and_a_server_error_are_unknown_but_503_is_not() {
    let lost = outcome_of("").await;
    assert!(matches!(lost, Error::StateUnknown { .. }), "{lost:?}");
    let failed =
        outcome_of("HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            .await;
    assert!(matches!(failed, Error::StateUnknown { .. }), "{failed:?}");
    let busy =
        outcome_of("HTTP/1.1 503 Busy\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await;
    assert!(matches!(busy, Error::Unavailable { .. }), "{busy:?}");
}

#[tokio::test]
async fn a_peer_that_is_not_there_changed_nothing() {
    let ports = testkit::Ports::new();
    let uri = Url::parse(&format!("http://{}", ports.address(0))).unwrap();
    let error = RestCatalog::connect(CatalogConfig::new(uri))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
}
