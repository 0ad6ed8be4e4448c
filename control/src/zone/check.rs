//! Whether a zone is one to publish names in. Pure.

use super::name::plain;

/// The longest time for which resolvers should remember that a name is not there, in seconds.
const NEGATIVE_TTL: i64 = 60;

/// What Route 53 says of a zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Its name.
    pub name: String,
    /// Whether it is seen by the VPCs alone that it is associated with.
    pub private: bool,
    /// The service of AWS that has made it and keeps it, where there is one.
    pub kept_by: Option<String>,
}

/// The zone's name, in lower case and without a last dot.
///
/// # Errors
/// Why no names are published in it, and what to do.
pub fn verdict(id: &str, facts: &Facts) -> Result<String, String> {
    let name = plain(&facts.name);
    if let Some(service) = &facts.kept_by {
        let what = match service.contains("servicediscovery") {
            true => "AWS Cloud Map has made it for a namespace of its own",
            false => "a service of AWS has made it",
        };
        return Err(format!(
            "the zone {id} ({name}) can't be published to: {what} ({service}), and only that may change it. Make a private \
             zone with another name, and give the mesh's services dnsNames in it"
        ));
    }
    if !facts.private {
        return Err(format!(
            "the zone {id} ({name}) is public: the addresses of the mesh's names are loopback addresses, which mean \
             something in a task alone. Make a private zone of that name, associate the tasks' VPCs with it, and publish \
             there"
        ));
    }
    Ok(name)
}

/// What to say of how long the zone makes resolvers remember that a name is not there.
pub(super) fn negative_warning(id: &str, zone: &str, seconds: Option<i64>) -> Option<String> {
    let seconds = seconds.filter(|seconds| *seconds > NEGATIVE_TTL)?;
    Some(format!(
        "resolvers remember for {seconds} seconds that a name of the zone {id} ({zone}) is not there: a name that was asked \
         for before it was declared stays away for so long. The lesser of the SOA record's TTL and the last of its numbers \
         says so; make it {NEGATIVE_TTL}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(private: bool, kept_by: Option<&str>) -> Facts {
        Facts { name: "Mesh.test.".to_owned(), private, kept_by: kept_by.map(ToOwned::to_owned) }
    }

    #[test]
    fn only_a_private_zone_of_our_own_will_do() {
        assert_eq!(verdict("Z1", &facts(true, None)), Ok("mesh.test".to_owned()));
        let why = verdict("Z1", &facts(false, None)).unwrap_err();
        assert!(why.contains("Z1 (mesh.test) is public"), "{why}");
        let why = verdict("Z1", &facts(true, Some("servicediscovery.amazonaws.com"))).unwrap_err();
        assert!(why.contains("Cloud Map") && why.contains("another name"), "{why}");
        let why = verdict("Z1", &facts(true, Some("vpce.amazonaws.com"))).unwrap_err();
        assert!(why.contains("a service of AWS has made it (vpce.amazonaws.com)"), "{why}");
    }

    #[test]
    fn a_long_memory_for_missing_names_is_warned_of() {
        let why = negative_warning("Z1", "mesh.test", Some(900)).expect("a warning");
        assert!(why.contains("900 seconds"), "{why}");
        assert_eq!(negative_warning("Z1", "mesh.test", Some(60)), None);
        assert_eq!(negative_warning("Z1", "mesh.test", None), None);
    }
}
