//! Whatever is in the files: a mesh file that is accepted, or a reason.

use fastrand::Rng;
use serde_json::{Value, json};

use crate::support::{apps, file, import, sample, stderr, stdout};

const ROUNDS: usize = 300;

/// Another value in the place of a scalar, a list or a mapping, or one entry less.
fn change(value: &mut Value, rng: &mut Rng) {
    let deeper = rng.u8(..) > 40;
    match value {
        Value::Object(entries) if deeper && !entries.is_empty() => {
            let index = rng.usize(..entries.len());
            let key = entries.keys().nth(index).cloned().unwrap();
            if rng.u8(..) < 10 {
                entries.remove(&key);
            } else if let Some(value) = entries.get_mut(&key) {
                change(value, rng);
            }
        }
        Value::Array(elements) if deeper && !elements.is_empty() => {
            let index = rng.usize(..elements.len());
            if rng.u8(..) < 10 {
                let copy = elements[index].clone();
                elements.push(copy);
            } else {
                change(&mut elements[index], rng);
            }
        }
        other => *other = junk(rng),
    }
}

fn junk(rng: &mut Rng) -> Value {
    let values = [
        json!(null),
        json!(""),
        json!("x"),
        json!("A b.c/\u{202e}\n- d: e #"),
        json!("on"),
        json!("10.0.0.1"),
        json!("checkout"),
        json!("http2"),
        json!("ms"),
        json!("a".repeat(300)),
        json!(0),
        json!(-1),
        json!(1),
        json!(65_536),
        json!(99_999_999_999_u64),
        json!(u64::MAX),
        json!(1e300),
        json!(0.5),
        json!(true),
        json!([]),
        json!({}),
        json!([{}, null, ["x"]]),
        json!({ "unit": "s", "value": 5 }),
        json!({ "exact": "y" }),
    ];
    values[rng.usize(..values.len())].clone()
}

#[test]
fn a_mesh_file_or_a_reason() {
    let folder = tempfile::tempdir().unwrap();
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut rng = Rng::with_seed(seed);
    let connect = json!([sample("services.json"), sample("server.json"), sample("db.json")]);
    let whole = [("service-connect", connect), ("app-mesh", apps())];
    let mut made = 0;
    for round in 0..ROUNDS {
        let (command, sample) = &whole[round % 2];
        let mut changed = sample.clone();
        for _ in 0..rng.usize(1..6) {
            change(&mut changed, &mut rng);
        }
        let path = file(&folder, "changed.json", &changed.to_string());
        let mut args = vec![*command, &path, "--namespace", "hello-world.com"];
        if rng.bool() {
            args.extend(["--output-format", "json"]);
        }
        let output = import(&args);
        let said = stderr(&output);
        match output.status.code() {
            Some(0) => {
                let text = stdout(&output);
                if let Err(problems) = bowline_api::parse("made.yaml", &text) {
                    panic!("seed {seed}, round {round}: {problems}\n{changed}\n{text}");
                }
                made += 1;
            }
            Some(2) => {
                assert!(
                    said.contains("nothing is imported"),
                    "seed {seed}, round {round}: {said}\n{changed}"
                );
                assert!(output.stdout.is_empty(), "seed {seed}, round {round}");
            }
            other => panic!("seed {seed}, round {round}: {other:?}: {said}\n{changed}"),
        }
    }
    // Else it would be a test of refusals.
    assert!(made > ROUNDS / 4, "seed {seed}: {made} of {ROUNDS}");
}
