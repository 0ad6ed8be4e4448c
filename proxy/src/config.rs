//! What a proxy process is started with. What can change while it runs is the mesh model (bowline-api), not this.

mod inbound;
mod ingress;
pub mod redirect;
mod registration;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use bowline_api::vip::VipRange;
use bowline_look::args::Look;
use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum};

pub use self::inbound::Inbound;
pub use self::ingress::Ingress;
pub use self::redirect::SetupRedirect;
pub use self::registration::Registration;

/// The sidecar of the Bowline service mesh.
///
/// It takes the app's outbound calls to names of a namespace, such as http://server.hello-world.com:5000, and sends
/// each to the best live endpoint, with timeouts, retries and outlier detection. The app does not change.
#[derive(Debug, Parser)]
#[command(name = "bowline-proxy", version, max_term_width = 100, after_help = EXAMPLES)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const EXAMPLES: &str = "\
Examples:
  bowline-proxy run --mesh mesh.yaml            run alone on a mesh file; changes to it are taken up at once
  bowline-proxy run --control http://control.internal:18000 --namespace hello-world.com --register server=9001
                                                run on the control plane's pushes, and be an endpoint of `server`
  curl -x http://127.0.0.1:15001 http://server.hello-world.com:5000/
                                                call a service through the HTTP forward proxy
  bowline-proxy health                          exit 0 if the proxy on this host is ready: a container health check
  bowline-proxy setup-redirect                  let the kernel lead connections to VIPs to the proxy (needs NET_ADMIN)
  bowline-proxy top                             rate, success and latency of each service at the proxy on this host, live
  bowline-proxy tap --failed                    its requests as they end, those that failed; see also explain, endpoints
  bowline check mesh.yaml                       find every mistake in a mesh file before a proxy gets it";

/// The commands of `bowline-proxy`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the proxy in the foreground until SIGTERM or Ctrl-C; then drain and exit 0.
    Run(Box<Run>),
    /// Exit 0 if the proxy is ready, 1 if it is not: for a container health check in an image without a shell.
    Health(Health),
    /// Install the rules that lead an app's connections to the proxy, or remove them, and exit: for an init container.
    SetupRedirect(Box<SetupRedirect>),
    /// Look at a proxy that runs: the same commands as `bowline` has.
    #[command(flatten)]
    Look(Look),
}

/// Flags of `bowline-proxy run`. Each has an environment variable, because task definitions speak env.
#[derive(Clone, Debug, Args)]
#[command(after_help = RUN_HELP, group(ArgGroup::new("where the mesh comes from").args(["mesh", "control"]).required(true).multiple(true)))]
pub struct Run {
    /// The mesh file (YAML or JSON), or a folder of them. It is watched: a valid change is taken up within half a
    /// second without losing a request, an invalid one is logged and the last good mesh stays. With `--control` it is
    /// only the seed: what is known until the control plane has answered for the first time.
    #[arg(long, env = "BOWLINE_MESH", value_name = "PATH")]
    pub mesh: Option<PathBuf>,

    /// The control plane (`http://HOST:PORT`, or `https://` with `--control-ca`). Given several times, or with commas
    /// between them, the addresses are tried in turn. While none answers, what is known stays in force.
    #[arg(long, env = "BOWLINE_CONTROL", value_name = "URL", value_delimiter = ',', requires = "namespace")]
    pub control: Vec<String>,

    /// The namespace whose mesh is asked for.
    #[arg(long, env = "BOWLINE_NAMESPACE", value_name = "NS", requires = "control")]
    pub namespace: Option<String>,

    /// Ask only for these services, with commas between them. Default: all of the namespace.
    #[arg(long, env = "BOWLINE_SERVICES", value_name = "A,B", value_delimiter = ',', requires = "control")]
    pub services: Vec<String>,

