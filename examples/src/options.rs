//! What a person can ask of the demo.

use clap::Parser;

/// Bowline's demo: a small mesh on this machine, under load, while things go wrong.
///
/// It starts five endpoints of an HTTP service and two of a gRPC service, each a process of its own, and one
/// bowline-proxy beside them; sends a steady load through the proxy, as an app does; and then breaks one thing at a
/// time, saying beforehand what you should see. It ends in about 40 seconds with a summary. Nothing is installed,
/// nothing listens beyond loopback, and nothing is left behind.
#[derive(Clone, Debug, Parser)]
#[command(name = "bowline-examples", version, max_term_width = 100, after_help = HELP)]
pub(crate) struct Options {
    /// Keep everything up after the show and print commands to try, until Ctrl-C.
    #[arg(long)]
    pub(crate) hold: bool,

    /// How long each of the six faults is shown, in seconds, 0.5 to 60.
    #[arg(long, value_name = "N", default_value_t = 5.0, value_parser = seconds)]
    pub(crate) seconds_per_fault: f64,

    /// HTTP requests a second, 10 to 5000; one in ten is a POST.
    #[arg(long, value_name = "N", default_value_t = 400, value_parser = clap::value_parser!(u32).range(10..=5000))]
    pub(crate) rate: u32,

    /// Repeats the choices of an earlier run: which endpoint is hit by which fault, when requests are sent. Default: a
    /// new one, which is printed.
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,

    /// Send the load through the HTTP forward proxy, as with HTTP_PROXY, rather than to the VIPs of the names.
    #[arg(long)]
    pub(crate) forward_proxy: bool,

    /// Run a bowline-control too, which serves the mesh to the proxy and a live picture of it to your browser; its URL is
    /// printed. Best with --hold.
    #[arg(long)]
    pub(crate) page: bool,

    /// Let the proxy send its traces to this OpenTelemetry collector.
    #[arg(long, value_name = "URL", num_args = 0..=1, default_missing_value = "http://127.0.0.1:4317")]
    pub(crate) otlp: Option<String>,
}

const HELP: &str = "\
What you see, one row an endpoint:
  req/s        attempts a second that the proxy makes at it
  open         attempts under way
  p50, p99     milliseconds to the response head as the client saw them, over the last two seconds
  failed       attempts that got no answer or a 5xx; most were tried again elsewhere
  ejec         how often outlier detection took it out
  state        active, or ejected and for how long still
  fault        what the demo has done to it

Exit codes:
  0    no request failed that could be tried again
  1    one did, or the demo could not run
  2    wrong usage
  130  stopped by Ctrl-C before its end

Piped, or with NO_COLOR or TERM=dumb, it prints plain lines instead of a live table.";

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.5..=60.0).contains(&seconds) => Ok(seconds),
        _ => Err("expected a number from 0.5 to 60".to_owned()),
    }
}
