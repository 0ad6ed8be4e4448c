//! What a name is: pure.

use std::net::Ipv4Addr;

use hickory_server::proto::rr::RecordType;

use crate::snapshot::Snapshot;

/// What is to be said of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is the mesh's, and this is its address.
    Vip(Ipv4Addr),
    /// It is the mesh's, and has no record of that type. That must not be an error: clients ask for IPv6 first.
    NoSuchRecord,
    /// It may be the mesh's, which is not known yet. To be asked again, and never to be remembered.
    NotYet,
    /// Others know.
    Elsewhere {
        /// It lies under the namespace, so it may be declared at any moment.
        may_come: bool,
    },
}

/// What `name`, in lower case and without the root's dot, is. `namespace`: where it is known without the mesh.
pub(super) fn decide(
    snapshot: Option<&Snapshot>,
    namespace: Option<&str>,
    name: &str,
    record_type: RecordType,
) -> Verdict {
    let namespace = snapshot.map(|snapshot| snapshot.namespace.as_str()).or(namespace);
    let inside = namespace.is_some_and(|namespace| is_under(name, namespace));
    let Some(snapshot) = snapshot.filter(|snapshot| snapshot.absent.is_none()) else {
        return if inside { Verdict::NotYet } else { Verdict::Elsewhere { may_come: false } };
    };
    match snapshot.vip_of(name) {
        Some(vip) if matches!(record_type, RecordType::A | RecordType::ANY) => Verdict::Vip(vip),
        Some(_) => Verdict::NoSuchRecord,
        None => Verdict::Elsewhere { may_come: inside },
    }
}

fn is_under(name: &str, namespace: &str) -> bool {
    let namespace = namespace.to_ascii_lowercase();
    name.strip_suffix(namespace.as_str()).is_some_and(|host| host.is_empty() || host.ends_with('.'))
}
