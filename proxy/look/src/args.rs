//! What can be typed: the same four commands in `bowline` and `bowline-proxy`.

use clap::{Args, Subcommand, ValueEnum};

use crate::ask::AdminAddr;

/// Where a proxy on this host has its admin pages.
pub const PROXY_ADMIN: &str = "127.0.0.1:15000";

/// The commands that look at a proxy.
#[derive(Debug, Subcommand)]
pub enum Look {
    /// List every endpoint that a proxy knows: its state, its load, its latency.
    Endpoints(EndpointsArgs),
    /// Tell where a request would go, step by step, and why not elsewhere.
    Explain(ExplainArgs),
    /// Watch rate, success, latency and ejections of each service.
    Top(TopArgs),
    /// Watch requests one by one, as they end.
    Tap(TapArgs),
}

/// How an outcome is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people
    Text,
    /// For programs: JSON on stdout, whether all is well or not
    Json,
}

/// Flags of `endpoints`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  bowline endpoints
  bowline endpoints --service server --admin 127.0.0.1:15000,127.0.0.1:25000
  bowline endpoints --output json | jq '.endpoints[] | select(.state == \"ejected\").address'

Exit codes: 0 done, 1 no answer or no such service, 2 wrong usage.")]
pub struct EndpointsArgs {
    /// Only those of this service
    #[arg(long, value_name = "NAME")]
    pub service: Option<String>,

    /// Whom to ask, and how to say it.
    #[command(flatten)]
    pub asked: Asked,
}

/// Flags of `explain`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  bowline explain http://server.hello-world.com:5000/v1/items
  bowline explain http://server.hello-world.com:5000/ --output json | jq .candidates
  bowline explain http://server.hello-world.com:5000/cart --method POST -H 'x-user: ann'

Where the service has routes, each is told with why it does not fit, up to the first that does.

Exit codes: 0 there is a service for it, 1 there is none or no answer, 2 wrong usage.")]
pub struct ExplainArgs {
    /// What would be asked for, with its scheme: http://NAME:PORT/PATH
    #[arg(value_name = "URL")]
    pub url: String,

    /// With which method
    #[arg(long, value_name = "METHOD", default_value = "GET")]
    pub method: String,

    /// With this header (repeatable)
    #[arg(long = "header", short = 'H', value_name = "NAME: VALUE")]
    pub headers: Vec<String>,

    /// Whom to ask, and how to say it.
    #[command(flatten)]
    pub asked: Asked,
}

/// Flags of `top`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  bowline top
  bowline top --endpoints --service server
  bowline top --count 1                          one interval, then the end
  bowline top --output json | jq -c '.services[] | [.service, .requestsPerSecond, .p99Milliseconds]'

On a terminal it is drawn in place, and begins with the totals since the proxy's start. In a pipe each interval is a \
block of its own, and with --output json a line. A counter that begins again (the proxy has been restarted) is counted from \
there.

Exit codes: 0 done or ended with Ctrl-C, 1 no answer or no such service, 2 wrong usage.")]
pub struct TopArgs {
    /// Seconds between two looks
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0, value_parser = interval)]
    pub interval: f64,

    /// End after so many intervals. Default: Ctrl-C ends it
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,

    /// Only this service
    #[arg(long, value_name = "NAME")]
    pub service: Option<String>,

    /// A line for each endpoint too, of the attempts there
    #[arg(long)]
    pub endpoints: bool,

    /// The admin pages of the proxy
    #[arg(long, value_name = "ADDR", default_value = PROXY_ADMIN, env = "BOWLINE_ADMIN")]
    pub admin: AdminAddr,

    /// How the outcome is written
    #[arg(long, value_enum, default_value_t = Output::Text, env = "BOWLINE_OUTPUT")]
    pub output: Output,
}

/// Flags of `tap`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  bowline tap
  bowline tap --failed --service server
  bowline tap --status 5xx --path /v1 --header x-user:ann
  bowline tap --slower-than 250 --limit 20 --output json | jq .trace_id

Filters add up: what is shown meets all of them. It costs the proxy nothing while nobody taps.

Exit codes: 0 done or ended with Ctrl-C, 1 no answer or the proxy has ended, 2 wrong usage.")]
pub struct TapArgs {
    /// To this service, or inbound:PORT
    #[arg(long, value_name = "NAME")]
    pub service: Option<String>,

    /// With an attempt at this endpoint
    #[arg(long, value_name = "IP:PORT")]
    pub endpoint: Option<String>,

    /// With this status: 503, 5xx or 400-499
    #[arg(long, value_name = "STATUS")]
    pub status: Option<String>,

    /// Failed ones: 5xx, broken off, or answered by the proxy itself
    #[arg(long)]
    pub failed: bool,

    /// With more than one attempt
    #[arg(long)]
    pub retried: bool,

    /// With this method
    #[arg(long, value_name = "METHOD")]
    pub method: Option<String>,

    /// Whose path begins so
    #[arg(long, value_name = "PREFIX")]
    pub path: Option<String>,

    /// With this header; with a colon and a text, those that have it in the header's value
    #[arg(long, value_name = "NAME[:PART]")]
    pub header: Option<String>,

    /// That took at least so many milliseconds
    #[arg(long, value_name = "MS")]
    pub slower_than: Option<u64>,

    /// Show query strings, which can carry what is nobody's business
    #[arg(long)]
    pub with_query: bool,

    /// End after so many. Default: Ctrl-C ends it
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: Option<u64>,

    /// The admin pages of the proxy
    #[arg(long, value_name = "ADDR", default_value = PROXY_ADMIN, env = "BOWLINE_ADMIN")]
    pub admin: AdminAddr,

    /// How the outcome is written
    #[arg(long, value_enum, default_value_t = Output::Text, env = "BOWLINE_OUTPUT")]
    pub output: Output,
}

/// Whom to ask, where several can be asked.
#[derive(Debug, Args)]
pub struct Asked {
    /// The admin pages of a proxy; can be given several times, or with commas between them
    #[arg(long, value_name = "ADDR", value_delimiter = ',', default_value = PROXY_ADMIN, env = "BOWLINE_ADMIN")]
    pub admin: Vec<AdminAddr>,

    /// How the outcome is written
    #[arg(long, value_enum, default_value_t = Output::Text, env = "BOWLINE_OUTPUT")]
    pub output: Output,
}

fn interval(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.1..=3600.0).contains(&seconds) => Ok(seconds),
        _ => Err("expected seconds from 0.1 to 3600".to_owned()),
    }
}
