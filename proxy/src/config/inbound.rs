//! What `--inbound` says.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;

use bowline_api::model::AppProtocol;

/// One `--inbound`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inbound {
    /// Where callers are accepted.
    pub listen: SocketAddr,
    /// Where the app listens. `None`: connections are redirected here, and the port that they were going to is the app's.
    pub app: Option<SocketAddr>,
    /// What is spoken; `None`: it is looked at.
    pub protocol: Option<AppProtocol>,
    /// The service of the mesh that the app is: what guards it holds for its callers. `None`: the one that `--register` names
    /// with the app's port, if any.
    pub service: Option<String>,
    /// Callers begin with a PROXY protocol header (version 2), as a load balancer sends it.
    pub accept_proxy: bool,
    /// The app gets such a header, where bytes are passed through.
    pub send_proxy: bool,
}

const FORM: &str = "expected ADDR, ADDR=PORT or ADDR=IP:PORT, and after commas protocol=http|http2|grpc|tcp, \
                    service=NAME, proxy-protocol=accept|send|both";

impl FromStr for Inbound {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.split(',');
        let first = parts.next().unwrap_or_default();
        let (listen, app) = match first.split_once('=') {
            Some((listen, app)) => (listen, Some(app)),
            None => (first, None),
        };
        let listen: SocketAddr =
            listen.parse().map_err(|_| format!("{listen:?} is no address with a port; {FORM}"))?;
        let app = app.map(app_address).transpose()?;
        let mut inbound =
            Inbound { listen, app, protocol: None, service: None, accept_proxy: false, send_proxy: false };
        for part in parts {
            match part.split_once('=') {
                Some(("protocol", name)) => inbound.protocol = Some(protocol(name)?),
                Some(("service", name)) if !name.is_empty() => inbound.service = Some(name.to_owned()),
                Some(("proxy-protocol", "accept")) => inbound.accept_proxy = true,
                Some(("proxy-protocol", "send")) => inbound.send_proxy = true,
                Some(("proxy-protocol", "both")) => {
                    (inbound.accept_proxy, inbound.send_proxy) = (true, true);
                }
                _ => return Err(format!("{part:?} is not known; {FORM}")),
            }
        }
        if inbound.send_proxy && inbound.protocol != Some(AppProtocol::Tcp) {
            return Err("proxy-protocol=send needs protocol=tcp: connections to an app that speaks HTTP carry requests \
                        of several callers, who are named in x-forwarded-for"
                .to_owned());
        }
        if let Some(app) = inbound.app
            && app.port() == listen.port()
            && (app.ip() == listen.ip() || listen.ip().is_unspecified())
        {
            return Err(format!("{listen} would pass everything on to itself: the app needs another port"));
        }
        Ok(inbound)
    }
}

fn app_address(text: &str) -> Result<SocketAddr, String> {
    let local = || text.parse::<u16>().ok().map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    let addr: Option<SocketAddr> = text.parse().ok().or_else(local);
    addr.filter(|addr| addr.port() != 0 && !is_everywhere(addr.ip()))
        .ok_or_else(|| format!("{text:?} is no address of an app; {FORM}"))
}

fn is_everywhere(ip: IpAddr) -> bool {
    ip.is_unspecified() || ip.is_multicast()
}

fn protocol(name: &str) -> Result<AppProtocol, String> {
    match name {
        "http" => Ok(AppProtocol::Http),
        "http2" => Ok(AppProtocol::Http2),
        "grpc" => Ok(AppProtocol::Grpc),
        "tcp" => Ok(AppProtocol::Tcp),
        _ => Err(format!("{name:?} is no protocol; expected http, http2, grpc or tcp")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_says_where_callers_come_and_where_they_go() {
        let plain = Inbound {
            listen: "0.0.0.0:15006".parse().unwrap(),
            app: None,
            protocol: None,
            service: None,
            accept_proxy: false,
            send_proxy: false,
        };
        assert_eq!("0.0.0.0:15006".parse(), Ok(plain.clone()));
        let listen = "0.0.0.0:8080".parse().unwrap();
        let app = Some("127.0.0.1:9001".parse().unwrap());
        assert_eq!("0.0.0.0:8080=9001".parse(), Ok(Inbound { listen, app, ..plain }));
        let app = Some("[::1]:9001".parse().unwrap());
        let (protocol, service) = (Some(AppProtocol::Tcp), Some("server".to_owned()));
        assert_eq!(
            "0.0.0.0:8080=[::1]:9001,protocol=tcp,service=server,proxy-protocol=both".parse(),
            Ok(Inbound { listen, app, protocol, service, accept_proxy: true, send_proxy: true })
        );
        for wrong in [
            "8080",
            "0.0.0.0",
            "0.0.0.0:8080=",
            "0.0.0.0:8080=0",
            "0.0.0.0:8080=8080",
            "0.0.0.0:8080=9001,protocol=udp",
            "0.0.0.0:8080=9001,proxy-protocol=send",
            "0.0.0.0:8080=9001,x",
        ] {
            assert!(wrong.parse::<Inbound>().is_err(), "{wrong}");
        }
    }
}
