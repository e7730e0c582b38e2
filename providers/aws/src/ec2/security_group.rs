//! `aws:ec2:SecurityGroup` with its rules.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use epid_provider::{
    Change, Diff, Failure, Field, Intent, KindSchema, Object, Observed, Op, Output, Path, Present, Problem,
    Query, Record, Recorded, Replace, Segment, Type, Value, diff,
};
use serde::Deserialize;

use super::client::{Done, Items, Request};
use super::describe::{
    Begun, Tag, Thing, appear, by_token, known, new_tags, of_queries, owner, pages, patiently, settle_tags,
    tags_of, take_away, unless, vanish,
};
use super::security_group_rules::{self as rules, DIRECTIONS, Rule};
use super::{shared_schema, tags_field};
use crate::inputs::{bool, map, require, text};
use crate::kind::{Cx, ResourceKind};
use crate::tags::{self, Tags};
use crate::wait::{PROPAGATION, Pace, UNSEEN};

/// A firewall around network interfaces.
pub(super) struct SecurityGroup;

const DESCRIPTION: &str = "Managed by epid";
/// Codes of a rule that is not there.
const NO_RULE: &[&str] = &[
    "InvalidPermission.NotFound",
    "InvalidSecurityGroupRuleId.NotFound",
];

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Listed {
    group_id: String,
    group_name: String,
    group_description: String,
    #[serde(default)]
    vpc_id: Option<String>,
    #[serde(default)]
    tag_set: Items<Tag>,
}

impl Thing for Listed {
    const DESCRIBE: &'static str = "DescribeSecurityGroups";
    const FILTER: &'static str = "group-id";

    fn id(&self) -> &str {
        &self.group_id
    }

    fn tags(&self) -> Tags {
        tags_of(&self.tag_set)
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Created {
    group_id: String,
}

fn present(group: &Listed, listed: &[&Rule]) -> Present {
    let of = |egress: bool| {
        let shown = listed.iter().filter(|rule| rule.egress == egress);
        Some(Value::list(shown.map(|rule| rule.shown())))
    };
    Present {
        id: group.group_id.as_str().into(),
        properties: map([
            ("vpcId", group.vpc_id.as_deref().map(Value::str)),
            ("groupName", Some(Value::str(&group.group_name))),
            ("description", Some(Value::str(&group.group_description))),
            ("ingress", of(false)),
            ("egress", of(true)),
            ("tags", Some(tags::observed(&group.tags()))),
        ]),
        outputs: outputs(&group.group_id),
        owner: owner(group),
    }
}

fn outputs(id: &str) -> Value {
    map([("groupId", Some(Value::str(id)))])
}

/// Groups with their rules, in their order.
async fn presents(cx: Cx<'_>, groups: &[Option<Listed>]) -> Result<Vec<Observed>, Failure> {
    let ids: Vec<&str> = groups
        .iter()
        .flatten()
        .map(|group| group.group_id.as_str())
        .collect();
    let listed = rules::of_groups(cx, &ids).await?;
    let mut by_group: BTreeMap<&str, Vec<&Rule>> = BTreeMap::new();
    for rule in &listed {
        by_group.entry(&rule.group).or_default().push(&rule.rule);
    }
    let answer = |group: &Option<Listed>| match group {
        Some(group) => {
            let rules = by_group
                .get(group.group_id.as_str())
                .map(Vec::as_slice)
                .unwrap_or_default();
            Observed::Present(Box::new(present(group, rules)))
        }
        None => Observed::Absent,
    };
    Ok(groups.iter().map(answer).collect())
}

/// The group of a name in a network.
async fn by_name(cx: Cx<'_>, inputs: &Value) -> Result<Option<Listed>, Failure> {
    match (text(inputs, "vpcId"), text(inputs, "groupName")) {
        (Some(network), Some(name)) => called(cx, network, name).await,
        _ => Ok(None),
    }
}

async fn called(cx: Cx<'_>, network: &str, name: &str) -> Result<Option<Listed>, Failure> {
    let request = Request::repeatable(Listed::DESCRIBE)
        .filter(1, "vpc-id", [network])
        .filter(2, "group-name", [name]);
    Ok(pages(cx, request).await?.into_iter().next())
}

/// The group that has the name, where an earlier try of this very operation made it. There is one: EC2 said so, and a
/// read that does not see it lags.
async fn made_before(cx: Cx<'_>, network: &str, name: &str) -> Result<Option<String>, Failure> {
    let mut pace = Pace::seconds(1, 10);
    loop {
        if let Some(group) = called(cx, network, name).await? {
            let mine = group
                .tags()
                .get(tags::TOKEN)
                .is_some_and(|token| token == cx.call.token.as_str());
            return Ok(mine.then_some(group.group_id));
        }
        if pace.waited(cx.call) >= PROPAGATION / 2 {
            return Ok(None);
        }
        pace.rest(cx.call, "looking whose the name is").await?;
    }
}

/// Whether a rule that is not wanted goes, rather than being somebody else's.
fn is_ours(rule: &Rule, applied: &Value, inputs: &Value) -> bool {
    bool(inputs, "exclusive") == Some(true)
        || Rule::all(applied).iter().any(|known| known.admits_the_same(rule))
        || (rule.is_born_with() && inputs.get("egress").is_some_and(|egress| !egress.is_null()))
}

/// What an update starts from.
struct Start<'a> {
    /// What was sent before.
    applied: &'a Value,
    /// Whether an earlier request may have done something that `applied` does not tell.
    unsure: bool,
}

impl Start<'_> {
    /// The rules that may be there and are to go.
    fn leaving(&self, inputs: &Value) -> Vec<Rule> {
        let wanted = Rule::all(inputs);
        let given = |inputs: &Value| inputs.get("egress").is_some_and(|egress| !egress.is_null());
        let born = given(inputs) && (self.unsure || !given(self.applied));
        Rule::all(self.applied)
            .into_iter()
            .chain(born.then(Rule::born_with))
            .filter(|rule| !wanted.iter().any(|wanted| wanted.admits_the_same(rule)))
            .collect()
    }

