use std::fs;
use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use service::error_chain::chain;

use super::{History, HistoryError, Position, SWINGS_IN_MEMORY, Swing};
use crate::bonk::Bonk;
use crate::motion::Gesture;

fn swung(n: u64) -> Swing {
    Swing {
        bonk: Arc::new(Bonk {
            id: format!("id {n}"),
            namespace: format!("ns-{}", n % 3),
            time: Some(Timestamp::UNIX_EPOCH),
            labels: [("a".to_owned(), "\u{202e}\"".to_owned())].into(),
            ..Bonk::default()
        }),
        swings: n,
        swung_at: Timestamp::from_second(i64::try_from(n).unwrap()).unwrap(),
        gesture: Gesture::Bonk,
        coalesced: n % 2,
        position: Position::default(),
    }
}

fn sequences(swings: &[Swing]) -> Vec<u64> {
    swings.iter().map(|swing| swing.position.sequence).collect()
}

/// Every swing after the beginning, in several steps.
fn all(history: &History) -> Vec<Swing> {
    let mut all = Vec::<Swing>::new();
    loop {
        let last = all.last().map(|swing| swing.position.clone());
        let more = history.swings_after(&last.unwrap_or_default(), 300).swings;
        if more.is_empty() {
            return all;
        }
        all.extend(more);
    }
}

#[test]
fn everything_is_there_again_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("made/on demand");
    let history = History::open(&dir).unwrap();
    let swings = 2 * SWINGS_IN_MEMORY as u64 + 7;
    let first: Vec<Swing> = (1..=swings)
        .map(|n| history.record("", "ACCEPTED", swung(n)))
        .collect();
    history.keep_answer("a", "ACCEPTED");
    history.keep_answer("b", "QUIET");
    let until = "2030-01-01T00:00:00Z".parse().unwrap();
    history.keep_snooze(Some(until));
    history.keep_toggled(true);
    let before = history.id();
    history.close();

    let history = History::open(&dir).unwrap();
    assert_ne!(history.id(), before);
    assert_eq!(history.total(), swings);
    assert_eq!(history.last(), first.last().map(|swing| swing.swung_at));
    assert_eq!(history.leaderboard(1)[0].1, swings / 3);
    assert!(history.toggled());
    let mut kept = history.take_restored();
    // Those of the swings.
    kept.answers.retain(|(id, _)| !id.is_empty());
    let answers = [("a", "ACCEPTED"), ("b", "QUIET")];
    let answers = answers.map(|(id, outcome)| (id.to_owned(), outcome.to_owned()));
    assert_eq!(
        (kept.answers.as_slice(), kept.snoozed),
        (&answers[..], Some(until))
    );
    // Memory may have held more than the disk could keep up with; what is read is as it was.
    let read = all(&history);
    assert!(read.iter().all(|swing| first.contains(swing)));
    assert_eq!(read.last(), first.last());

    // The next run goes on where this one ended, on disk and in memory.
    let next = history.record("", "ACCEPTED", swung(1));
    assert_eq!(next.position.sequence, swings + 1);
    assert_eq!(next.position.history, history.id());
    assert_eq!(
        sequences(&history.recent(3)),
        [swings + 1, swings, swings - 1]
    );
    let at = |sequence| Position {
        history: Arc::clone(&before),
        sequence,
    };
    let after = |sequence| sequences(&history.swings_after(&at(sequence), 3).swings);
    assert_eq!(after(swings - 1), [swings, swings + 1]);
    assert_eq!(after(swings + 40), [swings + 1], "seen and never written");
    history.close();
}

#[test]
fn memory_alone_keeps_the_latest() {
    let history = History::in_memory();
    let swings = SWINGS_IN_MEMORY as u64 + 2;
    for n in 1..=swings {
        history.record("", "ACCEPTED", swung(n));
    }
    let read = sequences(&all(&history));
    assert_eq!(read, (3..=swings).collect::<Vec<_>>());
    assert_eq!(history.swings_after(&Position::default(), 1).after, 0);
    // Long texts count for more.
    let history = History::in_memory();
    for n in 1..=SWINGS_IN_MEMORY as u64 {
        let mut long = swung(n);
        Arc::make_mut(&mut long.bonk).summary = "x".repeat(64 << 10);
        history.record("", "ACCEPTED", long);
    }
    assert!(all(&history).len() < 40);
}

#[test]
fn one_process_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let history = History::open(dir.path()).unwrap();
    let Err(why) = History::open(dir.path()) else {
        panic!("opened twice");
    };
    assert!(matches!(why, HistoryError::InUse { .. }), "{why:?}");
    assert!(why.to_string().contains("--state"), "{why}");
    history.close();
    History::open(dir.path()).unwrap().close();
}

#[test]
fn a_directory_that_is_none_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    let Err(why) = History::open(&file.join("state")) else {
        panic!("opened below a file");
    };
    let why = chain(&why).to_string();
    assert!(why.contains("file/state"), "{why}");
}

#[test]
fn a_damaged_file_is_moved_aside() {
    let database = |dir: &Path| dir.join("history.redb");
    let damage: [fn(&mut Vec<u8>); 4] = [
        |bytes| bytes.truncate(100),
        |bytes| *bytes = b"not a database at all".repeat(1000),
        |bytes| bytes.truncate(bytes.len() / 2),
        |bytes| bytes.iter_mut().skip(64).for_each(|byte| *byte ^= 0x55),
    ];
    for (n, damage) in damage.into_iter().enumerate() {
        let dir = tempfile::tempdir().unwrap();
        let history = History::open(dir.path()).unwrap();
        history.record("", "ACCEPTED", swung(1));
        history.close();
        let mut bytes = fs::read(database(dir.path())).unwrap();
        damage(&mut bytes);
        fs::write(database(dir.path()), &bytes).unwrap();

        let history = History::open(dir.path()).unwrap();
        assert_eq!(history.total(), 0, "damage {n}");
        assert_eq!(
            history.record("", "ACCEPTED", swung(1)).position.sequence,
            1
        );
        history.close();
        assert_eq!(
            fs::read(dir.path().join("history.redb.corrupt")).unwrap(),
            bytes
        );
        let history = History::open(dir.path()).unwrap();
        assert_eq!(history.total(), 1, "damage {n}");
        history.close();
    }
}

#[test]
fn the_oldest_go_when_there_are_too_many() {
    let dir = tempfile::tempdir().unwrap();
    let history = History::open(dir.path()).unwrap();
    let swings = super::HISTORY_CAPACITY + 10;
    for n in 1..=swings {
        history.record("", "ACCEPTED", swung(n));
        if n % 500 == 0 {
            // So that memory does not outrun the disk.
            history.0.shared.flush();
        }
    }
    history.close();
    let history = History::open(dir.path()).unwrap();
    assert_eq!(sequences(&all(&history)), (11..=swings).collect::<Vec<_>>());
    assert_eq!(history.total(), swings);
    history.close();
}

/// Neither panics nor blocks the caller.
#[test]
fn a_position_beyond_the_end_is_the_end() {
    let history = History::in_memory();
    for n in 1..=3 {
        history.record("", "ACCEPTED", swung(n));
    }
    for id in ["".into(), history.id()] {
        for sequence in [4, u64::MAX - 1, u64::MAX] {
            let history_id = std::sync::Arc::clone(&id);
            let beyond = Position {
                history: history_id,
                sequence,
            };
            let replay = history.swings_after(&beyond, 10);
            assert_eq!((replay.after, replay.swings), (3, Vec::new()), "{beyond:?}");
        }
    }
}
