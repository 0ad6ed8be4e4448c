//! Route 53 in a program that was built without the AWS SDK (feature `aws`): it says so.

use std::fmt;

use super::check::Facts;
use super::desk::Fault;
use super::plan::Group;
use super::record::Record;

/// One zone of Route 53, which can't be asked.
#[derive(Clone, Debug)]
pub struct Route53 {
    zone: String,
}

/// Where a page begins.
#[derive(Clone, Debug)]
pub(super) struct Cursor;

/// Some of a zone's records, and where the rest begins.
#[derive(Clone, Debug)]
pub(super) struct Page {
    pub(super) records: Vec<Record>,
    pub(super) next: Option<Cursor>,
}

impl Route53 {
    /// The zone with this id.
    pub async fn from_env(zone: &str) -> Self {
        Route53 { zone: zone.to_owned() }
    }

    /// The zone's id.
    pub fn id(&self) -> &str {
        &self.zone
    }

    pub(super) async fn facts(&self) -> Result<Facts, Failure> {
        Err(Failure::WITHOUT)
    }

    pub(super) async fn page(&self, _from: Option<Cursor>) -> Result<Page, Failure> {
        Err(Failure::WITHOUT)
    }

    pub(super) async fn change(&self, _groups: &[Group]) -> Result<(), Failure> {
        Err(Failure::WITHOUT)
    }
}

/// Why it is not asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) fault: Fault,
    pub(super) no_zone: bool,
}

impl Failure {
    const WITHOUT: Failure = Failure { fault: Fault::Other, no_zone: false };
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("this program was built without the AWS SDK: Route 53 can't be asked")
    }
}
