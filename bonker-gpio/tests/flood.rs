#![allow(clippy::unwrap_used, reason = "a helper of tests may panic")]

//! More bonks than any servo could swing for.

mod common;

use std::collections::BTreeMap;

use common::item;
use common::program::{Running, within};
use proto::bonk::bonk_service_client::BonkServiceClient;
use proto::bonk::{GetStatusRequest, Outcome, StreamBonksRequest};
use rustix::process::Signal;
use tokio_stream::StreamExt;

/// As many as are to be answered within a minute.
const BONKS: usize = 10_000;

const MAX_RSS_KIB: u64 = 64 << 10;

/// `VmHWM` of proc(5), in KiB.
fn peak_rss(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    line.unwrap()
        .split_whitespace()
        .nth(1)
        .unwrap()
        .parse()
        .unwrap()
}

#[tokio::test]
async fn ten_thousand_bonks_are_all_answered_whatever_the_answer() {
    let dir = tempfile::tempdir().unwrap();
    for tight in [true, false] {
        let state = dir.path().join(tight.to_string());
        let mut flags = vec!["--state", state.to_str().unwrap(), "--log-level", "warn"];
        if !tight {
            flags.extend([
                "--peer-rate=1000000/min",
                "--peer-burst=1000000",
                "--queue=10000",
            ]);
        }
        let (running, url) = Running::serve("127.0.0.1:0", &flags).await;
        let mut client = within(BonkServiceClient::connect(url)).await.unwrap();
        let flood = tokio_stream::iter(0..BONKS).map(|n| StreamBonksRequest {
            item: Some(item(&n.to_string())),
        });
        let mut answers = within(client.stream_bonks(flood))
            .await
            .unwrap()
            .into_inner();
        let mut outcomes = BTreeMap::<Outcome, usize>::new();
        for n in 0..BONKS {
            let answer = within(answers.message()).await.unwrap().unwrap();
            let answer = answer.acknowledgement.unwrap();
            assert_eq!(answer.id, n.to_string());
            *outcomes.entry(answer.outcome()).or_default() += 1;
        }
        assert!(within(answers.message()).await.unwrap().is_none());
        let count = |outcome| outcomes.get(&outcome).copied().unwrap_or(0) as u64;
        let status = within(client.get_status(GetStatusRequest {})).await;
        let status = status.unwrap().into_inner();
        assert_eq!(status.accepted, count(Outcome::Accepted), "{outcomes:?}");
        assert_eq!(status.full, count(Outcome::Full), "{outcomes:?}");
        assert_eq!(
            status.rate_limited,
            count(Outcome::RateLimited),
            "{outcomes:?}"
        );
        assert_eq!(status.rate_limited > 0, tight, "{outcomes:?}");
        assert_eq!(outcomes.values().sum::<usize>(), BONKS);
        let rss = peak_rss(running.child.id().unwrap());
        assert!(rss < MAX_RSS_KIB, "{rss} KiB");
        println!("{outcomes:?}, {rss} KiB");
        let (status, _) = running.stop(Signal::TERM).await;
        assert!(status.success());
    }
}
