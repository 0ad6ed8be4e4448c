//! The containers that are added.

use super::check::{self, LOW_PORTS, USER};
use super::{Case, INIT, Known, LABEL, Place, SIDECAR, STATE_VOLUME, Task};
use crate::inject::args::{InjectArgs, Mode};
use crate::inject::doc::{Doc, Node, Out, Path};
use crate::inject::environment;
use crate::inject::knowledge::Knowledge;
use crate::inject::report::Report;

/// The longest that ECS waits for a container to stop, in seconds; also what it waits by default.
const STOP_TIMEOUT: (u32, u32) = (120, 30);
/// The sidecar gets this much longer than the app, in seconds.
const LONGER: u32 = 10;
/// Open files: two for each connection, and some more.
pub(crate) const FILES: u32 = 65_536;
/// Where the image has a folder that its user may write to.
pub(crate) const STATE_DIR: &str = "/var/lib/bowline";

/// What the containers are made from.
pub(crate) struct Plan<'a> {
    pub(crate) args: &'a InjectArgs,
    pub(crate) knowledge: &'a Knowledge,
    pub(crate) mode: Mode,
    /// The containers that wait for the sidecar.
    pub(crate) apps: Vec<usize>,
}

/// What is taken over from the app's containers.
pub(crate) struct Taken {
    log: Option<Out>,
    environment: Vec<Out>,
    secrets: Vec<Out>,
}

impl Plan<'_> {
    /// The sidecar, with a label that says what was added beside it.
    pub(crate) fn sidecar(&self, task: &Task, case: Case, taken: &Taken, label: &str) -> Out {
        let args = self.args;
        let mut mounts = vec![mount(STATE_VOLUME, STATE_DIR, false)];
        mounts.extend(args.mount.iter().map(|pair| mount(&pair.name, &pair.value, true)));
        let mut sidecar = Out::map([
            ("name", SIDECAR.into()),
            ("image", computed(args.image.as_deref().unwrap_or_default())),
            ("command", Out::texts(["run"])),
            ("essential", true.into()),
            ("user", USER.to_string().into()),
            ("readonlyRootFilesystem", true.into()),
            ("linuxParameters", Out::map([("capabilities", Out::map([("drop", Out::texts(["ALL"]))]))])),
        ]);
        if let Some(cpu) = check::sidecar_cpu(task, args) {
            sidecar.set("cpu", cpu.into());
        }
        sidecar.set("memory", args.memory.into());
        sidecar.set("memoryReservation", check::reservation(args).into());
        sidecar.set("mountPoints", Out::List(mounts));
        sidecar.set(
            "ulimits",
            Out::List(vec![Out::map([
                ("name", "nofile".into()),
                ("softLimit", FILES.into()),
                ("hardLimit", FILES.into()),
            ])]),
        );
        if check::low_ports(args, self.knowledge, self.mode) {
            let control = Out::map([("namespace", LOW_PORTS.into()), ("value", "0".into())]);
            sidecar.set("systemControls", Out::List(vec![control]));
        }
        let health = Out::map([
            ("command", Out::texts(["CMD", "/bowline-proxy", "health"])),
            ("interval", 5.into()),
            ("timeout", 3.into()),
            ("retries", 3.into()),
            ("startPeriod", 15.into()),
        ]);
        sidecar.set("healthCheck", health);
        let mut on: Vec<Out> =
            args.after.iter().map(|after| depends_on(&after.name, &after.condition)).collect();
        if self.has_init() {
            on.push(depends_on(INIT, "SUCCESS"));
        }
        if !on.is_empty() {
            sidecar.set("dependsOn", Out::List(on));
        }
        let stop = self.stop_timeout(task);
        sidecar.set("stopTimeout", stop.into());
        let mut sidecar = in_case(sidecar, case);
        let mut environment: Vec<Out> =
            environment::variables(args, self.knowledge, self.mode, stop - 5, workers(task, args))
                .into_iter()
                .map(|(name, value)| {
                    Out::Map(vec![(case.key("name"), name.into()), (case.key("value"), computed(&value))])
                })
                .collect();
        environment.extend(taken.environment.iter().cloned());
        sidecar.set(&case.key("environment"), Out::List(environment));
        let own = args.secret.iter().map(|secret| {
            let value = computed(&secret.value);
            Out::Map(vec![(case.key("name"), secret.name.as_str().into()), (case.key("valueFrom"), value)])
        });
        let secrets: Vec<Out> = own.chain(taken.secrets.iter().cloned()).collect();
        if !secrets.is_empty() {
            sidecar.set(&case.key("secrets"), Out::List(secrets));
        }
        if let Some(log) = &taken.log {
            sidecar.set(&case.key("logConfiguration"), log.clone());
        }
        sidecar.set(&case.key("dockerLabels"), Out::map([(LABEL, label.into())]));
        sidecar
    }

    /// The container that sets up the redirect, where the mode has one.
    pub(crate) fn init(&self, case: Case, taken: &Taken) -> Option<Out> {
        if !self.has_init() {
            return None;
        }
        let mut command = vec!["setup-redirect".to_owned()];
        if self.mode == Mode::Dns {
            command.extend(["--dns".to_owned(), "--uid".to_owned(), USER.to_string()]);
        }
        if let Some(range) = self.args.vip_range {
            command.extend(["--vip-range".to_owned(), range.to_string()]);
        }
        let capabilities = Out::map([("add", Out::texts(["NET_ADMIN"])), ("drop", Out::texts(["ALL"]))]);
        let init = Out::map([
            ("name", INIT.into()),
            ("image", computed(self.args.init_image.as_deref().unwrap_or_default())),
            ("command", Out::List(command.into_iter().map(Out::Text).collect())),
            ("essential", false.into()),
            ("user", "0".into()),
            ("readonlyRootFilesystem", true.into()),
            ("linuxParameters", Out::map([("capabilities", capabilities)])),
            ("memory", check::INIT_MEMORY.into()),
        ]);
        let mut init = in_case(init, case);
        if let Some(log) = &taken.log {
            init.set(&case.key("logConfiguration"), log.clone());
        }
        Some(init)
    }

    fn has_init(&self) -> bool {
        matches!(self.mode, Mode::Redirect | Mode::Dns)
    }

    /// Longer than the app's, because where all are stopped at once the app is served until it has gone.
    fn stop_timeout(&self, task: &Task) -> u32 {
        let (most, default) = STOP_TIMEOUT;
        let apps = self.apps.iter().filter_map(|index| task.containers.get(*index));
        let longest = apps.map(|app| match app.stop_timeout {
            Known::Is(seconds) => seconds,
            Known::Absent => default,
            Known::Computed => most,
        });
        (longest.max().unwrap_or(default).saturating_add(LONGER)).min(most)
    }
}

