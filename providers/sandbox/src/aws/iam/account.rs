//! The account itself: its one user, and its aliases, of which it has none.

use super::super::{ApiError, Params, Xml};
use super::{Cx, Iam, no_such_entity, truncation};
use crate::cloud::Principal;

pub(super) fn get_user(_iam: &mut Iam, cx: &mut Cx<'_>, params: &Params) -> Result<Xml, ApiError> {
    let Some((_, caller)) = cx.caller.arn.split_once(":user/") else {
        let message = "Must specify userName when calling with non-User credentials";
        return Err(ApiError::bad("ValidationError", message));
    };
    let name = params.get("UserName").unwrap_or(caller);
    if name != caller {
        return Err(no_such_entity(format!(
            "The user with name {name} cannot be found."
        )));
    }
    Ok(Xml::new().node("User", user(cx.caller, name)))
}

fn user(caller: &Principal, name: &str) -> Xml {
    Xml::new()
        .text("Path", "/")
        .text("UserName", name)
        .text("UserId", &caller.user_id)
        .text("Arn", &caller.arn)
        .text("CreateDate", "2020-06-01T00:00:00Z")
}

/// The one user there is.
pub(super) fn list_users(_iam: &mut Iam, cx: &mut Cx<'_>, _params: &Params) -> Result<Xml, ApiError> {
    let name = cx.caller.arn.split_once(":user/").map(|(_, name)| name);
    let users = Xml::new().members("Users", name, |name| user(cx.caller, name));
    Ok(truncation(users, None))
}

pub(super) fn list_aliases(_iam: &mut Iam, _cx: &mut Cx<'_>, _params: &Params) -> Result<Xml, ApiError> {
    Ok(truncation(Xml::new().node("AccountAliases", Xml::new()), None))
}
