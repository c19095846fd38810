//! deploy/own-node-only.yaml against the Events that the agent writes.

use cel::parser::Parser;
use cel::{Context, Value as Cel};
use serde_json::{Value, json};

use super::write_all;
use crate::incident::Scope;
use crate::k8s::fake::{Fake, accept_events, incident};

const AGENT: &str = "system:serviceaccount:oom-bonker:oom-agent";

/// `request.userInfo` as the API server derives it from a token.
fn user(name: &str, node: Option<&str>) -> Value {
    let mut extra = json!({"authentication.kubernetes.io/credential-id": ["JTI=1"]});
    if let Some(node) = node {
        extra["authentication.kubernetes.io/node-name"] = json!([node]);
    }
    json!({"username": name, "extra": extra})
}

fn eval(expression: &Value, context: &Context) -> Cel {
    let text = expression.as_str().unwrap();
    // Enabled in the API server since 1.29.
    let parser = Parser::new().enable_optional_syntax(true);
    let expression = parser.parse(text).unwrap();
    Cel::resolve(&expression, context).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// Why the policy denies it; `None` where it does not apply or allows it.
fn denial(event: &Value, user: &Value) -> Option<String> {
    denial_of_change(&Value::Null, event, user)
}

/// The same for a change of the Event `before`.
fn denial_of_change(before: &Value, event: &Value, user: &Value) -> Option<String> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/own-node-only.yaml");
    let text = std::fs::read_to_string(path).unwrap();
    let objects: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
    let spec = &objects[0]["spec"];
    let list = |field: &str| spec[field].as_array().unwrap();
    let mut context = Context::default();
    context.add_variable("object", event.clone()).unwrap();
    context.add_variable("oldObject", before.clone()).unwrap();
    let request = json!({"userInfo": user});
    context.add_variable("request", request).unwrap();
    let is_met = |condition: &Value| eval(&condition["expression"], &context) == Cel::Bool(true);
    if !list("matchConditions").iter().all(is_met) {
        return None;
    }
    let mut variables = json!({});
    for variable in list("variables") {
        let Cel::String(value) = eval(&variable["expression"], &context) else {
            panic!("{variable} is no text");
        };
        variables[variable["name"].as_str().unwrap()] = json!(value.as_str());
    }
    context.add_variable("variables", variables).unwrap();
    let mut validations = list("validations").iter();
    let failed = validations.find(|one| eval(&one["expression"], &context) != Cel::Bool(true))?;
    Some(match failed["message"].as_str() {
        Some(message) => message.to_owned(),
        None => match eval(&failed["messageExpression"], &context) {
            Cel::String(message) => message.to_string(),
            other => panic!("{other:?} is no message"),
        },
    })
}

#[tokio::test]
async fn an_agent_may_only_write_events_of_its_own_node() {
    let mut incident = incident();
    incident.scope = Scope::Node;
    let server = Fake::start(accept_events).await;
    write_all(&mut server.recorder(true).await, incident, false).await;
    let events: Vec<Value> = server
        .requests()
        .into_iter()
        .map(|request| request.body)
        .collect();
    let events: Vec<Value> = events.into_iter().filter(|body| !body.is_null()).collect();
    let on = |event: &Value| event["involvedObject"]["kind"].as_str().unwrap().to_owned();
    assert_eq!(
        events.iter().map(on).collect::<Vec<_>>(),
        ["Pod", "Node"],
        "{events:#?}"
    );
    for event in &events {
        assert_eq!(denial(event, &user(AGENT, Some("node-a"))), None);
        assert_eq!(
            denial(event, &user(AGENT, Some("node-b"))).as_deref(),
            Some("the agent of node node-b may not write Events of node node-a")
        );
        let unbound = denial(event, &user(AGENT, None)).unwrap();
        assert!(unbound.contains("names no node"), "{unbound}");
        assert_eq!(denial(event, &user("kubernetes-admin", None)), None);
        // A change of another node's Event.
        let mut others = event.clone();
        for node in ["involvedObject", "related"] {
            others[node]["name"] = json!("node-b");
        }
        let own = user(AGENT, Some("node-a"));
        assert_eq!(denial_of_change(event, event, &own), None);
        assert_eq!(
            denial_of_change(&others, event, &own).as_deref(),
            Some("the agent of node node-a may not change Events of node node-b")
        );
    }
    let mut nowhere = events[0].clone();
    nowhere.as_object_mut().unwrap().remove("related");
    assert!(denial(&nowhere, &user(AGENT, Some("node-a"))).is_some());
}
