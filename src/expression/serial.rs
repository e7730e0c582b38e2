//! Templates on disk: the text a program would have.

use epid_provider::Value;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::parsed::ExpressionError;
use super::template::{Located, Template};

impl Serialize for Template {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        self.to_program_value().serialize(s)
    }
}

impl<'de> Deserialize<'de> for Template {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let first =
            |errors: Vec<ExpressionError>| errors.first().map(|e| e.message.clone()).unwrap_or_default();
        Self::from_program_value(&Value::deserialize(d)?).map_err(|e| serde::de::Error::custom(first(e)))
    }
}

impl Serialize for Located {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        self.template.serialize(s)
    }
}

/// What comes from disk has no place in a source file.
impl<'de> Deserialize<'de> for Located {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        Template::deserialize(d).map(Self::from)
    }
}
