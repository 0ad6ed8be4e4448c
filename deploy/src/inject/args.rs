//! What can be typed after `bowline inject`.

use std::path::PathBuf;
use std::str::FromStr;

use bowline_api::vip::VipRange;
use clap::{Args, ValueEnum};

/// Add the sidecar to an ECS task definition, a CloudFormation template or a compose file.
#[derive(Debug, Args)]
#[command(
    long_about = "Add the sidecar to an ECS task definition, a CloudFormation template (JSON or YAML) or a compose file, \
                  and print the changed file. Nothing else in it changes: order, comments, unknown keys and indentation \
                  stay. Done twice, it is the same; done with other flags, the sidecar is made anew from them, and what \
                  was changed in it by hand is lost. --remove takes it out again, byte for byte.\n\n\
                  What `aws ecs describe-task-definition` prints is taken too. Since register-task-definition doesn't \
                  take that, it is unwrapped and the keys that only AWS writes are left out, unless you say \
                  --keep-read-only.\n\n\
                  Notes and refusals go to stderr, all of them at once, each with its line and what to change.",
    after_help = HELP
)]
pub(crate) struct InjectArgs {
    /// The file; `-` reads stdin
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,

    /// What kind of file it is; found out by itself as a rule
    #[arg(long, value_enum, default_value_t = Format::Auto)]
    pub(crate) format: Format,

    /// The container, or in a compose file the service, that the app runs in; can be given several times. Default: in ECS
    /// all containers (they wait for the sidecar); in a compose file it must be said
    #[arg(long, value_name = "NAME")]
    pub(crate) app: Vec<String>,

    /// The task definition in a template, by its logical id; can be given several times. Default: all of them
    #[arg(long, value_name = "ID")]
    pub(crate) resource: Vec<String>,

    /// The control plane that the sidecar is pushed its mesh from; several with commas
    #[arg(long, value_name = "URL", value_delimiter = ',')]
    pub(crate) control: Vec<String>,

    /// The namespace that is asked for. Default: that of --mesh
    #[arg(long, value_name = "NS")]
    pub(crate) namespace: Option<String>,

    /// A mesh file on this computer: alias ports, names and registrations are checked against it. Without --control
    /// the sidecar runs on it: see --mesh-path
    #[arg(long, value_name = "FILE")]
    pub(crate) mesh: Option<PathBuf>,

    /// Where the mesh file lies inside of the sidecar: in its image, or in a --mount. With --control it is the
    /// seed, used until the control plane answers [default without --control: /etc/bowline/mesh.yaml]
    #[arg(long, value_name = "PATH")]
    pub(crate) mesh_path: Option<String>,

    /// A volume of the task (in a compose file also a folder) that is mounted read-only at PATH of the sidecar: for the
    /// mesh file, tokens or the authority's certificate; can be given several times
    #[arg(long, value_name = "VOLUME=PATH")]
    pub(crate) mount: Vec<Pair>,

    /// The authority (PEM) that has signed the control plane's certificate, by its path inside of the sidecar; https
    /// needs it
    #[arg(long, value_name = "PATH", requires = "control")]
    pub(crate) control_ca: Option<String>,

    /// Ask only for these services, with commas between them. Default: all of the namespace
    #[arg(long, value_name = "A,B", value_delimiter = ',')]
    pub(crate) services: Vec<String>,

    /// Make the app an endpoint of service NAME on its PORT: NAME=PORT, or NAME=PORT,health=/path; can be given several
    /// times
    #[arg(long, value_name = "NAME=PORT", requires = "control")]
    pub(crate) register: Vec<Register>,

    /// The sidecar's image. In a template it can be a function as JSON: {"Ref":"Image"}
    #[arg(long, value_name = "IMAGE", env = "BOWLINE_IMAGE")]
    pub(crate) image: Option<String>,

    /// The image of the container that sets up the redirect, for --mode redirect and dns on EC2
    #[arg(long, value_name = "IMAGE", env = "BOWLINE_INIT_IMAGE")]
    pub(crate) init_image: Option<String>,

    /// How the app's calls get to the sidecar; see below
    #[arg(long, value_enum, default_value_t = Mode::Auto)]
    pub(crate) mode: Mode,

