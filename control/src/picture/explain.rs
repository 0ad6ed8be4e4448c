//! Where a request would go, from what the control plane knows.

use std::fmt;

use bowline_api::admin::{Explanation, NotCandidate};
use bowline_api::control_admin::ServiceSnapshot;
use bowline_api::model::{ClientAlias, Endpoints};
use bowline_xds::world::ServiceState;
use http::Uri;

use super::page::Look;
use super::{Picture, policy};

/// Proxies that are named, of those that lack something; of more only the number is said.
const NAMED: usize = 5;

/// What was asked about is no absolute URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoUrl(String);

impl fmt::Display for NoUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is no absolute URL, such as http://server.hello-world.com:5000/", self.0)
    }
}

impl std::error::Error for NoUrl {}

impl Picture {
    /// What would become of a request. `behind`: for a service, the revision of its last change, and who has not
    /// acknowledged that.
    ///
    /// # Errors
    /// It is no absolute URL.
    pub fn explain(
        &self,
        url: &str,
        look: Look<'_>,
        behind: impl Fn(&str) -> (u64, Vec<String>),
    ) -> Result<Explanation, NoUrl> {
        let authority = url.parse::<Uri>().ok().and_then(|uri| uri.authority().cloned());
        let authority = authority.filter(|_| url.contains("://")).ok_or_else(|| NoUrl(url.to_owned()))?;
        let (host, port) =
            (authority.host().trim_end_matches('.').to_ascii_lowercase(), authority.port_u16());
        let port = port.unwrap_or(80);
        let found = aliases(look).find(|(alias, _)| alias.dns_name == host && alias.port == port);
        let Some((alias, state)) = found else {
            return Ok(Explanation {
                url: url.to_owned(),
                steps: vec![why_unknown(&host, port, look)],
                service: None,
                candidates: Vec::new(),
                not_candidates: Vec::new(),
                answered: None,
            });
        };
        let name = state.service.discovery_name.as_str();
        let vip = state.vips.get(&alias.dns_name).map(|vip| format!(", at {vip}")).unwrap_or_default();
        let mut steps = vec![format!("{host}:{port} is an alias of service {name}{vip}")];
        steps.push(source(&state.service.endpoints));
        let snapshot = look.snapshot.services.iter().find(|service| service.service == name);
        steps.extend(snapshot.into_iter().flat_map(remarks));
        let troubles = look.snapshot.troubles.iter();
        let concerns = |of: &&bowline_api::control_admin::SourceTrouble| {
            of.service.as_deref().is_none_or(|service| service == name)
        };
        steps.extend(troubles.filter(concerns).map(|trouble| {
            let since = trouble.seconds;
            format!("a source ({}) has been in trouble for {since:.0} s: {}", trouble.source, trouble.why)
        }));
        let (candidates, not_candidates, standing) = self.candidates(state, look);
        steps.push(format!("{} of its {} endpoints may be picked", candidates.len(), state.endpoints.len()));
        steps.extend(standing);
        steps.extend(policy::words(&state.service));
        steps.extend(who_is_behind(behind(name)));
        let service = Some(name.to_owned());
        Ok(Explanation { url: url.to_owned(), steps, service, candidates, not_candidates, answered: None })
    }

    /// Who may be picked, who not and why, and what proxies differ about.
    fn candidates(
        &self,
        state: &ServiceState,
        look: Look<'_>,
    ) -> (Vec<std::net::SocketAddr>, Vec<NotCandidate>, Vec<String>) {
        let (mut yes, mut no, mut said) = (Vec::new(), Vec::new(), Vec::new());
        for endpoint in &state.endpoints {
            let address = endpoint.address;
            let standing = self.standing(&state.service.discovery_name, address, look.now);
            let (ejected_by, seen_by) = (standing.ejected_by, standing.seen_by);
            let proxies = if seen_by == 1 { "proxy that calls it" } else { "proxies that call it" };
            if endpoint.weight == 0 {
                no.push(NotCandidate { address, why: "weight 0".to_owned() });
            } else if ejected_by > 0 && ejected_by == seen_by {
                no.push(NotCandidate {
                    address,
                    why: format!("ejected by {ejected_by} of {seen_by} {proxies}"),
                });
            } else {
                if ejected_by > 0 {
                    said.push(format!("{address} is ejected by {ejected_by} of {seen_by} {proxies}"));
                }
                if standing.failing_at > 0 {
                    let failing_at = standing.failing_at;
                    said.push(format!("{address} has failed last at {failing_at} of {seen_by} {proxies}"));
                }
                yes.push(address);
            }
        }
        (yes, no, said)
    }
}

/// All names that can be dialled.
fn aliases<'a>(look: Look<'a>) -> impl Iterator<Item = (&'a ClientAlias, &'a ServiceState)> {
    let states = look.world.services.values();
    states.flat_map(|state| state.service.client_aliases.iter().map(move |alias| (alias, &**state)))
}

fn why_unknown(host: &str, port: u16, look: Look<'_>) -> String {
    let (name, namespace) = (format!("{host}:{port}"), &look.world.namespace);
    let same_host = aliases(look).filter(|(alias, _)| alias.dns_name == host);
    let ports: Vec<String> = same_host.map(|(alias, _)| alias.port.to_string()).collect();
    if !ports.is_empty() {
        let ports = ports.join(", ");
        return format!("{name} is no alias of namespace {namespace}; {host} is there with port {ports}");
    }
    let all: Vec<String> =
        aliases(look).map(|(alias, _)| format!("{}:{}", alias.dns_name, alias.port)).collect();
    match bowline_api::nearest(&name, all.iter().map(String::as_str)) {
        Some(nearest) => format!("{name} is no alias of namespace {namespace}; did you mean {nearest}?"),
        None => format!("{name} is no alias of namespace {namespace}"),
    }
}

fn source(endpoints: &Endpoints) -> String {
    match endpoints {
        Endpoints::Static(_) => "its endpoints stand in the mesh file".to_owned(),
        Endpoints::Dns(dns) => {
            format!("its endpoints are what DNS says of {} {:?}", dns.name, dns.record_type)
        }
        Endpoints::CloudMap(_) => "its endpoints come from AWS Cloud Map".to_owned(),
        Endpoints::Registered(_) => "its endpoints are the tasks that have registered themselves".to_owned(),
    }
}

fn remarks(service: &ServiceSnapshot) -> Vec<String> {
    let mut remarks = Vec::new();
    if service.held {
        let name = &service.service;
        remarks.push(format!(
            "it has lost all its endpoints: the last ones stay until POST /allow-empty?service={name}"
        ));
    }
    if !service.settled {
        remarks.push(
            "the control plane has just started: tasks may still be missing, proxies keep those they know"
                .to_owned(),
        );
    }
    remarks
}

fn who_is_behind((revision, ids): (u64, Vec<String>)) -> Option<String> {
    let named = ids.iter().take(NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
    let more = match ids.len() {
        0 => return None,
        n if n > NAMED => format!(" and {} more", n - NAMED),
        _ => String::new(),
    };
    Some(format!(
        "revision {revision} changed it; who has not acknowledged that goes on with what came before: {named}{more}"
    ))
}
