//! The demo's mesh: its names, the mesh file as a person would write it, and the loopback addresses for it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;

use bowline_api::vip::{VipRange, allocate};

/// What clients dial for the HTTP service.
pub(crate) const SERVER: (&str, u16) = ("server.hello-world.com", 5000);
/// What clients dial for the gRPC service.
pub(crate) const STREAM: (&str, u16) = ("stream.hello-world.com", 5001);

/// `name:port`.
pub(crate) fn authority((name, port): (&str, u16)) -> String {
    format!("{name}:{port}")
}

/// The mesh file.
pub(crate) fn text(servers: &[SocketAddr], streams: &[SocketAddr], ejection_seconds: f64) -> String {
    let mut text = String::from(
        "# The demo's mesh. The proxy watches this file: change it, and the change is in force within half a second.\n\
         namespace: hello-world.com\n\
         services:\n",
    );
    let services = [("server", "http", SERVER, servers), ("stream", "grpc", STREAM, streams)];
    for (service, protocol, (name, port), endpoints) in services {
        let _ = writeln!(text, "  - discoveryName: {service}");
        let _ = writeln!(text, "    appProtocol: {protocol}");
        let _ = writeln!(text, "    clientAliases: [{{ dnsName: {name}, port: {port} }}]");
        // The default of 30 s would be as long as the whole show.
        let _ = writeln!(text, "    outlierDetection: {{ baseEjectionSeconds: {ejection_seconds:.2} }}");
        if endpoints.is_empty() {
            text.push_str("    endpoints: { static: [] }\n");
            continue;
        }
        text.push_str("    endpoints:\n      static:\n");
        for endpoint in endpoints {
            let _ = writeln!(text, "        - address: \"{endpoint}\"");
        }
    }
    text
}

/// Writes beside the file and renames over it, as an editor does: the proxy never sees half of it.
pub(crate) fn write(path: &Path, text: &str) -> io::Result<()> {
    let new = path.with_extension("new");
    std::fs::write(&new, text)?;
    std::fs::rename(new, path)
}

/// A VIP range in which the addresses of both names can be bound, so that two demos, or a demo and a proxy of this
/// host, don't meet. `None`: there is none, most likely because a program listens on the ports on every address, or the
/// system has no loopback addresses but 127.0.0.1.
pub(crate) fn free_vip_range(rng: &mut fastrand::Rng) -> Option<VipRange> {
    let names = BTreeMap::from([(SERVER.0.to_owned(), None), (STREAM.0.to_owned(), None)]);
    (0..8).find_map(|_| {
        let range: VipRange = format!("127.255.{}.0/24", rng.u8(1..255)).parse().ok()?;
        let vips = allocate(range, &names, &BTreeMap::new(), 0).ok()?.vips;
        let free = [SERVER, STREAM]
            .iter()
            .all(|(name, port)| vips.get(*name).is_some_and(|vip| TcpListener::bind((*vip, *port)).is_ok()));
        free.then_some(range)
    })
}

#[cfg(test)]
mod tests {
    use super::text;

    #[test]
    fn the_mesh_file_is_one() {
        let endpoint = |port: u16| ([127, 0, 0, 1], port).into();
        for servers in [vec![], vec![endpoint(9001), endpoint(9002)]] {
            let written = text(&servers, &[endpoint(9101)], 2.5);
            let mesh =
                bowline_api::parse("demo.yaml", &written).unwrap_or_else(|problems| panic!("{problems}"));
            let server = mesh.service("server").expect("it is there");
            assert_eq!(server.endpoints.static_endpoints().len(), servers.len());
            assert_eq!(server.outlier_detection.base_ejection_seconds.get().as_millis(), 2500);
        }
    }
}