    /// The rules that are let in whether or not a read shows them: it may be of a time when they were there.
    fn coming<'r>(&self, wanted: &'r [Rule]) -> Vec<&'r Rule> {
        let known = Rule::all(self.applied);
        let is_known = |rule: &Rule| known.iter().any(|known| known.admits_the_same(rule));
        let coming = wanted.iter().filter(|rule| self.unsure || !is_known(rule));
        coming.collect()
    }
}

/// Makes the rules and tags what `inputs` say, and waits until reads see the rules so. A read may be of the past: a rule
/// that is to go and is not listed counts as gone only where that is said for a while.
async fn settle(cx: Cx<'_>, group: &Listed, start: &Start<'_>, inputs: &Value) -> Result<(), Failure> {
    let id = group.group_id.as_str();
    let wanted = Rule::all(inputs);
    let mut leaving = start.leaving(inputs);
    let mut coming = start.coming(&wanted);
    let mut let_in: Vec<&Rule> = Vec::new();
    let mut pace = Pace::new(Duration::from_millis(300), Duration::from_secs(5));
    loop {
        let there = rules::of_groups(cx, &[id]).await?;
        let is_listed = |rule: &Rule| there.iter().any(|listed| listed.rule.admits_the_same(rule));
        let missing: Vec<&Rule> = wanted
            .iter()
            .filter(|rule| !let_in.contains(rule) && (coming.contains(rule) || !is_listed(rule)))
            .collect();
        let gone: Vec<&rules::Listed> = there
            .iter()
            .filter(|listed| {
                !wanted.iter().any(|rule| rule.admits_the_same(&listed.rule))
                    && is_ours(&listed.rule, start.applied, inputs)
            })
            .collect();
        let shown = wanted
            .iter()
            .all(|rule| there.iter().any(|listed| listed.rule == *rule));
        let settled = leaving.is_empty() || pace.waited(cx.call) >= UNSEEN;
        if missing.is_empty() && shown && gone.is_empty() && settled {
            break;
        }
        if pace.waited(cx.call) >= PROPAGATION {
            match gone.first() {
                None => break,
                Some(left) => return Err(still_there(id, &left.rule)),
            }
        }
        for (_, egress) in DIRECTIONS {
            let missing: Vec<&Rule> = of(&missing, egress, |rule| rule.egress);
            authorize(cx, id, egress, &missing).await?;
            let gone = of(&gone, egress, |listed| listed.rule.egress);
            for revoked in revoke(cx, id, egress, &gone).await? {
                leaving.retain(|rule| !rule.admits_the_same(&revoked.rule));
            }
        }
        coming.clear();
        let_in.extend(missing);
        for rule in &wanted {
            let listed = there.iter().find(|listed| listed.rule.admits_the_same(rule));
            if let Some(listed) = listed.filter(|listed| listed.rule.description != rule.description) {
                let answer = cx
                    .clients
                    .ec2
                    .call(cx.call, rule.describe_anew(id, &listed.id))
                    .await;
                unless(answer, NO_RULE)?;
            }
        }
        pace.rest(cx.call, "waiting until EC2 shows the rules").await?;
    }
    settle_tags(cx, group, start.applied, inputs).await
}

