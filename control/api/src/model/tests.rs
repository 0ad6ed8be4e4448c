use super::*;

#[test]
fn prints_schema() {
    println!("{}", serde_json::to_string_pretty(&schemars::schema_for!(Mesh)).unwrap());
}