    /// Register this task with the control plane as an endpoint of service NAME, on PORT: NAME=PORT, or
    /// NAME=PORT,health=/path. It happens once the app accepts connections, or answers the path with 2xx; a lease of 15 s
    /// is kept, and the drain begins with taking it back. Can be given several times; in the variable, with spaces
    /// between them.
    #[arg(
        long,
        env = "BOWLINE_REGISTER",
        value_name = "NAME=PORT",
        value_delimiter = ' ',
        requires = "control"
    )]
    pub register: Vec<Registration>,

    /// The address under which this task is registered. Default: the task's own by the ECS task metadata, else the one
    /// from which the control plane is reached.
    #[arg(long, env = "BOWLINE_REGISTER_ADDRESS", value_name = "IP")]
    pub register_address: Option<IpAddr>,

    /// This task's share of its service's traffic, against the other endpoints' weights; 0 means none.
    #[arg(long, env = "BOWLINE_REGISTER_WEIGHT", value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(0..=1000))]
    pub register_weight: u32,

    /// A file with the token that lets this task register its service.
    #[arg(long, env = "BOWLINE_REGISTER_TOKEN_FILE", value_name = "FILE", requires = "register")]
    pub register_token_file: Option<PathBuf>,

    /// A file with the token that the control plane wants to see.
    #[arg(long, env = "BOWLINE_CONTROL_TOKEN_FILE", value_name = "FILE", requires = "control")]
    pub control_token_file: Option<PathBuf>,

    /// The same two tokens themselves, for orchestrators that hand secrets over in variables (ECS `secrets`). On a command
    /// line everybody on the host could read them.
    #[arg(
        long,
        env = "BOWLINE_CONTROL_TOKEN",
        value_name = "TOKEN",
        requires = "control",
        hide_env_values = true,
        conflicts_with = "control_token_file"
    )]
    pub control_token: Option<String>,

    /// See --control-token.
    #[arg(
        long,
        env = "BOWLINE_REGISTER_TOKEN",
        value_name = "TOKEN",
        requires = "control",
        hide_env_values = true,
        conflicts_with = "register_token_file"
    )]
    pub register_token: Option<String>,

    /// The authority (PEM) that has signed the control plane's certificate.
    #[arg(long, env = "BOWLINE_CONTROL_CA", value_name = "FILE", requires = "control")]
    pub control_ca: Option<PathBuf>,

    /// What this proxy is called in the control plane's /clients. Default: the host's name and the process id.
    #[arg(long, env = "BOWLINE_NODE_ID", value_name = "ID")]
    pub node_id: Option<String>,

    /// The availability zone that this task runs in. Default: as the ECS task metadata says.
    #[arg(long, env = "BOWLINE_ZONE", value_name = "ZONE")]
    pub zone: Option<String>,

    /// Where apps reach the HTTP forward proxy (HTTP_PROXY), and where redirected connections come (setup-redirect): on
    /// 127.0.0.1 the same port of [::1] is bound as well. Port 0 takes a free port and logs it.
    #[arg(long, env = "BOWLINE_OUTBOUND", value_name = "ADDR", default_value = "127.0.0.1:15001")]
    pub outbound: SocketAddr,

    /// Stand in front of the app for its callers: ADDR=PORT passes what comes to ADDR on to the app's port on 127.0.0.1
    /// (or ADDR=IP:PORT), as ingressPortOverride does; ADDR alone takes connections that are redirected there
    /// (0.0.0.0:15006, see setup-redirect --inbound-ports). What is spoken is detected, or said: `,protocol=tcp` (or http,
    /// http2, grpc). HTTP requests get the caller's address in x-forwarded-for; `,proxy-protocol=send` tells it to a TCP
    /// app, `=accept` takes it from a load balancer. A service that is registered on the app's port is announced with
    /// ADDR's port. Can be given several times; in the variable, with spaces between them. Off by default.
    #[arg(long, env = "BOWLINE_INBOUND", value_name = "ADDR[=PORT]", value_delimiter = ' ')]
    pub inbound: Vec<Inbound>,

    /// Be an entry into the mesh for callers from outside: NAME=ADDR accepts HTTP/1.1 and HTTP/2 at ADDR, for the service
    /// NAME of the mesh: its `routes`, what its `ingress` exposes, its `rateLimit` and `access`. All else is answered with
    /// 404. `,proxy-protocol=accept` takes callers' addresses from a load balancer. Can be given several times; in the
    /// variable, with spaces between them. Off by default.
    #[arg(long, env = "BOWLINE_INGRESS", value_name = "NAME=ADDR", value_delimiter = ' ')]
    pub ingress: Vec<Ingress>,

    /// Authorities (PEM) that are trusted beside the public ones where the keys of tokens come over https
    /// (`access.jwt.jwks.url`). Read anew each time that keys are fetched.
    #[arg(long, env = "BOWLINE_JWKS_CA", value_name = "FILE")]
    pub jwks_ca: Option<PathBuf>,

    /// Where health, metrics and the other admin pages are served. Keep it on loopback: it can change the proxy.
    #[arg(long, env = "BOWLINE_ADMIN", value_name = "ADDR", default_value = "127.0.0.1:15000")]
    pub admin: SocketAddr,

    /// Serve /metrics and /health read-only on this address too, for scrapers and load balancers. Off by default.
    #[arg(long, env = "BOWLINE_METRICS", value_name = "ADDR")]
    pub metrics: Option<SocketAddr>,

    /// The loopback range whose addresses stand for the mesh's names (VIPs).
    #[arg(long, env = "BOWLINE_VIP_RANGE", value_name = "CIDR", default_value = "127.255.0.0/16")]
    pub vip_range: VipRange,

    /// Bind no VIP listeners: the HTTP forward proxy is the only way in.
    #[arg(long, env = "BOWLINE_NO_VIP_LISTENERS")]
    pub no_vip_listeners: bool,

    /// Be the DNS server of the app, over UDP and TCP: names of the mesh are answered with their VIPs as soon as they are
    /// declared, all others by the system's DNS servers. 15053 is the usual port; 53 where /etc/resolv.conf can name it.
    /// Off by default.
    #[arg(long, env = "BOWLINE_DNS", value_name = "ADDR")]
    pub dns: Option<SocketAddr>,

    /// Who is asked for names outside of the mesh: IP or IP:PORT; with commas between several. Default: the servers in
    /// /etc/resolv.conf, without the one of this proxy.
    #[arg(long, env = "BOWLINE_DNS_UPSTREAM", value_name = "ADDR", value_delimiter = ',', requires = "dns",
          value_parser = dns_server)]
    pub dns_upstream: Vec<SocketAddr>,

    /// Keep the mesh's names and VIPs in this hosts file, between two marks; other lines stay. For apps that share
    /// /etc/hosts with the proxy. The names are taken out again when the proxy ends.
    #[arg(long, env = "BOWLINE_WRITE_HOSTS", value_name = "FILE")]
    pub write_hosts: Option<PathBuf>,

    /// Ask this DNS server, over UDP and TCP, for endpoints that come from DNS. Default: those in /etc/resolv.conf, with
    /// its search domains, and /etc/hosts; both are read again when they change.
    #[arg(long, env = "BOWLINE_RESOLVER", value_name = "ADDR")]
    pub resolver: Option<SocketAddr>,

    /// Threads that carry traffic. One carries some 50,000 requests a second; give more only where the task has the
    /// CPU for them.
    #[arg(long, env = "BOWLINE_WORKERS", value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u16).range(1..=256))]
    pub workers: u16,

    /// Most connections of apps at a time; one more is reset at once. Default: two thirds of the file descriptors
    /// that the process may have (ulimit -n, raised to its hard limit), after a quarter of them, 32 to 512, has been set
    /// aside for listeners, admin pages and files; the last third is for connections to endpoints.
    #[arg(long, env = "BOWLINE_MAX_CONNECTIONS", value_name = "N",
          value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub max_connections: Option<u32>,

    /// Folder in which the last good mesh and the addresses given to names are remembered over restarts.
    #[arg(long, env = "BOWLINE_STATE_DIR", value_name = "DIR")]
    pub state_dir: Option<PathBuf>,

    /// How long after SIGTERM the app is still served. It ends sooner: two seconds after the app's last connection has
    /// closed. A second SIGTERM exits at once.
    #[arg(long, env = "BOWLINE_DRAIN_SECONDS", value_name = "N", default_value_t = 20,
          value_parser = clap::value_parser!(u64).range(0..=3600))]
    pub drain_seconds: u64,

    /// Write a line for each request to stdout: `json`, or `text` in the order of Service Connect's access log. Off by
    /// default.
    #[arg(long, env = "BOWLINE_ACCESS_LOG", value_name = "FORMAT")]
    pub access_log: Option<AccessLogFormat>,

    /// Let the lines have query strings, which can carry what is nobody's business.
    #[arg(long, env = "BOWLINE_ACCESS_LOG_QUERY", requires = "access_log")]
    pub access_log_query: bool,

    /// The share of requests that get a line, in percent. Failures (5xx, broken off, answered by the proxy itself, gRPC's
    /// equals) always do.
    #[arg(long, env = "BOWLINE_ACCESS_LOG_PERCENT", value_name = "PERCENT", default_value_t = 100.0,
          requires = "access_log", value_parser = percent)]
    pub access_log_percent: f64,

    /// Write lines of CloudWatch's embedded metric format to stdout every so many seconds, under Service Connect's names:
    /// RequestCount, TargetResponseTime, HTTPCode_Target_5XX_Count and so on. 60 is what Service Connect does. Off by
    /// default.
    #[arg(long, env = "BOWLINE_CLOUDWATCH_METRICS", value_name = "SECONDS",
          value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub cloudwatch_metrics: Option<u64>,

    /// CloudWatch's namespace for them. Those that begin with AWS/ are Amazon's own.
    #[arg(long, env = "BOWLINE_CLOUDWATCH_NAMESPACE", value_name = "NAMESPACE", requires = "cloudwatch_metrics",
          default_value = "Bowline/ServiceConnect", value_parser = cloudwatch_namespace)]
    pub cloudwatch_namespace: String,

    /// How log lines look on stderr.
    #[arg(long, env = "BOWLINE_LOG_FORMAT", value_name = "FORMAT", default_value = "text")]
    pub log_format: LogFormat,

    /// Lowest level that is logged; POST /logging?level= on the admin port changes it while the proxy runs.
    #[arg(long, env = "BOWLINE_LOG_LEVEL", value_name = "LEVEL", default_value = "info")]
    pub log_level: LogLevel,
}