/// Those of a direction.
fn of<'r, T>(rules: &[&'r T], egress: bool, is_egress: impl Fn(&T) -> bool) -> Vec<&'r T> {
    let of = rules.iter().filter(|rule| is_egress(rule) == egress);
    of.copied().collect()
}

/// Takes rules away; one that EC2 does not know, which fails the whole request, is gone or too new. Gives those that it took
/// away.
async fn revoke<'r>(
    cx: Cx<'_>,
    group: &str,
    egress: bool,
    gone: &[&'r rules::Listed],
) -> Result<Vec<&'r rules::Listed>, Failure> {
    let action = if egress {
        "RevokeSecurityGroupEgress"
    } else {
        "RevokeSecurityGroupIngress"
    };
    let ask = async |gone: &[&rules::Listed]| {
        let ids = gone.iter().map(|listed| listed.id.as_str());
        let request = Request::repeatable(action)
            .with("GroupId", group)
            .list("SecurityGroupRuleId", ids);
        match cx.clients.ec2.call::<Done>(cx.call, request).await {
            Ok(Done {}) => Ok(true),
            Err(failure) if NO_RULE.contains(&failure.code.as_str()) => Ok(false),
            Err(failure) => Err(failure),
        }
    };
    if gone.is_empty() {
        return Ok(Vec::new());
    }
    if ask(gone).await? {
        return Ok(gone.to_vec());
    }
    let mut revoked = Vec::new();
    for listed in gone.iter().filter(|_| gone.len() > 1) {
        if ask(&[listed]).await? {
            revoked.push(*listed);
        }
    }
    Ok(revoked)
}

fn still_there(group: &str, rule: &Rule) -> Failure {
    let message = format!(
        "EC2 still lists rule {} of {group} after {} s, though it was revoked",
        rule.key(),
        PROPAGATION.as_secs()
    );
    Failure::new("NotVisible", message)
        .with_hint("run the same command again, and see who lets it in where it comes back")
}

/// Lets rules in; one that is there already, which fails the whole request, is let be.
async fn authorize(cx: Cx<'_>, group: &str, egress: bool, missing: &[&Rule]) -> Result<(), Failure> {
    if missing.is_empty() {
        return Ok(());
    }
    let duplicate = "InvalidPermission.Duplicate";
    match patiently::<Done>(cx, Rule::authorize(group, egress, missing)).await {
        Err(failure) if failure.code == duplicate => {}
        other => return other.map(|Done {}| ()),
    }
    for rule in missing {
        let answer = patiently(cx, Rule::authorize(group, egress, &[rule])).await;
        unless(answer, &[duplicate])?;
    }
    Ok(())
}

#[async_trait]
impl ResourceKind for SecurityGroup {
    fn schema(&self) -> KindSchema {
        let fields = [
            Field::new("vpcId", Type::String)
                .required()
                .immutable()
                .doc("the network it belongs to"),
            Field::new("groupName", Type::String)
                .immutable()
                .exclusive()
                .doc("its name, one only in the network; epid makes one where it is not given"),
            Field::new("description", Type::String)
                .default(DESCRIPTION)
                .immutable(),
            Field::new("ingress", Type::keyed(&rules::KEYS, rules::fields()))
                .doc("who may send to its members; rules of others stay unless `exclusive`"),
            Field::new("egress", Type::keyed(&rules::KEYS, rules::fields()))
                .doc("whom its members may send to; everybody, where it is not given"),
            Field::new("exclusive", Type::Bool)
                .default(false)
                .write_only()
                .doc("whether rules that are not declared here are removed"),
            tags_field(),
        ];
        let doc = "A firewall around network interfaces.";
        let mut schema = shared_schema("aws:ec2:SecurityGroup", doc, Object::of(fields), 3);
        schema.outputs = vec![Output::new("groupId", "the id of the group")];
        // By rules of other groups, and by network interfaces (EC2 API reference, DeleteSecurityGroup).
        schema.held = true;
        schema
    }

    fn identity(&self, inputs: &Value) -> Option<String> {
        Some(format!(
            "{}/{}",
            text(inputs, "vpcId")?,
            text(inputs, "groupName")?
        ))
    }

    fn check(&self, properties: &Value) -> Vec<Problem> {
        DIRECTIONS
            .iter()
            .flat_map(|(direction, _)| rules::problems(direction, properties))
            .collect()
    }

