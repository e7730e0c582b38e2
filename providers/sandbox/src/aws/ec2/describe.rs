//! The Describe operations, all alike: ids, filters, pages.

use super::super::policy::like;
use super::super::{ApiError, Params, Xml};
use super::{Cx, Ec2};
use std::collections::BTreeMap;

/// A kind of resource with a Describe operation.
pub(super) trait Resource: Sized {
    /// The element that holds the list in the answer.
    const SET: &'static str;
    /// The request's list of ids.
    const IDS: &'static str;
    /// The code of the error for an id that does not exist.
    const NOT_FOUND: &'static str;
    /// Filter names besides `tag:KEY`, `tag-key` and `owner-id`.
    const FILTERS: &'static [&'static str];
    /// Least `MaxResults`; `None` where AWS does not paginate.
    const LEAST_PAGE: Option<usize> = Some(5);

    fn all(ec2: &Ec2) -> &BTreeMap<String, Self>;

    /// The message of the error for an id that does not exist.
    fn absent(id: &str) -> String;

    /// Filter name and value pairs; a name may occur several times.
    fn facts(&self, id: &str, ec2: &Ec2, cx: &Cx<'_>) -> Vec<(&'static str, String)>;

    /// The elements inside `<item>`.
    fn write(&self, id: &str, ec2: &Ec2, cx: &Cx<'_>) -> Xml;
}

/// The resource of that id, or the error AWS gives for an unknown one.
pub(super) fn find<'a, R: Resource + 'a>(ec2: &'a Ec2, id: &str) -> Result<&'a R, ApiError> {
    R::all(ec2)
        .get(id)
        .ok_or_else(|| ApiError::bad(R::NOT_FOUND, R::absent(id)))
}

/// Answers a Describe call.
pub(super) fn answer<R: Resource>(ec2: &mut Ec2, cx: &mut Cx<'_>, params: &Params) -> Result<Xml, ApiError> {
    let ids = params.list(R::IDS);
    for id in &ids {
        find::<R>(ec2, id)?;
        if !ec2.visible(cx.now, id) {
            return Err(ApiError::bad(R::NOT_FOUND, R::absent(id)));
        }
    }
    let filters = Filters::read(params, R::FILTERS)?;
    let page = Page::read(params, R::LEAST_PAGE, R::IDS, !ids.is_empty())?;
    let shown = R::all(ec2).iter().filter(|(id, resource)| {
        (ids.is_empty() || ids.contains(&id.as_str()))
            && ec2.visible(cx.now, id)
            && filters.accept(ec2, id, || {
                let mut facts = resource.facts(id, ec2, cx);
                facts.push(("owner-id", cx.account.to_owned()));
                facts
            })
    });
    Ok(page.write(
        R::SET,
        shown,
        |(id, _)| id,
        |(id, resource)| resource.write(id, ec2, cx),
    ))
}

/// The `Filter.N` parameters: all must hold, each by any of its values, `*` and `?` being wildcards.
pub(super) struct Filters(Vec<(String, Vec<String>)>);

impl Filters {
    pub(super) fn read(params: &Params, known: &[&str]) -> Result<Self, ApiError> {
        let mut filters = Vec::new();
        for filter in params.structs("Filter") {
            let name = filter.require("Name")?.to_owned();
            if !(name.starts_with("tag:")
                || ["tag-key", "owner-id"].contains(&&*name)
                || known.contains(&&*name))
            {
                return Err(ApiError::bad(
                    "InvalidParameterValue",
                    format!("The filter '{name}' is invalid"),
                ));
            }
            filters.push((
                name,
                filter.list("Value").into_iter().map(str::to_owned).collect(),
            ));
        }
        Ok(Self(filters))
    }

    pub(super) fn accept(
        &self,
        ec2: &Ec2,
        id: &str,
        facts: impl FnOnce() -> Vec<(&'static str, String)>,
    ) -> bool {
        if self.0.is_empty() {
            return true;
        }
        let facts = facts();
        self.0.iter().all(|(name, patterns)| {
            let any = |value: &str| patterns.iter().any(|pattern| like(pattern, value));
            match name.strip_prefix("tag:") {
                Some(key) => ec2.tags(id).get(key).is_some_and(|value| any(value)),
                None if name == "tag-key" => ec2.tags(id).keys().any(|key| any(key)),
                None => facts.iter().any(|(fact, value)| fact == name && any(value)),
            }
        })
    }
}

/// `MaxResults` and `NextToken`: the token names the last item shown, so pages stay right when others are deleted.
pub(super) struct Page {
    size: usize,
    after: Option<String>,
}

impl Page {
    pub(super) fn read(
        params: &Params,
        least: Option<usize>,
        ids: &str,
        by_id: bool,
    ) -> Result<Self, ApiError> {
        let Some(least) = least else {
            return Ok(Self {
                size: usize::MAX,
                after: None,
            });
        };
        let size = match params.number("MaxResults") {
            None => 1_000,
            Some(_) if by_id => {
                let message =
                    format!("The parameter {ids}s cannot be used with the parameter MaxResults");
                return Err(ApiError::bad("InvalidParameterCombination", message));
            }
            Some(n) => usize::try_from(n).ok().filter(|n| (least..=1_000).contains(n)).ok_or_else(|| {
                let message = format!(
                    "Value ( {n} ) for parameter maxResults is invalid. Expecting a value between {least} and 1000."
                );
                ApiError::bad("InvalidParameterValue", message)
            })?,
        };
        let after = match params.get("NextToken") {
            None => None,
            Some(token) => Some(unseal(token).ok_or_else(|| {
                ApiError::bad(
                    "InvalidPaginationToken",
                    "The specified pagination token is not valid or is expired.",
                )
            })?),
        };
        Ok(Self { size, after })
    }

    pub(super) fn write<T>(
        &self,
        set: &'static str,
        items: impl Iterator<Item = T>,
        key: impl Fn(&T) -> &str,
        write: impl Fn(T) -> Xml,
    ) -> Xml {
        let mut items =
            items.skip_while(|item| self.after.as_deref().is_some_and(|after| key(item) <= after));
        let (mut list, mut last, mut shown) = (Xml::new(), None, 0);
        while shown < self.size {
            let Some(item) = items.next() else { break };
            last = Some(key(&item).to_owned());
            list = list.node("item", write(item));
            shown += 1;
        }
        let more = items.next().is_some();
        let next = last.filter(|_| more).map(|last| seal(&last));
        Xml::new().node(set, list).optional("nextToken", next)
    }
}

fn seal(last: &str) -> String {
    last.bytes().map(|byte| format!("{:02x}", byte ^ 0x5a)).collect()
}

fn unseal(token: &str) -> Option<String> {
    let bytes: Option<Vec<u8>> = token
        .as_bytes()
        .chunks(2)
        .map(|pair| {
            u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16)
                .ok()
                .map(|byte| byte ^ 0x5a)
        })
        .collect();
    String::from_utf8(bytes?).ok()
}
