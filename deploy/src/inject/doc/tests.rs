use super::*;

fn yaml(text: &str) -> Doc {
    Doc::parse(text.to_owned(), Syntax::Yaml).unwrap()
}

fn json(text: &str) -> Doc {
    Doc::parse(text.to_owned(), Syntax::Json).unwrap()
}

fn root() -> Path {
    Path::default()
}

/// A container as it would be added.
fn container() -> Out {
    Out::map([
        ("name", "bowline".into()),
        ("essential", true.into()),
        ("command", Out::texts(["CMD", "/bowline-proxy", "health"])),
        ("user", "20001".into()),
        ("options", Out::map([("a b", "yes".into()), ("n", 5_u32.into())])),
        ("mounts", Out::List(vec![Out::map([("at", "/var/lib".into()), ("ro", false.into())])])),
        ("volumes", Out::List(Vec::new())),
    ])
}

/// Adds an element to each list in turn, and an entry beside it; each time the text must come back by taking them out.
fn there_and_back(doc: &Doc, lists: &[Path], maps: &[Path]) -> Vec<String> {
    let mut texts = Vec::new();
    for list in lists {
        let mut changed = doc.clone();
        let interior = changed.interior(list).unwrap_or_default().to_owned();
        let length = changed.at(list).unwrap().elements().len();
        changed.push(list, &container()).unwrap();
        texts.push(changed.text().to_owned());
        assert_eq!(changed.at(list).unwrap().elements().len(), length + 1, "{}", changed.text());
        let added = Out::copy(changed.at(&list.index(length)).unwrap()).unwrap();
        assert_eq!(added.as_json(), container().as_json(), "{}", changed.text());
        changed.remove(&list.index(length), &interior).unwrap();
        assert_eq!(changed.text(), doc.text());
    }
    for map in maps {
        let mut changed = doc.clone();
        let interior = changed.interior(map).unwrap_or_default().to_owned();
        changed.insert(map, "added", &Out::List(vec![container()])).unwrap();
        texts.push(changed.text().to_owned());
        let added = Out::copy(&changed.at(&map.key("added")).unwrap().elements()[0]).unwrap();
        assert_eq!(added.as_json(), container().as_json(), "{}", changed.text());
        changed.remove(&map.key("added"), &interior).unwrap();
        assert_eq!(changed.text(), doc.text());
    }
    texts
}

impl Out {
    /// Numbers, truth values and texts alike, whatever quotes a syntax puts around them.
    fn as_json(&self) -> serde_json::Value {
        match self {
            Out::Text(text) | Out::Plain(text) => text.clone().into(),
            Out::List(elements) => elements.iter().map(Out::as_json).collect(),
            Out::Map(entries) => entries.iter().map(|(key, value)| (key.clone(), value.as_json())).collect(),
            Out::Tagged(tag, value) => serde_json::json!({ tag.clone(): value.as_json() }),
        }
    }
}

#[test]
fn json_comes_back_byte_for_byte() {
    for text in [
        "{\n    \"list\": [\n        {\n            \"n\": 1.0\n        }\n    ],\n    \"map\": {\n        \"x\": 1e5\n    }\n}\n",
        "{\n\t\"list\": [],\n\t\"map\": {}\n}",
        "{\"list\":[{\"n\":1}],\"map\":{\"x\":\"a\\\"]}\"}}",
        "{\"list\": [ ], \"map\": { \"ü\": \"é\" }}\n",
        "{\r\n  \"list\": [\r\n    1,\r\n    2\r\n  ],\r\n  \"map\": {}\r\n}\r\n",
        "\u{feff}{\n  \"list\": [{ \"n\": 1 }, { \"n\": 2 }], \"map\": { \"x\": [] }\n}\n",
        "{\n  \"list\": [{\n    \"n\": 1\n  }],\n  \"map\": {}\n}\n",
        "{\n  \"list\": [\n  ],\n  \"map\": {\n    \"x\": null }\n}",
    ] {
        let doc = json(text);
        let texts = there_and_back(&doc, &[root().key("list")], &[root(), root().key("map")]);
        assert!(texts.iter().all(|changed| {
            serde_json::from_str::<serde_json::Value>(changed.trim_start_matches('\u{feff}')).is_ok()
        }));
    }
}

#[test]
fn added_json_looks_like_the_rest() {
    let mut doc = json(
        "{\n    \"list\": [\n        {\n            \"n\": 1\n        }\n    ],\n    \"empty\": []\n}\n",
    );
    doc.push(&root().key("list"), &Out::map([("a", "b".into())])).unwrap();
    doc.push(&root().key("empty"), &Out::texts(["x"])).unwrap();
    let expected = "{\n    \"list\": [\n        {\n            \"n\": 1\n        },\n        {\n            \"a\": \"b\"\n        }\n    ],\n    \"empty\": [\n        [\n            \"x\"\n        ]\n    ]\n}\n";
    assert_eq!(doc.text(), expected);
}

const TEMPLATE: &str = "\
# A template
Parameters:
  Image: { Type: String }   # in brackets
Resources:
  Task:
    Type: AWS::ECS::TaskDefinition
    Properties:
      Empty: []
      List:
        - Name: app        # - not a dash of the list
          Image: !Ref Image
          Script: |
            line one - two

            line three
        # between
        -   Name: !Sub \"${AWS::StackName}-two\"
            Text: >+
              folded

      # after the list
      Flow: [{ Name: x }, !GetAtt a.b]
  Other:
    Type: X


