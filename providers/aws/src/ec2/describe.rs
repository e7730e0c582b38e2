//! Reading: pages of `Describe…` calls, and what all EC2 kinds share when they look for, wait for and remove things.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use epid_provider::{Failure, Observed, Outcome, Owner, Partial, Present, Query, Value};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::client::{Done, Items, Request};
use crate::kind::Cx;
use crate::tags::{self, Tags};
use crate::wait::{PROPAGATION, Pace, UNSEEN};

/// How many values a filter takes (EC2: 200).
const VALUES: usize = 200;

/// Something that a `Describe…` call lists.
pub(super) trait Thing: DeserializeOwned + Clone + Send + Sync {
    /// E.g. `DescribeVpcs`.
    const DESCRIBE: &'static str;
    /// The filter that takes ids. Unlike a list of ids, it does not fail for those that are gone.
    const FILTER: &'static str;

    /// Its id.
    fn id(&self) -> &str;

    /// Its tags.
    fn tags(&self) -> Tags;

    /// Whether it is listed though it is gone.
    fn is_gone(&self) -> bool {
        false
    }
}

/// A tag as EC2 writes it.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Tag {
    key: String,
    #[serde(default)]
    value: String,
}

/// Tags by key.
pub(super) fn tags_of(set: &Items<Tag>) -> Tags {
    let pair = |tag: &Tag| (tag.key.clone(), tag.value.clone());
    set.list.iter().map(pair).collect()
}

/// One page; the name of its list differs by call. The list is there where it is empty: without it, nothing was read.
#[derive(Debug, Deserialize)]
#[serde(bound = "T: Deserialize<'de>")]
struct Page<T> {
    #[serde(
        alias = "vpcSet",
        alias = "subnetSet",
        alias = "internetGatewaySet",
        alias = "addressesSet",
        alias = "natGatewaySet",
        alias = "routeTableSet",
        alias = "securityGroupInfo",
        alias = "securityGroupRuleSet",
        alias = "networkInterfaceSet",
        alias = "availabilityZoneInfo"
    )]
    items: Items<T>,
    #[serde(rename = "nextToken", default)]
    next: Option<String>,
}

/// What a create answers: the thing, under a name that differs by call.
#[derive(Debug, Deserialize)]
#[serde(bound = "T: Deserialize<'de>")]
pub(super) struct Made<T> {
    #[serde(
        alias = "vpc",
        alias = "subnet",
        alias = "internetGateway",
        alias = "natGateway",
        alias = "routeTable"
    )]
    pub(super) thing: T,
}

/// All pages of a request.
pub(super) async fn pages<T: DeserializeOwned>(cx: Cx<'_>, request: Request) -> Result<Vec<T>, Failure> {
    let mut all = Vec::new();
    let mut next: Option<String> = None;
    loop {
        let page: Page<T> = cx
            .clients
            .ec2
            .call(cx.call, request.clone().maybe("NextToken", next.as_ref()))
            .await?;
        all.extend(page.items.list);
        match page.next.filter(|token| !token.is_empty()) {
            Some(token) => next = Some(token),
            None => return Ok(all),
        }
    }
}

/// All things whose `filter` has one of `values`, those that are gone left out.
pub(super) async fn by_filter<T: Thing>(
    cx: Cx<'_>,
    filter: &str,
    values: &[impl Display],
) -> Result<Vec<T>, Failure> {
    let mut found = Vec::new();
    for chunk in values.chunks(VALUES) {
        let request = Request::repeatable(T::DESCRIBE).filter(1, filter, chunk);
        found.extend(pages::<T>(cx, request).await?);
    }
    found.retain(|thing| !thing.is_gone());
    Ok(found)
}

/// The thing of that id, where there is one.
pub(super) async fn by_id<T: Thing>(cx: Cx<'_>, id: &str) -> Result<Option<T>, Failure> {
    Ok(by_filter::<T>(cx, T::FILTER, &[id]).await?.into_iter().next())
}

/// The recorded thing of that id. A read may not see what was made a moment ago, even after another read did: it is gone
/// only where that is said for a while.
pub(super) async fn seen<T: Thing>(cx: Cx<'_>, id: &str) -> Result<Option<T>, Failure> {
    let mut pace = Pace::seconds(1, 4);
    loop {
        let found = by_id::<T>(cx, id).await?;
        if found.is_some() || pace.waited(cx.call) >= UNSEEN {
            return Ok(found);
        }
        pace.rest(cx.call, &format!("EC2 does not list {id}: looking again"))
            .await?;
    }
}

