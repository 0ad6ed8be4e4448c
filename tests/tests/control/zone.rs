//! The names of the mesh in a private zone of Route 53.

use std::path::Path;

use bowline_tests::proxy::{Ended, bare, run_to_end};
use bowline_tests::route53::{Records, env_for};
use bowline_tests::{Control, Mesh, Route53, control::Builder, eventually, service};
use serde_json::json;

use crate::{CONTROL, client, control, has_mesh, registered};

const MARK: &str = "\"bowline namespace=mesh.test\"";

/// A control plane that publishes in this zone, and takes what leaves the mesh out of it after a second.
fn publisher(route53: &Route53, zone: &str) -> Builder {
    let builder = control().arg("--publish-zone").arg(zone).arg("--zone-grace-seconds").arg("1");
    route53.env().iter().fold(builder, |builder, (name, value)| builder.env(name, value))
}

/// Waits until so many names are as they should be, and none is on its way in or out.
async fn published(control: &Control, names: usize) {
    eventually(&format!("{names} names are published"), async || {
        let metrics = control.metrics().await;
        let names_now = |state: &str| metrics.sum("bowline_control_zone_names", &[("state", state)]);
        let moving = names_now("pending") + names_now("leaving");
        (names_now("published") == names as f64 && moving == 0.0).then_some(())
    })
    .await;
}

/// What the zone has when these services of the control plane are in it.
async fn expected(control: &Control, services: &[&str]) -> Records {
    let mut records = Records::new();
    for name in services {
        let page = control.service(name).await.expect("a service");
        for (name, vip) in page["vips"].as_object().expect("VIPs") {
            let vip = vip.as_str().expect("an address").to_owned();
            records.insert(format!("{name} A"), (60, vec![vip]));
            records.insert(format!("_bowline.{name} TXT"), (60, vec![MARK.to_owned()]));
        }
    }
    records
}

async fn unpublish(route53: &Route53, zone: &str, namespace: &str) -> Ended {
    let mut command = bare(Path::new(CONTROL));
    command.args(["unpublish-zone", zone, "--namespace", namespace]).envs(route53.env());
    command.env("AWS_EC2_METADATA_DISABLED", "true");
    run_to_end(&mut command).await
}

/// Records of others, one of them at a name that the mesh has too.
const FOREIGN: [(&str, &str); 5] = [
    ("legacy.mesh.test A", "10.0.0.9"),
    ("taken.mesh.test A", "10.0.0.8"),
    ("theirs.mesh.test A", "127.255.0.9"),
    ("_bowline.theirs.mesh.test TXT", "\"bowline namespace=another.test\""),
    ("text.mesh.test TXT", "\"bowline namespace=mesh.test\""),
];

async fn foreign(route53: &mut Route53, zone: &str) -> Records {
    for (key, value) in FOREIGN {
        let (name, kind) = key.split_once(' ').expect("a type");
        route53.does(&format!("put {zone} {name} {kind} 5 {value}")).await;
    }
    let records = route53.records(zone).await;
    assert_eq!(records.len(), FOREIGN.len());
    records
}

fn with(mut one: Records, other: Records) -> Records {
    one.extend(other);
    one
}

