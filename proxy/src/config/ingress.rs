//! What `--ingress` says.

use std::net::SocketAddr;
use std::str::FromStr;

/// One `--ingress`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ingress {
    /// The service of the mesh that its requests are for.
    pub service: String,
    /// Where callers are accepted.
    pub listen: SocketAddr,
    /// Callers begin with a PROXY protocol header (version 2), as a load balancer sends it.
    pub accept_proxy: bool,
}

const FORM: &str = "expected NAME=ADDR, and perhaps ,proxy-protocol=accept";

impl FromStr for Ingress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (service, rest) = text.split_once('=').ok_or_else(|| format!("{text:?} has no =; {FORM}"))?;
        if service.is_empty() {
            return Err(format!("{text:?} names no service; {FORM}"));
        }
        let (listen, accept_proxy) = match rest.split_once(',') {
            None => (rest, false),
            Some((listen, "proxy-protocol=accept")) => (listen, true),
            Some((_, other)) => return Err(format!("{other:?} is not known; {FORM}")),
        };
        let listen = listen.parse().map_err(|_| format!("{listen:?} is no address with a port; {FORM}"))?;
        Ok(Ingress { service: service.to_owned(), listen, accept_proxy })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_says_which_service_it_is_and_where_callers_come() {
        let edge = Ingress {
            service: "edge".to_owned(),
            listen: "0.0.0.0:8080".parse().unwrap(),
            accept_proxy: false,
        };
        assert_eq!("edge=0.0.0.0:8080".parse(), Ok(edge.clone()));
        assert_eq!(
            "edge=0.0.0.0:8080,proxy-protocol=accept".parse(),
            Ok(Ingress { accept_proxy: true, ..edge })
        );
        for wrong in ["edge", "=0.0.0.0:80", "edge=", "edge=80", "edge=0.0.0.0:80,x", "edge=0.0.0.0:80,"] {
            assert!(wrong.parse::<Ingress>().is_err(), "{wrong}");
        }
    }
}