    /// Rules of others are drift only in an exclusive group; the rule that a group is born with always is.
    fn drift(&self, schema: &KindSchema, record: &Record, present: &Present) -> Diff {
        let mut drift = diff::drift(schema, &record.applied, &present.properties);
        let known = Rule::all(&record.applied);
        for rule in Rule::all(&present.properties) {
            let declared = known.iter().any(|known| known.admits_the_same(&rule));
            if !declared && is_ours(&rule, &record.applied, &record.applied) {
                let (direction, _) = DIRECTIONS[usize::from(rule.egress)];
                drift.changes.push(Change {
                    path: Path::root()
                        .key(direction)
                        .join(Segment::Element(rule.key().into())),
                    op: Op::Add,
                    before: Value::Null,
                    after: rule.shown(),
                    replace: Replace::No,
                });
            }
        }
        drift
    }

    fn resolved(&self, inputs: &Value, present: &Present) -> Value {
        let chosen = text(inputs, "groupName").is_none();
        let name = present.properties.get("groupName").filter(|_| chosen);
        map([("groupName", name.cloned())])
    }

    async fn observe(&self, cx: Cx<'_>, queries: &[&Query]) -> Vec<Result<Observed, Failure>> {
        let found = async {
            let mut found = of_queries::<Listed>(cx, queries).await?;
            for (place, query) in found.iter_mut().zip(queries) {
                if let Query::Inputs { inputs, .. } = query {
                    *place = by_name(cx, &inputs.reveal()).await?;
                }
            }
            presents(cx, &found).await
        };
        match found.await {
            Ok(found) => found.into_iter().map(Ok).collect(),
            Err(failure) => vec![Err(failure); queries.len()],
        }
    }

    async fn create(&self, cx: Cx<'_>, inputs: &Value) -> Result<Recorded, Failure> {
        // Without a given name it ends in the token, so the same operation never makes two.
        let name = text(inputs, "groupName").map_or_else(
            || format!("epid-{}-{}", cx.call.urn.name(), cx.call.token.short(12)),
            str::to_owned,
        );
        let request = Request::once("CreateSecurityGroup")
            .with("GroupName", &name)
            .with(
                "GroupDescription",
                text(inputs, "description").unwrap_or(DESCRIPTION),
            )
            .with("VpcId", require(inputs, "vpcId")?)
            .tagged("security-group", &new_tags(cx, inputs));
        let id = match patiently::<Created>(cx, request).await {
            Ok(created) => created.group_id,
            Err(failure) if failure.code == "InvalidGroup.Duplicate" => {
                match made_before(cx, require(inputs, "vpcId")?, &name).await? {
                    Some(id) => id,
                    None => {
                        let failure = Failure {
                            code: "AlreadyExists".to_owned(),
                            ..failure
                        };
                        return Err(failure.with_hint("choose another `groupName`, or import the group"));
                    }
                }
            }
            Err(failure) => return Err(failure),
        };
        let begun = Begun::note(cx, &id, outputs(&id), "set the rules").await?;
        let group = begun.keep(appear::<Listed>(cx, &id).await)?;
        let start = Start {
            applied: inputs,
            unsure: true,
        };
        begun.keep(settle(cx, &group, &start, inputs).await)?;
        Ok(Recorded {
            resolved: self.resolved(inputs, &present(&group, &[])),
            ..Recorded::new(id.as_str(), outputs(&id))
        })
    }

    async fn update(&self, cx: Cx<'_>, record: &Record, inputs: &Value) -> Result<Recorded, Failure> {
        let group = known::<Listed>(cx, "security group", &record.id).await?;
        let start = Start {
            applied: &record.sent(),
            unsure: !record.incomplete.is_empty() || !record.attempted.is_empty(),
        };
        settle(cx, &group, &start, inputs).await?;
        Ok(Recorded {
            resolved: self.resolved(inputs, &present(&group, &[])),
            ..Recorded::new(record.id.clone(), outputs(&record.id))
        })
    }

    async fn delete(&self, cx: Cx<'_>, record: &Record) -> Result<(), Failure> {
        let request = Request::repeatable("DeleteSecurityGroup").with("GroupId", &record.id);
        take_away(cx, request, Some(("group-id", &record.id))).await?;
        vanish::<Listed>(cx, &record.id, 10).await
    }

    async fn find_created(&self, cx: Cx<'_>, intent: &Intent) -> Result<Option<Present>, Failure> {
        let found = by_token::<Listed>(cx, intent.token.as_str()).await?;
        match presents(cx, &[found]).await?.into_iter().next() {
            Some(Observed::Present(present)) => Ok(Some(*present)),
            _ => Ok(None),
        }
    }
}
