//! What every kind of every provider must keep, whatever the cloud behind it.

use epid_provider::{
    Call, Connection, Desired, Failure, Intent, Kind, Observed, Operation, Provider, Query, Record, Recorded,
    Recovered, Resolved, Token, Urn, Value,
};

/// A kind, and a life to lead it through.
#[derive(Debug, Clone)]
pub struct Case {
    /// The kind.
    pub kind: Kind,
    /// What it is created with.
    pub create: Value,
    /// What it is updated to, one after the other, all in place.
    pub updates: Vec<Value>,
}

struct Life<'a> {
    provider: &'a dyn Provider,
    connection: &'a dyn Connection,
    call: &'a (dyn Fn(&Urn, &Token) -> Call + Sync),
    urn: Urn,
    tokens: u128,
    problems: Vec<String>,
}

/// Leads each case through its life and returns what is wrong; empty is what a provider wants.
///
/// Create, observe without difference, create again with the same token without a second one, recover the create,
/// each update followed by an observation without difference, import by id without difference, delete, delete again,
/// recover the delete, and absence. `call` makes the call of a URN with a token on the caller's clock.
pub async fn conformance(
    provider: &dyn Provider,
    connection: &dyn Connection,
    call: &(dyn Fn(&Urn, &Token) -> Call + Sync),
    cases: &[Case],
) -> Vec<String> {
    let mut problems = Vec::new();
    for (at, case) in cases.iter().enumerate() {
        let urn = Urn::new("conformance", "suite", &case.kind, &format!("case{at}"));
        let tokens = u128::try_from(at).unwrap_or_default() << 64;
        let mut life = Life {
            provider,
            connection,
            call,
            urn,
            tokens,
            problems: Vec::new(),
        };
        if let Err(failure) = life.lead(case).await {
            life.problems.push(format!("{}: {failure}", failure.code));
        }
        problems.extend(life.problems.into_iter().map(|p| format!("{}: {p}", case.kind)));
    }
    problems
}