# the end";

#[test]
fn yaml_comes_back_byte_for_byte() {
    let properties = root().key("Resources").key("Task").key("Properties");
    for text in [
        TEMPLATE.to_owned(),
        TEMPLATE.replace('\n', "\r\n"),
        format!("{TEMPLATE}\n"),
        TEMPLATE.replace("# the end", ""),
    ] {
        let doc = yaml(&text);
        let lists = ["Empty", "List", "Flow"].map(|key| properties.key(key));
        let list = properties.key("List");
        let maps = [
            root(),
            root().key("Resources"),
            root().key("Parameters").key("Image"),
            root().key("Resources").key("Other"),
            properties.clone(),
            list.index(0),
            list.index(1),
            properties.key("Flow").index(0),
        ];
        there_and_back(&doc, &lists, &maps);
    }
}

#[test]
fn added_yaml_follows_the_indentation_of_the_file() {
    let mut doc = yaml("services:\n    app:\n        ports:\n        - a\n        - b   # last\n");
    doc.push(&root().key("services").key("app").key("ports"), &"c".into()).unwrap();
    let sidecar = Out::map([("list", Out::List(vec![Out::map([("k", "v".into()), ("w", "on".into())])]))]);
    doc.insert(&root().key("services"), "bowline", &sidecar).unwrap();
    let expected = "services:\n    app:\n        ports:\n        - a\n        - b   # last\n        - c\n    bowline:\n        list:\n        - k: v\n          w: \"on\"\n";
    assert_eq!(doc.text(), expected);
}

#[test]
fn what_is_shared_by_an_alias_is_not_changed() {
    let text =
        "base: &base\n  list: [a]\n  other: [b]\none: *base\ntwo:\n  <<: *base\n  other: &o [c]\nthree: *o\n";
    let mut doc = yaml(text);
    let fault = doc.insert(&root().key("one"), "x", &"y".into()).unwrap_err();
    assert_eq!(fault.line, 4);
    assert!(fault.message.contains("alias"), "{}", fault.message);
    assert!(doc.push(&root().key("three"), &"y".into()).is_err());
    // A list of its own would hide the one that is merged in.
    assert_eq!(doc.insert(&root().key("two"), "list", &"y".into()).unwrap_err().line, 6);
    assert_eq!(doc.text(), text);
    // Reading sees through both.
    let two = doc.at(&root().key("two")).unwrap();
    assert_eq!(two.get("list").unwrap().elements()[0].text(), Some("a"));
    assert_eq!(two.get("other").unwrap().elements()[0].text(), Some("c"));
    assert!(two.own("list").is_none());
    assert_eq!(doc.at(&root().key("one")).unwrap().get("list").unwrap().elements().len(), 1);
}

#[test]
fn what_a_function_computes_is_not_added_to() {
    let text = "a: !If [C, [x], [y]]\nb: !If\n  - C\n  - {k: v}\n";
    let mut doc = yaml(text);
    let fault = doc.push(&root().key("a"), &"z".into()).unwrap_err();
    assert!(fault.message.contains("!If"), "{}", fault.message);
    assert_eq!(doc.push(&root().key("b"), &"z".into()).unwrap_err().line, 2);
    assert_eq!(doc.text(), text);
}

#[test]
fn scalars_are_replaced_in_place() {
    let mut doc = yaml("a: 'x' # kept\nb: [1, 2]\nc:\nd:\n  e: |\n    f\n");
    doc.replace(&root().key("a"), &"bowline".into()).unwrap();
    doc.replace(&root().key("b").index(1), &Out::from(15001_u32)).unwrap();
    assert_eq!(doc.text(), "a: bowline # kept\nb: [1, 15001]\nc:\nd:\n  e: |\n    f\n");
    for path in [root().key("c"), root().key("d"), root().key("d").key("e"), root().key("none")] {
        assert!(doc.replace(&path, &"x".into()).is_err(), "{path}");
    }
    let mut doc = json("{\"a\": {\"b\": \"15000\"}}");
    doc.replace(&root().key("a").key("b"), &"15006".into()).unwrap();
    assert_eq!(doc.text(), "{\"a\": {\"b\": \"15006\"}}");
}

#[test]
fn what_can_not_be_read_names_its_line() {
    for (text, syntax, line) in [
        ("{\n  \"a\": 1,\n}\n", Syntax::Json, 3),
        ("{\n  // no\n}\n", Syntax::Json, 2),
        ("a: 1\nb: [\n", Syntax::Yaml, 3),
        ("a: 1\n---\nb: 2\n", Syntax::Yaml, 2),
        ("", Syntax::Yaml, 1),
        ("a: &a [*a]\n", Syntax::Yaml, 1),
    ] {
        let fault = Doc::parse(text.to_owned(), syntax).unwrap_err();
        assert_eq!(fault.line, line, "{text:?}: {fault:?}");
    }
}

#[test]
fn laughs_are_not_written_out() {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for i in 1..30 {
        let before = i - 1;
        text += &format!("a{i}: &a{i} [{}]\n", vec![format!("*a{before}"); 10].join(", "));
    }
    let doc = yaml(&text);
    assert_eq!(Out::copy(doc.at(&root().key("a29")).unwrap()), None);
    assert!(Out::copy(doc.at(&root().key("a1")).unwrap()).is_some());
}
