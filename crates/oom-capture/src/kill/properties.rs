//! Every kill is reported exactly once, with records in any order, lost, duplicated and late.

#![expect(
    clippy::cast_possible_truncation,
    reason = "the numbers of these tests are small"
)]

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use super::Kill;
use super::group_tests::{KUBE, LEAF, end, marked};
use super::tests::{assembler, autopsy, exit, grouped, mark, unconfirmed};

/// How the three records of a kill arrive.
#[derive(Clone, Debug)]
struct Arrival {
    copies: [u8; 3],
    thread_marked: bool,
    read: Reading,
}

/// The kind of its autopsy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reading {
    Marked,
    InGroup,
    BeforeItsMark,
}

fn arrival() -> impl Strategy<Value = Arrival> {
    let reading = prop_oneof![
        Just(Reading::Marked),
        Just(Reading::InGroup),
        Just(Reading::BeforeItsMark),
    ];
    ([0u8..3, 0u8..3, 0u8..3], any::<bool>(), reading).prop_map(|(copies, thread_marked, read)| {
        Arrival {
            copies,
            thread_marked,
            read,
        }
    })
}

proptest! {
    #[test]
    fn every_kill_with_a_record_is_reported_exactly_once(
        (arrivals, order) in proptest::collection::vec(arrival(), 1..40).prop_flat_map(|arrivals| {
            let total = arrivals.iter().flat_map(|arrival| arrival.copies).map(usize::from).sum::<usize>();
            (Just(arrivals), proptest::collection::vec(any::<u64>(), total))
        }),
    ) {
        let mut records = Vec::new();
        for (n, arrival) in arrivals.iter().enumerate() {
            let (stamp, pid) = (1 + n as u64, 100 + 10 * n as u32);
            let marked = if arrival.thread_marked { mark(stamp, pid + 1, 0) } else { mark(stamp, pid, pid) };
            let read = match arrival.read {
                Reading::Marked => autopsy(stamp, pid + 2, pid),
                Reading::InGroup => grouped(stamp, pid),
                Reading::BeforeItsMark => unconfirmed(stamp, pid),
            };
            let kinds = [marked, read, exit(stamp, pid)];
            for (record, copies) in kinds.into_iter().zip(arrival.copies) {
                records.extend(std::iter::repeat_n((stamp, record), copies.into()));
            }
        }
        let mut shuffled: Vec<_> = order.into_iter().zip(records).collect();
        shuffled.sort_by_key(|(key, _)| *key);

        let mut assembler = assembler();
        let mut reported: BTreeMap<u64, usize> = BTreeMap::new();
        let mut count = |kills: Vec<Kill>| {
            for kill in kills {
                for victim in kill.victims {
                    *reported.entry(victim.stamp_ns).or_default() += 1;
                }
            }
        };
        let mut now = 1000;
        for (_, (_, record)) in shuffled {
            now += 1;
            count(assembler.accept_record(record, now));
        }
        // First the single marks, then the groups they may have joined.
        for _ in 0..2 {
            now += Duration::from_secs(1).as_nanos() as u64;
            count(assembler.take_overdue(now));
        }
        for (n, arrival) in arrivals.iter().enumerate() {
            let [marks, autopsies, exits] = arrival.copies;
            // Without a mark only an exit or a later autopsy makes a kill.
            let proof = arrival.read != Reading::BeforeItsMark && autopsies > 0;
            let expected = usize::from(marks > 0 || exits > 0 || proof);
            prop_assert_eq!(reported.get(&(1 + n as u64)).copied().unwrap_or(0), expected);
        }
        prop_assert_eq!(assembler.deadline_ns(), None);
    }

    #[test]
    fn a_group_is_one_invocation_however_late_its_victims_are_read(
        (invocations, lateness) in proptest::collection::vec((1u32..5, any::<bool>(), any::<bool>()), 1..8)
            .prop_flat_map(|invocations| {
                let kills = invocations.iter().map(|(size, ..)| *size as usize).sum::<usize>();
                (Just(invocations), proptest::collection::vec(0usize..12, kills))
            }),
    ) {
        // In the kernel's order; a victim is read some records after its mark, or after all records.
        let mut records = Vec::new();
        let mut late = Vec::new();
        let mut lateness = lateness.into_iter();
        let mut stamp = 0;
        for (n, (size, group, end_lost)) in invocations.iter().enumerate() {
            let invocation = 1_000_000 + n as u64;
            // Without a group the kernel kills one.
            let size = if *group { *size } else { 1 };
            for _ in 0..size {
                stamp += 1;
                let domain = if *group { KUBE } else { LEAF };
                records.push(marked(invocation, stamp, 100 + stamp as u32, Some(domain)));
                let after = records.len() + lateness.next().unwrap_or_default();
                late.push((after, grouped(stamp, 100 + stamp as u32)));
            }
            if !end_lost {
                records.push(end(invocation, size, true));
            }
        }
        late.sort_by_key(|(after, _)| std::cmp::Reverse(*after));
        let mut assembler = assembler();
        let mut kills = Vec::new();
        for (n, record) in records.into_iter().enumerate() {
            kills.extend(assembler.accept_record(record, 1000));
            while late.last().is_some_and(|(after, _)| *after <= n + 1) {
                let (_, read) = late.pop().unwrap();
                kills.extend(assembler.accept_record(read, 1000));
            }
        }
        while let Some((_, read)) = late.pop() {
            kills.extend(assembler.accept_record(read, 1000));
        }
        let complete = kills.len();
        let lost = invocations.iter().filter(|(_, group, end_lost)| *group && *end_lost).count();
        prop_assert_eq!(complete, invocations.len() - lost);
        kills.extend(assembler.finish());
        let mut stamps: Vec<Vec<u64>> = kills.into_iter().map(|kill| kill.stamps).collect();
        for stamps in &mut stamps {
            stamps.sort_unstable();
        }
        stamps.sort_unstable();
        let mut first = 1;
        let expected: Vec<Vec<u64>> = invocations
            .iter()
            .map(|(size, group, _)| {
                let size = if *group { u64::from(*size) } else { 1 };
                first += size;
                (first - size..first).collect()
            })
            .collect();
        prop_assert_eq!(stamps, expected);
        prop_assert_eq!(assembler.deadline_ns(), None);
    }
}