/// The thing of that id, which is to be changed.
pub(super) async fn known<T: Thing>(cx: Cx<'_>, what: &str, id: &str) -> Result<T, Failure> {
    seen(cx, id).await?.ok_or_else(|| gone(what, id))
}

/// What a create with the token of an intent made.
pub(super) async fn by_token<T: Thing>(cx: Cx<'_>, token: &str) -> Result<Option<T>, Failure> {
    let filter = format!("tag:{}", tags::TOKEN);
    let found = by_filter::<T>(cx, &filter, &[token]).await?;
    // A service that ignores the filter must not make another operation's thing this one's.
    let made = |thing: &T| thing.tags().get(tags::TOKEN).is_some_and(|tag| tag == token);
    Ok(found.into_iter().find(made))
}

/// The things that queries ask for by id, in their order; `None` for what is not there or not asked for by id. What is
/// recorded and not listed is looked for again for a while: a thing that is taken for gone is made anew.
pub(super) async fn of_queries<T: Thing>(cx: Cx<'_>, queries: &[&Query]) -> Result<Vec<Option<T>>, Failure> {
    let id = |query: &&Query| match query {
        Query::Record(record) => Some(record.id.clone()),
        Query::Id { id, .. } => Some(id.clone()),
        Query::Inputs { .. } => None,
    };
    let ids: Vec<_> = queries.iter().filter_map(id).collect();
    let mut found = by_filter::<T>(cx, T::FILTER, &ids).await?;
    let recorded = |query: &&Query| matches!(query, Query::Record(_));
    let recorded: Vec<_> = queries
        .iter()
        .copied()
        .filter(recorded)
        .filter_map(|query| id(&query))
        .collect();
    let mut pace = Pace::seconds(1, 4);
    loop {
        let is_hidden = |id: &&Arc<str>| !found.iter().any(|thing| thing.id() == &***id);
        let hidden: Vec<_> = recorded.iter().filter(is_hidden).cloned().collect();
        if hidden.is_empty() || pace.waited(cx.call) >= UNSEEN {
            break;
        }
        let phrase = format!("EC2 does not list {}: looking again", hidden.join(", "));
        pace.rest(cx.call, &phrase).await?;
        found.extend(by_filter::<T>(cx, T::FILTER, &hidden).await?);
    }
    let found: BTreeMap<&str, &T> = found.iter().map(|thing| (thing.id(), thing)).collect();
    let answer = |query: &&Query| id(query).and_then(|id| found.get(&*id).map(|thing| (*thing).clone()));
    Ok(queries.iter().map(answer).collect())
}

/// Answers to queries: what is there, as `present` shows it.
pub(super) async fn observe<T: Thing>(
    cx: Cx<'_>,
    queries: &[&Query],
    present: impl Fn(&T) -> Present,
) -> Vec<Result<Observed, Failure>> {
    match of_queries::<T>(cx, queries).await {
        Ok(found) => found
            .iter()
            .map(|thing| {
                Ok(thing.as_ref().map_or(Observed::Absent, |thing| {
                    Observed::Present(Box::new(present(thing)))
                }))
            })
            .collect(),
        Err(failure) => vec![Err(failure); queries.len()],
    }
}

/// Whose a thing is.
pub(super) fn owner<T: Thing>(thing: &T) -> Option<Owner> {
    tags::owner(&thing.tags())
}

/// Waits until reads see what was just made.
pub(super) async fn appear<T: Thing>(cx: Cx<'_>, id: &str) -> Result<T, Failure> {
    let mut pace = Pace::new(Duration::from_millis(300), Duration::from_secs(5));
    loop {
        if let Some(thing) = by_id::<T>(cx, id).await? {
            return Ok(thing);
        }
        if pace.waited(cx.call) >= PROPAGATION {
            let message = format!(
                "{id} was made, but EC2 does not list it after {} s",
                PROPAGATION.as_secs()
            );
            return Err(Failure::new("NotVisible", message));
        }
        pace.rest(cx.call, &format!("waiting until EC2 lists {id}"))
            .await?;
    }
}

