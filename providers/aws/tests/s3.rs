//! The S3 client against the server that `EPID_S3_ENDPOINT` names; `CONTRIBUTING.md` has how each is started.
#![expect(clippy::unwrap_used, reason = "a test: what fails fails it")]

use epid_aws::Settings;
use epid_aws::s3::{Bucket, BucketPlace, Only, S3Error};

/// The bucket that each server has before the tests begin.
async fn bucket() -> Bucket {
    #[expect(clippy::disallowed_methods, reason = "the one setting of this test")]
    let endpoint =
        std::env::var("EPID_S3_ENDPOINT").expect("EPID_S3_ENDPOINT holds the URL of an S3 service");
    let place = BucketPlace {
        bucket: "epid-states".to_owned(),
        region: Some("us-east-1".to_owned()),
        endpoint: Some(endpoint),
    };
    let settings = Settings::ordinary().with_credentials("someone", "secret");
    Bucket::connect(&settings, &place).await.unwrap()
}

#[tokio::test]
#[ignore = "needs an S3 server, whose URL stands in EPID_S3_ENDPOINT"]
async fn conditions_are_honoured() {
    let bucket = bucket().await;
    let key = "client/cloud%3a/a~0000000001";
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
    bucket.put("client/b", Vec::new(), Only::Always).await.unwrap();
    assert_eq!(bucket.list("client/").await.unwrap(), ["client/b", key]);
    bucket.delete(key).await.unwrap();
    bucket.delete(key).await.unwrap();
    assert_eq!(bucket.list("client/").await.unwrap(), ["client/b"]);
}

#[tokio::test]
#[ignore = "needs an S3 server, whose URL stands in EPID_S3_ENDPOINT"]
async fn more_keys_than_a_page_holds_are_all_listed() {
    let bucket = bucket().await;
    for n in 0..1005 {
        bucket
            .put(&format!("pages/k{n:04}"), Vec::new(), Only::Always)
            .await
            .unwrap();
    }
    let keys = bucket.list("pages/k").await.unwrap();
    assert_eq!((keys.len(), keys[1004].as_str()), (1005, "pages/k1004"));
}

#[tokio::test]
#[ignore = "needs an S3 server, whose URL stands in EPID_S3_ENDPOINT"]
async fn of_many_writes_under_one_condition_one_succeeds() {
    let bucket = bucket().await;
    for round in 0..20 {
        let key = format!("races/{round}");
        bucket.delete(&key).await.unwrap();
        // First where there is none, then in place of the one there is.
        for pass in 0..2 {
            let condition = bucket.get(&key).await.unwrap().map(|object| object.tag);
            let writes = (0..8).map(|writer: u8| {
                // A tag is a digest of the content: no two writes may be equal.

                let (bucket, key, condition) = (bucket.clone(), key.clone(), condition.clone());
                tokio::spawn(async move {
                    let only = condition.as_deref().map_or(Only::Absent, Only::Tagged);
                    bucket.put(&key, vec![pass, writer], only).await
                })
            });
            let mut won = Vec::new();
            for (writer, write) in writes.collect::<Vec<_>>().into_iter().enumerate() {
                match write.await.unwrap() {
                    Ok(_) => won.push(writer),
                    Err(S3Error::Conflict | S3Error::Unsettled(_)) => {}
                    Err(error) => panic!("{error}"),
                }
            }
            let found = bucket.get(&key).await.unwrap().unwrap();
            assert_eq!(won, [usize::from(found.bytes[1])], "round {round}, pass {pass}");
        }
    }
}
