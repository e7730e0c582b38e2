//! Which service and operation a request means.