    /// CPU units of the sidecar, 1024 for a core. Default: 64 where the app's containers have a share of their own,
    /// else none, as they: 64 shares beside none would push the app aside
    #[arg(long, value_name = "UNITS", value_parser = clap::value_parser!(u32).range(2..=196_608))]
    pub(crate) cpu: Option<u32>,

    /// The most memory the sidecar may take, in MiB. At rest it takes 9 MB, with 1,000 busy connections 45 MB; a quarter
    /// of this is reserved
    #[arg(long, value_name = "MIB", default_value_t = 128, value_parser = clap::value_parser!(u32).range(24..=131_072))]
    pub(crate) memory: u32,

    /// The network of the VIPs. Service Connect redirects 127.255.0.0/16: beside it, take another one, and tell the
    /// control plane
    #[arg(long, value_name = "CIDR")]
    pub(crate) vip_range: Option<VipRange>,

    /// A container that the sidecar itself waits for, such as one that writes a mesh file to a volume; CONDITION is START,
    /// COMPLETE, SUCCESS or HEALTHY, and SUCCESS if it is left out. It and those it waits for don't wait for the sidecar;
    /// can be given several times
    #[arg(long, value_name = "NAME[=CONDITION]")]
    pub(crate) after: Vec<After>,

    /// Let the sidecar bind ports below 1024 (systemControls); done by itself where --mesh shows an alias with one
    #[arg(long)]
    pub(crate) low_ports: bool,

    /// One more environment variable of the sidecar; can be given several times
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) env: Vec<Pair>,

    /// One more environment variable of the sidecar whose value ECS takes from a secret; can be given several times
    #[arg(long, value_name = "NAME=ARN")]
    pub(crate) secret: Vec<Pair>,

    /// Take the Envoy out that `proxyConfiguration` names. --remove can't bring it back
    #[arg(long)]
    pub(crate) replace_envoy: bool,

    /// Leave what describe-task-definition has printed wrapped, with the keys that only AWS writes
    #[arg(long)]
    pub(crate) keep_read_only: bool,

    /// Take the sidecar out again
    #[arg(long, conflicts_with_all = ["control", "mesh", "mount", "after", "register", "image", "mode", "env", "secret", "replace_envoy"])]
    pub(crate) remove: bool,

    /// Print what changes instead of the changed file
    #[arg(long)]
    pub(crate) diff: bool,

    /// Write to this file instead of to stdout
    #[arg(long, value_name = "FILE", conflicts_with_all = ["write", "diff"])]
    pub(crate) output: Option<PathBuf>,

    /// Write the changed file back to FILE
    #[arg(short, long, conflicts_with = "diff")]
    pub(crate) write: bool,
}

const HELP: &str = "\
Examples:
  aws ecs describe-task-definition --task-definition app > app.json
  bowline inject app.json --control http://control.internal:18000 --namespace hello-world.com \\
      --register server=9001,health=/health/ready --image REGISTRY/bowline-proxy:0.1.0 > new.json
  aws ecs register-task-definition --cli-input-json file://new.json

  bowline inject template.yaml --control ... --image ... --diff   what would change?
  bowline inject template.yaml ... --resource ApiTask --write     one of a template, in place
  bowline inject compose.yaml --app web --mesh mesh.yaml          a sidecar for service web
  bowline inject app.json --remove                                the file as it was

Modes: how calls to http://server.hello-world.com:5000 get to the sidecar
  zone           VIP listeners; the names are in a private DNS zone, which bowline-control serve
                 --publish-zone keeps. Fargate and EC2, nothing but the sidecar is needed. Chosen by
                 itself in ECS.
  redirect       An init container with NET_ADMIN redirects the VIPs; the names are in the private
                 zone. EC2 only. Apps may listen on the ports of aliases.
  dns            Like redirect, and DNS queries go to the sidecar: no zone is needed. EC2 only. In a
                 compose file queries that the network's own resolver can't answer go to the sidecar,
                 which needs --env BOWLINE_DNS_UPSTREAM=ADDR for names outside.
  hosts          The sidecar writes the names into the /etc/hosts that it shares with the app.
                 Compose files only, chosen by itself there.
  appmesh        ECS redirects everything, by the task definition's proxyConfiguration. Chosen by
                 itself where there is one; 15 app ports at most.
  forward-proxy  HTTP_PROXY and http_proxy in the app's environment; for clients that heed them.

