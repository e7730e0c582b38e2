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
use crate::wait::{PROPAGATION, Pace};

/// A firewall around network interfaces.
pub(super) struct SecurityGroup;

const DESCRIPTION: &str = "Managed by epid";

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

async fn settle(cx: Cx<'_>, group: &Listed, applied: &Value, inputs: &Value) -> Result<(), Failure> {
    let id = group.group_id.as_str();
    let there = rules::of_groups(cx, &[id]).await?;
    let wanted = Rule::all(inputs);
    for (_, egress) in DIRECTIONS {
        let missing: Vec<&Rule> = wanted
            .iter()
            .filter(|rule| rule.egress == egress)
            .filter(|rule| !there.iter().any(|listed| listed.rule.admits_the_same(rule)))
            .collect();
        authorize(cx, id, egress, &missing).await?;
        let gone = there.iter().filter(|listed| {
            listed.rule.egress == egress
                && !wanted.iter().any(|rule| rule.admits_the_same(&listed.rule))
                && is_ours(&listed.rule, applied, inputs)
        });
        let gone: Vec<&str> = gone.map(|listed| listed.id.as_str()).collect();
        if !gone.is_empty() {
            let action = if egress {
                "RevokeSecurityGroupEgress"
            } else {
                "RevokeSecurityGroupIngress"
            };
            let request = Request::repeatable(action)
                .with("GroupId", id)
                .list("SecurityGroupRuleId", gone);
            let answer = cx.clients.ec2.call(cx.call, request).await;
            unless(
                answer,
                &[
                    "InvalidPermission.NotFound",
                    "InvalidSecurityGroupRuleId.NotFound",
                ],
            )?;
        }
    }
    for rule in &wanted {
        let listed = there.iter().find(|listed| listed.rule.admits_the_same(rule));
        if let Some(listed) = listed.filter(|listed| listed.rule.description != rule.description) {
            let request = rule.describe_anew(id, &listed.id);
            let Done {} = cx.clients.ec2.call(cx.call, request).await?;
        }
    }
    show(cx, id, applied, inputs).await?;
    settle_tags(cx, group, applied, inputs).await
}

/// Waits until reads see the rules as they were set.
async fn show(cx: Cx<'_>, group: &str, applied: &Value, inputs: &Value) -> Result<(), Failure> {
    let wanted = Rule::all(inputs);
    let mut pace = Pace::new(Duration::from_millis(300), Duration::from_secs(5));
    loop {
        let there = rules::of_groups(cx, &[group]).await?;
        let shown = wanted
            .iter()
            .all(|rule| there.iter().any(|listed| listed.rule == *rule));
        let hidden = there.iter().all(|listed| {
            wanted.iter().any(|rule| rule.admits_the_same(&listed.rule))
                || !is_ours(&listed.rule, applied, inputs)
        });
        if (shown && hidden) || pace.waited(cx.call) >= PROPAGATION {
            return Ok(());
        }
        pace.rest(cx.call, "waiting until EC2 shows the rules").await?;
    }
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
        begun.keep(settle(cx, &group, inputs, inputs).await)?;
        Ok(Recorded {
            resolved: self.resolved(inputs, &present(&group, &[])),
            ..Recorded::new(id.as_str(), outputs(&id))
        })
    }

    async fn update(&self, cx: Cx<'_>, record: &Record, inputs: &Value) -> Result<Recorded, Failure> {
        let group = known::<Listed>(cx, "security group", &record.id).await?;
        settle(cx, &group, &record.sent(), inputs).await?;
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