/// Sends a request that names things made a moment ago: `…NotFound` is taken for an answer only after a while.
pub(super) async fn patiently<T: DeserializeOwned>(cx: Cx<'_>, request: Request) -> Result<T, Failure> {
    patiently_unless(cx, request, |_| false).await
}

/// The same, but what `is_answer` knows is one at once.
pub(super) async fn patiently_unless<T: DeserializeOwned>(
    cx: Cx<'_>,
    request: Request,
    is_answer: impl Fn(&Failure) -> bool,
) -> Result<T, Failure> {
    let mut pace = Pace::seconds(1, 10);
    let is_early = |failure: &Failure| is_not_found(failure) && !is_answer(failure);
    loop {
        match cx.clients.ec2.call(cx.call, request.clone()).await {
            Err(failure) if is_early(&failure) && pace.waited(cx.call) < PROPAGATION / 2 => {
                pace.rest(cx.call, "waiting until EC2 knows what it was given")
                    .await?;
            }
            other => return other,
        }
    }
}

/// Whether a failure says that something does not exist.
pub(super) fn is_not_found(failure: &Failure) -> bool {
    failure.code.ends_with(".NotFound") || failure.code == "NatGatewayNotFound"
}

/// Takes a failure of one of `codes` for success: what was asked for is so already.
pub(super) fn unless(answer: Result<Done, Failure>, codes: &[&str]) -> Result<(), Failure> {
    match answer {
        Err(failure) if !codes.contains(&failure.code.as_str()) => Err(failure),
        _ => Ok(()),
    }
}

/// Between two requests to take away what is said to be gone.
const AGAIN: Duration = Duration::from_secs(3);
/// Codes of a thing that something else still holds on to, or that is still changing.
const HELD: &[&str] = &[
    "ConcurrentMutationLimitExceeded",
    "DependencyViolation",
    "IncorrectState",
    "InvalidGroup.InUse",
    "InvalidIPAddress.InUse",
    "ResourceNotReady",
];

/// Sends a request that takes something away, again while something else holds on to it, until the deadline.
/// `holders` is the filter of network interfaces that finds them. True where it is gone already: that counts only where it is
/// said for a while, as the request may not know what was made a moment ago.
pub(super) async fn take_away(
    cx: Cx<'_>,
    request: Request,
    holders: Option<(&str, &str)>,
) -> Result<bool, Failure> {
    take_away_emptied(cx, request, holders, || std::future::ready(Ok(()))).await
}

/// The same, with what is done before each try.
pub(super) async fn take_away_emptied<F: Future<Output = Result<(), Failure>>>(
    cx: Cx<'_>,
    request: Request,
    holders: Option<(&str, &str)>,
    empty: impl Fn() -> F,
) -> Result<bool, Failure> {
    let mut pace = Pace::seconds(3, 30);
    let mut unknown = None;
    loop {
        empty().await?;
        let failure = match cx.clients.ec2.call::<Done>(cx.call, request.clone()).await {
            Ok(Done {}) => return Ok(false),
            Err(failure) if is_not_found(&failure) => {
                let since = *unknown.get_or_insert(cx.call.now());
                if cx.call.now().since(since) >= UNSEEN {
                    return Ok(true);
                }
                cx.call.progress("making sure that it is gone");
                cx.call.sleep(AGAIN).await?;
                continue;
            }
            Err(failure) if HELD.contains(&failure.code.as_str()) => failure,
            Err(failure) => return Err(failure),
        };
        unknown = None;
        let by = match holders {
            Some((filter, id)) => held_by(cx, filter, id).await,
            None => None,
        };
        let phrase = by.clone().unwrap_or_else(|| failure.message.clone());
        if let Err(stopped) = pace.rest(cx.call, &phrase).await {
            return Err(if stopped.code == "Deadline" {
                still_held(failure, by, &pace, cx)
            } else {
                stopped
            });
        }
    }
}

fn still_held(failure: Failure, by: Option<String>, pace: &Pace, cx: Cx<'_>) -> Failure {
    let waited = pace.waited(cx.call).as_secs();
    let because = by.map_or_else(String::new, |by| format!("; {by}"));
    Failure {
        message: format!("{} (after {waited} s{because})", failure.message),
        ..failure
    }
    .with_hint("delete what still uses it, then run the same command again")
}