impl Life<'_> {
    fn call(&mut self) -> Call {
        self.tokens += 1;
        (self.call)(&self.urn, &Token::from_bytes(self.tokens.to_be_bytes()))
    }

    fn expect(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.problems.push(what());
        }
    }

    fn inputs(&mut self, kind: &Kind, value: &Value) -> Result<Resolved, Failure> {
        let desired = Desired {
            urn: self.urn.clone(),
            kind: kind.clone(),
            properties: value.clone(),
        };
        for problem in self.provider.check(&desired) {
            self.problems.push(format!("check: {}", problem.message));
        }
        Resolved::new(value.clone()).map_err(|error| Failure::new("Unresolved", error))
    }

    fn record(&self, kind: &Kind, applied: &Value, made: &Recorded) -> Record {
        Record {
            urn: self.urn.clone(),
            kind: kind.clone(),
            id: made.id.clone(),
            applied: applied.clone(),
            resolved: made.resolved.clone(),
            outputs: made.outputs.clone(),
            incomplete: made.incomplete.clone(),
            attempted: Vec::new(),
        }
    }

    fn intent(
        &self,
        cx: &Call,
        operation: Operation,
        kind: &Kind,
        inputs: &Resolved,
        record: Option<&Record>,
    ) -> Intent {
        Intent {
            token: cx.token.clone(),
            operation,
            urn: self.urn.clone(),
            kind: kind.clone(),
            inputs: inputs.clone(),
            record: record.cloned(),
            partial: None,
        }
    }

    /// What is observed is what was applied, by record and by import.
    async fn settled(&mut self, record: &Record, after: &str) -> Result<(), Failure> {
        let id = Query::Id {
            urn: record.urn.clone(),
            kind: record.kind.clone(),
            id: record.id.clone(),
        };
        for (how, query) in [
            ("observe", Query::Record(Box::new(record.clone()))),
            ("import", id),
        ] {
            let cx = self.call();
            match self.connection.observe(&cx, &[query]).await.into_iter().next() {
                Some(Ok(Observed::Present(present))) => {
                    let drift = self.provider.drift(record, &present);
                    self.expect(drift.is_empty(), || {
                        format!("after {after}, {how} differs: {:?}", drift.changes)
                    });
                    self.expect(present.id == record.id, || {
                        format!("after {after}, {how} found {}", present.id)
                    });
                }
                Some(Ok(Observed::Absent)) => {
                    self.problems.push(format!("after {after}, {how} finds nothing"));
                }
                Some(Err(failure)) => return Err(failure),
                None => self.problems.push(format!("{how} gave no answer")),
            }
        }
        let desired = Desired {
            urn: record.urn.clone(),
            kind: record.kind.clone(),
            properties: record.applied.clone(),
        };
        let diff = self.provider.diff(record, &desired);
        self.expect(diff.is_empty(), || {
            format!("after {after}, diff with itself: {:?}", diff.changes)
        });
        Ok(())
    }

    async fn lead(&mut self, case: &Case) -> Result<(), Failure> {
        let (kind, connection) = (&case.kind, self.connection);
        let inputs = self.inputs(kind, &case.create)?;
        let cx = self.call();
        let made = connection.create(&cx, kind, &inputs).await?;
        let create = Intent {
            ..self.intent(&cx, Operation::Create, kind, &inputs, None)
        };
        match connection.recover(&cx, &create).await? {
            Recovered::Done(found) => {
                self.expect(found.id == made.id, || format!("recover found {}", found.id));
            }
            other => self
                .problems
                .push(format!("recover of a finished create says {other:?}")),
        }
        let mut record = self.record(kind, &case.create, &made);
        self.settled(&record, "create").await?;
        for update in &case.updates {
            let inputs = self.inputs(kind, update)?;
            let cx = self.call();
            let made = connection.update(&cx, &record, &inputs).await?;
            self.expect(made.id == record.id, || {
                format!("an update made {} of {}", made.id, record.id)
            });
            record = self.record(kind, update, &made);
            self.settled(&record, "update").await?;
        }
        let cx = self.call();
        connection.delete(&cx, &record).await?;
        let again = self.call();
        let repeated = connection.delete(&again, &record).await;
        self.expect(repeated.is_ok(), || format!("deleting twice fails: {repeated:?}"));
        let nothing = Resolved::default();
        let gone = connection
            .recover(
                &cx,
                &self.intent(&cx, Operation::Delete, kind, &nothing, Some(&record)),
            )
            .await?;
        self.expect(gone == Recovered::Deleted, || {
            format!("recover of a delete says {gone:?}")
        });
        let query = Query::Record(Box::new(record));
        let left = connection
            .observe(&again, std::slice::from_ref(&query))
            .await
            .into_iter()
            .next();
        self.expect(matches!(left, Some(Ok(Observed::Absent))), || {
            format!("after delete, observe says {left:?}")
        });
        Ok(())
    }
}

