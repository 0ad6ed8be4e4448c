//! Every field of the control plane's log lines, in one table, which the reference page is made from. A test finds what
//! the code logs and the table lacks.

/// One field, by what it is called and what it says.
pub type Field = (&'static str, &'static str);

/// All of them.
pub const FIELDS: &[Field] = &[
    ("added", "Services that a new mesh file adds."),
    ("address", "An endpoint's address."),
    ("admin", "Where the admin pages are."),
    ("changed", "Services that a new mesh file changes."),
    ("client", "A client's id, as it calls itself."),
    ("count", "How many names."),
    ("endpoints", "How many endpoints."),
    ("error", "What went wrong, in the words of the system or a library."),
    ("etcd", "etcd's addresses."),
    ("failed", "Requests that failed where a new mesh was tried."),
    ("failure", "What Route 53 answered."),
    ("file", "A file's path."),
    ("kind", "A client's kind: bowline, envoy or grpc."),
    ("listen", "Where clients are served."),
    ("names", "Names in a zone, the first of them."),
    ("namespace", "The namespace."),
    ("node", "Which proxy announced an endpoint."),
    ("now", "How many endpoints a service has now."),
    ("of", "Which type of resource a client refused."),
    ("peer", "Where a client connects from."),
    ("percent", "The share of clients that a new mesh is tried with."),
    ("removed", "Services that a new mesh file removes."),
    ("requests", "Requests where a new mesh was tried."),
    ("revision", "The number of what was published."),
    ("service", "A service's `discoveryName`."),
    ("services", "How many services."),
    ("source", "Where endpoints are known from: mesh, dns, cloudMap or registered."),
    ("store", "Where registrations and VIPs are kept."),
    ("tls", "Whether clients are served over TLS."),
    ("version", "A program's version."),
    ("weight", "An endpoint's share of the traffic."),
    ("why", "The reason, in words."),
    ("zone", "An availability zone, or a hosted zone of Route 53."),
];
