//! The S3 client against moto: `EPID_MOTO_ENDPOINT=$(tests/moto/up.sh) cargo test -p epid-aws --test s3_moto -- --ignored`.
#![expect(clippy::unwrap_used, reason = "a test: what fails fails it")]

use epid_aws::Settings;
use epid_aws::s3::{Bucket, BucketPlace, Only, S3Error};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

async fn bucket(name: &str) -> Bucket {
    #[expect(clippy::disallowed_methods, reason = "the one setting of this test")]
    let endpoint = std::env::var("EPID_MOTO_ENDPOINT").expect("EPID_MOTO_ENDPOINT holds moto's URL");
    let address = endpoint.trim_start_matches("http://").trim_end_matches('/');
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let request =
        format!("PUT /{name} HTTP/1.1\r\nhost: s3\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    stream.read_to_end(&mut Vec::new()).await.unwrap();
    let place = BucketPlace {
        bucket: name.to_owned(),
        region: Some("us-east-1".to_owned()),
        endpoint: Some(endpoint),
    };
    let settings = Settings::ordinary().with_credentials("someone", "secret");
    Bucket::connect(&settings, &place).await.unwrap()
}

#[tokio::test]
#[ignore = "needs a moto server, whose URL stands in EPID_MOTO_ENDPOINT"]
async fn conditions_are_honoured() {
    let bucket = bucket("client").await;
    let key = "p/cloud%3a/a~0000000001";
    bucket.delete(key).await.unwrap();
    assert_eq!(bucket.get(key).await.unwrap(), None);
    let conflict = |put| matches!(put, Err(S3Error::Conflict));
    assert!(conflict(
        bucket.put(key, b"0".to_vec(), Only::Tagged("\"x\"")).await
    ));
    let first = bucket.put(key, b"1".to_vec(), Only::Absent).await.unwrap();
    assert!(conflict(bucket.put(key, b"2".to_vec(), Only::Absent).await));
    let second = bucket
        .put(key, b"2".to_vec(), Only::Tagged(&first))
        .await
        .unwrap();
    assert!(conflict(
        bucket.put(key, b"3".to_vec(), Only::Tagged(&first)).await
    ));
    let found = bucket.get(key).await.unwrap().unwrap();
    assert_eq!((found.bytes, found.tag), (b"2".to_vec(), second));
    bucket.put("p/b", Vec::new(), Only::Always).await.unwrap();
    assert_eq!(bucket.list("p/").await.unwrap(), ["p/b", key]);
    bucket.delete(key).await.unwrap();
    bucket.delete(key).await.unwrap();
    assert_eq!(bucket.list("p/").await.unwrap(), ["p/b"]);
}

#[tokio::test]
#[ignore = "needs a moto server, whose URL stands in EPID_MOTO_ENDPOINT"]
async fn more_keys_than_a_page_holds_are_all_listed() {
    let bucket = bucket("pages").await;
    for n in 0..1005 {
        bucket
            .put(&format!("k{n:04}"), Vec::new(), Only::Always)
            .await
            .unwrap();
    }
    let keys = bucket.list("k").await.unwrap();
    assert_eq!((keys.len(), keys[1004].as_str()), (1005, "k1004"));
}
