//! Bootstrap files for clients that are not Bowline's own.

use serde_json::json;

use crate::config::{Bootstrap, BootstrapClient};

/// The file, as it is printed.
///
/// # Errors
/// The control plane's address is not `HOST:PORT`: in words.
pub fn page(config: &Bootstrap) -> Result<String, String> {
    let (host, port) = config
        .control
        .rsplit_once(':')
        .and_then(|(host, port)| {
            Some((host.trim_start_matches('[').trim_end_matches(']'), port.parse().ok()?))
        })
        .filter(|(host, _)| !host.is_empty() && !host.contains('/'))
        .ok_or_else(|| format!("--control {}: expected HOST:PORT, e.g. 127.0.0.1:18000", config.control))?;
    Ok(match config.client {
        BootstrapClient::Envoy => envoy(config, host, port),
        BootstrapClient::Grpc => grpc(config),
    })
}

/// As JSON would be YAML too, but this is read by people.
fn envoy(config: &Bootstrap, host: &str, port: u16) -> String {
    // Quoted as JSON, which YAML understands: an id may have any character.
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let locality = match &config.zone {
        Some(zone) => format!("\n  locality: {{ zone: {} }}", quoted(zone)),
        None => String::new(),
    };
    format!(
        "\
# Envoy as a sidecar on Bowline's control plane: envoy -c this-file
# Names are served on their VIPs, and by the HTTP forward proxy on 127.0.0.1:15001.
node:
  id: {id}
  cluster: bowline{locality}
admin:
  address: {{ socket_address: {{ address: 127.0.0.1, port_value: 15000 }} }}
dynamic_resources:
  ads_config:
    api_type: DELTA_GRPC
    transport_api_version: V3
    grpc_services:
      - envoy_grpc:
          cluster_name: bowline-control
          # Else it takes up to 30 s to come back to a control plane that was away.
          retry_policy: {{ retry_back_off: {{ base_interval: 0.25s, max_interval: 2s }} }}
  cds_config: {{ resource_api_version: V3, ads: {{}} }}
  lds_config: {{ resource_api_version: V3, ads: {{}} }}
static_resources:
  clusters:
    - name: bowline-control
      type: STRICT_DNS
      connect_timeout: 1s
      load_assignment:
        cluster_name: bowline-control
        endpoints:
          - lb_endpoints:
              - endpoint: {{ address: {{ socket_address: {{ address: {host}, port_value: {port} }} }} }}
      typed_extension_protocol_options:
        envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
          \"@type\": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
          explicit_http_config:
            http2_protocol_options:
              connection_keepalive: {{ interval: 10s, timeout: 10s }}
",
        id = quoted(&config.id),
        host = quoted(host),
    )
}

fn grpc(config: &Bootstrap) -> String {
    let mut node = json!({ "id": config.id });
    if let Some(zone) = &config.zone {
        node["locality"] = json!({ "zone": zone });
    }
    let file = json!({
        "xds_servers": [{
            "server_uri": config.control,
            "channel_creds": [{ "type": "insecure" }],
            "server_features": ["xds_v3", "ignore_resource_deletion"],
        }],
        "node": node,
    });
    format!("{file:#}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(client: BootstrapClient, control: &str) -> Result<String, String> {
        let (control, zone) = (control.to_owned(), Some("a\"b".to_owned()));
        page(&Bootstrap { client, control, id: "client-1".to_owned(), zone })
    }

    #[test]
    fn addresses_are_checked_and_texts_are_quoted() {
        for wrong in ["127.0.0.1", "http://127.0.0.1:18000", ":18000", "host:99999"] {
            assert!(of(BootstrapClient::Grpc, wrong).is_err(), "{wrong}");
        }
        let envoy = of(BootstrapClient::Envoy, "[::1]:18000").unwrap();
        assert!(envoy.contains("address: \"::1\", port_value: 18000"), "{envoy}");
        assert!(envoy.contains(r#"zone: "a\"b""#), "{envoy}");
        let grpc: serde_json::Value =
            serde_json::from_str(&of(BootstrapClient::Grpc, "control:1").unwrap()).unwrap();
        assert_eq!(grpc["xds_servers"][0]["server_uri"], "control:1");
        assert_eq!(grpc["node"]["locality"]["zone"], "a\"b");
    }
}