What the sidecar is, and why:
  memory          128 MiB at most, 32 reserved. No task-level memory is asked for.
  essential       true: an app without its sidecar can't call anybody, so the task is replaced. A
                  finished task is never kept alive: ECS stops all containers when an essential one
                  of the app has ended. Where no app container is essential, inject refuses.
  health check    every 5 s; the app's containers start when it has passed (dependsOn HEALTHY).
  stopTimeout     10 s more than the app's longest, 120 s at most. The app is stopped first, and
                  served until it is gone.
  read-only root  with a volume at /var/lib/bowline, for the last good mesh.
  user            20001, without capabilities. In mode hosts root, whom /etc/hosts belongs to.
  logs            as the app's, with the stream prefix bowline, if they go to awslogs.
  OTEL_...        OTEL_EXPORTER_OTLP_... and OTEL_RESOURCE_ATTRIBUTES as the app has them, if it
                  has an endpoint.
  workers         one for every 2 vCPUs of the task, at least one.
  label           bowline.inject, which --remove reads.

Exit codes: 0 done, 1 it can't be written, 2 wrong usage, or the file is refused.";

/// The kinds of files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// As the file looks
    Auto,
    /// An ECS task definition
    Ecs,
    /// A CloudFormation template
    Cloudformation,
    /// A compose file
    Compose,
}

/// How the app's calls get to the sidecar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    /// What the task can use
    Auto,
    /// VIP listeners, names from a private zone
    Zone,
    /// DNS queries go to the sidecar
    Dns,
    /// The sidecar writes the shared /etc/hosts
    Hosts,
    /// VIPs are redirected
    Redirect,
    /// ECS redirects everything
    Appmesh,
    /// HTTP_PROXY
    ForwardProxy,
}

impl Mode {
    /// As it is typed.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Mode::Auto => "auto",
            Mode::Zone => "zone",
            Mode::Dns => "dns",
            Mode::Hosts => "hosts",
            Mode::Redirect => "redirect",
            Mode::Appmesh => "appmesh",
            Mode::ForwardProxy => "forward-proxy",
        }
    }
}

/// One `--register`, as the proxy takes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Register {
    /// All of it.
    pub(crate) text: String,
    /// The service's `discoveryName`.
    pub(crate) service: String,
    /// Where the app listens.
    pub(crate) port: u16,
}

impl FromStr for Register {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let form = "expected NAME=PORT or NAME=PORT,health=/path";
        let (service, rest) = text.split_once('=').ok_or(form)?;
        let (port, health) = match rest.split_once(',') {
            Some((port, health)) => (port, Some(health)),
            None => (rest, None),
        };
        let port = port.parse().ok().filter(|port| *port != 0).ok_or(form)?;
        if health.is_some_and(|health| !health.starts_with("health=/")) || service.is_empty() {
            return Err(form.to_owned());
        }
        // The sidecar is told all of them in one variable, with spaces between.
        if text.contains(char::is_whitespace) {
            return Err("there must be no space in it".to_owned());
        }
        Ok(Self { text: text.to_owned(), service: service.to_owned(), port })
    }
}

/// One `--after`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct After {
    /// The container.
    pub(crate) name: String,
    /// What it must have come to.
    pub(crate) condition: String,
}

impl FromStr for After {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, condition) = text.split_once('=').unwrap_or((text, "SUCCESS"));
        if name.is_empty() || !["START", "COMPLETE", "SUCCESS", "HEALTHY"].contains(&condition) {
            return Err("expected NAME, or NAME= with START, COMPLETE, SUCCESS or HEALTHY".to_owned());
        }
        Ok(Self { name: name.to_owned(), condition: condition.to_owned() })
    }
}

/// `NAME=VALUE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pair {
    /// Before the first `=`.
    pub(crate) name: String,
    /// Behind it.
    pub(crate) value: String,
}

impl FromStr for Pair {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((name, value)) if !name.is_empty() => {
                Ok(Self { name: name.to_owned(), value: value.to_owned() })
            }
            _ => Err("expected two words with = between them".to_owned()),
        }
    }
}
