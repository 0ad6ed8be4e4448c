//! Names and values of headers, and hosts, as routes write them.

/// Why a header is not for the mesh file to change; `None`: it is.
#[must_use]
pub fn header_kept_from_rules(name: &str) -> Option<&'static str> {
    const ONE_HOP: [&str; 8] = [
        "connection",
        "http2-settings",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ];
    let is = |other: &str| name.eq_ignore_ascii_case(other);
    match () {
        () if ONE_HOP.into_iter().any(is) => Some("it concerns one connection only"),
        () if is("content-length") => Some("it says how long the message is"),
        () if is("host") => Some("use rewrite.host"),
        () => None,
    }
}

/// Why a header can't have this name.
pub(super) fn wrong_header_name(name: &str) -> Option<String> {
    let fit = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    let wrong = name.is_empty() || name.len() > 256 || !name.bytes().all(fit);
    wrong.then(|| format!("{name:?} is not the name of a header"))
}

/// Why a header can't have this value: a line break above all would be the end of it.
pub(super) fn wrong_header_value(value: &str) -> Option<String> {
    let wrong = value.chars().find(|c| c.is_ascii_control() && *c != '\t')?;
    Some(format!("the value of a header can't have {wrong:?} in it"))
}

/// Why this is no host.
pub(super) fn wrong_host(host: &str, port_allowed: bool) -> Option<String> {
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (name, Some(port)),
        _ => (host, None),
    };
    if port.is_some() && !port_allowed {
        return Some(format!("{host:?} has a port, which is not looked at here"));
    }
    let port_fits = port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0));
    let name_fits = match name.strip_prefix('[').and_then(|name| name.strip_suffix(']')) {
        Some(v6) => v6.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            let fit = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
            !name.is_empty() && name.len() <= 253 && !name.starts_with('.') && name.bytes().all(fit)
        }
    };
    (!port_fits || !name_fits).then(|| format!("{host:?} is not a host"))
}