/// A DNS server's address, with or without its port.
fn dns_server(text: &str) -> Result<SocketAddr, String> {
    let with_port = || text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 53));
    text.parse().or_else(|_| with_port()).map_err(|_| "expected IP or IP:PORT".to_owned())
}

fn cloudwatch_namespace(text: &str) -> Result<String, String> {
    let known = |c: char| c.is_ascii_alphanumeric() || "./-_#:".contains(c);
    match text {
        _ if text.to_ascii_uppercase().starts_with("AWS/") => Err("AWS/ is Amazon's own".to_owned()),
        _ if !(1..=255).contains(&text.len()) || !text.chars().all(known) => {
            Err("expected 1 to 255 letters, digits and ./-_#:".to_owned())
        }
        _ => Ok(text.to_owned()),
    }
}

fn percent(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(percent) if (0.0..=100.0).contains(&percent) => Ok(percent),
        _ => Err("expected a number from 0 to 100".to_owned()),
    }
}

const RUN_HELP: &str = "\
Ways in for an app:
  HTTP forward proxy   HTTP_PROXY=http://127.0.0.1:15001, or curl -x http://127.0.0.1:15001 http://NAME:PORT/
                       CONNECT opens a tunnel; names outside of the namespace are passed through
  VIP listeners        each name of the mesh has a loopback address (see GET /services on the admin port) on which
                       its alias's port is bound; an app whose resolver answers with it needs no setting at all
  ... and their names  --dns 127.0.0.1:53 with that address in the app's /etc/resolv.conf, --write-hosts /etc/hosts,
                       or a private DNS zone that the control plane keeps (bowline-control serve --publish-zone)
  Redirected           the kernel leads connections to --outbound: setup-redirect, or ECS with proxyConfiguration of
                       type APPMESH; what is not for the mesh passes through untouched

