//! The three calls of Route 53, through the AWS SDK.

use std::error::Error;
use std::fmt;

use aws_config::SdkConfig;
use aws_config::retry::RetryConfig;
use aws_sdk_route53::Client;
use aws_sdk_route53::error::{BuildError, ProvideErrorMetadata, SdkError};
use aws_sdk_route53::types::{
    Change as SdkChange, ChangeAction, ChangeBatch, ResourceRecord, ResourceRecordSet, RrType,
};

use super::check::Facts;
use super::desk::Fault;
use super::name::plain;
use super::plan::Group;
use super::record::{Action, Change, Kind, Record};
use crate::aws;

/// Records on a page: as many as Route 53 gives at a time.
const PAGE: i32 = 300;

/// One zone of Route 53.
#[derive(Clone, Debug)]
pub struct Route53 {
    client: Client,
    zone: String,
}

/// Where a page begins.
#[derive(Clone, Debug)]
pub(super) struct Cursor {
    name: String,
    kind: RrType,
    identifier: Option<String>,
}

/// Some of a zone's records, and where the rest begins.
#[derive(Clone, Debug)]
pub(super) struct Page {
    pub(super) records: Vec<Record>,
    pub(super) next: Option<Cursor>,
}

impl Route53 {
    /// As the environment says: `AWS_REGION`, `AWS_PROFILE`, `AWS_ENDPOINT_URL_ROUTE_53`, the credentials of the task or the
    /// host, and whatever else an AWS SDK knows. `zone` is the zone's id.
    pub async fn from_env(zone: &str) -> Self {
        Self::from_config(&aws::from_env().await, zone)
    }

    /// As a configuration says.
    pub fn from_config(config: &SdkConfig, zone: &str) -> Self {
        // Retries are ours: they keep to the rate of requests.
        let config = aws_sdk_route53::config::Builder::from(config)
            .retry_config(RetryConfig::disabled())
            .timeout_config(aws::timeouts())
            .build();
        Route53 { client: Client::from_conf(config), zone: zone.to_owned() }
    }

    /// The zone's id.
    pub fn id(&self) -> &str {
        &self.zone
    }

    /// What the zone is.
    pub(super) async fn facts(&self) -> Result<Facts, Failure> {
        let answer = self.client.get_hosted_zone().id(&self.zone).send().await;
        let answer = answer.map_err(|error| Failure::new(&error))?;
        let Some(zone) = answer.hosted_zone() else { return Err(Failure::odd("no zone in the answer")) };
        Ok(Facts {
            name: zone.name().to_owned(),
            private: zone.config().is_some_and(|config| config.private_zone()),
            kept_by: zone.linked_service().map(|service| {
                service.service_principal().or(service.description()).unwrap_or("an unknown one").to_owned()
            }),
        })
    }

    /// A page of the zone's records.
    pub(super) async fn page(&self, from: Option<Cursor>) -> Result<Page, Failure> {
        let mut call = self.client.list_resource_record_sets().hosted_zone_id(&self.zone).max_items(PAGE);
        if let Some(from) = from {
            call = call
                .start_record_name(from.name)
                .start_record_type(from.kind)
                .set_start_record_identifier(from.identifier);
        }
        let answer = call.send().await.map_err(|error| Failure::new(&error))?;
        let next = match (answer.is_truncated, answer.next_record_name, answer.next_record_type) {
            (false, ..) => None,
            (true, Some(name), Some(kind)) => {
                Some(Cursor { name, kind, identifier: answer.next_record_identifier })
            }
            (true, ..) => return Err(Failure::odd("a page without a word where the next one begins")),
        };
        Ok(Page { records: answer.resource_record_sets.iter().filter_map(read).collect(), next })
    }

    /// Makes all these changes, or none of them.
    pub(super) async fn change(&self, groups: &[Group]) -> Result<(), Failure> {
        let changes =
            groups.iter().flat_map(|group| &group.changes).map(write).collect::<Result<Vec<_>, _>>();
        let batch = changes.and_then(|changes| ChangeBatch::builder().set_changes(Some(changes)).build());
        let batch = batch.map_err(|error| Failure::odd(&error.to_string()))?;
        let call = self.client.change_resource_record_sets().hosted_zone_id(&self.zone).change_batch(batch);
        call.send().await.map(drop).map_err(|error| Failure::new(&error))
    }
}

