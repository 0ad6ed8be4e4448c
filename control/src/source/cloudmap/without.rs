//! Cloud Map in a program that was built without the AWS SDK (feature `aws`): it says so.

use std::fmt;

use super::instance::Instance;

/// Cloud Map, which can't be asked.
#[derive(Clone, Debug)]
pub struct CloudMap;

impl CloudMap {
    /// Nothing.
    pub async fn from_env() -> Self {
        CloudMap
    }

    pub(super) async fn revision(&self, _namespace: &str, _service: &str) -> Result<Option<i64>, Failure> {
        Err(Failure)
    }

    pub(super) async fn instances(
        &self,
        _namespace: &str,
        _service: &str,
    ) -> Result<(Vec<Instance>, Option<i64>), Failure> {
        Err(Failure)
    }
}

/// Why it is not asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure;

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("this program was built without the AWS SDK: Cloud Map can't be asked")
    }
}