#[tokio::test(flavor = "multi_thread")]
async fn names_come_change_and_go_and_what_is_foreign_stays() {
    let Some(mut route53) = Route53::or_skip().await else { return };
    let zone = route53.zone("mesh.test", "private").await;
    let foreign = foreign(&mut route53, &zone).await;
    let soa = "ns-1.test. hostmaster.test. 1 7200 900 1209600 86400";
    route53.does(&format!("put {zone} mesh.test SOA 900 {soa}")).await;
    let taken = service("taken");
    let outside = service("outside").alias("outside.elsewhere.test", 80);
    // Neither of them has an endpoint: it is enough that they are declared.
    let control = publisher(&route53, &zone)
        .mesh(Mesh::of([registered("a"), service("b"), taken.clone(), outside.clone()]))
        .start()
        .await;
    published(&control, 2).await;
    let now = expected(&control, &["a", "b"]).await;
    assert_eq!(now.len(), 4);
    assert_eq!(route53.records(&zone).await, with(now, foreign.clone()));
    let line = control.logged("names outside of the zone").await;
    assert!(line.contains("outside.elsewhere.test"), "{line}");
    assert!(control.logged("resolvers remember for 900 seconds").await.contains("mesh.test"));
    let page = control.page("/snapshot").await;
    let trouble = page["troubles"].as_array().and_then(|all| all.iter().find(|one| one["source"] == "zone"));
    let why = trouble.and_then(|trouble| trouble["why"].as_str()).expect("a trouble").to_owned();
    assert!(
        why.contains("taken.mesh.test is left alone: it has a record of type A that is not ours"),
        "{why}"
    );
    let metrics = control.metrics().await;
    let names = |state| metrics.sum("bowline_control_zone_names", &[("state", state)]);
    assert_eq!((names("taken"), names("outside")), (1.0, 1.0));

    // Another address, another name, and one that goes without a trace; the conflict is over.
    let address = control.vip_range().parse::<bowline_api::vip::VipRange>().expect("a range").network();
    let address = std::net::Ipv4Addr::from_bits(address.to_bits() + 77).to_string();
    let pinned = service("b").with("vip", json!(address));
    control.replace_mesh(Mesh::of([pinned, registered("c")]));
    eventually("the new mesh is served", async || control.service("c").await).await;
    eventually("a has gone", async || {
        (!route53.records(&zone).await.contains_key("a.mesh.test A")).then_some(())
    })
    .await;
    published(&control, 2).await;
    let now = expected(&control, &["b", "c"]).await;
    assert_eq!(now["b.mesh.test A"].1, [address]);
    assert_eq!(route53.records(&zone).await, with(now, foreign));
    eventually("the trouble is over", async || {
        control.page("/snapshot").await["troubles"].as_array().is_some_and(Vec::is_empty).then_some(())
    })
    .await;
    let metrics = control.metrics().await;
    let changes = |action| metrics.sum("bowline_control_zone_changes_total", &[("action", action)]);
    assert_eq!((changes("created"), changes("replaced"), changes("deleted")), (3.0, 1.0, 1.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_look_changes_nothing_and_mends_what_others_have_done() {
    let Some(mut route53) = Route53::or_skip().await else { return };
    let zone = route53.zone("mesh.test", "private").await;
    // More than one page, and more than one batch.
    let services: Vec<_> = (0..600).map(|n| registered(&format!("service-{n:03}"))).collect();
    let mut first = publisher(&route53, &zone).mesh(Mesh::of(services.clone())).without_range().start().await;
    published(&first, 600).await;
    let before = route53.records(&zone).await;
    assert_eq!(before.len(), 1200);
    let (_, changes) = route53.passed().await;
    assert_eq!(changes, 2);

    first.kill().await;
    first.restart().await;
    published(&first, 600).await;
    let second = publisher(&route53, &zone).mesh(Mesh::of(services)).without_range().start().await;
    published(&second, 600).await;
    let (reads, changes) = route53.passed().await;
    assert!(reads >= 2 * (1 + 5), "{reads}");
    assert_eq!(changes, 0, "same content, no changes");
    assert_eq!(route53.records(&zone).await, before);

    // While nobody looks, somebody changes one record, takes another, and a third with its mark.
    drop(second);
    first.kill().await;
    route53.does(&format!("put {zone} service-001.mesh.test A 5 10.0.0.1")).await;
    route53.does(&format!("delete {zone} service-002.mesh.test A")).await;
    route53.does(&format!("delete {zone} service-599.mesh.test A")).await;
    route53.does(&format!("delete {zone} _bowline.service-599.mesh.test TXT")).await;
    first.restart().await;
    published(&first, 600).await;
    assert_eq!(route53.records(&zone).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_private_zone_will_do() {
    let Some(mut route53) = Route53::or_skip().await else { return };
    let public = route53.zone("mesh.test", "public").await;
    let ended = publisher(&route53, &public).run_to_end().await;
    assert_eq!(ended.code, Some(2), "{}", ended.err);
    assert!(ended.err.contains("is public") && ended.err.contains("Make a private zone"), "{}", ended.err);
    let ended = publisher(&route53, "Z0000000NOTHERE").run_to_end().await;
    assert_eq!(ended.code, Some(2), "{}", ended.err);
    assert!(ended.err.contains("there is no zone Z0000000NOTHERE"), "{}", ended.err);
    let ended = publisher(&route53, "mesh.test").run_to_end().await;
    assert_eq!(ended.code, Some(2), "{}", ended.err);
    assert!(ended.err.contains("letters and digits"), "{}", ended.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn throttling_costs_time_and_nothing_else() {
    let Some(mut route53) = Route53::or_skip().await else { return };
    let zone = route53.zone("mesh.test", "private").await;
    // The look at the start, the next one, the list.
    route53.does("turn-away 3").await;
    let control = publisher(&route53, &zone).mesh(registered("a")).start().await;
    assert!(control.logged("the zone can't be looked at").await.contains("Throttling"));
    published(&control, 1).await;
    assert_eq!(route53.records(&zone).await, expected(&control, &["a"]).await);
    let metrics = control.metrics().await;
    let throttled = metrics.sum("bowline_control_zone_requests_total", &[("result", "throttled")]);
    assert_eq!(throttled, 2.0);
    // A change.
    route53.does("turn-away 1").await;
    control.replace_mesh(Mesh::of([registered("a"), registered("b")]));
    published(&control, 2).await;
    assert_eq!(route53.records(&zone).await, expected(&control, &["a", "b"]).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_aws_the_mesh_is_served_and_the_trouble_told() {
    // Nobody listens there any more.
    let gone =
        std::net::TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port");
    let builder = control().mesh(registered("a")).arg("--publish-zone").arg("/hostedzone/Z1");
    let env = env_for(&format!("http://{gone}"));
    let builder = env.iter().fold(builder, |builder, (name, value)| builder.env(name, value));
    let control = builder.start().await;
    let page = eventually("the trouble is told", async || {
        let page = control.page("/snapshot").await;
        page["troubles"].as_array()?.iter().find(|one| one["source"] == "zone").cloned()
    })
    .await;
    let why = page["why"].as_str().expect("a reason");
    assert!(why.contains("Route 53 does not answer") && why.contains("stay as they are"), "{why}");
    assert!(control.service("a").await.is_some());
    assert_eq!(control.admin("GET", "/health/ready", "").await.status, 200);
}

/// A name that the old mesh has not is remembered as missing where it is asked for too early, and most clients still have
/// the old ones.
#[tokio::test(flavor = "multi_thread")]
async fn while_a_mesh_is_tried_the_names_of_both_are_there() {
    let Some(mut route53) = Route53::or_skip().await else { return };
    let zone = route53.zone("mesh.test", "private").await;
    let builder = publisher(&route53, &zone).mesh(registered("a"));
    let builder =
        ["--hold-back", "50", "--hold-back-seconds", "600"].iter().fold(builder, |b, arg| b.arg(*arg));
    let control = builder.start().await;
    let proxy = client(&[&control]).start().await;
    has_mesh(&proxy).await;
    published(&control, 1).await;
    control.replace_mesh(registered("b"));
    control.logged("given to a share of the clients").await;
    published(&control, 2).await;
    let records = route53.records(&zone).await;
    assert!(records.contains_key("a.mesh.test A") && records.contains_key("b.mesh.test A"), "{records:?}");
    control.replace_mesh(registered("a"));
    eventually("b has gone", async || {
        (!route53.records(&zone).await.contains_key("b.mesh.test A")).then_some(())
    })
    .await;
    published(&control, 1).await;
    assert_eq!(route53.records(&zone).await, expected(&control, &["a"]).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn unpublish_leaves_what_is_foreign_and_a_zone_that_can_be_destroyed() {
    let Some(mut route53) = Route53::or_skip().await else { return };
    let zone = route53.zone("mesh.test", "private").await;
    let foreign = foreign(&mut route53, &zone).await;
    let mut control = publisher(&route53, &zone)
        .mesh(Mesh::of([registered("a"), registered("b"), registered("c")]))
        .start()
        .await;
    published(&control, 3).await;
    control.kill().await;
    // Somebody has led a name elsewhere meanwhile.
    route53.does(&format!("put {zone} c.mesh.test A 5 10.0.0.1")).await;

    let none = unpublish(&route53, &zone, "nobodys.test").await;
    assert_eq!((none.code, none.out.starts_with("0 names")), (Some(0), true), "{none:?}");
    assert_eq!(route53.records(&zone).await.len(), foreign.len() + 6);
    route53.does("turn-away 1").await;
    let ended = unpublish(&route53, &zone, "mesh.test").await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.out.starts_with("3 names of mesh.test taken out of the zone"), "{}", ended.out);
    assert!(ended.out.contains("c.mesh.test has another record"), "{}", ended.out);
    let c = Records::from([("c.mesh.test A".to_owned(), (5, vec!["10.0.0.1".to_owned()]))]);
    assert_eq!(route53.records(&zone).await, with(foreign, c));
    let again = unpublish(&route53, &zone, "mesh.test").await;
    assert!(again.out.starts_with("0 names"), "{again:?}");

    route53.does(&format!("delete {zone} c.mesh.test A")).await;
    for (key, _) in FOREIGN {
        route53.does(&format!("delete {zone} {key}")).await;
    }
    assert_eq!(route53.does(&format!("destroy {zone}")).await, true);
    let lost = unpublish(&route53, &zone, "mesh.test").await;
    assert_eq!(lost.code, Some(1), "{lost:?}");
    assert!(lost.err.contains("NoSuchHostedZone"), "{}", lost.err);
}
