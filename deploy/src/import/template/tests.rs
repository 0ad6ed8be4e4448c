use super::*;
use crate::inject::doc::Syntax;

const HEAD: &str = r#"
Parameters:
  Stage: { Type: String, Default: test }
  Secret: { Type: AWS::SSM::Parameter::Value<String>, Default: /a/b }
  Open: { Type: String }
Conditions:
  IsTest: !Equals [!Ref Stage, test]
  Not: !Not [!Condition IsTest]
  Both: !And [!Condition IsTest, !Condition Not]
  Any: { Fn::Or: [{ Condition: Not }, { Condition: IsTest }] }
  Unknown: !Equals [!Ref Open, x]
Mappings:
  M: { test: { port: 8001 } }
Resources:
  Node:
    Type: AWS::AppMesh::VirtualNode
    Properties: { VirtualNodeName: !Sub "${Stage}-node" }
  Nameless:
    Type: AWS::AppMesh::VirtualNode
    Properties: { VirtualNodeName: !Ref Open }
  Called:
    Type: AWS::AppMesh::VirtualService
    Properties: { VirtualServiceName: !Ref Open }
  Round:
    Type: AWS::AppMesh::VirtualNode
    Properties: { VirtualNodeName: !Sub "${Round}${Round}${Round}" }
"#;

/// What a value gives; `None`: it can't be worked out.
fn worked_out(value: &str, given: &[(&str, &str)]) -> Option<String> {
    let text = format!("{HEAD}Value: {value}\n");
    let doc = Doc::parse(text, Syntax::Yaml).unwrap_or_else(|fault| panic!("{fault:?}"));
    let given = given.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let root = Template::new(&doc, &given).value().unwrap_or_else(|fault| panic!("{fault:?}"));
    let (_, value) = root.entries().find(|(key, _)| *key == "Value").unwrap();
    if value.is_null() { Some("nothing".to_owned()) } else { value.text().map(str::to_owned) }
}

#[test]
fn what_the_template_says_is_worked_out() {
    let cases = [
        ("!Ref Stage", "test"),
        ("{ Ref: Stage }", "test"),
        ("!Ref AWS::NoValue", "nothing"),
        ("!Sub \"a-${Stage}-${!Stage}\"", "a-test-${Stage}"),
        ("!Sub [\"${A}.${Node.VirtualNodeName}\", { A: !Ref Stage }]", "test.test-node"),
        ("!Join [\"-\", [a, !Ref Stage]]", "a-test"),
        ("!Select [1, [a, b]]", "b"),
        ("!FindInMap [M, !Ref Stage, port]", "8001"),
        ("!GetAtt Node.VirtualNodeName", "test-node"),
        ("{ Fn::GetAtt: [Node, VirtualNodeName] }", "test-node"),
        // The name only has to be the same in all places.
        ("!GetAtt Nameless.VirtualNodeName", "Nameless"),
        ("!If [IsTest, a, b]", "a"),
        ("!If [Not, a, b]", "b"),
        ("!If [Both, a, b]", "b"),
        ("!If [Any, !Ref Stage, b]", "test"),
        ("!If [Not, a, !Ref AWS::NoValue]", "nothing"),
    ];
    for (value, expected) in cases {
        assert_eq!(worked_out(value, &[]).as_deref(), Some(expected), "{value}");
    }
}

#[test]
fn what_only_aws_knows_is_not_guessed() {
    let cases = [
        "!Ref Open",
        "!Ref AWS::Region",
        "!Ref Secret",
        "!Sub \"${AWS::StackName}-a\"",
        "!Join [\"-\", [a, !Ref Open]]",
        "!ImportValue X",
        "!If [Unknown, a, b]",
        "!If [None, a, b]",
        "!GetAtt Node.Uid",
        // Clients dial this name.
        "!GetAtt Called.VirtualServiceName",
        "!Select [7, [a, b]]",
        "\"{{resolve:ssm:/a/b}}\"",
        "!Sub \"${Stage\"",
    ];
    for value in cases {
        assert_eq!(worked_out(value, &[]), None, "{value}");
    }
}

#[test]
fn what_is_given_comes_first() {
    assert_eq!(worked_out("!Ref Stage", &[("Stage", "prod")]).as_deref(), Some("prod"));
    assert_eq!(worked_out("!Ref Secret", &[("Secret", "x")]).as_deref(), Some("x"));
    assert_eq!(worked_out("!Sub \"${AWS::Region}\"", &[("AWS::Region", "eu")]).as_deref(), Some("eu"));
    assert_eq!(worked_out("!If [Unknown, a, b]", &[("Open", "x")]).as_deref(), Some("a"));
}

#[test]
fn a_name_that_is_made_of_itself_ends() {
    // It is told apart by its logical id, however deep that is found out.
    assert!(worked_out("!GetAtt Round.VirtualNodeName", &[]).is_none_or(|name| name.contains("Round")));
}