/// The values of a case from JSON text, for tests.
///
/// # Errors
/// A sentence where the kind is none.
pub fn case(kind: &str, create: Value, updates: impl IntoIterator<Item = Value>) -> Result<Case, String> {
    let kind = Kind::parse(kind).map_err(|error| error.to_string())?;
    Ok(Case {
        kind,
        create,
        updates: updates.into_iter().collect(),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::fault::{Api, Effect, Fault};
    use crate::{Fake, JumpingRuntime, World};

    fn map<const N: usize>(entries: [(&str, &str); N]) -> Value {
        Value::map(entries.map(|(k, v)| (k, Value::str(v))))
    }

    #[tokio::test]
    async fn the_fake_conforms() {
        let (fake, runtime) = (Fake::new(World::new()), JumpingRuntime::new());
        let config = Resolved::default();
        let urn = Urn::new("p", "s", &Kind::parse("epid:provider:fake").unwrap(), "fake");
        let connection = fake.connect(&runtime.call(&urn), &config).await.unwrap();
        let cluster = Kind::parse("fake:thing:Cluster").unwrap();
        let boxes = Kind::parse("fake:thing:Box").unwrap();
        for (kind, name) in [(&cluster, "c"), (&boxes, "b")] {
            let inputs = Resolved::new(map([("name", name)])).unwrap();
            connection
                .create(&runtime.call(&urn), kind, &inputs)
                .await
                .unwrap();
        }
        let cases = [
            case(
                "fake:thing:Item",
                map([("name", "a"), ("value", "1"), ("password", "x")]),
                [map([("name", "a"), ("value", "2")])],
            ),
            case("fake:thing:Item", map([("value", "1")]), [map([("value", "2")])]),
            case(
                "fake:thing:Cluster",
                map([("name", "k")]),
                [map([("name", "k"), ("version", "2")])],
            ),
            case("fake:thing:Profile", map([("name", "p"), ("cluster", "c")]), []),
            case(
                "fake:thing:Child",
                map([("name", "x"), ("box", "b")]),
                [map([("name", "x"), ("box", "b"), ("value", "1")])],
            ),
            case(
                "fake:thing:Stepwise",
                map([("value", "1")]),
                [map([("value", "2")])],
            ),
            case(
                "fake:thing:Defaulted",
                map([("value", "1")]),
                [map([("value", "2")])],
            ),
            case("fake:thing:Network", map([("range", "10")]), []),
        ]
        .map(Result::unwrap);
        let call = |urn: &Urn, token: &Token| runtime.call_with(urn, token);
        assert_eq!(
            conformance(&fake, &*connection, &call, &cases).await,
            Vec::<String>::new()
        );
        fake.world().assert_clean();
        assert!(runtime.notes().iter().all(|n| !n.incomplete.is_empty()));
    }

    #[tokio::test]
    async fn the_suite_notices_a_delete_that_does_nothing() {
        let world = World::new();
        let (fake, runtime) = (Fake::new(world.clone()), JumpingRuntime::new());
        let urn = Urn::new("p", "s", &Kind::parse("epid:provider:fake").unwrap(), "fake");
        let connection = fake
            .connect(&runtime.call(&urn), &Resolved::default())
            .await
            .unwrap();
        world.fault(Fault::new(Effect::LoseRequest).api(Api::Delete));
        let call = |urn: &Urn, token: &Token| runtime.call_with(urn, token);
        let cases = [case("fake:thing:Item", map([("value", "1")]), []).unwrap()];
        assert_eq!(conformance(&fake, &*connection, &call, &cases).await.len(), 1);
    }

    #[tokio::test]
    async fn a_lost_token_less_create_is_found_only_after_a_while() {
        let world = World::new();
        let (fake, runtime) = (Fake::new(world.clone()), JumpingRuntime::new());
        let kind = Kind::parse("fake:thing:Tagged").unwrap();
        let urn = Urn::new("p", "s", &kind, "t");
        let connection = fake
            .connect(&runtime.call(&urn), &Resolved::default())
            .await
            .unwrap();
        world.fault(Fault::new(Effect::LoseAnswer));
        let cx = runtime.call(&urn);
        let inputs = Resolved::new(map([("value", "1")])).unwrap();
        assert!(connection.create(&cx, &kind, &inputs).await.is_err());
        let intent = Intent {
            token: cx.token.clone(),
            operation: Operation::Create,
            urn: urn.clone(),
            kind: kind.clone(),
            inputs,
            record: None,
            partial: None,
        };
        let id: Arc<str> = world.of("Tagged")[0].id.clone();
        let found = connection.recover(&runtime.call(&urn), &intent).await.unwrap();
        assert!(
            matches!(found, Recovered::Done(made) if made.id == id),
            "found after the lag, not before"
        );
        let other = Intent {
            token: Token::from_bytes([9; 16]),
            ..intent
        };
        assert_eq!(
            connection.recover(&runtime.call(&urn), &other).await.unwrap(),
            Recovered::NotDone
        );
    }
}
