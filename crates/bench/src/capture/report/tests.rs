use super::*;

fn report() -> Report {
    let coverage = |p50, p99| Coverage {
        seen: 300,
        right: [300, 299, 298, 297],
        full: 296,
        times: Some(Times {
            min: 0,
            p50,
            p99,
            max: 9_999_000,
        }),
    };
    let rest = |rss, switches| Rest {
        memory: Memory {
            rss,
            peak: rss,
            pss: 4096,
            anon: 2048,
        },
        activity: Activity {
            switches,
            cpu_ns: 1_234_567,
        },
    };
    Report {
        spinners: 2,
        phases: vec![Phase {
            name: "busy",
            kills: 300,
            unstamped: 1,
            others: 4,
            coverage: vec![
                (Tool::AgentHuman, coverage(50_000, 100_000)),
                (Tool::AgentJson, coverage(100_000, 200_000)),
                (Tool::Bpftrace, coverage(160_000, 2_900_000)),
                (Tool::Kmsg, Coverage::default()),
            ],
        }],
        stretch: Stretch {
            length: Duration::from_secs(30),
            kills: 0,
            busy_percent: 7,
        },
        rests: vec![
            (Tool::AgentHuman, rest(10_240, 0)),
            (Tool::AgentJson, rest(20_480, 0)),
            (Tool::Bpftrace, rest(104_448, 300)),
        ],
        signals: vec![Cost {
            program: "signal_deliver",
            ours_tenths: 415,
            empty_tenths: 200,
            runs: 500_000,
        }],
    }
}

/// The cells of the row that begins with that one.
fn row(text: &str, first: &str) -> Vec<String> {
    let cells = |line: &str| -> Vec<String> {
        let cells = line.trim_matches('|').split('|');
        cells.map(|cell| cell.trim().to_owned()).collect()
    };
    text.lines()
        .map(cells)
        .find(|cells| cells[0] == first)
        .unwrap_or_else(|| panic!("no row {first} in\n{text}"))
}

#[test]
fn each_tool_has_its_figures() {
    let text = tables(&report());
    let human = row(&text, "oom-agent, human");
    let expected = [
        "oom-agent, human",
        "300",
        "0.050",
        "0.100",
        "9.999",
        "300",
        "299",
        "298",
        "297",
        "296",
    ];
    assert_eq!(human, expected);
    let kmsg = row(&text, "/dev/kmsg reader");
    assert_eq!(kmsg[1..5], ["0", "–", "–", "–"]);
    assert!(text.contains("300 kills, 2 threads spin"), "{text}");
    assert!(text.contains("not timed: 1."), "{text}");
    assert!(text.contains("in 30 s without a kill."), "{text}");
    assert!(text.contains("of others meanwhile: 4."), "{text}");
}

#[test]
fn a_goal_is_reached_or_missed() {
    let text = tables(&report());
    let cells = |first: &str| row(&text, first)[1..].join(" | ");
    assert_eq!(cells("busy p50, bpftrace"), "≥ 3.0× | 3.2× | 1.6× (missed)");
    assert_eq!(cells("busy p99, bpftrace"), "≥ 10.0× | 29.0× | 14.5×");
    assert_eq!(cells("busy p50, /dev/kmsg reader"), "≥ 3.0× | – | –");
    assert_eq!(cells("RSS, bpftrace"), "≥ 8.0× | 10.2× | 5.1× (missed)");
    let signal = cells("signal_deliver");
    assert_eq!(signal, "41.5 | 20.0 | 2.1× (missed) | 500000");
}

#[test]
fn an_idle_machine_that_is_not_is_coverage() {
    let mut report = report();
    assert!(tables(&report).starts_with("**Others were at work"));
    assert!(tables(&report).contains("were 7 % busy"));
    report.stretch.busy_percent = 5;
    assert!(tables(&report).starts_with("## 300 kills"));
}
