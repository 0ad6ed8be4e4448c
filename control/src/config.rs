//! What a control process is started with. What can change while it runs is the mesh file, not this.

use std::net::SocketAddr;
use std::path::PathBuf;

use bowline_api::vip::VipRange;
use clap::{Args, Parser, Subcommand, ValueEnum};

/// The control plane of the Bowline service mesh.
///
/// It finds the endpoints of each service and pushes every change to the proxies that need it, over xDS. Requests do not
/// pass through it: while it is away, proxies go on with what they know.
#[derive(Debug, Parser)]
#[command(name = "bowline-control", version, max_term_width = 100, after_help = EXAMPLES)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const EXAMPLES: &str = "\
Examples:
  bowline-control serve --mesh mesh.yaml        serve a mesh file and what registers itself; changes are pushed at once
  bowline-proxy run --control http://127.0.0.1:18000 --namespace hello-world.com
                                                a proxy that is fed by it
  bowline-control unpublish-zone Z0123456789ABC --namespace hello-world.com
                                                takes out of a zone what --publish-zone has put there
  bowline-control bootstrap envoy               a bootstrap file with which Envoy is a client too
  bowline-control bootstrap grpc                the same for gRPC without a proxy (xds:///NAME:PORT)
  curl 127.0.0.1:18001/clients                  who is connected, and what each has acknowledged";

/// The commands of `bowline-control`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve the mesh in the foreground until SIGTERM or Ctrl-C.
    Serve(Box<Serve>),
    /// Exit 0 if the control plane serves its clients, 1 if it does not: for a container health check in an image without
    /// a shell.
    Health(Health),
    /// Print a bootstrap file with which another xDS client finds this control plane.
    Bootstrap(Bootstrap),
    /// Take all names of a namespace out of a private zone of Route 53, before the zone is destroyed.
    ///
    /// Only records that `serve --publish-zone` has made and marked go. Stop the control plane first, or it publishes them
    /// again. Credentials and region as any AWS SDK finds them.
    UnpublishZone(UnpublishZone),
}

/// Flags of `bowline-control serve`. Each has an environment variable, because task definitions speak env.
#[derive(Clone, Debug, Args)]
#[command(after_help = SERVE_HELP)]
pub struct Serve {
    /// The mesh file (YAML or JSON), or a folder of them. It is watched: a valid change is pushed within half a second,
    /// an invalid one is logged and the last good mesh stays.
    #[arg(long, env = "BOWLINE_MESH", value_name = "PATH")]
    pub mesh: PathBuf,

    /// Where proxies connect (xDS and registration, over gRPC). Other than loopback only with a token or a certificate.
    /// Port 0 takes a free port and logs it.
    #[arg(long, env = "BOWLINE_LISTEN", value_name = "ADDR", default_value = "127.0.0.1:18000")]
    pub listen: SocketAddr,

    /// Where health, metrics and the other admin pages are served. Keep it on loopback: it can change the mesh.
    #[arg(long, env = "BOWLINE_ADMIN", value_name = "ADDR", default_value = "127.0.0.1:18001")]
    pub admin: SocketAddr,

    /// Where registrations and VIPs are kept: `memory`, for one control process, or
    /// `etcd://HOST:PORT[,HOST:PORT]/PREFIX`, for several that share them.
    #[arg(long, env = "BOWLINE_STORE", value_name = "STORE", default_value = "memory")]
    pub store: String,

    /// Folder in which the addresses given to names are remembered over restarts, where the store is `memory`.
    #[arg(long, env = "BOWLINE_STATE_DIR", value_name = "DIR")]
    pub state_dir: Option<PathBuf>,

    /// A file with the token that each client must send (`authorization: Bearer TOKEN`). Required, unless there is a
    /// certificate for clients, when `--listen` is not loopback.
    #[arg(long, env = "BOWLINE_TOKEN_FILE", value_name = "FILE")]
    pub token_file: Option<PathBuf>,

