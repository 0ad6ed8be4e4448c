//! Service Connect's `testTrafficRules`: which requests go to the endpoints that are there for test traffic.

use bowline_api::model;
use http::{HeaderMap, HeaderName};

use super::BadRoute;
use crate::snapshot::{test_labels, variant_key};

/// Which requests are test traffic, and where that goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestTraffic {
    /// The service narrowed to the endpoints for test traffic.
    pub key: Box<str>,
    rules: Box<[Rule]>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    /// `dnsName:port`, in lower case.
    alias: Box<str>,
    name: HeaderName,
    /// The value that the header must have; `None`: any.
    value: Option<Box<str>>,
}

impl TestTraffic {
    /// Of a service; `None` where none of its aliases has a rule.
    pub(super) fn of(service: &model::Service, bad: &mut Vec<BadRoute>) -> Option<Self> {
        let labels = test_labels(service)?;
        let mut rules = Vec::new();
        for alias in &service.client_aliases {
            let Some(rule) = &alias.test_traffic_rules else { continue };
            match rule.header.name.parse() {
                Ok(name) => rules.push(Rule {
                    alias: format!("{}:{}", alias.dns_name.to_ascii_lowercase(), alias.port).into(),
                    name,
                    value: rule.header.value.as_ref().map(|value| value.exact.as_str().into()),
                }),
                Err(_) => {
                    let why = format!("testTrafficRules: {:?} is not the name of a header", rule.header.name);
                    bad.push(BadRoute { route: None, why });
                }
            }
        }
        Some(Self { key: variant_key(&service.discovery_name, &labels).into(), rules: rules.into() })
    }

    /// Whether a request is test traffic. `dialled` is the alias that it was sent to, as the mesh has it; it is asked for
    /// where the headers fit.
    pub fn fits(&self, headers: &HeaderMap, dialled: impl Fn() -> String) -> bool {
        self.rules.iter().any(|rule| {
            let mut values = headers.get_all(&rule.name).iter();
            let fits = match &rule.value {
                None => values.next().is_some(),
                Some(exact) => values.any(|value| value.as_bytes() == exact.as_bytes()),
            };
            fits && *rule.alias == *dialled()
        })
    }
}
