//! What stands around spans or metrics in a request: who sends them, and who has made them. Both signals' messages have
//! the same form.

use bytes::Bytes;

use super::payload::Payload;
use crate::env::Target;
use crate::resource::Resource;
use crate::wire;

// The fields, by the names of the messages for spans.
const RESOURCE_SPANS: u32 = 1;
const RESOURCE: u32 = 1;
const SCOPE_SPANS: u32 = 2;
const SCOPE: u32 = 1;
const SCOPE_NAME: u32 = 1;
const SCOPE_VERSION: u32 = 2;

/// The same for every request.
pub(super) struct Around {
    resource: Bytes,
    scope: Bytes,
}

impl Around {
    /// `scope`: name and version of what has made the data.
    pub(super) fn new(resource: &Resource, (name, version): (&str, &str)) -> Self {
        let mut scope = Vec::new();
        wire::bytes(&mut scope, SCOPE_NAME, name.as_bytes());
        wire::bytes(&mut scope, SCOPE_VERSION, version.as_bytes());
        Around { resource: resource.encode(), scope: scope.into() }
    }

    /// A request with these spans, or metrics, which are fields of their scope already.
    pub(super) fn payload(&self, target: &Target, content: Vec<u8>) -> Payload {
        let in_scope = wire::field_len(self.scope.len()) + content.len();
        let in_resource = wire::field_len(self.resource.len()) + wire::field_len(in_scope);
        let mut head = Vec::with_capacity(self.resource.len() + self.scope.len() + 32);
        wire::header(&mut head, RESOURCE_SPANS, in_resource);
        wire::bytes(&mut head, RESOURCE, &self.resource);
        wire::header(&mut head, SCOPE_SPANS, in_scope);
        wire::bytes(&mut head, SCOPE, &self.scope);
        Payload::new(target, &head, content)
    }
}