    /// The token itself, for orchestrators that hand secrets over in variables (ECS `secrets`). On a command line everybody
    /// on the host could read it.
    #[arg(
        long,
        env = "BOWLINE_TOKEN",
        value_name = "TOKEN",
        hide_env_values = true,
        conflicts_with = "token_file"
    )]
    pub token: Option<String>,

    /// A file (YAML or JSON) that says which token may register endpoints of which service: `{ server: TOKEN }`. Without
    /// it, whoever may connect may register, and from other hosts nobody.
    #[arg(long, env = "BOWLINE_REGISTRATION_TOKENS", value_name = "FILE")]
    pub registration_tokens: Option<PathBuf>,

    /// The text of such a file, for the same reason. `;` can stand for the end of a line: `server: TOKEN; "*": TOKEN`.
    #[arg(
        long,
        env = "BOWLINE_REGISTRATION_TOKEN_LIST",
        value_name = "TEXT",
        hide_env_values = true,
        conflicts_with = "registration_tokens"
    )]
    pub registration_token_list: Option<String>,

    /// The certificate (PEM) with which clients are served over TLS. Needs `--tls-key`.
    #[arg(long, env = "BOWLINE_TLS_CERT", value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,

    /// The private key (PEM) of `--tls-cert`.
    #[arg(long, env = "BOWLINE_TLS_KEY", value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,

    /// Clients must show a certificate that this authority (PEM) has signed.
    #[arg(long, env = "BOWLINE_TLS_CLIENT_CA", value_name = "FILE", requires = "tls_cert")]
    pub tls_client_ca: Option<PathBuf>,

    /// Push a service that had endpoints and has lost all of them without asking. Otherwise its last endpoints stay until
    /// POST /allow-empty?service=NAME on the admin port. Tasks that register themselves are never held.
    #[arg(long, env = "BOWLINE_ALLOW_EMPTY")]
    pub allow_empty: bool,

    /// Give a changed mesh file to this share of the proxies first, and to the others after `--hold-back-seconds`, unless
    /// requests fail more often at those that have it: then it is taken back. 0: to all at once.
    #[arg(long, env = "BOWLINE_HOLD_BACK", value_name = "PERCENT", default_value_t = 0,
          value_parser = clap::value_parser!(u8).range(0..=99))]
    pub hold_back: u8,

    /// How long a changed mesh file is tried by that share of the proxies.
    #[arg(long, env = "BOWLINE_HOLD_BACK_SECONDS", value_name = "N", default_value_t = 30,
          value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub hold_back_seconds: u32,

    /// The loopback range whose addresses stand for the mesh's names (VIPs). The same for all proxies.
    #[arg(long, env = "BOWLINE_VIP_RANGE", value_name = "CIDR", default_value = "127.255.0.0/16")]
    pub vip_range: VipRange,

    /// Keep the mesh's names in this private hosted zone of Route 53, at their VIPs. Only records that are marked as the
    /// namespace's own are changed. Credentials and region as any AWS SDK finds them.
    #[arg(long, env = "BOWLINE_PUBLISH_ZONE", value_name = "ZONEID", value_parser = zone_id)]
    pub publish_zone: Option<String>,

    /// How long a name that has left the mesh stays in the zone, so that a mistake in the mesh file can be mended.
    #[arg(long, env = "BOWLINE_ZONE_GRACE_SECONDS", value_name = "N", default_value_t = 60,
          value_parser = clap::value_parser!(u32).range(0..=86_400))]
    pub zone_grace_seconds: u32,

    /// Ask this DNS server, over UDP and TCP, for endpoints that come from DNS. Default: the system's.
    #[arg(long, env = "BOWLINE_RESOLVER", value_name = "ADDR")]
    pub resolver: Option<SocketAddr>,

    /// Most clients at a time; one more is refused.
    #[arg(long, env = "BOWLINE_MAX_CLIENTS", value_name = "N", default_value_t = 10_000,
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub max_clients: u32,

    /// How log lines look on stderr.
    #[arg(long, env = "BOWLINE_LOG_FORMAT", value_name = "FORMAT", default_value = "text")]
    pub log_format: LogFormat,

    /// Lowest level that is logged.
    #[arg(long, env = "BOWLINE_LOG_LEVEL", value_name = "LEVEL", default_value = "info")]
    pub log_level: LogLevel,
}

const SERVE_HELP: &str = "\
Endpoints come from the mesh file (static), from DNS (dns), from AWS Cloud Map (cloudMap; credentials and region as any
AWS SDK finds them), and from tasks that register themselves (registered).

--publish-zone needs the rights route53:GetHostedZone, route53:ListResourceRecordSets and
route53:ChangeResourceRecordSets on the zone.

Signals: SIGTERM and Ctrl-C end it at once: proxies go on with what they know.
Exit codes: 0 done, 1 it failed, 2 wrong usage or an invalid mesh file.";

/// Flags of `bowline-control health`.
#[derive(Debug, Args)]
pub struct Health {
    /// The admin address of the control plane to ask.
    #[arg(long, env = "BOWLINE_ADMIN", value_name = "ADDR", default_value = "127.0.0.1:18001")]
    pub admin: SocketAddr,

    /// How long to wait for an answer, in seconds.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=60))]
    pub timeout_seconds: u64,
}

/// Flags of `bowline-control bootstrap`.
#[derive(Debug, Args)]
pub struct Bootstrap {
    /// Which client it is for.
    #[arg(value_name = "CLIENT")]
    pub client: BootstrapClient,

    /// Where the client reaches this control plane.
    #[arg(long, env = "BOWLINE_CONTROL", value_name = "HOST:PORT", default_value = "127.0.0.1:18000")]
    pub control: String,

    /// The client's name in /clients.
    #[arg(long, value_name = "ID", default_value = "client-1")]
    pub id: String,

    /// The client's availability zone.
    #[arg(long, value_name = "ZONE")]
    pub zone: Option<String>,
}

/// Flags of `bowline-control unpublish-zone`.
#[derive(Debug, Args)]
pub struct UnpublishZone {
    /// The zone's id.
    #[arg(value_name = "ZONEID", value_parser = zone_id)]
    pub zone: String,

    /// The namespace whose names go; those of others stay.
    #[arg(long, env = "BOWLINE_NAMESPACE", value_name = "NAMESPACE")]
    pub namespace: String,
}

/// A zone's id, with or without what Route 53 writes before it.
fn zone_id(text: &str) -> Result<String, String> {
    let id = text.strip_prefix("/hostedzone/").unwrap_or(text);
    match (1..=32).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        true => Ok(id.to_owned()),
        false => Err("a zone's id has up to 32 letters and digits, e.g. Z0123456789ABCDEFGHIJ".to_owned()),
    }
}

/// Clients that are not Bowline's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum BootstrapClient {
    /// Envoy, as a sidecar.
    Envoy,
    /// A gRPC library without a proxy.
    Grpc,
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One line of text an event; coloured on a terminal.
    Text,
    /// One JSON object a line.
    Json,
}

/// The lowest level that is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogLevel {
    /// Only what needs somebody's hand.
    Error,
    /// What may need somebody's hand.
    Warn,
    /// Starts, stops, mesh changes, clients that come and go.
    Info,
    /// Each push and each acknowledgement.
    Debug,
}