impl Taken {
    /// From the first of the app's containers that has something to take.
    pub(crate) fn from(doc: &Doc, place: &Place, plan: &Plan<'_>, report: &mut Report) -> Self {
        let case = place.case;
        let list = place.containers();
        let apps: Vec<&Node> = plan.apps.iter().filter_map(|index| doc.at(&list.index(*index))).collect();
        let log = apps.iter().find_map(|app| app.get(&case.key("logConfiguration")));
        let copied = log.and_then(|log| log_configuration(log, case));
        if let (Some(log), None) = (log, &copied) {
            report.note(
                doc.line(log.start()),
                "the sidecar gets no logConfiguration: the app's doesn't go to awslogs, or is computed",
            );
        }
        let named = |key: &str| -> Vec<(String, Out)> {
            let lists = apps.iter().filter_map(|app| app.get(&case.key(key)));
            let elements = lists.flat_map(|list| list.elements());
            elements
                .filter_map(|element| {
                    Some((element.get(&case.key("name"))?.text()?.to_owned(), Out::copy(element)?))
                })
                .collect()
        };
        let (mut environment, mut secrets) = (named("environment"), named("secrets"));
        let exports = environment.iter().chain(&secrets).any(|(name, _)| environment::is_exporter(name));
        let mut seen: Vec<String> =
            plan.args.env.iter().chain(&plan.args.secret).map(|pair| pair.name.clone()).collect();
        for list in [&mut environment, &mut secrets] {
            list.retain(|(name, _)| {
                exports && environment::is_passed_on(name) && !seen.contains(name) && {
                    seen.push(name.clone());
                    true
                }
            });
        }
        let values = |list: Vec<(String, Out)>| list.into_iter().map(|(_, value)| value).collect();
        Self { log: copied, environment: values(environment), secrets: values(secrets) }
    }
}

/// The app's, if it goes to CloudWatch's log groups, with a stream prefix of our own.
fn log_configuration(log: &Node, case: Case) -> Option<Out> {
    if log.get(&case.key("logDriver"))?.text()? != "awslogs" {
        return None;
    }
    let options =
        log.get(&case.key("options")).filter(|options| options.is_map() && options.tag().is_none())?;
    let mut options = Out::copy(options)?;
    options.set("awslogs-stream-prefix", SIDECAR.into());
    let mut log = Out::copy(log)?;
    log.set(&case.key("options"), options);
    Some(log)
}

fn workers(task: &Task, args: &InjectArgs) -> u32 {
    let task = task.cpu.value().copied().unwrap_or(0) / 2048;
    (args.cpu.unwrap_or(0) / 1024).max(task).clamp(1, 64)
}

/// A dependency on another container.
pub(crate) fn depends_on(container: &str, condition: &str) -> Out {
    Out::map([("containerName", container.into()), ("condition", condition.into())])
}

fn mount(volume: &str, path: &str, read_only: bool) -> Out {
    Out::map([
        ("sourceVolume", volume.into()),
        ("containerPath", path.into()),
        ("readOnly", read_only.into()),
    ])
}

/// A value of a flag: a text, or a template's function as JSON.
fn computed(text: &str) -> Out {
    match serde_json::from_str::<serde_json::Value>(text) {
        Ok(value) if value.is_object() => Out::from_json(&value),
        _ => text.into(),
    }
}

/// The same with its keys in the case of the file.
pub(crate) fn in_case(out: Out, case: Case) -> Out {
    match out {
        Out::List(elements) => {
            Out::List(elements.into_iter().map(|element| in_case(element, case)).collect())
        }
        Out::Map(entries) => {
            Out::Map(entries.into_iter().map(|(key, value)| (case.key(&key), in_case(value, case))).collect())
        }
        other => other,
    }
}

/// The way to a container's key.
pub(crate) fn container_key(place: &Place, index: usize, key: &str) -> Path {
    place.containers().index(index).key(&place.case.key(key))
}