#[derive(Debug, Deserialize)]
struct Interface {
    #[serde(rename = "networkInterfaceId")]
    id: String,
    #[serde(default)]
    description: String,
}

#[derive(Debug, Deserialize)]
struct Group {
    #[serde(rename = "groupId")]
    id: String,
}

/// Which network interfaces are in something, and which groups' rules name it, for people; `None` where none do, or where it
/// cannot be told.
async fn held_by(cx: Cx<'_>, filter: &str, id: &str) -> Option<String> {
    let request = Request::repeatable("DescribeNetworkInterfaces").filter(1, filter, [id]);
    let mut found: Vec<String> = pages::<Interface>(cx, request)
        .await
        .ok()?
        .into_iter()
        .map(|interface| match interface.description.as_str() {
            "" => interface.id,
            description => format!("{} ({description})", interface.id),
        })
        .collect();
    if filter == "group-id" {
        let mut groups = BTreeSet::new();
        for filter in ["ip-permission.group-id", "egress.ip-permission.group-id"] {
            let request = Request::repeatable("DescribeSecurityGroups").filter(1, filter, [id]);
            let naming = pages::<Group>(cx, request).await.ok()?.into_iter();
            groups.extend(naming.filter(|group| group.id != id).map(|group| group.id));
        }
        found.extend(groups.iter().map(|group| format!("a rule of {group}")));
    }
    let named: Vec<&str> = found.iter().take(3).map(String::as_str).collect();
    let more = found.len().saturating_sub(named.len());
    let more = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    (!named.is_empty()).then(|| format!("{id} is still used by {}{more}", named.join(", ")))
}

/// Waits until reads see no more of what was deleted.
pub(super) async fn vanish<T: Thing>(cx: Cx<'_>, id: &str, longest: u64) -> Result<(), Failure> {
    let mut pace = Pace::seconds(1, longest);
    while by_id::<T>(cx, id).await?.is_some() {
        pace.rest(cx.call, &format!("waiting until {id} is gone")).await?;
    }
    Ok(())
}

/// Sets and removes tags until they are what `inputs` say.
pub(super) async fn settle_tags<T: Thing>(
    cx: Cx<'_>,
    thing: &T,
    applied: &Value,
    inputs: &Value,
) -> Result<(), Failure> {
    let (wanted, gone) = tags::change(cx.call, &cx.clients.default_tags, applied, inputs, &thing.tags());
    if !wanted.is_empty() {
        let request = Request::repeatable("CreateTags").list("ResourceId", [thing.id()]);
        let Done {} = patiently(cx, request.tags("Tag", &wanted)).await?;
    }
    if !gone.is_empty() {
        let mut request = Request::repeatable("DeleteTags").list("ResourceId", [thing.id()]);
        for (at, key) in gone.iter().enumerate() {
            request = request.with(format!("Tag.{}.Key", at + 1), key);
        }
        let Done {} = patiently(cx, request).await?;
    }
    Ok(())
}

/// The tags of a create.
pub(super) fn new_tags(cx: Cx<'_>, inputs: &Value) -> Tags {
    tags::of_create(cx.call, &cx.clients.default_tags, inputs)
}

/// What exists after the first request of a create that has more of them.
#[derive(Debug)]
pub(super) struct Begun {
    partial: Partial,
}

impl Begun {
    /// Notes durably that `id` exists and what is still to be done with it.
    pub(super) async fn note(cx: Cx<'_>, id: &str, outputs: Value, rest: &str) -> Result<Self, Failure> {
        let partial = Partial {
            id: id.into(),
            outputs,
            incomplete: vec![rest.to_owned()],
        };
        let begun = Self { partial };
        begun.keep(cx.call.checkpoint(&begun.partial).await)?;
        Ok(begun)
    }

    /// A failure from here on leaves the thing half made; it is never `Unknown` whether it exists.
    pub(super) fn keep<T>(&self, answer: Result<T, Failure>) -> Result<T, Failure> {
        answer.map_err(|failure| failure.with_outcome(Outcome::Partial(Box::new(self.partial.clone()))))
    }
}

/// What was to be updated is gone.
pub(super) fn gone(what: &str, id: &str) -> Failure {
    Failure::new(
        "NotFound",
        format_args!("the {what} {id} does not exist any more"),
    )
    .with_hint("`epid refresh` takes note of it; the next `epid up` makes a new one")
}