/// A record as it matters here; `None`: it does not.
fn read(set: &ResourceRecordSet) -> Option<Record> {
    let kind = match set.r#type() {
        RrType::A => Kind::A,
        RrType::Aaaa => Kind::Aaaa,
        RrType::Cname => Kind::Cname,
        RrType::Ns => Kind::Ns,
        RrType::Soa => Kind::Soa,
        RrType::Txt => Kind::Txt,
        _ => return None,
    };
    // With a health check or a policy of its own it is more than its values.
    let simple = set.set_identifier().is_none()
        && set.alias_target().is_none()
        && set.health_check_id().is_none()
        && set.traffic_policy_instance_id().is_none();
    Some(Record {
        name: plain(set.name()),
        kind,
        ttl: set.ttl().unwrap_or(0),
        values: set.resource_records().iter().map(|record| record.value().to_owned()).collect(),
        simple,
    })
}

fn write(change: &Change) -> Result<SdkChange, BuildError> {
    let Change { action, record } = change;
    let values = record.values.iter().map(|value| ResourceRecord::builder().value(value).build());
    let set = ResourceRecordSet::builder()
        .name(format!("{}.", record.name))
        .r#type(RrType::from(record.kind.as_str()))
        .ttl(record.ttl)
        .set_resource_records(Some(values.collect::<Result<Vec<_>, _>>()?))
        .build()?;
    let action = match action {
        Action::Create => ChangeAction::Create,
        Action::Upsert => ChangeAction::Upsert,
        Action::Delete => ChangeAction::Delete,
    };
    SdkChange::builder().action(action).resource_record_set(set).build()
}

/// Why Route 53 has not done what it was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) fault: Fault,
    /// There is no such zone, and never was.
    pub(super) no_zone: bool,
    words: String,
}

impl Failure {
    fn new<E>(error: &SdkError<E>) -> Self
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        let body = error.raw_response().and_then(|response| response.body().bytes()).unwrap_or_default();
        let bare = bare_refusal(&String::from_utf8_lossy(body));
        let code = error.as_service_error().and_then(ProvideErrorMetadata::code).unwrap_or_default();
        let fault = match code {
            "Throttling" | "ThrottlingException" | "PriorRequestNotComplete" => Fault::Throttled,
            "InvalidChangeBatch" | "InvalidInput" => Fault::Refused,
            _ if bare.is_some() => Fault::Refused,
            _ => Fault::Other,
        };
        let words = bare.unwrap_or_else(|| aws::words(error, |error| (error.code(), error.message())));
        Failure { fault, no_zone: code == "NoSuchHostedZone", words }
    }

    fn odd(words: &str) -> Self {
        Failure { fault: Fault::Other, no_zone: false, words: words.to_owned() }
    }
}

/// A batch that Route 53 refuses may come back in an element of its own, `InvalidChangeBatch` with `Message`s, and not as an
/// error in the usual form, which is all that the SDK reads.
fn bare_refusal(body: &str) -> Option<String> {
    let (_, inner) = body.split_once("<InvalidChangeBatch")?;
    let messages =
        inner.split("<Message>").skip(1).filter_map(|rest| Some(rest.split_once("</Message>")?.0.trim()));
    Some(format!("InvalidChangeBatch: {}", messages.collect::<Vec<_>>().join("; ")))
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.fault {
            Fault::Refused => write!(f, "Route 53 refuses: {}", self.words),
            _ => write!(f, "Route 53 does not answer: {}", self.words),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_batch_is_known_in_whatever_form_it_comes() {
        let bare = "<?xml version=\"1.0\"?>\n<InvalidChangeBatch xmlns=\"https://route53.amazonaws.com/doc/2013-04-01/\">\
                    <Messages><Message>it exists</Message><Message>it does not</Message></Messages></InvalidChangeBatch>";
        assert_eq!(bare_refusal(bare).as_deref(), Some("InvalidChangeBatch: it exists; it does not"));
        let usual = "<ErrorResponse><Error><Code>InvalidChangeBatch</Code></Error></ErrorResponse>";
        assert_eq!(bare_refusal(usual), None);
    }

    #[test]
    fn records_come_back_as_they_were_written() {
        let record = Record {
            name: "_bowline.a.mesh.test".to_owned(),
            kind: Kind::Txt,
            ttl: 60,
            values: vec!["\"one\"".to_owned(), "\"two\"".to_owned()],
            simple: true,
        };
        let written = write(&Change { action: Action::Delete, record: record.clone() }).expect("a change");
        assert_eq!(written.action(), &ChangeAction::Delete);
        let set = written.resource_record_set().expect("a record").clone();
        assert_eq!(read(&set), Some(record));
        let mut weighted = set;
        weighted.set_identifier = Some("one".to_owned());
        assert_eq!(read(&weighted).map(|record| record.simple), Some(false));
    }
}
