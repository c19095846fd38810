use std::collections::BTreeSet;

use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{MAX_ALERTS, PayloadError, bonks};
use crate::bonk::{Bonk, MAX_ID_BYTES, MAX_LABELS, MAX_TEXT_BYTES};

/// What Alertmanager 0.34 posts, as its documentation has it.
fn payload() -> Value {
    json!({
        "receiver": "penguin",
        "status": "firing",
        "notification_reason": "first notification",
        "alerts": [
            {
                "status": "firing",
                "labels": {"alertname": "OOMKilled", "namespace": "shop", "pod": "cart-1", "container": "cart"},
                "annotations": {"summary": "cart was OOM-killed"},
                "startsAt": "2026-11-21T09:00:00.123Z",
                "endsAt": "0001-01-01T00:00:00Z",
                "generatorURL": "http://prometheus/graph?g0.expr=x",
                "fingerprint": "1a30ba71cca2921f"
            },
            {
                "status": "resolved",
                "labels": {"alertname": "OOMKilled", "namespace": "shop", "pod": "cart-2"},
                "annotations": {},
                "startsAt": "2026-11-21T08:00:00Z",
                "endsAt": "2026-11-21T08:10:00Z",
                "generatorURL": "",
                "fingerprint": "2a30ba71cca2921f"
            },
            {
                "status": "firing",
                "labels": {"alertname": "OOMKilled", "namespace": "shop", "pod": "cart-3"},
                "annotations": {},
                "startsAt": "2026-11-21T09:00:00.123Z",
                "endsAt": "0001-01-01T00:00:00Z",
                "generatorURL": "",
                "fingerprint": "3a30ba71cca2921f"
            }
        ],
        "groupLabels": {"namespace": "shop"},
        "commonLabels": {"alertname": "OOMKilled"},
        "commonAnnotations": {},
        "routeLabels": {},
        "externalURL": "http://alertmanager:9093",
        "version": "4",
        "groupKey": "{}:{namespace=\"shop\"}",
        "truncatedAlerts": 0
    })
}

fn read(payload: &Value) -> Result<Vec<Bonk>, PayloadError> {
    bonks(payload.to_string().as_bytes(), Timestamp::UNIX_EPOCH)
}

fn pods(payload: &Value) -> Vec<String> {
    let bonks = read(payload).unwrap();
    bonks.into_iter().map(|bonk| bonk.pod).collect()
}

#[test]
fn every_alert_that_fires_is_a_bonk() {
    assert_eq!(pods(&payload()), ["cart-1", "cart-3"]);
    let ids: BTreeSet<String> = read(&payload())
        .unwrap()
        .into_iter()
        .map(|b| b.id)
        .collect();
    assert_eq!(ids.len(), 2);
    // As older ones post it.
    let mut old = payload();
    old.as_object_mut().unwrap().remove("notification_reason");
    old.as_object_mut().unwrap().remove("routeLabels");
    assert_eq!(read(&old).unwrap(), read(&payload()).unwrap());
}

#[test]
fn resolved_and_repeated_alerts_move_nothing() {
    let mut repeated = payload();
    repeated["notification_reason"] = json!("repeat interval elapsed");
    assert!(pods(&repeated).is_empty());
    repeated["notification_reason"] = json!("new alerts added");
    assert_eq!(pods(&repeated).len(), 2);
    let resolved = json!({"status": "resolved", "version": "4", "alerts": [
        {"status": "resolved", "labels": {}, "startsAt": "2026-11-21T08:00:00Z"}
    ]});
    assert!(pods(&resolved).is_empty());
    assert!(pods(&json!({"status": "firing", "alerts": []})).is_empty());
}

