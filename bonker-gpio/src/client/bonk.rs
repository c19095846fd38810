//! `bonker-gpio bonk`: one test bonk from the shell.

use jiff::Timestamp;
use proto::bonk::{Acknowledgement, BonkRequest, Outcome};

use super::connect::call;
use super::{ClientError, print};
use crate::args::BonkArgs;
use crate::bonk::Bonk;
use crate::text::escape;
use crate::wire;

/// Sends the bonk and prints the answer; an error unless it swings, or counts with one that does.
pub(crate) async fn bonk(args: BonkArgs) -> Result<(), ClientError> {
    let server = args.server.clone();
    let item = Some(wire::item(&test_bonk(args)));
    let answer = call(&server, async |client| {
        client.bonk(BonkRequest { item }).await
    })
    .await?;
    let answer = answer.into_inner().acknowledgement.unwrap_or_default();
    print(&describe(&answer))?;
    if matches!(answer.outcome(), Outcome::Accepted | Outcome::Coalesced) {
        return Ok(());
    }
    let why = match answer.message.as_str() {
        "" => "the server gave no reason".to_owned(),
        message => escape(message),
    };
    Err(ClientError::NotAccepted(why))
}

fn test_bonk(args: BonkArgs) -> Bonk {
    let now = Timestamp::now();
    Bonk {
        id: format!("test-{}-{}", now.as_nanosecond(), std::process::id()),
        time: Some(now),
        source: "bonker-gpio".to_owned(),
        node: String::new(),
        namespace: args.namespace,
        pod: args.pod,
        container: args.container,
        comm: args.comm,
        summary: args.summary,
        severity: args.severity,
        labels: args.label.into_iter().collect(),
        ..Bonk::default()
    }
}

fn describe(answer: &Acknowledgement) -> String {
    let mut line = format!("{} id={}", name(answer.outcome()), escape(&answer.id));
    if answer.outcome() == Outcome::Duplicate {
        line.push_str(" first=");
        line.push_str(name(answer.first_outcome()));
    }
    if !answer.message.is_empty() {
        line.push_str(": ");
        line.push_str(&escape(&answer.message));
    }
    line
}

fn name(outcome: Outcome) -> &'static str {
    let name = outcome.as_str_name();
    name.strip_prefix("OUTCOME_").unwrap_or(name)
}