Traces and metrics over OTLP: by OpenTelemetry's own variables, such as
  OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4317; without one of them nothing is traced (docs/reference/otel.md)

Signals: SIGTERM and Ctrl-C drain (a second one exits at once).
Exit codes: 0 done, 1 it failed, 2 wrong usage or an invalid mesh file.";

/// Flags of `bowline-proxy health`.
#[derive(Debug, Args)]
pub struct Health {
    /// The admin address of the proxy to ask.
    #[arg(long, env = "BOWLINE_ADMIN", value_name = "ADDR", default_value = "127.0.0.1:15000")]
    pub admin: SocketAddr,

    /// How long to wait for an answer, in seconds.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=60))]
    pub timeout_seconds: u64,
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One line of text an event; coloured on a terminal.
    Text,
    /// One JSON object a line.
    Json,
}

/// How lines of the access log are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum AccessLogFormat {
    /// One JSON object a line.
    Json,
    /// Service Connect's fields in its order, then ours by name.
    Text,
}

/// The lowest level that is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogLevel {
    /// Only what needs somebody's hand.
    Error,
    /// What may need somebody's hand.
    Warn,
    /// Starts, stops, mesh changes, ejections.
    Info,
    /// Each connection and each retry.
    Debug,
}

impl LogLevel {
    /// The same as a level filter of `tracing`.
    pub fn filter(self) -> tracing::level_filters::LevelFilter {
        use tracing::level_filters::LevelFilter;
        match self {
            LogLevel::Error => LevelFilter::ERROR,
            LogLevel::Warn => LevelFilter::WARN,
            LogLevel::Info => LevelFilter::INFO,
            LogLevel::Debug => LevelFilter::DEBUG,
        }
    }
}