#[test]
fn a_post_by_hand_is_one_bonk_each_time() {
    let id = |seconds| {
        let now = Timestamp::from_second(seconds).unwrap();
        let bonks = bonks(br#"{"status":"firing"}"#, now).unwrap();
        let [bonk] = <[Bonk; 1]>::try_from(bonks).unwrap();
        bonk.id
    };
    assert_ne!(id(1), id(2));
    assert!(pods(&json!({"status": "resolved"})).is_empty());
}

#[test]
fn a_malformed_payload_is_refused_with_a_reason() {
    let check = |body: &str, part: &str| {
        let why = bonks(body.as_bytes(), Timestamp::UNIX_EPOCH).unwrap_err();
        assert!(why.to_string().contains(part), "{body}: {why}");
    };
    check("", "EOF");
    check("[\"firing\",null,null,null]", "expected an object");
    check(
        r#"{"status":"firing","alerts":[["firing"]]}"#,
        "expected an object",
    );
    check("{}", "missing field `status`");
    check(r#"{"status":"\u202e"}"#, r"unknown variant `\u{202e}`");
    check(r#"{"status":"firing","version":"3"}"#, "version 4");
    check(r#"{"status":"firing","alerts":{}}"#, "invalid type");
    check(
        r#"{"status":"firing","alerts":[{}]}"#,
        "alert 1 of the payload",
    );
    check(
        r#"{"status":"firing","alerts":[{"startsAt":"yesterday"}]}"#,
        "not an Alertmanager",
    );
    check(
        r#"{"status":"firing","alerts":[{"labels":{"pod":1}}]}"#,
        "invalid type",
    );
    let deep = format!(r#"{{"status":"firing","extra":{}"#, "[".repeat(10_000));
    check(&deep, "EOF");
    let mut repeated = payload();
    repeated["notification_reason"] = json!("repeat interval elapsed");
    repeated["alerts"][0]["fingerprint"] = json!("no/good");
    assert!(read(&repeated).is_err());
}

#[test]
fn as_many_alerts_as_may_be_and_no_more() {
    let many = |count: usize| {
        let mut payload = payload();
        let alert = payload["alerts"][0].clone();
        payload["alerts"] = json!(vec![alert; count]);
        read(&payload)
    };
    assert_eq!(many(MAX_ALERTS).unwrap().len(), MAX_ALERTS);
    assert!(matches!(many(MAX_ALERTS + 1), Err(PayloadError::Many(_))));
}

/// Any JSON, not too deep.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        "firing|resolved|4|0001-01-01T00:00:00Z|9999-12-31T23:59:59Z|repeat interval elapsed"
            .prop_map(Value::from),
        Just(Value::from("x".repeat(5000))),
    ];
    leaf.prop_recursive(4, 64, 8, |inner| {
        let key = prop_oneof![
            any::<String>(),
            "status|alerts|labels|annotations|startsAt|fingerprint|version|severity",
        ];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
            prop::collection::btree_map(key, inner, 0..8)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// Puts `new` where `path` leads, each step taken modulo what is there.
fn put(value: &mut Value, path: &[usize], new: Value) {
    let Some((step, rest)) = path.split_first() else {
        *value = new;
        return;
    };
    let inner = match value {
        Value::Array(list) if !list.is_empty() => {
            let at = step % list.len();
            list.get_mut(at)
        }
        Value::Object(map) if !map.is_empty() => {
            let at = step % map.len();
            map.values_mut().nth(at)
        }
        _ => None,
    };
    match inner {
        Some(inner) => put(inner, rest, new),
        None => *value = new,
    }
}

/// Whatever came, what is made of it keeps to its bounds.
fn holds(body: &[u8]) -> Result<(), TestCaseError> {
    let Ok(bonks) = bonks(body, Timestamp::UNIX_EPOCH) else {
        return Ok(());
    };
    prop_assert!(bonks.len() <= MAX_ALERTS);
    for bonk in bonks {
        prop_assert!((1..=MAX_ID_BYTES).contains(&bonk.id.len()));
        prop_assert!(bonk.labels.len() <= MAX_LABELS);
        let texts = [
            &bonk.node,
            &bonk.namespace,
            &bonk.pod,
            &bonk.container,
            &bonk.summary,
        ];
        prop_assert!(texts.iter().all(|text| text.len() <= MAX_TEXT_BYTES));
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Any bytes are read or refused, and nothing else.
    #[test]
    fn any_bytes_are_survived(body in prop::collection::vec(any::<u8>(), 0..512)) {
        holds(&body)?;
    }

    /// A real payload with bytes overwritten, cut off or put in.
    #[test]
    fn damaged_payloads_are_survived(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3_u8), 1..8),
    ) {
        let mut body = payload().to_string().into_bytes();
        for (at, byte, kind) in damage {
            let at = at.index(body.len());
            match kind {
                0 => body[at] = byte,
                1 => body.insert(at, byte),
                _ => body.truncate(at.max(1)),
            }
        }
        holds(&body)?;
    }

    /// A real payload with any JSON in any of its places.
    #[test]
    fn strange_payloads_are_survived(
        changes in prop::collection::vec((prop::collection::vec(any::<usize>(), 1..5), any_json()), 1..4),
    ) {
        let mut strange = payload();
        for (path, new) in changes {
            put(&mut strange, &path, new);
        }
        holds(strange.to_string().as_bytes())?;
    }

    /// The same alert has the same id, however it is written.
    #[test]
    fn ids_are_stable(seconds in 0..4_000_000_000_i64, nanos in 0..1_000_000_000_i32, offset in -11..12_i8) {
        let time = Timestamp::new(seconds, nanos).unwrap();
        let zone = jiff::tz::Offset::constant(offset);
        let id = |text: String| {
            let body = json!({"status": "firing", "alerts": [{"startsAt": text}]});
            read(&body).unwrap().remove(0).id
        };
        prop_assert_eq!(id(time.to_string()), id(time.display_with_offset(zone).to_string()));
    }
}
