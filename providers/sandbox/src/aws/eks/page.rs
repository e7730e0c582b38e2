//! Pages of lists: `maxResults` and `nextToken`.

use super::{ApiError, Call};
use serde_json::{Value, json};

/// The page of `items` that the call asks for, under `member`, with `nextToken` if there is more.
///
/// # Errors
/// `InvalidParameterException` for a `maxResults` outside 1 to `limit`, or a token that this list never gave.
pub(super) fn page(call: &Call, member: &str, items: Vec<Value>, limit: usize) -> Result<Value, ApiError> {
    let wrong = |what: &str| ApiError::bad("InvalidParameterException", format!("Invalid {what}"));
    let size = match call.query_value("maxResults") {
        None => limit,
        Some(text) => text
            .parse()
            .ok()
            .filter(|size| (1..=limit).contains(size))
            .ok_or_else(|| wrong("maxResults"))?,
    };
    let start: usize = match call.query_value("nextToken") {
        None => 0,
        Some(token) => token
            .strip_prefix("page-")
            .and_then(|place| place.parse().ok())
            .ok_or_else(|| wrong("nextToken"))?,
    };
    let more = items.len() > start + size;
    let shown: Vec<Value> = items.into_iter().skip(start).take(size).collect();
    let mut answer = json!({ member: shown });
    if let (true, Some(members)) = (more, answer.as_object_mut()) {
        members.insert("nextToken".to_owned(), json!(format!("page-{}", start + size)));
    }
    Ok(answer)
}
