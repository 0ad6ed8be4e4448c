//! The port mappings of task definitions: a Service Connect service names one of them.

use super::super::value::Value;

/// A port mapping that has a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mapping {
    /// Its name.
    pub(crate) name: String,
    /// Where the app listens; `None` if that can't be worked out.
    pub(crate) port: Option<u16>,
    /// `http`, `http2` or `grpc`; `None`: TCP.
    pub(crate) protocol: Option<String>,
    /// Whether there is a protocol that is none of these, or can't be worked out.
    pub(crate) unclear: bool,
}

/// A task definition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Task {
    /// What it is called by: ARN, `family:revision`, family, logical id.
    ids: Vec<String>,
    mappings: Vec<Mapping>,
}

impl Task {
    /// Reads one.
    pub(crate) fn read(ids: Vec<String>, task: &Value) -> Self {
        let containers = task.get("containerDefinitions").into_iter().flat_map(Value::elements);
        let mappings = containers.flat_map(|one| one.get("portMappings")).flat_map(Value::elements);
        let named = mappings.filter_map(|mapping| {
            let written = mapping.get("appProtocol");
            let protocol = written.and_then(Value::text).map(str::to_ascii_lowercase);
            let protocol = protocol.filter(|text| ["http", "http2", "grpc"].contains(&text.as_str()));
            Some(Mapping {
                name: mapping.get("name")?.text()?.to_owned(),
                port: mapping.get("containerPort").and_then(Value::port),
                unclear: written.is_some() && protocol.is_none(),
                protocol,
            })
        });
        Self { ids, mappings: named.collect() }
    }
}

/// All of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tasks(Vec<Task>);

impl Tasks {
    /// One more.
    pub(crate) fn add(&mut self, task: Task) {
        self.0.push(task);
    }

    /// The port mapping of that name: of the service's own task definition if it is there, else of any, if they agree.
    pub(crate) fn mapping(&self, task: Option<&str>, name: &str) -> Option<&Mapping> {
        let own = task.and_then(|task| self.own(task));
        if let Some(own) = own {
            return own.mappings.iter().find(|mapping| mapping.name == name);
        }
        let all = || self.0.iter().flat_map(|task| &task.mappings).filter(|mapping| mapping.name == name);
        let first = all().next()?;
        all().all(|mapping| mapping == first).then_some(first)
    }

    /// By ARN, by `family:revision`, or by family: another revision tells more than nothing.
    fn own(&self, task: &str) -> Option<&Task> {
        let short = task.rsplit('/').next().unwrap_or(task);
        let family = short.split(':').next().unwrap_or(short);
        [task, short, family]
            .iter()
            .find_map(|wanted| self.0.iter().find(|task| task.ids.iter().any(|id| id == wanted)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(ids: &[&str], port: u16) -> Task {
        let mapping = Mapping { name: "web".to_owned(), port: Some(port), protocol: None, unclear: false };
        Task { ids: ids.iter().map(|id| (*id).to_owned()).collect(), mappings: vec![mapping] }
    }

    #[test]
    fn the_service_s_own_task_definition_comes_first() {
        let mut tasks = Tasks::default();
        tasks.add(task(&["a:1", "a"], 1));
        tasks.add(task(&["a:2", "a"], 2));
        tasks.add(task(&["b:7", "b"], 3));
        let port = |of| tasks.mapping(of, "web").and_then(|mapping| mapping.port);
        assert_eq!(port(Some("arn:aws:ecs:eu-west-1:123456789012:task-definition/a:2")), Some(2));
        assert_eq!(port(Some("b")), Some(3));
        // Of another revision.
        assert_eq!(port(Some("b:8")), Some(3));
        // They don't agree.
        assert_eq!(port(Some("c:1")), None);
        assert_eq!(port(None), None);
        assert_eq!(tasks.mapping(Some("a:1"), "admin"), None);
    }
}
