//! What became of a call, and what there is.

use std::sync::Arc;

use epid_provider::{Call, Intent, Observed, Operation, Query, Record, Recovered, Resolved};
use serde_json::json;

use super::lab::{CONFIG_MAP, Lab, config_map, kind, record, value};

/// What became of a lost call is told by the operation's token.
pub(crate) async fn lost_answers_are_recovered(lab: &Lab) {
    let space = lab.namespace("lost").await;
    let of = kind(CONFIG_MAP);
    let urn = lab.urn(&of, "c");
    let inputs = Resolved::new(value(config_map("lost", "c", &json!({"a": "1"})))).unwrap();
    let cx = lab.call(&urn);
    let intent = |cx: &Call, operation, record: Option<&Record>| Intent {
        token: cx.token.clone(),
        operation,
        urn: urn.clone(),
        kind: of.clone(),
        inputs: inputs.clone(),
        record: record.cloned(),
        partial: None,
    };
    let before = lab
        .connection
        .recover(&cx, &intent(&cx, Operation::Create, None))
        .await
        .unwrap();
    assert_eq!(before, Recovered::NotDone);
    let made = lab.connection.create(&cx, &of, &inputs).await.unwrap();
    let again = lab.connection.create(&cx, &of, &inputs).await.unwrap();
    assert_eq!(
        again.outputs.get("metadata"),
        made.outputs.get("metadata"),
        "the same operation is safe to repeat"
    );
    let after = lab
        .connection
        .recover(&cx, &intent(&cx, Operation::Create, None))
        .await
        .unwrap();
    assert!(matches!(after, Recovered::Done(found) if found.id == made.id));
    let made = record(&urn, &of, inputs.value().clone(), made);
    let cx = lab.call(&urn);
    let updated = lab
        .connection
        .recover(&cx, &intent(&cx, Operation::Update, Some(&made)))
        .await
        .unwrap();
    assert_eq!(updated, Recovered::NotDone, "another operation's token");
    let deleted = lab
        .connection
        .recover(&cx, &intent(&cx, Operation::Delete, Some(&made)))
        .await
        .unwrap();
    assert_eq!(deleted, Recovered::NotDone);
    lab.delete(&made).await.unwrap();
    let deleted = lab
        .connection
        .recover(&cx, &intent(&cx, Operation::Delete, Some(&made)))
        .await
        .unwrap();
    assert_eq!(deleted, Recovered::Deleted);
    lab.delete(&space).await.unwrap();
}

/// Many objects of a kind are read by one list; the answers come in order.
pub(crate) async fn many_are_observed_at_once(lab: &Lab) {
    let space = lab.namespace("many").await;
    let mut records = Vec::new();
    for n in 0..5 {
        let name = format!("c{n}");
        records.push(
            lab.create(CONFIG_MAP, config_map("many", &name, &json!({"n": name})))
                .await
                .unwrap(),
        );
    }
    lab.delete(&records[3]).await.unwrap();
    let mut queries: Vec<Query> = records
        .iter()
        .map(|r| Query::Record(Box::new(r.clone())))
        .collect();
    queries.insert(2, Query::Record(Box::new(space.clone())));
    let widget = kind("kubernetes:nowhere.example.com/v1:Nothing");
    queries.push(Query::Id {
        urn: lab.urn(&widget, "w"),
        kind: widget,
        id: Arc::from("many/w"),
    });
    let seen = lab.connection.observe(&lab.call(&space.urn), &queries).await;
    let told: Vec<String> = seen
        .into_iter()
        .map(|answer| match answer.unwrap() {
            Observed::Present(present) => present.id.to_string(),
            Observed::Absent => "absent".to_owned(),
        })
        .collect();
    assert_eq!(
        told,
        [
            "many/c0", "many/c1", "many", "many/c2", "absent", "many/c4", "absent"
        ]
    );
    lab.delete(&space).await.unwrap();
}
